"""Somebody else's programs check the promises: pg_waldump and pg_controldata while running and after a kill, sqlite3 after a clean stop."""
import os
import random
import re
import sqlite3
import subprocess
import threading
from pathlib import Path

import pytest
import server as support
from failing import Failing

def controldata(server):
    p = support.run(support.PGBIN / "pg_controldata", server.data)
    return dict(re.split(r":\s*", line, maxsplit=1) for line in p.stdout.splitlines() if ":" in line)


def mixed_workload(server):
    """Several databases, rows of 1 KB to 1 MB, DDL, big transactions, rollbacks, checkpoints."""
    rng = random.Random(7)
    for db in ("one", "two"):
        server.sql(f"CREATE DATABASE {db}")
    for db in ("postgres", "one", "two"):
        server.sql("CREATE TABLE big (id integer PRIMARY KEY, payload text)", db)
        server.sql("CREATE INDEX big_len ON big (length(payload))", db)
    for i in range(60):
        db = rng.choice(("postgres", "one", "two"))
        size = rng.choice((500, 4000, 50_000, 500_000))
        server.sql(f"INSERT INTO big VALUES ({i}, hex(randomblob({size})))", db)
        if i % 7 == 0:
            server.psql("BEGIN; UPDATE big SET payload = upper(payload); ROLLBACK;", db)
        if i % 9 == 0:
            server.psql(f"BEGIN; CREATE TABLE t{i} (a integer, b text); INSERT INTO t{i} WITH RECURSIVE c(x) AS "
                        f"(VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 5000) SELECT x, hex(x) FROM c; COMMIT;", db)
        if i % 13 == 0:
            server.sql(f"DELETE FROM big WHERE id < {i // 2}", db)
            server.sql("CHECKPOINT")
    server.sql("CREATE DATABASE three")
    server.drop_database("two")
    server.drop_database("three")


def test_stock_tools_read_everything(cluster):
    server = cluster(init_args=("--wal-segsize=1",), conf="max_wal_size = 80MB\n")
    server.start()
    mixed_workload(server)
    dump = server.waldump()
    assert dump.returncode == 0, dump.stderr
    for needle in ("rmgr: Generic", "rmgr: Transaction", "COMMIT", "CHECKPOINT_ONLINE", "RUNNING_XACTS",
                   "CREATE_WAL_LOG", "rmgr: Storage", "desc: DROP dir"):
        assert needle in dump.stdout, f"pg_waldump shows no {needle}"
    assert controldata(server)["Database cluster state"] == "in production"
    server.kill9()
    assert controldata(server)["Database cluster state"] == "in production"
    server.start()
    assert [int(r[0]) for r in server.sql("SELECT count(*) FROM big", "one")]
    server.stop()
    assert controldata(server)["Database cluster state"] == "shut down"
    files = [p for p in Path(server.data / "base").glob("*/*") if p.name.isdigit()]
    assert len(files) == 3   # the catalogue, postgres, one
    for f in files:
        p = subprocess.run(["sqlite3", f, "PRAGMA integrity_check"], capture_output=True, text=True, check=True)
        assert p.stdout.strip() == "ok", f"{f}: {p.stdout}"


def databases(server):
    """The names in base that are databases."""
    return [d for d in os.listdir(server.data / "base") if d.isdigit()]


def sqlite_says(path):
    """What stock SQLite says to a reader: "" if it lets it in; None if there is no such file (any more)."""
    try:
        c = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0)
        try:
            c.execute("SELECT count(*) FROM sqlite_master").fetchall()
            return "" if os.path.exists(path) else None
        finally:
            c.close()
    except sqlite3.OperationalError as e:
        return None if "unable to open" in str(e) else str(e)


def test_a_new_database_is_locked_from_the_first_moment(server):
    """FILE-8: never under its name without a lock, whoever holds it: maker or checkpointer."""
    stop, said = threading.Event(), {}

    def poke():
        while not stop.is_set():
            for d in databases(server):
                if int(d) >= 16384:
                    says = sqlite_says(server.data / "base" / d / d)
                    said[says] = said.get(says, 0) + 1

    pokers = [threading.Thread(target=poke) for _ in range(2)]
    for p in pokers:
        p.start()
    try:
        for i in range(40):
            server.sql(f"CREATE DATABASE d{i}")
            if i % 4 == 0:
                server.sql(f"DROP DATABASE d{i}")
    finally:
        stop.set()
        for p in pokers:
            p.join()
    said.pop(None, None)
    assert set(said) == {"database is locked"}, said
    print(said)


def test_recovery_locks_the_files_before_it_touches_them(cluster):
    f = Failing(cluster, conf="checkpoint_timeout = 1h\n", init_args=("--wal-segsize=1",))
    server = f.server
    server.sql("CREATE DATABASE idle")
    server.sql("CREATE TABLE t (a)")
    for _ in range(5):
        server.sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT hex(randomblob(50)) FROM n")
    last = server.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
    server.kill9()
    with f.held("pread", f"/pg_wal/{last}"):   # redo stands before its end
        server.start(wait=False, env=f.env)
        support.until(lambda: server.status().get("pmState") == "PM_RECOVERY", "redo has begun")
        for d in databases(server):
            p = subprocess.run(["sqlite3", server.data / "base" / d / d, "SELECT count(*) FROM sqlite_master"], capture_output=True, text=True, check=False)
            assert "locked" in p.stderr, f"{d}: {p}"
        assert server.status().get("pmState") == "PM_RECOVERY"
    server.until_ready()
    for d in databases(server):
        assert sqlite_says(server.data / "base" / d / d) == "database is locked"


def test_a_start_waits_for_a_stock_sqlite3_and_is_refused_while_it_writes(cluster):
    server = cluster()
    server.start()
    server.sql("CREATE TABLE t (a integer)")
    server.stop()
    c = sqlite3.connect(server.data / "base/5/5", isolation_level=None)
    c.execute("BEGIN; ")
    c.execute("SELECT * FROM t").fetchall()
    p = server.start(check=False)
    assert p.returncode != 0 and 'database file "base/5/5" is locked by another program' in server.log()
    server.wait_gone()
    words = "database system was shut down at"   # said before the locks are taken
    n = server.log().count(words)
    server.start(check=False, wait=False)
    support.until(lambda: server.log().count(words) > n, "it waits")
    c.execute("ROLLBACK")
    support.until(lambda: server.status().get("state") == "ready", "it is up")
    assert server.sql("SELECT count(*) FROM t") == [(0,)]
    c.close()


@pytest.mark.skipif(not os.environ.get("PINION_LONG"), reason="the start waits for 5 s for a file that it cannot lock")
def test_a_file_that_cannot_be_locked_leaves_the_others_locked(cluster):
    server = cluster()
    server.start()
    for name in ("mine", "other"):
        server.sql(f"CREATE DATABASE {name}")
    server.stop()
    paths = {d: server.data / "base" / d / d for d in databases(server)}
    mine = sorted(paths, key=int)[-2]
    os.chown(paths[mine], 0, 0)
    server.start()
    assert 'Permission denied' in server.log()
    for d, path in paths.items():
        assert d == mine or sqlite_says(path) == "database is locked", d
    server.sql("DROP DATABASE other")   # which waits for the checkpointer
    assert not paths[max(paths, key=int)].exists()
    os.chown(paths[mine], os.stat(server.data).st_uid, -1)
    support.until(lambda: sqlite_says(paths[mine]) == "database is locked", "it is locked as well")
    assert server.sql("SELECT 1", "mine") == [(1,)]


def test_stock_sqlite3_is_kept_out_while_the_server_runs(server):
    server.sql("CREATE TABLE t (a integer)")
    p = subprocess.run(["sqlite3", server.data / "base/5/5", "SELECT * FROM t"], capture_output=True, text=True, check=False)
    assert "locked" in p.stderr, p.stderr

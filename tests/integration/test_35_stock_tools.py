"""Somebody else's programs check the promises: pg_waldump and pg_controldata while running and after a kill, sqlite3 after a clean stop."""
import random
import re
import subprocess
from pathlib import Path

import server as support

SEGSIZE = 1 << 20


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
    server.sql("DROP DATABASE two")
    server.sql("DROP DATABASE three")


def waldump(server, end):
    segments = sorted(p.name for p in (server.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", p.name))
    start = int(segments[0][8:16], 16) * 2**32 + int(segments[0][16:], 16) * SEGSIZE
    return support.run(support.PGBIN / "pg_waldump", "-p", server.data / "pg_wal",
                       "--start", f"{start >> 32:X}/{start & 0xFFFFFFFF:X}", "--end", end, check=False)


def test_stock_tools_read_everything(cluster):
    server = cluster(init_args=("--wal-segsize=1",), conf="max_wal_size = 80MB\n")
    server.start()
    mixed_workload(server)
    flushed = server.sql("SELECT pg_current_wal_flush_lsn()")[0][0]
    dump = waldump(server, flushed)
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


def test_stock_sqlite3_is_kept_out_while_the_server_runs(server):
    server.sql("CREATE TABLE t (a integer)")
    p = subprocess.run(["sqlite3", server.data / "base/5/5", "SELECT * FROM t"], capture_output=True, text=True, check=False)
    assert "locked" in p.stderr, p.stderr

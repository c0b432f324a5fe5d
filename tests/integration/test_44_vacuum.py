"""VACUUM: the file shrinks, nobody waits long for it, it can be stopped and killed at any moment."""
import os
import random
import sqlite3
import threading

import server as support
from wire import connect, cstr, message

FILL = "WITH RECURSIVE c(x) AS (VALUES ({low}) UNION ALL SELECT x + 1 FROM c WHERE x < {high}) INSERT INTO t SELECT x, {gen}, hex(randomblob(400)) FROM c"
TABLE = "CREATE TABLE t (id integer PRIMARY KEY, gen integer, pad text); CREATE INDEX i ON t (gen, id)"


def fill(w, low, high, gen=0):
    w.ok(FILL.format(low=low, high=high, gen=gen))


def start(cluster, conf=""):
    server = cluster(conf=f"shared_buffers = 4MB\n{conf}", init_args=("--wal-segsize=1",))
    server.start()
    return server


def integrity(w):
    assert w.ok("PRAGMA integrity_check").rows == [("ok",)]


def test_a_big_delete_and_vacuum_make_the_file_small(cluster):
    server = start(cluster)
    path = server.data / "base/5/5"
    with connect(server) as w:
        w.ok(TABLE)
        fill(w, 1, 20000)
        w.ok("CHECKPOINT")
        full = path.stat().st_size
        w.ok("DELETE FROM t WHERE id % 10 <> 0")
        free = int(w.ok("PRAGMA freelist_count").rows[0][0])
        assert free > 500
        r = w.ok("VACUUM (VERBOSE, ANALYZE)")
        assert r.tags == ["VACUUM"]
        assert [(n["S"], f"{free} free pages before, 0 after" in n["M"]) for n in r.notices] == [("INFO", True)], r.notices
        assert w.ok("PRAGMA freelist_count").rows == [("0",)]
        assert w.ok("SELECT count(*) FROM sqlite_stat1").rows == [("1",)]
        support.until(lambda: w.ok("CHECKPOINT") and path.stat().st_size < full / 2, "the file is cut")
        integrity(w)
        assert w.ok("SELECT count(*), sum(id) FROM t").rows == [("2000", str(sum(range(10, 20001, 10))))]
        for text in ("VACUUM", "VACUUM FREEZE t", "VACUUM main", "vacuum analyze T", "VACUUM (FULL false)"):
            assert w.ok(text).tags == ["VACUUM"]
        r = w.extended("VACUUM")
        assert not r.errors and r.tags == ["VACUUM"]
    server.stop()
    c = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    assert c.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and c.execute("PRAGMA freelist_count").fetchall() == [(0,)]
    c.close()


def test_a_vacuum_shows_how_far_it_is(cluster):
    server = start(cluster)
    view = "SELECT pid, datname, phase, heap_blks_total, heap_blks_scanned, heap_blks_vacuumed FROM pg_stat_progress_vacuum"
    with connect(server) as w, connect(server) as holder, connect(server) as x:
        w.ok(TABLE)
        fill(w, 1, 5000)
        w.ok("DELETE FROM t WHERE id > 100")
        free = w.ok("PRAGMA freelist_count").rows[0][0]
        pid = w.ok("SELECT pg_backend_pid()").rows[0][0]
        assert x.ok(view).rows == []
        holder.ok("BEGIN; INSERT INTO t VALUES (9000, 0, 'x')")
        t = threading.Thread(target=w.ok, args=("VACUUM",))
        t.start()
        support.until(lambda: x.ok(view).rows == [(pid, "postgres", "vacuuming heap", free, "0", "0")], "it waits for its first step")
        holder.ok("ROLLBACK")
        t.join(support.DEADLINE)
        assert x.ok(view).rows == []


def test_where_vacuum_is_refused(server):
    with connect(server) as w:
        w.ok("CREATE TABLE t (id integer PRIMARY KEY)")
        w.ok("BEGIN")
        r = w.query("VACUUM")
        assert (r.code, r.error) == ("25001", "VACUUM cannot run inside a transaction block")
        w.ok("ROLLBACK")
        assert w.query("INSERT INTO t VALUES (1); VACUUM").code == "25001"
        assert w.ok("SELECT count(*) FROM t").rows == [("0",)]
        r = w.query("VACUUM FULL")
        assert r.code == "0A000" and "without blocking" in r.errors[0]["H"]
        assert w.query(f"VACUUM INTO '{server.dir}/x'").code == "0A000" and not (server.dir / "x").exists()
        assert w.query("VACUUM (SKIP_LOCKED)").code == "0A000"
        assert w.query("VACUUM nope").code == "42P01"
        assert w.query("VACUUM t t").code == "42601"
        w.ok("SET default_transaction_read_only = on")
        assert w.query("VACUUM").code == "25006"


def test_readers_keep_their_snapshot_and_writers_their_turn(cluster):
    server = start(cluster)
    with connect(server) as w, connect(server) as old, connect(server) as v, connect(server) as a, connect(server) as b:
        w.ok(TABLE)
        fill(w, 1, 20000)
        old.ok("BEGIN ISOLATION LEVEL REPEATABLE READ")
        want = old.ok("SELECT count(*), sum(id) FROM t").rows
        w.ok("DELETE FROM t WHERE id % 10 <> 0")
        update = "BEGIN; UPDATE t SET gen = gen + 1 WHERE id = 10"

        def until_queued(who):
            waits = f"SELECT 1 FROM pg_stat_activity WHERE pid = {who.key[0]} AND wait_event = 'WriterLock'"
            support.until(lambda: w.ok(waits).rows, "it waits in the queue of writers")

        a.ok(update)
        v.send(message("Q", cstr("VACUUM")))
        until_queued(v)
        for _ in range(5):   # of 16 and more transactions of VACUUM
            b.send(message("Q", cstr(update)))
            until_queued(b)
            a.ok("COMMIT")
            assert b.read_to("Z").tags == ["BEGIN", "UPDATE 1"]
            until_queued(v)   # it has had its turn, and is not over
            a, b = b, a
        a.ok("COMMIT")
        assert v.read_to("Z").tags == ["VACUUM"]
        assert old.ok("SELECT count(*), sum(id) FROM t").rows == want
        old.ok("COMMIT")
        assert w.ok("SELECT gen FROM t WHERE id = 10").rows == [("6",)]
        assert w.ok("PRAGMA freelist_count").rows == [("0",)]
        integrity(w)


def test_vacuum_waits_in_the_queue_and_can_be_stopped(cluster):
    server = start(cluster)
    with connect(server) as w, connect(server) as v:
        w.ok(TABLE)
        fill(w, 1, 5000)
        w.ok("DELETE FROM t WHERE id > 100")
        w.ok("BEGIN; UPDATE t SET gen = 1 WHERE id = 1")
        v.ok("SET lock_timeout = '50ms'")
        assert v.query("VACUUM").code == "55P03"
        v.ok("SET lock_timeout = 0; SET statement_timeout = '100ms'")
        assert v.query("VACUUM").code == "57014"
        v.ok("SET statement_timeout = 0")
        replies = []
        t = threading.Thread(target=lambda: replies.append(v.query("VACUUM")))
        t.start()
        support.until(lambda: w.ok("SELECT count(*) FROM pg_stat_activity WHERE query = 'VACUUM' AND wait_event IS NOT NULL").rows == [("1",)],
                      "VACUUM waits")
        v.cancel(server)
        t.join()
        assert replies[0].code == "57014"
        w.ok("COMMIT")
        v.ok("VACUUM")
        assert w.ok("PRAGMA freelist_count; SELECT count(*) FROM t").rows == [("0",), ("100",)]
        integrity(w)


def test_vacuum_survives_kills_at_any_moment(cluster):
    server = start(cluster)
    rng = random.Random(42)
    rounds = 40 if os.environ.get("PINION_LONG") else 3
    with connect(server) as w:
        w.ok(TABLE)
    for gen in range(rounds):
        with connect(server) as w, connect(server) as other:
            fill(w, 1001, 12000, gen)
            w.ok("DELETE FROM t WHERE id % 5 <> 0")
            free = int(w.ok("PRAGMA freelist_count").rows[0][0])
            want = w.ok("SELECT count(*), sum(id), sum(length(pad)) FROM t").rows
            left = rng.randrange(free // 20, free)   # killed when this many free pages are left; at the end if it is too fast

            def vacuum():
                try:
                    w.query("VACUUM")
                except Exception:   # noqa: BLE001 (the server is killed meanwhile)
                    pass

            t = threading.Thread(target=vacuum)
            t.start()
            support.until(lambda: int(other.ok("PRAGMA freelist_count").rows[0][0]) <= left, "VACUUM is on its way")
            server.kill9()
            t.join()
        server.start()
        with connect(server) as w:
            integrity(w)
            assert w.ok("SELECT count(*), sum(id), sum(length(pad)) FROM t").rows == want
            assert int(w.ok("PRAGMA freelist_count").rows[0][0]) <= free
            w.ok("VACUUM")
            assert w.ok("PRAGMA freelist_count").rows == [("0",)]
            w.ok("DELETE FROM t")
    server.stop()
    assert server.ctl("verify", "-D", server.data, "-q").stdout == ""


def test_vacuum_with_a_full_log_disk_is_done_or_an_error(small_disk, cluster):
    """Its small transactions need little: a checkpoint now and then gives back what they wrote. If that is not enough it is 53100."""
    disk = small_disk(64)
    server = cluster(conf="shared_buffers = 4MB\nmax_wal_size = 4MB\nmin_wal_size = 2MB\n",
                     init_args=("-X", disk.path / "wal", "--wal-segsize=1"))
    server.start()
    with connect(server) as w:
        w.ok(TABLE)
        for k in range(10):
            fill(w, k * 2000 + 1, k * 2000 + 2000)
        w.ok("DELETE FROM t WHERE id % 10 <> 0")
        want = w.ok("SELECT count(*), sum(id), sum(length(pad)) FROM t").rows
        disk.fill()
        r = w.query("VACUUM")
        assert r.code in (None, "53100") and r.status == "I", r
        assert w.ok("SELECT count(*), sum(id), sum(length(pad)) FROM t").rows == want
        integrity(w)
        disk.empty()
        support.until(lambda: w.query("VACUUM").tags == ["VACUUM"], "VACUUM works")
        assert w.ok("PRAGMA freelist_count").rows == [("0",)]
        assert w.ok("SELECT count(*), sum(id), sum(length(pad)) FROM t").rows == want
        integrity(w)
    server.stop()
    assert server.ctl("verify", "-D", server.data, "-q").stdout == ""

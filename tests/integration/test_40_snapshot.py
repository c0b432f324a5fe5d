"""A reader over a table that is rewritten many times sees one consistent snapshot or a clean 72000, never a mixture, with the smallest cache."""
import threading
import time

import psycopg2
import server as support

ROWS = 4000


def rewrite(server, stop, wrong):
    conn = server.connect()
    n = 0
    try:
        while not stop.is_set():
            n += 1
            conn.cursor().execute(f"UPDATE t SET gen = {n}, pad = hex(randomblob(100))")
    except psycopg2.Error as e:
        if e.pgcode != "53200":   # the cache is really short: a clean error is allowed
            wrong.append(f"writer: {e.pgcode} {e}")


def test_a_long_reader_sees_one_snapshot_or_a_clean_error(cluster):
    server = cluster(conf="shared_buffers = 1MB\nsnapshot_patience = 1s\ncache_overflow_limit = 16MB\n",
                     init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE t (id integer PRIMARY KEY, gen integer, pad text)")
    server.sql(f"WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {ROWS}) "
               "INSERT INTO t SELECT x, 0, hex(randomblob(100)) FROM c")
    stop, wrong = threading.Event(), []
    writer = threading.Thread(target=rewrite, args=(server, stop, wrong))
    writer.start()
    seen = {"snapshots": 0, "72000": 0}
    try:
        conn = server.connect()
        end = time.monotonic() + support.DEADLINE
        while seen["snapshots"] + seen["72000"] < 40 or (not seen["snapshots"] and time.monotonic() < end):
            cur = conn.cursor()
            try:
                cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
                cur.execute("SELECT min(gen), max(gen), count(*) FROM t")
                low, high, count = map(int, cur.fetchone())
                assert (low == high) and count == ROWS, f"a mixture: {low}…{high}, {count} rows"
                cur.execute("SELECT min(gen), max(gen), count(*) FROM t, (SELECT 1)")
                assert tuple(map(int, cur.fetchone())) == (low, high, count)
                cur.execute("COMMIT")
                seen["snapshots"] += 1
            except psycopg2.Error as e:
                assert e.pgcode == "72000", f"{e.pgcode}: {e}"
                cur.execute("ROLLBACK")
                seen["72000"] += 1
    finally:
        stop.set()
        writer.join(support.DEADLINE)
    assert not wrong, wrong
    assert seen["snapshots"] > 0
    print(seen)

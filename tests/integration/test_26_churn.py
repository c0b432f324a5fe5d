"""Clients that come, go, cancel, are terminated or hang up in the middle, all at once: no crash, no slot, lock or process is left behind."""
import os
import random
import signal
import threading
import time

import psycopg2
import server as support
import wire

SECONDS = float(os.environ.get("PINION_TEST_CHURN", "5"))
COUNT = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 300000) SELECT count(*) FROM c"
ROWS = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 20000) SELECT x, hex(zeroblob(100)) FROM c"


def hang_up_in_the_middle(server, rng):
    with wire.connect(server) as w:
        w.send(wire.message("Q", wire.cstr(rng.choice((COUNT, ROWS, "INSERT INTO t VALUES (1)", "BEGIN; INSERT INTO t VALUES (2)")))))


def cancel_something(server, rng):
    conn = server.connect()
    timer = threading.Timer(rng.random() * 0.05, conn.cancel)
    timer.start()
    try:
        conn.cursor().execute(rng.choice((COUNT, "UPDATE t SET a = a + 1", "SELECT 1")))
    finally:
        timer.join()
        conn.close()


def be_terminated(server, rng):
    conn = server.connect(autocommit=False)
    cur = conn.cursor()
    cur.execute("SELECT pg_backend_pid()")
    pid = int(cur.fetchone()[0])
    if rng.random() < 0.5:
        cur.execute("INSERT INTO t VALUES (3)")
    timer = threading.Timer(rng.random() * 0.02, os.kill, (pid, signal.SIGTERM))
    timer.start()
    try:
        cur.execute(rng.choice((COUNT, "SELECT 1", "UPDATE t SET a = 0")))
        conn.commit()
    finally:
        timer.join()
        conn.close()


def say_nonsense(server, rng):
    with wire.Wire(server) as w:
        w.send(rng.randbytes(rng.randrange(40)))


def work(server, rng):
    conn = server.connect()
    cur = conn.cursor()
    for _ in range(5):
        cur.execute("INSERT INTO t VALUES (4)")
        cur.execute("SELECT count(*) FROM t")
    conn.close()


def churn(server, seed, until, wrong):
    rng = random.Random(seed)
    while time.monotonic() < until:
        what = rng.choice((hang_up_in_the_middle, cancel_something, be_terminated, say_nonsense, work))
        try:
            what(server, rng)
        except (psycopg2.Error, wire.Closed, OSError, EOFError) as e:
            code = e.reply.code if isinstance(e, wire.Closed) else getattr(e, "pgcode", None)
            if code not in (None, "57014", "57P01", "53300"):   # who has hung up may still be served: no place left
                wrong.append(f"{what.__name__}: {code} {e}")


def test_churn_leaves_nothing_behind(server):
    server.sql("CREATE TABLE t (a integer)")
    seed = random.randrange(2**32)
    print("seed", seed)
    wrong = []
    threads = [threading.Thread(target=churn, args=(server, seed + i, time.monotonic() + SECONDS, wrong)) for i in range(12)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not wrong, wrong[:5]
    support.until(lambda: "backend" not in server.children().values(), "all backends have left")
    n = server.sql("SELECT count(*) FROM t")[0][0]
    server.sql("INSERT INTO t VALUES (5)")   # the writer lock is free
    assert server.sql("SELECT count(*) FROM t")[0][0] == n + 1
    lines = [x for x in server.log().splitlines() if "data to client" not in x and "data from client" not in x]
    for word in ("PANIC", "was terminated", "crash", "could not", "exit code 2"):
        assert not any(word in x for x in lines), [x for x in lines if word in x][:3]
    server.stop()

"""Nobody waits for ever: the smallest cache and the smallest log with as many sessions as are allowed, each reading and writing several databases; and
processes that stand still (SIGSTOP), which stop only who must wait for them."""
import os
import signal
import threading
import time

import psycopg2
import pytest
import server as support
from wire import connect, cstr, message

CONF = "shared_buffers = 1MB\ncache_overflow_limit = 64MB\nmax_wal_size = 2MB\nmin_wal_size = 2MB\nsnapshot_patience = 500ms\n"
SEGMENT = ("--wal-segsize=1",)
DATABASES = ("postgres", "d1", "d2")
MAY_FAIL = ("53200", "72000", "40001", "55P03")   # clean answers under pressure; each is tried again


def make(cluster, conf=""):
    server = cluster(conf=CONF + conf, init_args=SEGMENT)
    server.start()
    for name in DATABASES:
        if name != "postgres":
            server.sql(f"CREATE DATABASE {name}")
        server.sql("CREATE TABLE t (id integer PRIMARY KEY, n integer, pad text)", name)
        server.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 2000) "
                   "INSERT INTO t SELECT x, 0, hex(randomblob(300)) FROM c", name)
    return server


class Client(threading.Thread):
    """Goes from database to database: some reads, one write, until it has done its rounds."""

    def __init__(self, server, number, rounds):
        super().__init__(daemon=True)
        self.server, self.number, self.rounds = server, number, rounds
        self.done, self.failed, self.wrong, self.slowest = 0, 0, None, 0.0

    def round(self, i):
        conn = self.server.connect(DATABASES[(self.number + i) % len(DATABASES)])
        try:
            cur = conn.cursor()
            for k in range(3):
                cur.execute(f"SELECT sum(n), count(*) FROM t WHERE id BETWEEN {k * 300} AND {k * 300 + 400}")
                cur.fetchall()
            key = (self.number * 37 + i) % 2000 + 1
            cur.execute(f"BEGIN; UPDATE t SET n = n + 1, pad = hex(randomblob(300)) WHERE id = {key}; COMMIT")
            return True
        finally:
            conn.close()

    def run(self):
        while self.done < self.rounds and self.wrong is None:
            begin = time.monotonic()
            try:
                self.round(self.done)
                self.done += 1
            except psycopg2.Error as e:
                self.failed += 1
                if e.pgcode not in MAY_FAIL:
                    self.wrong = f"client {self.number}: {e.pgcode} {e}"
            self.slowest = max(self.slowest, time.monotonic() - begin)


def run_clients(server, n, rounds, deadline):
    """All must come to their end; the sum of what they added is there."""
    before = sum(int(server.sql("SELECT sum(n) FROM t", name)[0][0]) for name in DATABASES)
    clients = [Client(server, i, rounds) for i in range(n)]
    for c in clients:
        c.start()
    end = time.monotonic() + deadline
    for c in clients:
        c.join(max(0.1, end - time.monotonic()))
    late = [c for c in clients if c.is_alive()]
    assert not late, f"{len(late)} of {n} clients have not come to an end, at {[c.done for c in late][:10]} of {rounds} rounds: {server.log()[-2000:]}"
    assert not [c.wrong for c in clients if c.wrong], [c.wrong for c in clients if c.wrong][:3]
    after = sum(int(server.sql("SELECT sum(n) FROM t", name)[0][0]) for name in DATABASES)
    assert after - before == n * rounds
    print(f"{n} clients, {rounds} rounds: {sum(c.failed for c in clients)} tried again, slowest round {max(c.slowest for c in clients):.2f} s")


def test_a_hundred_sessions_with_one_megabyte_of_cache_and_the_smallest_log(cluster):
    server = make(cluster, "max_connections = 199\n")   # a client that comes back may meet its former session, which is still leaving
    run_clients(server, 99, 4, 5 * support.DEADLINE)
    assert "terminated by signal" not in server.log()
    for name in DATABASES:
        assert server.sql("PRAGMA integrity_check", name) == [("ok",)]
    server.stop()


class Stopped:
    """A process that stands still inside the with."""

    def __init__(self, pid):
        self.pid = pid

    def __enter__(self):
        assert support.freeze(self.pid)
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def pid_of(server, role):
    return next(pid for pid, what in server.children().items() if what == role)


def test_a_reader_that_stands_still_stops_nobody(cluster):
    server = make(cluster)
    conn = server.connect()
    cur = conn.cursor()
    cur.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
    cur.execute("SELECT sum(n) FROM t")
    first = cur.fetchall()
    with Stopped(conn.get_backend_pid()):
        run_clients(server, 6, 30, 3 * support.DEADLINE)
        server.sql("CHECKPOINT")
    try:   # its snapshot is there as it was, or it was asked to end for want of frames
        cur.execute("SELECT sum(n) FROM t")
        assert cur.fetchall() == first
    except psycopg2.Error as e:
        assert e.pgcode == "72000", e
    conn.close()
    server.stop()


def test_a_reader_that_is_asked_to_end_while_it_stands_still_costs_writers_53200_and_is_never_shown_wrong_rows(cluster):
    """SNAP-6: the one snapshot fills all frames; its process stands still in the middle of a statement, so it cannot give them back."""
    server = make(cluster, "cache_overflow_limit = 2MB\n")   # one version of every page and one commit of them all, not two
    server.sql("CHECKPOINT")
    with connect(server) as reader:
        reader.send(message("Q", cstr("SELECT n, pad FROM t ORDER BY id")))   # more than the socket takes, and nobody reads
        pid = reader.key[0]
        support.until(lambda: server.sql(f"SELECT wait_event FROM pg_stat_activity WHERE pid = {pid}") == [("ClientWrite",)], "it waits for its client")
        assert support.freeze(pid)
        try:
            failed = None
            for _ in range(20):
                try:
                    server.sql("UPDATE t SET n = n + 1, pad = hex(randomblob(300))")
                except psycopg2.Error as e:
                    failed = e.pgcode
                    break
            assert failed == "53200"
            assert server.sql("SELECT count(*) FROM t") == [(2000,)]
            server.sql("UPDATE t SET n = n + 1 WHERE id = 1", "d1")   # what needs no more than a few frames goes on
            if os.environ.get("PINION_LONG"):   # every 10 s
                support.until(lambda: f"process {pid} holds a snapshot that it was asked to end" in server.log(), "the log names it")
        finally:
            os.kill(pid, signal.SIGCONT)
        reply = reader.read_to("Z")
        assert reply.code == "72000" and {row[0] for row in reply.rows} == {"0"}, reply
        support.until(lambda: can(server, "UPDATE t SET n = n + 1"), "writing goes on")
        assert reader.ok("PRAGMA integrity_check").rows == [("ok",)]
    server.stop()


def can(server, text):
    try:
        server.sql(text)
        return True
    except psycopg2.Error as e:
        assert e.pgcode == "53200", e
        return False


def test_a_writer_that_stands_still_in_the_queue_stops_who_is_behind_it_only(cluster):
    server = make(cluster)
    holder, queued, behind = (server.connect() for _ in range(3))
    holder.cursor().execute("BEGIN; UPDATE t SET n = n WHERE id = 1")
    threads = []
    for conn in (queued, behind):
        threads.append(threading.Thread(target=lambda c=conn: c.cursor().execute("UPDATE t SET n = n WHERE id = 2"), daemon=True))
        threads[-1].start()
        support.until(lambda c=conn: server.sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid = {c.get_backend_pid()} AND wait_event = 'WriterLock' "
                                                "AND state = 'active'") == [(1,)], "it waits in the queue")
    with Stopped(queued.get_backend_pid()):
        holder.cursor().execute("COMMIT")   # the lock goes to the one that stands still
        for name in ("d1", "d2"):
            server.sql("UPDATE t SET n = n WHERE id = 3", name)
        assert server.sql("SELECT count(*) FROM t") == [(2000,)]
        server.sql("CHECKPOINT")
        assert threads[1].is_alive()
        late = server.connect()
        late.cursor().execute("SET lock_timeout = '200ms'")
        try:
            late.cursor().execute("UPDATE t SET n = n WHERE id = 4")
            raise AssertionError("the writer lock was given twice")
        except psycopg2.Error as e:
            assert e.pgcode == "55P03", e
        late.close()
    for t in threads:
        t.join(support.DEADLINE)
        assert not t.is_alive()
    for conn in (holder, queued, behind):
        conn.close()
    server.stop()


@pytest.mark.parametrize("role", ["bgwriter", "checkpointer"])
def test_a_helper_that_stands_still_stops_nobody(cluster, role):
    """What a checkpointer does not do costs log, what a bgwriter does not do costs writers a little of their own time."""
    server = make(cluster)
    with Stopped(pid_of(server, role)):
        run_clients(server, 6, 15, 3 * support.DEADLINE)
        if role != "checkpointer":
            server.sql("CHECKPOINT")
    server.sql("CHECKPOINT")
    server.stop()

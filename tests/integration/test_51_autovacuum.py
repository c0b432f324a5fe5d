"""Autovacuum: free pages go back and the planner's statistics are made by themselves, nobody waits long for it, it gives way to DROP DATABASE and to a stop."""
import json
import os
import re
import signal
import threading
import time

import server as support

QUICK = "autovacuum_naptime = 1s\nlog_autovacuum_min_duration = 0\n"
LONG = bool(os.environ.get("PINION_LONG"))
ROWS = 100_000 if LONG else 20_000          # of 1 kB
HOLD_MS_MAX = 500                           # ten times what is promised
FILL = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {n}) INSERT INTO t SELECT x, hex(randomblob(450)) FROM c"


def start(cluster, conf=""):
    server = cluster(conf=QUICK + conf)
    server.start()
    return server


def fill(server, n=ROWS, dbname="postgres"):
    for text in ("CREATE TABLE t (id integer PRIMARY KEY, pad text)", FILL.format(n=n)):
        server.sql(text, dbname)


def free_pages(server, dbname="postgres"):
    return server.sql("PRAGMA freelist_count", dbname)[0][0]


def workers(server):
    return server.sql("SELECT pid, datname, state, query FROM pg_stat_activity WHERE backend_type = 'autovacuum worker'")


def busy(server, dbname="postgres"):
    """The worker in the middle of giving back the pages of a database. One that only looked at tables before they were dropped may be gone any moment."""
    text = ("SELECT a.pid, a.datname, a.state, a.query, p.heap_blks_total, p.heap_blks_vacuumed FROM pg_stat_activity a JOIN pg_stat_progress_vacuum p USING (pid) "
            f"WHERE backend_type = 'autovacuum worker' AND a.datname = '{dbname}' AND heap_blks_vacuumed > 0")
    return support.until(lambda: server.sql(text), f"a worker gives back pages of {dbname}")[0]


class Writer(threading.Thread):
    """Small commits, one after the other; the slowest of them."""

    def __init__(self, server):
        super().__init__(daemon=True)
        self.conn, self.stop, self.slowest, self.n = server.connect(), threading.Event(), 0.0, 0
        self.conn.cursor().execute("CREATE TABLE w (a integer)")

    def run(self):
        cur = self.conn.cursor()
        while not self.stop.is_set():
            begin = time.monotonic()
            cur.execute("INSERT INTO w VALUES (1)")
            self.slowest = max(self.slowest, time.monotonic() - begin)
            self.n += 1


def test_a_deleted_table_goes_back_while_others_write(cluster):
    server = start(cluster)
    fill(server)
    before = server.sql("PRAGMA page_count")[0][0]
    writer = Writer(server)
    writer.start()
    server.sql("DROP TABLE t")
    support.until(lambda: free_pages(server) <= 50, "the free pages are given back")
    writer.stop.set()
    writer.join()
    assert server.sql("PRAGMA page_count")[0][0] < before / 10
    line = support.until(lambda: re.search(r"automatic vacuum of database \"postgres\": ([1-9]\d*) of (\d+) free pages given back in (\d+) transactions, "
                                           r".*writer lock held ([\d.]+) ms at most, p99 ([\d.]+) ms", server.log()), "the log tells")
    print(f"{line.group(0)}; slowest of {writer.n} commits beside it {writer.slowest * 1000:.1f} ms")
    assert int(line.group(1)) > before / 2 and int(line.group(3)) > 10
    assert float(line.group(5)) <= float(line.group(4)) < HOLD_MS_MAX   # the figures themselves: tests/bench, autovacuum
    assert server.sql("PRAGMA integrity_check") == [("ok",)]
    assert "WARNING" not in server.log() and "ERROR" not in server.log()


def test_changed_tables_are_analyzed(cluster):
    server = start(cluster)
    server.sql("CREATE TABLE t (a integer, b integer)")
    server.sql("CREATE INDEX i ON t (a)")
    server.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 1000) INSERT INTO t SELECT x % 10, x FROM c")
    support.until(lambda: server.sql("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'")[0][0] == 1, "statistics are there")
    support.until(lambda: server.sql("SELECT count(*) FROM sqlite_stat1 WHERE tbl = 't' AND idx = 'i'")[0][0] == 1, "of the index")


def test_a_worker_is_seen_and_gives_way_to_drop_database_and_to_a_stop(cluster):
    server = start(cluster, "autovacuum_vacuum_cost_delay = 100ms\n")
    for name in ("one", "two"):
        server.sql(f"CREATE DATABASE {name}")
        fill(server, dbname=name)
        server.sql("DROP TABLE t", dbname=name)
    seen = busy(server, "one")
    assert seen[2:4] == ("active", "autovacuum: VACUUM ANALYZE") and seen[4] > seen[5]
    server.sql("DROP DATABASE one")
    busy(server, "two")
    server.stop()
    assert server.control_state() == "shut down" and "WARNING" not in server.log() and "terminating any other" not in server.log()
    server.start()
    assert server.sql("SELECT datname FROM pg_stat_database WHERE datname IN ('one', 'two')") == [("two",)]
    assert server.sql("PRAGMA integrity_check", dbname="two") == [("ok",)]


def test_a_busy_worker_is_gone_before_the_last_checkpoint(cluster):
    """AC063: it is told to leave, and the stop waits for it."""
    server = start(cluster, "autovacuum_vacuum_cost_delay = 100ms\nlog_checkpoints = on\n")
    fill(server)
    server.sql("DROP TABLE t")
    pid = busy(server)[0]
    assert support.freeze(pid)   # in the middle of it
    server.ctl("stop", "-D", server.data, "--no-wait")
    support.until(lambda: server.status().get("pmState") == "PM_WAIT_BACKENDS", "it is stopping")
    told = json.loads(server.ctl("ps", "-D", server.data, "--json").stdout)["processes"]
    assert [p["state"] for p in told if p["pid"] == pid] == ["stopping"]
    assert "checkpointer" in [p["role"] for p in told]
    asked = server.log().rpartition("received fast shutdown request")[2]
    assert "checkpoint starting" not in asked
    os.kill(pid, signal.SIGCONT)
    server.wait_gone()
    asked = server.log().rpartition("received fast shutdown request")[2]
    assert "checkpoint starting: shutdown" in asked and "terminating any other" not in asked
    assert server.control_state() == "shut down"


def test_a_worker_that_could_not_be_forked_comes_later(cluster):
    server = start(cluster)
    fill(server, 2000)
    c = server.connect()
    before = support.limit(server.pid, "Max processes")
    support.set_limit(server.pid, "nproc", 1)
    try:
        c.cursor().execute("DROP TABLE t")
        support.until(lambda: "could not fork autovacuum worker process: Resource temporarily unavailable" in server.log(), "it says so")
    finally:
        support.set_limit(server.pid, "nproc", before)
    c.close()
    support.until(lambda: free_pages(server) <= 50, "nobody had to write again")
    assert server.log().count("could not fork autovacuum worker") == 1, "once, not at every try"


def test_it_can_be_turned_off_and_on(cluster):
    server = start(cluster, "autovacuum = off\n")
    assert "autovacuum launcher" not in server.children().values()
    fill(server, 2000)
    server.sql("DROP TABLE t")
    server.configure("autovacuum = on\n")
    server.ctl("reload", "-D", server.data)
    server.child("autovacuum launcher")
    support.until(lambda: free_pages(server) <= 50, "the free pages are given back")
    server.configure("autovacuum = off\n")
    server.ctl("reload", "-D", server.data)
    support.until(lambda: "autovacuum launcher" not in server.children().values(), "the launcher has left")
    assert "crash" not in server.log()


def test_a_killed_worker_is_a_crash_that_loses_nothing(cluster):
    server = start(cluster, "autovacuum_vacuum_cost_delay = 100ms\n")
    fill(server)
    server.sql("CREATE TABLE keep AS SELECT id FROM t WHERE id % 100 = 0")
    server.sql("DROP TABLE t")
    os.kill(busy(server)[0], signal.SIGKILL)
    server.until_recovered()
    assert server.sql("SELECT count(*) FROM keep") == [(ROWS // 100,)]
    server.sql("INSERT INTO keep VALUES (0)")
    support.until(lambda: workers(server), "the work goes on")
    assert server.sql("PRAGMA integrity_check") == [("ok",)]

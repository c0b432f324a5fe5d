"""A full disk: who writes is told so (53100), the rest goes on, nothing is half done, and when space returns so does the service, by itself."""
import os
import sqlite3
import time

import pytest
import server as support
from test_75_notify import Manager
from wire import connect

LONG = bool(os.environ.get("PINION_LONG"))
ROUNDS = 10 if LONG else 3
BOUND = 30   # seconds in which a refusal must come; it takes milliseconds
BIG = 1_000_000
CONF = "shared_buffers = 32MB\nmax_wal_size = 8MB\nmin_wal_size = 2MB\n"


def rows(first, n, kb):
    """INSERT n rows of kb kB of noise."""
    return (f"WITH RECURSIVE c(x) AS (VALUES ({first}) UNION ALL SELECT x + 1 FROM c WHERE x < {first + n - 1}) "
            f"INSERT INTO t SELECT x, randomblob({kb * 1024}) FROM c")


def timed(w, text):
    start = time.monotonic()
    r = w.query(text)
    assert time.monotonic() - start < BOUND, f"{text[:60]}: not in bounded time"
    return r


def refused(r):
    """53100, with words for people, in a session that goes on."""
    assert r.code == "53100", r
    e = r.errors[0]
    assert "No space left on device" in e["M"] and e.get("D", "").endswith(".") and e.get("H", "").endswith("."), e
    assert r.status in "IE"


def fine_or_refused(r):
    if r.errors:
        refused(r)
    return not r.errors


class Cluster:
    """A server whose log, data, or both are on a disk of 64 MB; knows what was acknowledged."""

    def __init__(self, where, disk, cluster, tmp_wal):
        self.disk, self.where = disk, where
        place = {"wal": {"init_args": ["-X", disk.path / "wal"]},
                 "data": {"init_args": ["-X", tmp_wal], "data": disk.path / "data"},
                 "both": {"init_args": [], "data": disk.path / "data"}}[where]
        place["init_args"].append("--wal-segsize=1")
        self.server = cluster(conf=CONF, **place)
        self.server.start()
        self.n = 0   # rows 1 … n are there
        with connect(self.server) as w:
            w.ok("CREATE TABLE t (id integer PRIMARY KEY, pad blob)")

    def small(self, w):
        if fine_or_refused(timed(w, rows(self.n + 1, 1, 1))):
            self.n += 1

    def check(self, w):
        assert w.ok("SELECT count(*), coalesce(min(id), 1), coalesce(max(id), 0) FROM t").rows == [(str(self.n), "1", str(self.n))]

    def fill(self, how, i):
        """Until nothing is left; then a write is refused."""
        if how == "foreign":
            self.disk.fill()
        elif self.where != "wal":   # by a database of our own
            with connect(self.server, database=f"spare{i}") as w:
                k = 1000
                while fine_or_refused(timed(w, rows(k, 4, 1024))):
                    k += 4

    def too_much(self, w):
        """More than there is: nothing of it is done, in and out of a block."""
        n = 12 if self.disk.filler.exists() or self.where != "wal" else 70
        refused(timed(w, rows(BIG, n, 1024)))
        self.check(w)
        assert w.ok("BEGIN").status == "T"
        for r in (timed(w, rows(BIG, n, 1024)), w.query("COMMIT")):
            if r.errors:
                break
        refused(r)
        if r.status != "I":
            w.ok("ROLLBACK")
        self.check(w)

    def databases(self):
        return {p.name for p in (self.server.data / "base").iterdir()}

    def database_comes_or_not(self, w, name):
        before = self.databases()
        if fine_or_refused(timed(w, f"CREATE DATABASE {name}")):
            w.ok(f"DROP DATABASE {name}")
        support.until(lambda: self.databases() == before, "nothing of it is left")

    def while_full(self, i):
        with connect(self.server) as w, connect(self.server) as reader:
            self.too_much(w)
            self.small(w)
            self.check(reader)
            r = timed(w, "CHECKPOINT")
            assert r.code in (None, "53100"), r
            self.database_comes_or_not(w, f"new{i}")
            self.small(w)
            self.check(reader)
            assert reader.ok("PRAGMA integrity_check").rows == [("ok",)]

    def die(self):
        """kill -9: the start recovers, or says what is missing."""
        self.server.kill9()
        p = self.server.start(check=False)
        if p.returncode != 0:
            assert "No space left on device" in p.stdout + p.stderr + self.server.log(), p
            self.disk.empty()
            self.server.start()
        with connect(self.server) as w:
            self.check(w)

    def space_is_back(self, i):
        """The service returns without anybody's help."""
        with connect(self.server) as w:
            if self.where == "wal" or self.disk.filler.exists():
                self.disk.empty()
            timed(w, f"DROP DATABASE IF EXISTS spare{i}")
            support.until(lambda: not w.query(rows(BIG, 12, 1024)).errors, "writing goes on")
            w.ok(f"DELETE FROM t WHERE id >= {BIG}; PRAGMA incremental_vacuum; CHECKPOINT")
            self.small(w)
            self.check(w)
            assert w.ok("PRAGMA integrity_check").rows == [("ok",)]
            support.until(lambda: w.ok("CHECKPOINT") and self.disk.free() > 30 << 20, "what was deleted is given back")


@pytest.mark.parametrize("where", ["wal", "data", "both"])
def test_a_full_disk_is_an_error_and_then_over(where, small_disk, cluster, tmp_path_factory):
    tmp_wal = support.open_dir(tmp_path_factory.mktemp("wal")) / "wal"
    c = Cluster(where, small_disk(64), cluster, tmp_wal)
    server, starts = c.server, 1
    for i in range(ROUNDS):
        with connect(server) as w:
            w.ok(f"CREATE DATABASE spare{i}")
            c.small(w)
        with connect(server, database=f"spare{i}") as w:
            w.ok("CREATE TABLE t (id integer PRIMARY KEY, pad blob)")
            w.ok(rows(1, 2, 1024))
        c.fill("foreign" if i % 2 == 0 else "own", i)
        pid = server.pid
        c.while_full(i)
        assert server.pid == pid and server.status()["crashRestarts"] == 0
        if i % 3 == 2:
            with connect(server) as w:
                w.ok(f"DROP DATABASE spare{i}")
        else:
            c.die()
            starts += 1
        c.space_is_back(i)
    log = server.log()
    assert "PANIC" not in log and "reinitializing" not in log
    server.stop()
    plain = sqlite3.connect(f"file:{server.data}/base/5/5?mode=ro", uri=True)
    assert plain.execute("PRAGMA integrity_check").fetchall() == [("ok",)] and plain.execute("SELECT count(*) FROM t").fetchall() == [(c.n,)]
    plain.close()
    server.start()
    with connect(server) as w:
        c.check(w)
    print(f"{where}: full {ROUNDS} times, {starts} starts, {c.n} rows")


def storage(server, name):
    return next((x for x in server.status().get("storage", []) if x["name"] == name), {})


def lines(server, text):
    return [x for x in server.log().splitlines() if text in x]


def test_space_is_told_before_it_is_gone_and_again_when_it_is_back(small_disk, cluster):
    disk = small_disk(64)
    log_disk = disk.path / "wal"
    server = cluster(conf="low_space_warning = 20MB\nmax_wal_size = 8MB\nmin_wal_size = 2MB\n", init_args=("--wal-segsize=1", "-X", log_disk))
    m = Manager(server)
    server.start(env={"NOTIFY_SOCKET": m.path})
    try:
        assert server.sql("SHOW low_space_warning") == [("20MB",)]
        s = support.until(lambda: storage(server, "wal"), "it is measured")
        assert 40 << 20 < s["freeBytes"] <= s["totalBytes"] == 64 << 20 and not s["low"] and not s["full"] and s["refusals"] == 0
        assert "fullSinceUSec" not in s and "lastError" not in s
        assert "Storage" in server.ctl("status", "-D", server.data).stdout

        disk.fill(leave=10 << 20)
        support.until(lambda: storage(server, "wal")["low"], "space is low")
        m.wait(r"STATUS=Ready: .*; log: low disk space \(\d+ MB free\)")
        assert len(lines(server, "WARNING:  disk space for the write-ahead log is low: ")) == 1
        assert not [x for x in lines(server, "WARNING") if "data" in x] and not storage(server, "wal")["full"]
        assert any("wal: " in x and x.endswith("LOW") for x in server.ctl("status", "-D", server.data).stdout.splitlines())

        disk.fill()
        with connect(server) as w:
            w.ok("CREATE TABLE t (id integer PRIMARY KEY, pad blob)")
            refused(w.query(rows(1, 12, 1024)))
            s = storage(server, "wal")
            assert s["full"] and s["low"] and s["refusals"] >= 1 and s["lastError"] == "No space left on device"
            assert s["fullSinceUSec"] <= s["lastErrorUSec"]
            m.wait(r"STATUS=Ready: .*; log: disk full")
            support.until(lambda: lines(server, "WARNING:  the disk of the write-ahead log is full"), "the log says so")
            assert any("wal: " in x and "FULL for" in x for x in server.ctl("status", "-D", server.data).stdout.splitlines())

            at = len(m.got)
            disk.empty()
            support.until(lambda: not storage(server, "wal")["low"] and not storage(server, "wal")["full"], "it is over, without a write")
            m.wait(r"STATUS=Ready: [^;]*$", at)
            support.until(lambda: lines(server, "LOG:  disk space for the write-ahead log is no longer low") and
                          lines(server, "LOG:  the disk of the write-ahead log is no longer full"), "the log says so")
            w.ok(rows(1, 12, 1024))
        assert len(lines(server, "log is low")) == 1 and len(lines(server, "log is full")) == 1
        server.configure("low_space_warning = 0\n")
        server.ctl("reload", "-D", server.data)
        disk.fill(leave=10 << 20)
        free = storage(server, "wal")["freeBytes"]
        support.until(lambda: storage(server, "wal")["freeBytes"] < free or storage(server, "wal")["freeBytes"] < 20 << 20, "it was measured again")
        assert not storage(server, "wal")["low"]
        server.stop()
    finally:
        m.done()

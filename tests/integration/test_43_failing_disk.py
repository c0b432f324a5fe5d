"""Disks that fail: a damaged page is an error of who reads it and of nobody else; a directory that cannot be removed holds up nobody who does not want to wait."""
import os
import re
import select

import pytest
import server as support
from failing import Failing
from wire import Closed, connect, cstr, message

PAGE = 8192


def fill(w, n=200):
    w.ok("CREATE TABLE t (id integer PRIMARY KEY, pad text)")
    w.ok(f"WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {n}) INSERT INTO t SELECT x, hex(randomblob(1500)) FROM c")


def test_a_damaged_page_is_an_error_that_names_it_and_harms_nobody_else(server):
    with connect(server) as w:
        fill(w)
        w.ok("CREATE DATABASE other")
    with connect(server, database="other") as w:
        fill(w)
    server.stop()
    path = server.data / "base/5/5"
    good = path.read_bytes()
    pgno = len(good) // PAGE // 2
    with open(path, "r+b") as f:
        f.seek((pgno - 1) * PAGE + 4000)
        f.write(bytes(b ^ 0x55 for b in good[(pgno - 1) * PAGE + 4000:(pgno - 1) * PAGE + 4010]))
    server.start()
    pid = server.pid
    with connect(server) as w, connect(server) as x, connect(server, database="other") as other:
        for _ in range(3):
            r = w.query("SELECT sum(length(pad)) FROM t")
            assert r.code == "XX001" and r.status == "I", r
            e = r.errors[0]
            assert e["M"].startswith(f"page {pgno} of database 5 is damaged: checksum of block {pgno - 1} is wrong"), e
            m = re.match(r'The page has ([0-9A-F]{8}), its content gives ([0-9A-F]{8})\. The file is "base/5/5"\.', e["D"])
            assert m and m[1] != m[2], e
            assert 'The database is "postgres".' in e["H"], e
        lost = [i for i in range(1, 201) if w.query(f"SELECT length(pad) FROM t WHERE id = {i}").errors]
        assert 1 <= len(lost) <= 4, lost   # the rows of one page
        good_row = next(i for i in range(1, 201) if i not in lost)
        assert x.ok(f"SELECT length(pad) FROM t WHERE id = {good_row}").rows == [("3000",)]
        assert x.query(f"UPDATE t SET pad = 'x' WHERE id = {lost[0]}").code == "XX001"
        x.ok(f"UPDATE t SET pad = 'x' WHERE id = {good_row}; CHECKPOINT")
        assert other.ok("SELECT count(*), sum(length(pad)) FROM t").rows == [("200", "600000")]
        with open(path, "r+b") as f:   # as it was: nothing of the damage was kept
            f.seek((pgno - 1) * PAGE)
            f.write(good[(pgno - 1) * PAGE:pgno * PAGE])
        assert w.ok("SELECT count(*), min(length(pad)) FROM t").rows == [("200", "1")]
        assert w.ok("PRAGMA integrity_check").rows == [("ok",)]
    assert server.pid == pid and server.status()["crashRestarts"] == 0


def test_a_database_whose_files_cannot_be_removed_is_dropped_all_the_same(server):
    with connect(server) as w:
        before = {p.name for p in (server.data / "base").iterdir()}
        w.ok("CREATE DATABASE gone")
        oid = ({p.name for p in (server.data / "base").iterdir()} - before).pop()
        stone = server.data / "base" / oid / "stone"   # a directory in it: it cannot be removed
        stone.mkdir()
        w.ok("DROP DATABASE gone")   # does not wait for what fails
        support.until(lambda: f"could not remove directory \"base/{oid}\"" in server.log(), "the log says why")
        assert w.query("DROP DATABASE gone").code == "3D000"
        w.ok("CREATE DATABASE next")
        w.ok("CREATE TABLE u (a integer); INSERT INTO u VALUES (1)")
        w.ok("CHECKPOINT")   # a checkpoint does not wait for it
        w.ok("DROP DATABASE next")   # nor another database that goes
        assert (server.data / "base" / oid).exists()
        stone.rmdir()
        support.until(lambda: not (server.data / "base" / oid).exists(), "it goes when it can")
    assert server.log().count("could not remove directory") < 10
    server.stop()
    server.start()


@pytest.mark.parametrize("call, part, words, what", [
    ("fdatasync", "/pg_wal/0", "could not sync the write-ahead log", "INSERT INTO t VALUES (1000, 'x')"),
    ("pwrite", "/pg_wal/0", "could not write the write-ahead log", "INSERT INTO t VALUES (1000, 'x')"),
    ("fsync", "/base/5/5", 'could not fsync file "base/5/5"', "CHECKPOINT"),
    ("fsync", "/global/pg_control", "pg_control", "CHECKPOINT"),
    ("pwrite", "/global/pg_control", "pg_control", "CHECKPOINT"),
])
def test_a_failed_write_or_sync_of_what_must_not_fail_is_a_panic_and_a_recovery(cluster, call, part, words, what):
    """AC007 (the log), AC008 (a data file: redo begins where the control file said before)."""
    f = Failing(cluster)
    server = f.server
    with connect(server) as w:
        fill(w)
        redo = re.search(r"REDO location: +(\S+)", support.run(support.PGBIN / "pg_controldata", server.data).stdout)[1]
        f.next(call, part)
        with pytest.raises(Closed) as e:   # the end of the connection, not of the server
            w.query(what)
        assert e.value.reply.code in (None, "57P02", "XX000", "58030") and not e.value.reply.tags, e.value.reply   # no acknowledgement
    assert f.has_fired()
    server.until_recovered()
    with connect(server) as w:
        assert server.status()["crashRestarts"] == 1   # one PANIC, one recovery: nothing was tried again
        log = server.log()
        panics = [x for x in log.splitlines() if "PANIC" in x]
        assert len(panics) >= 1 and words in panics[0] and f"redo starts at {redo}" in log, panics
        n = int(w.ok("SELECT count(*) FROM t").rows[0][0])
        assert n in (200, 201) and w.ok("PRAGMA integrity_check").rows == [("ok",)]
        w.ok("INSERT INTO t VALUES (2000, 'y'); CHECKPOINT")
    server.stop()


@pytest.mark.parametrize("call, code", [("pread", "58030"), ("pwrite", "58030")])
def test_a_failed_read_or_write_of_a_page_is_an_error_and_tried_again(cluster, call, code):
    f = Failing(cluster)
    server = f.server
    with connect(server) as w:
        fill(w, 2000)   # more than the cache has frames
        w.ok("CHECKPOINT")
        w.ok("UPDATE t SET pad = 'z' WHERE id = 7")
        f.next(call, "/base/5/5")
        r = w.query("SELECT sum(length(pad)) FROM t" if call == "pread" else "CHECKPOINT")
        # The bgwriter may have written the page before it was told to fail; then there is another one.
        support.until(lambda: f.has_fired() or (w.query("UPDATE t SET pad = pad || 'z' WHERE id = 7; CHECKPOINT") and f.has_fired()), "it has failed")
        assert r.code in (code, None), r   # somebody else's page may have been written first
        assert call == "pwrite" or (r.code == code and 'file "base/5/5"' in r.error), r
        w.ok("SELECT sum(length(pad)) FROM t")
        support.until(lambda: not w.query("CHECKPOINT").errors, "a checkpoint succeeds")
        assert w.ok("PRAGMA integrity_check").rows == [("ok",)]
    assert server.status()["crashRestarts"] == 0 and "PANIC" not in server.log()
    server.stop()


def test_what_only_looked_at_a_commit_is_not_answered_before_the_log_is_synced(cluster):
    """SNAP-5, COMMIT-7: an UPDATE of nothing and a 23505 wrote nothing, but they tell of a commit that a crash could still undo."""
    f = Failing(cluster)
    server = f.server
    with connect(server) as a, connect(server) as b, connect(server) as c, connect(server) as reader:
        a.ok("CREATE TABLE t (id integer PRIMARY KEY)")
        a.ok("SET synchronous_commit = off")

        def waits(w):
            """For the log writer, or, if that was slow, it syncs the log itself: then it stands at the gate."""
            is_active = reader.ok(f"SELECT 1 FROM pg_stat_activity WHERE pid = {w.key[0]} AND state = 'active'").rows
            return is_active and support.state_of(w.key[0]) == "S"

        with f.held("fdatasync", "/pg_wal/0"):
            a.ok("INSERT INTO t VALUES (1)")
            for w, text in ((b, "UPDATE t SET id = 2 WHERE id = 7"), (c, "INSERT INTO t VALUES (1)")):
                w.send(message("Q", cstr(text)))
                support.until(lambda w=w: waits(w), "it waits")
            assert select.select([b.sock, c.sock], [], [], 0)[0] == []
            assert reader.ok("SELECT count(*) FROM t").rows == [("0",)]   # nor is it shown to who only reads
            assert a.ok("SELECT count(*) FROM t").rows == [("1",)]
        assert b.read_to("Z").tags == ["UPDATE 0"]
        assert c.read_to("Z").code == "23505"
        assert reader.ok("SELECT count(*) FROM t").rows == [("1",)]
    server.stop()

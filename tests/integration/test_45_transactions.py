"""What a transaction sees and when it waits: Read Committed, Repeatable Read, Serializable, the writer queue, savepoints, read-only, transaction ids."""
import os
import signal
import threading
import time

import pytest
import server as support
from wire import connect, cstr, message

BEGIN = {"rc": "BEGIN", "rr": "BEGIN ISOLATION LEVEL REPEATABLE READ", "ser": "BEGIN ISOLATION LEVEL SERIALIZABLE"}
SNAPSHOT_LEVELS = ["rr", "ser"]
SHARED = {"init_args": ("--wal-segsize=1",)}   # how the fixture of this name is made


@pytest.fixture
def sessions(shared):
    """A function that opens sessions; a fresh table t (a, b) with the row (1, 0)."""
    opened = []

    def session():
        opened.append(connect(shared))
        return opened[-1]

    session().ok("DROP TABLE IF EXISTS t; CREATE TABLE t (a integer PRIMARY KEY, b integer); INSERT INTO t VALUES (1, 0)")
    yield session
    for w in opened:
        w.close()


def value(w, a=1):
    rows = w.ok(f"SELECT b FROM t WHERE a = {a}").rows
    return int(rows[0][0]) if rows else None


def start(w, text):
    """Send a query that will wait."""
    w.send(message("Q", cstr(text)))


@pytest.fixture
def queued(shared):
    """A function that waits until a session stands in the queue of writers."""
    with connect(shared) as watcher:
        def wait(w):
            text = f"SELECT 1 FROM pg_stat_activity WHERE pid = {w.key[0]} AND wait_event = 'WriterLock'"
            support.until(lambda: watcher.ok(text).rows, f"process {w.key[0]} waits for the writer lock")
        yield wait


# ---- what is seen

def test_read_committed_sees_each_commit_at_its_next_statement(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN")
    assert value(a) == 0
    b.ok("UPDATE t SET b = 1")
    assert value(a) == 1
    b.ok("BEGIN; UPDATE t SET b = 2")
    assert value(a) == 1   # not committed
    b.ok("COMMIT")
    assert value(a) == 2
    a.ok("COMMIT")


def test_read_committed_reads_one_snapshot_after_its_first_write(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN")
    b.ok("UPDATE t SET b = 5")
    a.ok("UPDATE t SET b = b + 1")   # on the newest, not on what it read
    assert value(a) == 6
    assert value(b) == 5
    a.ok("COMMIT")
    assert value(b) == 6


@pytest.mark.parametrize("level", SNAPSHOT_LEVELS)
def test_a_snapshot_is_taken_at_the_first_statement_and_stays(sessions, level):
    a, b = sessions(), sessions()
    a.ok(BEGIN[level])
    b.ok("UPDATE t SET b = 1")
    assert value(a) == 1   # BEGIN alone takes none
    b.ok("UPDATE t SET b = 2")
    b.ok("INSERT INTO t VALUES (2, 2)")
    assert value(a) == 1 and value(a, 2) is None
    a.ok("COMMIT")
    assert value(a) == 2 and value(a, 2) == 2


@pytest.mark.parametrize("level", SNAPSHOT_LEVELS)
def test_a_stale_first_write_fails_with_40001_and_works_when_repeated(sessions, level):
    a, b = sessions(), sessions()
    a.ok(BEGIN[level])
    assert value(a) == 0
    b.ok("UPDATE t SET b = 10")
    r = a.query("UPDATE t SET b = b + 1")
    assert r.code == "40001" and r.status == "E", r
    assert a.query("SELECT 1").code == "25P02"
    assert a.ok("COMMIT").tags == ["ROLLBACK"]
    a.ok(f"{BEGIN[level]}; UPDATE t SET b = b + 1; COMMIT")
    assert value(b) == 11


@pytest.mark.parametrize("level", SNAPSHOT_LEVELS)
def test_a_transaction_that_writes_first_never_meets_40001(sessions, queued, level):
    a, b = sessions(), sessions()
    b.ok("BEGIN; UPDATE t SET b = b + 1")
    a.ok(BEGIN[level])
    start(a, "UPDATE t SET b = b + 1")
    queued(a)
    b.ok("COMMIT")
    assert a.read_to("Z").tags == ["UPDATE 1"]
    a.ok("COMMIT")
    assert value(a) == 2


@pytest.mark.parametrize("level", SNAPSHOT_LEVELS)
def test_a_write_in_another_table_is_also_a_conflict_of_one_writer_per_database(sessions, level):
    """Write skew: both read both rows, each changes one. Only one may."""
    a, b = sessions(), sessions()
    a.ok("INSERT INTO t VALUES (2, 0)")
    for w in (a, b):
        w.ok(BEGIN[level])
        assert w.ok("SELECT sum(b) FROM t").rows == [("0",)]
    a.ok("UPDATE t SET b = 1 WHERE a = 1; COMMIT")
    assert b.query("UPDATE t SET b = 1 WHERE a = 2").code == "40001"
    b.ok("ROLLBACK")


def test_isolation_can_be_set_until_the_first_query(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN; SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    assert a.ok("SHOW transaction_isolation").rows == [("repeatable read",)]
    assert value(a) == 0
    b.ok("UPDATE t SET b = 3")
    assert value(a) == 0
    assert a.query("SET TRANSACTION ISOLATION LEVEL READ COMMITTED").code == "25001"
    a.ok("ROLLBACK")
    a.ok("SET default_transaction_isolation = 'serializable'")   # in the same message it would come too late
    a.ok("BEGIN")
    assert a.ok("SHOW transaction_isolation").rows == [("serializable",)]
    a.ok("COMMIT; RESET default_transaction_isolation")
    assert a.ok("SHOW transaction_isolation").rows == [("read committed",)]
    a.ok("START TRANSACTION ISOLATION LEVEL READ UNCOMMITTED, READ WRITE; COMMIT")


def test_an_acknowledged_commit_is_seen_by_every_later_statement(sessions):
    a, others = sessions(), [sessions() for _ in range(4)]
    for i in range(1, 200):
        a.ok(f"UPDATE t SET b = {i}")
        assert value(others[i % 4]) == i


def test_schema_changes_reach_other_sessions(sessions):
    a, b = sessions(), sessions()
    assert value(a) == 0
    b.ok("ALTER TABLE t ADD COLUMN c text DEFAULT 'new'")
    r = a.ok("SELECT * FROM t")
    assert r.rows == [("1", "0", "new")] and [c[0] for c in r.columns[0]] == ["a", "b", "c"]
    a.ok(BEGIN["rr"] + "; SELECT 1 FROM t")
    b.ok("DROP TABLE t; CREATE TABLE t (z text)")
    assert a.ok("SELECT a FROM t").rows == [("1",)]   # its snapshot has the old one
    a.ok("COMMIT")
    assert a.query("SELECT a FROM t").code == "42703"


def test_ddl_rolls_back(sessions):
    a = sessions()
    a.ok("BEGIN; CREATE TABLE u (x integer); INSERT INTO u VALUES (1); DROP TABLE t; ALTER TABLE u RENAME TO t")
    assert a.ok("SELECT x FROM t").rows == [("1",)]
    a.ok("ROLLBACK")
    assert value(a) == 0 and a.query("SELECT * FROM u").code == "42P01"


# ---- the writer queue

def test_writers_are_served_in_the_order_they_came(sessions, queued):
    a = sessions()
    a.ok("CREATE TABLE IF NOT EXISTS q (n integer); DELETE FROM q")
    a.ok("BEGIN; INSERT INTO q VALUES (0)")
    waiting = [sessions() for _ in range(6)]
    for i, w in enumerate(waiting, 1):
        start(w, f"INSERT INTO q VALUES ({i})")
        queued(w)
    a.ok("COMMIT")
    for w in waiting:
        assert w.read_to("Z").tags == ["INSERT 0 1"]
    assert [r[0] for r in a.ok("SELECT n FROM q ORDER BY rowid").rows] == [str(i) for i in range(7)]


def test_a_busy_writer_does_not_starve_another(sessions):
    """One session writes without a pause; another gets its turns."""
    a, b = sessions(), sessions()
    stop, wrong = threading.Event(), []

    def hammer():
        while not stop.is_set():
            r = a.query("UPDATE t SET b = b + 1")
            if r.errors:
                wrong.append(r)
                return

    t = threading.Thread(target=hammer)
    t.start()
    try:
        slowest = 0
        for _ in range(50):
            began = time.monotonic()
            b.ok("UPDATE t SET b = b + 1")
            slowest = max(slowest, time.monotonic() - began)
    finally:
        stop.set()
        t.join()
    assert not wrong
    assert slowest < 10, f"one write waited {slowest} s"


def test_readers_wait_for_no_writer(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN; UPDATE t SET b = 9; DROP TABLE t")
    assert value(b) == 0
    b.ok(BEGIN["rr"])
    assert value(b) == 0
    b.ok("COMMIT")
    a.ok("ROLLBACK")


def test_a_waiting_writer_can_be_cancelled_or_killed_and_the_queue_goes_on(shared, sessions, queued):
    a, b, c, d = (sessions() for _ in range(4))
    a.ok("BEGIN; UPDATE t SET b = 1")
    for i, w in enumerate((b, c, d)):
        start(w, f"UPDATE t SET b = b + {10 ** (i + 1)}")
        queued(w)
    b.cancel(shared)
    assert b.read_to("Z").code == "57014"
    os.kill(c.key[0], signal.SIGTERM)
    assert c.read_end().code == "57P01"
    a.ok("COMMIT")
    assert d.read_to("Z").tags == ["UPDATE 1"]
    assert value(a) == 1001
    assert value(b) == 1001


def test_a_client_that_vanishes_gives_the_writer_lock_back(sessions, queued):
    a, b = sessions(), sessions()
    a.ok("BEGIN; UPDATE t SET b = 1")
    start(b, "UPDATE t SET b = b + 10")
    queued(b)
    a.close()
    assert b.read_to("Z").tags == ["UPDATE 1"]
    assert value(b) == 10


def test_databases_have_their_own_writers(shared, sessions):
    a = sessions()
    a.ok("CREATE DATABASE other")
    with connect(shared, database="other") as b:
        a.ok("BEGIN; UPDATE t SET b = 1")
        b.ok("CREATE TABLE t (a integer); INSERT INTO t VALUES (1)")   # does not wait
        a.ok("ROLLBACK")
        assert a.query("DROP DATABASE other").code == "55006"
    support.until(lambda: not a.query("DROP DATABASE other").errors, "the database can be dropped")


# ---- savepoints

def test_savepoints_before_and_after_the_first_write(sessions):
    a = sessions()
    a.ok("BEGIN; SAVEPOINT one; SAVEPOINT two")
    a.ok("INSERT INTO t VALUES (2, 2)")
    a.ok("SAVEPOINT three; INSERT INTO t VALUES (3, 3)")
    a.ok("ROLLBACK TO three")
    assert a.ok("SELECT count(*) FROM t").rows == [("2",)]
    a.ok("INSERT INTO t VALUES (4, 4)")
    a.ok("ROLLBACK TO two")
    assert a.ok("SELECT count(*) FROM t").rows == [("1",)]
    assert a.query("ROLLBACK TO three").code == "3B001"
    a.ok("ROLLBACK TO one; INSERT INTO t VALUES (5, 5); RELEASE one")
    a.ok("COMMIT")
    assert [r[0] for r in a.ok("SELECT a FROM t ORDER BY a").rows] == ["1", "5"]


def test_savepoints_of_a_failed_block(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN; INSERT INTO t VALUES (2, 2); SAVEPOINT s; INSERT INTO t VALUES (3, 3)")
    assert a.query("INSERT INTO t VALUES (3, 3)").status == "E"
    assert a.query("SAVEPOINT x").code == "25P02"
    assert a.query("RELEASE s").code == "25P02"
    r = a.ok("ROLLBACK TO SAVEPOINT s")
    assert r.status == "T"
    assert a.ok("SELECT count(*) FROM t").rows == [("2",)]
    a.ok("INSERT INTO t VALUES (4, 4); COMMIT")
    assert [r[0] for r in b.ok("SELECT a FROM t ORDER BY a").rows] == ["1", "2", "4"]


def test_a_savepoint_set_before_the_first_write_undoes_it(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN; SELECT 1; SAVEPOINT s; UPDATE t SET b = 7; ROLLBACK TO s")
    assert value(a) == 0
    a.ok("UPDATE t SET b = b + 1; COMMIT")
    assert value(b) == 1


def test_savepoints_of_one_name_hide_each_other(sessions):
    a = sessions()
    a.ok("BEGIN; SAVEPOINT s; UPDATE t SET b = 1; SAVEPOINT s; UPDATE t SET b = 2")
    a.ok("ROLLBACK TO s")
    assert value(a) == 1
    a.ok("RELEASE s; ROLLBACK TO s")
    assert value(a) == 0
    a.ok("COMMIT")


def test_a_failed_statement_undoes_only_itself_before_the_savepoint(sessions):
    a = sessions()
    a.ok("BEGIN; INSERT INTO t VALUES (2, 2); SAVEPOINT s")
    assert a.query("INSERT INTO t VALUES (3, 3), (4, 4), (2, 2)").code == "23505"
    a.ok("ROLLBACK TO s; COMMIT")
    assert [r[0] for r in a.ok("SELECT a FROM t ORDER BY a").rows] == ["1", "2"]


# ---- temporary tables

def test_temporary_tables_are_the_sessions_own_and_roll_back(sessions):
    a, b = sessions(), sessions()
    a.ok("CREATE TEMP TABLE tt (x integer); INSERT INTO tt VALUES (1)")
    assert b.query("SELECT * FROM tt").code == "42P01"
    b.ok("BEGIN; UPDATE t SET b = 1")
    a.ok("BEGIN; INSERT INTO tt VALUES (2)")   # takes no writer lock
    assert a.ok("SELECT count(*) FROM tt").rows == [("2",)]
    b.ok("COMMIT")
    a.ok("ROLLBACK")
    assert a.ok("SELECT count(*) FROM tt").rows == [("1",)]
    a.ok("CREATE TEMP VIEW tv AS SELECT * FROM tt; INSERT INTO t SELECT x + 10, x FROM tv")
    a.ok("DISCARD ALL")
    assert a.query("SELECT * FROM tt").code == "42P01"
    assert value(b, 11) == 1


# ---- portals

def test_an_open_portal_reads_on_while_its_transaction_writes(sessions):
    """sqlite-vfs 5.7 (a): what was opened before the first write is read to its end first."""
    a, b = sessions(), sessions()
    a.ok("INSERT INTO t SELECT x, 0 FROM (WITH RECURSIVE c(x) AS (VALUES (2) UNION ALL SELECT x + 1 FROM c WHERE x < 100) SELECT x FROM c)")
    a.ok("BEGIN")
    bind = message("P", cstr("") + cstr("SELECT a FROM t ORDER BY a") + b"\0\0") + \
        message("B", cstr("p") + cstr("") + b"\0\0\0\0\0\0")

    def fetch(n):
        return message("E", cstr("p") + n.to_bytes(4, "big")) + message("S")

    a.send(bind + fetch(10))
    assert len(a.read_to("Z").rows) == 10
    b.ok("DELETE FROM t WHERE a > 50")
    a.send(message("P", cstr("") + cstr("DELETE FROM t WHERE a < 30") + b"\0\0") + message("B", cstr("") + cstr("") + b"\0\0\0\0\0\0") +
           message("E", cstr("") + b"\0\0\0\0") + message("S"))
    assert a.read_to("Z").tags == ["DELETE 29"]
    a.send(fetch(0))
    r = a.read_to("Z")
    assert [int(x[0]) for x in r.rows] == list(range(11, 101)), r
    a.ok("COMMIT")
    assert a.ok("SELECT min(a), max(a) FROM t").rows == [("30", "50")]


# ---- read-only

def test_read_only_transactions_refuse_writes_and_never_queue(sessions):
    a, b = sessions(), sessions()
    b.ok("BEGIN; UPDATE t SET b = 1")
    a.ok("BEGIN READ ONLY")
    assert value(a) == 0
    for text in ("UPDATE t SET b = 2", "CREATE TABLE u (a integer)", "DROP TABLE t", "INSERT INTO t VALUES (9, 9)"):
        a.ok("ROLLBACK; BEGIN READ ONLY")
        r = a.query(text)
        assert r.code == "25006" and r.error.startswith("cannot execute ") and r.error.endswith("in a read-only transaction"), r
    a.ok("ROLLBACK; SET default_transaction_read_only = on")
    assert a.parameters["default_transaction_read_only"] == "on"
    assert a.query("DELETE FROM t").code == "25006"
    a.ok("BEGIN READ WRITE; COMMIT; SET default_transaction_read_only = off")
    b.ok("COMMIT")


# ---- what a crash may take

def test_an_empty_or_failed_write_is_answered_only_when_what_it_read_is_durable(shared, sessions):
    """SNAP-5: with the writer's commits not yet flushed, UPDATE … WHERE false and a 23505 show them all the same; they must survive."""
    a, b = sessions(), sessions()
    a.ok("SET synchronous_commit = off")
    for i in range(2, 50):
        a.ok(f"INSERT INTO t VALUES ({i}, 0)")
        if i % 2:
            assert b.query(f"INSERT INTO t VALUES ({i}, 1)").code == "23505"
        else:
            b.ok("UPDATE t SET b = 1 WHERE a = -1")
    assert len(b.ok("SELECT a FROM t").rows) == 49


def test_sync_off_reads_its_own_commits_and_others_follow(sessions):
    a, b = sessions(), sessions()
    a.ok("SET synchronous_commit = off")
    for i in range(1, 300):
        a.ok(f"UPDATE t SET b = {i}")
        assert value(a) == i
        if i % 50 == 0:
            support.until(lambda: value(b) == i, "others see it after the next sync of the log")   # SNAP-7
    a.ok("SET synchronous_commit = on; UPDATE t SET b = 1000")
    assert value(b) == 1000


@pytest.mark.parametrize("sync", ["on", "off"])
def test_what_others_were_shown_survives_a_kill(cluster, sync):
    s = cluster(init_args=("--wal-segsize=1",))
    s.start()
    w, r = connect(s), connect(s)
    w.ok("CREATE TABLE t (a integer)")
    w.ok(f"SET synchronous_commit = {sync}")
    shown = 0
    for i in range(200):
        w.ok(f"INSERT INTO t VALUES ({i})")
        shown = max(shown, int(r.ok("SELECT count(*) FROM t").rows[0][0]))
    s.kill9()
    w.close()
    r.close()
    s.start()
    there = int(s.sql("SELECT count(*) FROM t")[0][0])
    assert there >= (200 if sync == "on" else shown)


# ---- transaction ids

def test_transaction_ids_and_their_fate(sessions):
    a, b = sessions(), sessions()
    a.ok("BEGIN; UPDATE t SET b = 1")
    xid = int(a.ok("SELECT txid_current()").rows[0][0])
    assert xid >= 3
    assert int(a.ok("SELECT txid_current()").rows[0][0]) == xid
    assert b.ok(f"SELECT txid_status({xid})").rows == [("in progress",)]
    a.ok("COMMIT")
    assert b.ok(f"SELECT txid_status({xid})").rows == [("committed",)]
    a.ok("BEGIN; UPDATE t SET b = 2")
    second = int(a.ok("SELECT txid_current()").rows[0][0])
    assert second > xid
    a.ok("ROLLBACK")
    assert b.ok(f"SELECT txid_status({second})").rows == [("aborted",)]
    assert b.query(f"SELECT txid_status({second + 10**12})").code == "22023"


def test_lsns_advance_with_commits(sessions):
    a = sessions()

    def lsn(name):
        hi, lo = a.ok(f"SELECT {name}()").rows[0][0].split("/")
        return int(hi, 16) << 32 | int(lo, 16)

    before = lsn("pg_current_wal_lsn")
    a.ok("UPDATE t SET b = b + 1")
    assert lsn("pg_current_wal_flush_lsn") > before
    assert a.ok("SELECT pg_is_in_recovery()").rows == [("f",)]
    assert a.ok("SELECT version()").rows[0][0].startswith("PostgreSQL 15.0 (Pinion ")


# ---- databases

def test_create_and_drop_database(shared, sessions):
    a = sessions()
    a.ok("CREATE DATABASE d1")
    assert a.query("CREATE DATABASE d1").code == "42P04"
    with connect(shared, database="d1") as w:
        w.ok("CREATE TABLE t (a integer); INSERT INTO t VALUES (42)")
        assert w.query("DROP DATABASE d1").errors
    support.until(lambda: not a.query("DROP DATABASE d1").errors, "nobody is in it any more")
    assert a.query("DROP DATABASE d1").code == "3D000"
    a.ok("DROP DATABASE IF EXISTS d1; CREATE DATABASE d1")
    with connect(shared, database="d1") as w:
        assert w.query("SELECT * FROM t").code == "42P01"   # a new one, not the old
    support.until(lambda: not a.query("DROP DATABASE d1").errors, "nobody is in it any more")
    a.ok("BEGIN")
    assert a.query("CREATE DATABASE d2").code == "25001"
    a.ok("ROLLBACK")
    assert a.query("DROP DATABASE postgres").code in ("55006", "42501", "0A000")


def test_a_savepoint_brings_back_an_index_whose_root_page_had_moved(server):
    """SQLite 3.40.1 without secure_delete: the rolled-back root page stays clean in the pager's cache and is never written (plain files too)."""
    with connect(server) as w:
        w.ok("CREATE TABLE t (id integer PRIMARY KEY, c0 blob); INSERT INTO t VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
        w.ok("CREATE TABLE u (id integer PRIMARY KEY, x); CREATE INDEX old ON u (x); CREATE INDEX last ON t (id, c0); INSERT INTO u VALUES (1, 2)")
        w.ok("CREATE TABLE junk (a)")
        w.ok("WITH RECURSIVE s(i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM s WHERE i < 400) INSERT INTO junk SELECT hex(randomblob(100)) FROM s")
        w.ok("DELETE FROM junk")
        w.ok("DROP TABLE junk")
        w.ok("DROP INDEX last")   # the highest root page is now a leaf of the free list
        for text in ("BEGIN", "CREATE INDEX i ON t (c0)", "SAVEPOINT s0", "DROP INDEX old", "ROLLBACK TO s0", "COMMIT"):
            w.ok(text)
        assert w.ok("PRAGMA integrity_check").rows == [("ok",)]

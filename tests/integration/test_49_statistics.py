"""Cumulative statistics: what sessions, the log and checkpoints do is counted, survives a clean stop, is forgotten by a crash, and can be reset."""
import os
import signal
import socket

import psycopg2
import pytest

import server as support


def database(server, columns, name="postgres"):
    return server.sql(f"SELECT {columns} FROM pg_stat_database WHERE datname = '{name}'")[0]


def inserted_or_none(server):
    try:
        return database(server, "tup_inserted")[0]
    except psycopg2.OperationalError:
        return None


def test_what_a_session_does_is_counted_in_its_database(server):
    server.sql("CREATE TABLE t (a integer PRIMARY KEY, b text)")
    before = database(server, "xact_commit, xact_rollback, tup_inserted, tup_updated, tup_deleted, tup_returned, sessions")
    conn = server.connect()
    cur = conn.cursor()
    cur.execute("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 100) INSERT INTO t SELECT x, 'x' FROM c")
    cur.execute("UPDATE t SET b = 'y' WHERE a <= 10")
    cur.execute("DELETE FROM t WHERE a > 95")
    cur.execute("SELECT count(*) FROM t WHERE b = 'y'")
    cur.execute("BEGIN")
    cur.execute("INSERT INTO t VALUES (1000, 'z')")
    cur.execute("ROLLBACK")
    # the session still lives: its counts are seen all the same
    after = database(server, "xact_commit, xact_rollback, tup_inserted, tup_updated, tup_deleted, tup_returned, sessions")
    grown = [b - a for a, b in zip(before, after)]
    assert grown[0] >= 4 and grown[1] == 1
    assert grown[2:5] == [101, 10, 5]
    assert grown[5] >= 94, "a scan of the table"
    assert grown[6] >= 1
    conn.close()
    numbers = database(server, "numbackends, blks_hit, blks_read, session_time, active_time, tup_fetched, deadlocks")
    assert numbers[0] >= 1 and numbers[1] > 0 and numbers[3] >= numbers[4] > 0 and numbers[5] is None and numbers[6] == 0


def test_how_sessions_end_is_counted(server):
    killed = server.connect()
    server.sql(f"SELECT pg_terminate_backend({killed.info.backend_pid})")
    support.until(lambda: database(server, "sessions_killed")[0] == 1, "a killed session is counted")
    lost = server.connect()
    with socket.socket(fileno=os.dup(lost.fileno())) as s:
        s.shutdown(socket.SHUT_RDWR)
    support.until(lambda: database(server, "sessions_abandoned")[0] == 1, "an abandoned session is counted")


def test_the_log_and_checkpoints_are_counted(cluster):
    server = cluster(conf="bgwriter_lru_maxpages = 0\n")   # it leaves the pages to the checkpoint, however long that one does not come
    server.start()
    server.sql("CREATE TABLE t (a integer, b text)")
    lsn = server.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    before = server.sql("SELECT wal_records, wal_fpi, wal_bytes, wal_write, wal_sync, wal_sync_time FROM pg_stat_wal")[0]
    server.sql("CHECKPOINT")
    server.sql("INSERT INTO t VALUES (1, 'after a checkpoint: an image')")
    after = server.sql("SELECT wal_records, wal_fpi, wal_bytes, wal_write, wal_sync, wal_sync_time FROM pg_stat_wal")[0]
    assert all(b > a for a, b in zip(before, after)), (before, after)
    moved = server.sql(f"SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '{lsn}')")[0][0]
    assert 0 < after[2] - before[2] <= moved, "bytes of records, without headers of pages and padding"
    timed, req, write_ms, sync_ms, by_ckpt, alloc = server.sql(
        "SELECT checkpoints_timed, checkpoints_req, checkpoint_write_time, checkpoint_sync_time, buffers_checkpoint, buffers_alloc "
        "FROM pg_stat_bgwriter")[0]
    assert timed == 0 and req >= 1 and write_ms > 0 and sync_ms > 0 and by_ckpt > 0 and alloc > 0


def test_temporary_files_are_counted(server):
    server.sql("CREATE TABLE t (a integer, b text)")
    server.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 20000) INSERT INTO t SELECT x, hex(randomblob(100)) FROM c")
    conn = server.connect()
    cur = conn.cursor()
    cur.execute("SET work_mem = '64kB'")
    cur.execute("SELECT b FROM t ORDER BY b")
    files, size = database(server, "temp_files, temp_bytes")
    assert files >= 1 and size >= 1 << 20
    conn.close()


def test_they_survive_a_clean_stop_and_are_forgotten_by_a_crash(server):
    server.sql("CREATE TABLE t (a integer)")
    for i in range(20):
        server.sql(f"INSERT INTO t VALUES ({i})")
    assert database(server, "tup_inserted")[0] == 20
    commits = database(server, "xact_commit")[0]
    records = server.sql("SELECT wal_records FROM pg_stat_wal")[0][0]
    server.stop()
    assert (server.data / "pg_stat" / "pinion.stat").exists()
    server.start()
    assert not (server.data / "pg_stat" / "pinion.stat").exists()
    assert database(server, "tup_inserted")[0] == 20 and database(server, "xact_commit")[0] > commits
    assert server.sql("SELECT wal_records FROM pg_stat_wal")[0][0] > records
    victim = server.connect()
    os.kill(victim.info.backend_pid, signal.SIGKILL)
    support.until(lambda: inserted_or_none(server) == 0, "the crash has reset them")
    assert server.sql("SELECT stats_reset IS NOT NULL FROM pg_stat_wal")[0][0]


def test_a_reset_is_for_superusers_and_for_what_it_names(server):
    server.sql("CREATE TABLE t (a integer)")
    server.sql("INSERT INTO t VALUES (1)")
    server.sql("SELECT pg_stat_reset()")
    inserted, reset = database(server, "tup_inserted, stats_reset")
    assert inserted == 0 and reset is not None
    server.sql("INSERT INTO t VALUES (2)")
    assert database(server, "tup_inserted")[0] == 1
    server.sql("SELECT pg_stat_reset_shared('wal')")
    assert server.sql("SELECT wal_bytes FROM pg_stat_wal")[0][0] < 2000
    since = server.sql("SELECT stats_reset FROM pg_stat_archiver")[0][0]
    server.sql("SELECT pg_stat_reset_shared('archiver')")
    assert server.sql("SELECT stats_reset FROM pg_stat_archiver")[0][0] > since
    with pytest.raises(psycopg2.Error) as refused:
        server.sql("SELECT pg_stat_reset_shared('nonsense')")
    assert refused.value.pgcode == "22023" and '"archiver"' in refused.value.diag.message_hint


def test_a_dropped_database_leaves_no_row(server):
    server.sql("CREATE DATABASE other")
    conn = server.connect("other")
    conn.cursor().execute("CREATE TABLE t (a integer)")
    conn.close()
    assert database(server, "sessions", "other")[0] == 1
    support.until(lambda: database(server, "numbackends", "other")[0] == 0, "its session has left")
    server.sql("DROP DATABASE other")
    assert server.sql("SELECT count(*) FROM pg_stat_database WHERE datname = 'other'")[0][0] == 0

"""pg_stat_activity shows who waits for what; pg_cancel_backend() and pg_terminate_backend() act on it."""
import threading

import psycopg2
import pytest

import server as support


def rows(server, text):
    return server.sql(text)


def test_activity_lists_every_process_with_its_kind(server):
    kinds = {r[0] for r in rows(server, "SELECT backend_type FROM pg_stat_activity")}
    assert {"checkpointer", "bgwriter", "walwriter", "client backend"} <= kinds
    own = rows(server, "SELECT datname, usename, state, query FROM pg_catalog.pg_stat_activity WHERE pid = pg_backend_pid()")
    assert own[0][:3] == ("postgres", "postgres", "active") and "pg_backend_pid" in own[0][3]


def test_a_waiting_writer_is_seen_and_can_be_cancelled(server):
    server.sql("CREATE TABLE t (a integer)")
    holder = server.connect(autocommit=False)
    holder.cursor().execute("INSERT INTO t VALUES (1)")
    waiter, errors = server.connect(), []

    def wait():
        try:
            waiter.cursor().execute("INSERT INTO t VALUES (2)")
        except psycopg2.Error as e:
            errors.append(e.pgcode)

    thread = threading.Thread(target=wait)
    thread.start()
    text = "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND wait_event = 'WriterLock'"
    pid = support.until(lambda: rows(server, text), "the writer is seen waiting")[0][0]
    assert pid == waiter.info.backend_pid
    assert rows(server, f"SELECT pg_cancel_backend({pid})") == [(True,)]
    thread.join()
    assert errors == ["57014"]
    assert rows(server, f"SELECT state FROM pg_stat_activity WHERE pid = {holder.info.backend_pid}") == [("idle in transaction",)]
    assert rows(server, f"SELECT pg_terminate_backend({holder.info.backend_pid})") == [(True,)]
    with pytest.raises(psycopg2.Error) as e:
        holder.cursor().execute("SELECT 1")
    assert e.value.pgcode in ("57P01", None)
    waiter.cursor().execute("INSERT INTO t VALUES (3)")
    assert rows(server, "SELECT a FROM t") == [(3,)]
    assert rows(server, "SELECT pg_terminate_backend(1)") == [(False,)]


def test_a_session_that_waits_for_its_client_leaves_when_told(server):
    idle = server.connect()
    pid = idle.info.backend_pid
    assert rows(server, f"SELECT pg_terminate_backend({pid})") == [(True,)]
    support.until(lambda: not rows(server, f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid}"), "it has left")

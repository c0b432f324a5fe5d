"""Processes that hang (SIGSTOP) cost others little, and crash after crash is recovered from."""
import os
import signal

import pytest
import server as support
from server import numbers, one_row
from wire import connect, cstr, message


def test_a_hanging_writer_costs_others_their_lock_timeout_and_no_more(cluster):
    server = one_row(cluster)
    with connect(server) as w, connect(server) as other:
        w.ok("BEGIN; INSERT INTO t VALUES (2)")
        assert support.freeze(w.key[0])
        other.ok("SET lock_timeout = 100")
        assert other.query("INSERT INTO t VALUES (3)").code == "55P03"
        assert other.ok("SELECT count(*) FROM t").rows == [("1",)]
        os.kill(w.key[0], signal.SIGCONT)
        w.ok("COMMIT")
        other.ok("INSERT INTO t VALUES (3)")
    assert numbers(server) == [1, 2, 3]


@pytest.mark.parametrize("role", ["checkpointer", "bgwriter", "walwriter"])
def test_commits_go_on_while_a_helper_hangs(cluster, role):
    """The log is synced by who commits; the others may be slow."""
    server = one_row(cluster)
    pid = server.child(role)
    assert support.freeze(pid)
    for i in range(2, 20):
        server.sql(f"INSERT INTO t VALUES ({i})")
    assert len(numbers(server)) == 19
    os.kill(pid, signal.SIGCONT)
    server.stop()


def test_crash_after_crash_is_recovered_from_each_time(cluster):
    server = one_row(cluster)
    for i in range(2, 12):
        with connect(server) as w:
            w.ok(f"INSERT INTO t VALUES ({i})")
            w.send(message("Q", cstr("INSERT INTO t VALUES (100); SELECT count(*) FROM t a, t b, t c, t d, t e, t f, t g, t h")))
            os.kill(w.key[0], signal.SIGKILL)
        server.until_recovered(i - 1)
    assert [a for a in numbers(server) if a < 100] == list(range(1, 12))
    assert server.log().count("reinitializing") == 10
    assert server.status()["pmState"] == "PM_RUN"

"""Processes that hang (SIGSTOP), die in a row, or may not come back: the postmaster always comes to an end."""
import os
import signal

import pytest
import server as support
from wire import Closed, connect, cstr, message


def content(server):
    return [int(r[0]) for r in server.sql("SELECT a FROM t ORDER BY a")]


def make(cluster, conf=""):
    server = cluster(conf=conf, init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE t (a integer)")
    server.sql("INSERT INTO t VALUES (1)")
    return server


def test_a_hanging_backend_does_not_hold_up_an_immediate_stop(cluster):
    server = make(cluster)
    with connect(server) as w:
        w.ok("BEGIN; INSERT INTO t VALUES (2)")
        assert support.freeze(w.key[0])
        server.stop("immediate", check=False)
        server.wait_gone()   # SIGKILL has ended what SIGQUIT could not
    server.start()
    assert content(server) == [1]


def test_a_hanging_backend_does_not_hold_up_the_crash_of_another(cluster):
    server = make(cluster)
    with connect(server) as w, connect(server) as victim:
        w.ok("BEGIN; INSERT INTO t VALUES (2)")
        assert support.freeze(w.key[0])
        os.kill(victim.key[0], signal.SIGKILL)
        recovered(server, 1)
        assert content(server) == [1]
    assert not os.path.exists(f"/proc/{w.key[0]}") or w.key[0] not in server.processes()


def recovered(server, n):
    """n crashes were seen, and it serves again."""
    support.until(lambda: server.log().count("reinitializing") >= n, f"crash {n} is seen")
    support.until(lambda: serves(server), "service again")


def serves(server):
    try:
        connect(server).close()
        return True
    except (OSError, Closed):
        return False


def test_a_hanging_writer_costs_others_their_lock_timeout_and_no_more(cluster):
    server = make(cluster)
    with connect(server) as w, connect(server) as other:
        w.ok("BEGIN; INSERT INTO t VALUES (2)")
        assert support.freeze(w.key[0])
        other.ok("SET lock_timeout = 100")
        assert other.query("INSERT INTO t VALUES (3)").code == "55P03"
        assert other.ok("SELECT count(*) FROM t").rows == [("1",)]
        os.kill(w.key[0], signal.SIGCONT)
        w.ok("COMMIT")
        other.ok("INSERT INTO t VALUES (3)")
    assert content(server) == [1, 2, 3]


@pytest.mark.parametrize("role", ["checkpointer", "bgwriter", "walwriter"])
def test_commits_go_on_while_a_helper_hangs(cluster, role):
    """The log is synced by who commits; the others may be slow."""
    server = make(cluster)
    pid = server.child(role)
    assert support.freeze(pid)
    for i in range(2, 20):
        server.sql(f"INSERT INTO t VALUES ({i})")
    assert len(content(server)) == 19
    os.kill(pid, signal.SIGCONT)
    server.stop()


def test_without_restart_after_crash_the_server_ends(cluster):
    server = make(cluster, conf="restart_after_crash = off\n")
    with connect(server) as w:
        os.kill(w.key[0], signal.SIGKILL)
    server.wait_gone()
    assert not (server.data / "postmaster.pid").exists()
    server.start()
    assert content(server) == [1]


def test_crash_after_crash_is_recovered_from_each_time(cluster):
    server = make(cluster)
    for i in range(2, 12):
        with connect(server) as w:
            w.ok(f"INSERT INTO t VALUES ({i})")
            w.send(message("Q", cstr("INSERT INTO t VALUES (100); SELECT count(*) FROM t a, t b, t c, t d, t e, t f, t g, t h")))
            os.kill(w.key[0], signal.SIGKILL)
        recovered(server, i - 1)
    assert [a for a in content(server) if a < 100] == list(range(1, 12))
    assert server.log().count("reinitializing") == 10
    assert server.status()["pmState"] == "PM_RUN"


def test_every_role_dies_once_and_comes_back(cluster):
    server = make(cluster)
    for n, role in enumerate(("checkpointer", "bgwriter", "walwriter", "checkpointer"), 1):
        before = server.child(role)
        os.kill(before, signal.SIGKILL)
        recovered(server, n)
        support.until(lambda r=role, b=before: any(x == r and p != b for p, x in server.children().items()), f"another {role}")
        assert content(server) == [1]


@pytest.mark.parametrize("role", ["bgwriter", "walwriter", "checkpointer"])
def test_a_helper_that_leaves_by_SIGTERM_or_not_never_ends_service(cluster, role):
    server = make(cluster)
    before = server.child(role)
    os.kill(before, signal.SIGTERM)
    server.sql("INSERT INTO t VALUES (2)")
    support.until(lambda: serves(server), "service")
    assert content(server) == [1, 2]
    server.stop()

"""Processes that stand still (systemd-ops 3.7): the child is ended first, a disk that stalls is told and ends nobody, pings prove that the loop turns."""
import contextlib
import ctypes
import os
import re
import signal
import time

import pytest
import server as support
from failing import Failing
from manager import Manager


CONF = "progress_timeout = 1s\nautovacuum = off\n"


@pytest.fixture
def watched(cluster):
    """A server that a service manager watches, and that one; its disk can stand still. It has a table of one row."""
    managers = []

    def make(conf=""):
        s = cluster(conf=CONF + conf)
        managers.append(Manager(s))
        disk = Failing(server=s)
        s.start(env={**disk.env, **managers[-1].env, "WATCHDOG_USEC": "2000000"})
        s.sql("CREATE TABLE t (a integer)")
        s.sql("INSERT INTO t VALUES (1)")
        return s, managers[-1], disk

    yield make
    for m in managers:
        m.done()


@pytest.mark.parametrize("role", ["checkpointer", "walwriter", "bgwriter", "archiver"] if os.environ.get("PINION_LONG") else ["checkpointer"])
def test_a_process_that_stands_still_is_ended_alone_and_the_server_recovers(watched, role):
    s, m, _ = watched("archive_mode = on\n")
    pid, victim = s.pid, s.child(role)
    at = len(m.got)
    assert support.freeze(victim)
    s.until_recovered()
    log = s.log()
    assert re.search(rf"\(PID {victim}\) has shown no progress for \d+ s", log) and "State T" in log
    assert re.search(rf"\(PID {victim}\) was terminated by signal 6", log), "a core, not SIGKILL"
    assert s.pid == pid and s.sql("SELECT a FROM t") == [(1,)]
    pings = [i for i, x in enumerate(m.got[at:]) if "WATCHDOG=1" in x]
    assert pings and not any("STOPPING" in x for x in m.got[at:])


PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207


def test_a_process_that_a_debugger_holds_is_left_alone(watched):
    s, _, _ = watched()
    pid = s.child("checkpointer")
    libc = ctypes.CDLL(None)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if libc.ptrace(PTRACE_SEIZE, pid, None, None) < 0:
        pytest.skip("SKIP: on this machine nothing may be traced")
    assert libc.ptrace(PTRACE_INTERRUPT, pid, None, None) == 0
    support.until(lambda: support.state_of(pid) == "t", "it is held")
    since = time.monotonic()
    support.until(lambda: time.monotonic() - since > 4, "longer than anybody may be silent")
    assert libc.ptrace(PTRACE_DETACH, pid, None, None) == 0
    s.ctl("checkpoint", "-D", s.data)
    assert s.child("checkpointer") == pid and "no progress" not in s.log()


@contextlib.contextmanager
def stalled(s, m, disk, in_kernel):
    """Inside the with the checkpointer hangs in fsync of base/5/5. Gives its pid."""
    pid, at = s.child("checkpointer"), len(m.got)
    with disk.held("fsync", "base/5/5", in_kernel):
        s.ctl("checkpoint", "-D", s.data, "--no-wait")
        m.wait(r"STATUS=Ready: .*; storage stalled for \d+ s in fsync of base/5/5 \(checkpointer\)", at)
        assert re.search(r"storage has stalled for \d+ s in fsync of base/5/5 of checkpointer process", s.log())
        yield pid


@pytest.mark.parametrize("in_kernel", [False, True])
def test_a_disk_that_stalls_is_told_and_ends_nobody(watched, in_kernel):
    """In the kernel also behind storage_stall_timeout: no signal would be delivered."""
    s, m, disk = watched(f"storage_stall_timeout = {1 if in_kernel else 60}s\n")
    with stalled(s, m, disk, in_kernel) as pid:
        seen = max(int(x) for x in re.findall(r"stalled for (\d+) s", "\n".join(m.got)))
        support.until(lambda: int(re.findall(r"stalled for (\d+) s", "\n".join(m.got))[-1]) >= seen + 2, "it is told again, later")
        assert support.state_of(pid) == ("D" if in_kernel else "S")
        assert s.sql("SELECT count(*) FROM t") == [(1,)]
        at = len(m.got)
    support.until(lambda: "storage answers checkpointer process" in s.log(), "it is over")
    m.wait(r"STATUS=Ready: [^;]*$", at)
    assert s.child("checkpointer") == pid and s.status()["crashRestarts"] == 0
    assert not any("trigger" in x for x in m.got)


def test_a_call_that_outlasts_storage_stall_timeout_outside_the_kernel_is_ended(watched):
    s, m, disk = watched("storage_stall_timeout = 3s\n")
    with stalled(s, m, disk, False) as pid:
        support.until(lambda: f"checkpointer process (PID {pid}) was terminated by signal 6" in s.log(), "it is ended")
    s.until_ready()
    assert s.sql("SELECT a FROM t") == [(1,)]


def test_if_so_configured_a_stall_in_the_kernel_makes_the_manager_restart_the_server(watched):
    s, m, disk = watched("storage_stall_timeout = 2s\nrestart_on_storage_stall = on\n")
    with stalled(s, m, disk, True):
        at = m.wait(r"^STATUS=Fatal: storage stalled for \d+ s in fsync of base/5/5 \(checkpointer\)\nWATCHDOG=trigger$")
        assert sum("trigger" in x for x in m.got[:at]) == 1


def test_without_a_manager_nobody_is_said_to_be_asked(cluster):
    s = cluster(conf=CONF + "storage_stall_timeout = 1s\nrestart_on_storage_stall = on\n")
    disk = Failing(server=s)
    s.start(env=disk.env)
    s.sql("CREATE TABLE t (a integer)")
    with disk.held("fsync", "base/5/5", True):
        s.ctl("checkpoint", "-D", s.data, "--no-wait")
        support.until(lambda: "the server goes on waiting: no service manager has started it" in s.log(), "it is told")
    assert "is asked to restart" not in s.log() and s.sql("SELECT 1") == [(1,)]


def test_a_loop_that_hangs_does_not_ping_and_one_that_wakes_judges_nobody_by_its_own_sleep(watched):
    s, m, _ = watched()
    pid, children = s.pid, s.children()
    at = m.wait(r"^WATCHDOG=1$")
    stand = [p for p in [pid] + [c for c in children if c != pid] if support.freeze(p)]   # without a worker that ended since it was listed
    assert stand[0] == pid and {children[p] for p in stand[1:]} >= {"checkpointer", "bgwriter", "walwriter"}, (stand, children)
    at, since = m.here(), time.monotonic()
    support.until(lambda: time.monotonic() - since > 4, "longer than anybody may be silent")
    assert m.got[at:] == [], "a ping that nobody's turn has earned"
    for p in stand:
        os.kill(p, signal.SIGCONT)
    m.wait(r"^WATCHDOG=1$", at)
    since = time.monotonic()
    support.until(lambda: time.monotonic() - since > 2, "some looks later")
    assert s.status()["crashRestarts"] == 0 and "no progress" not in s.log()

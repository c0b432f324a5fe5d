"""What the service manager is told (systemd-ops 3.6): the exact order, over a socket of the test's own as $NOTIFY_SOCKET."""
import os
import signal

import pytest
import server as support
from failing import Failing
from manager import Manager


@pytest.fixture
def told(cluster):
    s = cluster()
    m = Manager(s)
    s.start(env={"NOTIFY_SOCKET": m.path, "WATCHDOG_USEC": "2000000"})
    yield s, m
    m.done()


def test_a_clean_life_start_ready_reload_stop(told):
    server, m = told
    at = m.wait(r"^READY=1\nSTATUS=Ready: primary, 0/\d+ connections, listening on ")
    before = m.got[:at - 1]
    assert before[0] == "STATUS=Starting: reading configuration"
    assert "WATCHDOG=1" in before, "the first turn of the loop arms the watchdog, before READY"
    assert not any("READY=1" in x or "STOPPING" in x for x in before)

    server.configure("lock_timeout = 7s\n")
    server.ctl("reload", "-D", server.data)
    begin, at = at, m.wait(r"^RELOADING=1\nMONOTONIC_USEC=\d+\nSTATUS=Reloading configuration$", at)
    at = m.wait(r"^READY=1\nSTATUS=Ready: configuration 2 active$", at)
    server.configure("max_connections = 50\n")
    server.ctl("reload", "-D", server.data)
    at = m.wait(r"^READY=1\nSTATUS=Ready: configuration 3 active, 1 setting needs restart \(max_connections\)$", at)
    server.configure("lock_timeout = nonsense\n")
    server.ctl("reload", "-D", server.data, check=False)
    at = m.wait(r"^RELOADING=1\n", at)
    at = m.wait(r"^READY=1\nSTATUS=Ready: configuration 3 still active, reload FAILED: .*pinion\.conf:\d+: ", at)
    os.kill(server.pid, signal.SIGHUP)  # by signal it is the same
    at = m.wait(r"^RELOADING=1\n", at)
    at = m.wait(r"^READY=1\n", at)

    server.stop("fast")
    begin = at
    at = m.wait(r"^STOPPING=1\nSTATUS=Stopping: .*\nEXTEND_TIMEOUT_USEC=\d+$", at)
    at = m.wait(r"^STATUS=Stopped cleanly$", at)
    assert not any("READY" in x or "RELOADING" in x for x in m.got[begin:])
    assert [x for x in m.got[at:] if not x.startswith("BARRIER")] == []


def test_a_reload_before_the_server_is_ready_does_not_say_that_it_is(cluster):
    s = cluster()
    m = Manager(s)
    (s.data / "recovery.signal").touch()
    s.configure("restore_command = 'sleep 1000'\n")
    os.chown(s.data / "recovery.signal", (s.data / "pinion.conf").stat().st_uid, -1)
    try:
        s.start(wait=False, env={"NOTIFY_SOCKET": m.path})
        support.until(lambda: support.running(s, "sleep"), "recovery waits")
        os.kill(s.pid, signal.SIGHUP)
        m.wait(r"^STATUS=Configuration 2 active$")
        s.configure("lock_timeout = nonsense\n")
        os.kill(s.pid, signal.SIGHUP)
        m.wait(r"^STATUS=Configuration 2 still active, reload FAILED: ")
        assert not any("READY" in x or "RELOADING" in x for x in m.got)
        s.stop("immediate", check=False)
        s.wait_gone()
    finally:
        m.done()


def test_stopping_is_not_said_while_a_stop_can_still_wait(told):
    server, m = told
    at = m.wait(r"^READY=1\n")
    c = server.connect()
    c.cursor().execute("SELECT 1")
    os.kill(server.pid, signal.SIGTERM)
    at = m.wait(r"^STATUS=Draining: 1 clients? left", at)
    assert not any("STOPPING" in x for x in m.got)
    c.close()
    at = m.wait(r"^STOPPING=1\n", at)
    m.wait(r"^STATUS=Stopped cleanly$", at)


def test_a_crash_inside_is_a_status_and_no_change_of_the_unit(told):
    server, m = told
    at = m.wait(r"^READY=1\n")
    victim = next(p for p, role in server.children().items() if role == "bgwriter")
    os.kill(victim, signal.SIGKILL)
    begin, at = at, m.wait(r"^STATUS=Restarting after a crash: ", at)
    at = m.wait(r"STATUS=Ready: primary", at)
    assert not any(x.startswith(("RELOADING", "STOPPING")) for x in m.got[begin:at])


def test_a_crash_restart_is_counted_in_the_status(told):
    server, m = told
    at = m.wait(r"^READY=1\n")
    for n in (1, 2):
        os.kill(server.child("bgwriter"), signal.SIGKILL)
        at = m.wait(rf"STATUS=Ready: primary, crash restart {n} completed after \d+\.\d s", at)


def test_a_recovery_gets_more_time_only_while_it_moves(cluster):
    s = cluster()
    s.start()
    s.sql("CREATE TABLE t (a integer)")
    s.kill_all()
    m, disk = Manager(s), Failing(server=s)
    try:
        with disk.held("pread", "pg_wal/0"):
            s.start(wait=False, env={**m.env, **disk.env, "WATCHDOG_USEC": "1000000"})
            m.wait(r"^EXTEND_TIMEOUT_USEC=60000000$")   # for the first step
            pings, at = m.quiet(3)
            assert pings >= 2 and not any("READY" in x for x in m.got)
        at = m.wait(r"^STATUS=(Starting|Recovering).*\nEXTEND_TIMEOUT_USEC=60000000$", at)
        m.wait(r"^READY=1\nSTATUS=Ready: primary", at)
        s.until_ready()
        s.stop()
    finally:
        m.done()


def test_a_last_checkpoint_gets_more_time_only_while_it_moves(cluster):
    s = cluster(conf="bgwriter_lru_maxpages = 0\n")
    m, disk = Manager(s), Failing(server=s)
    try:
        s.start(env={**m.env, **disk.env, "WATCHDOG_USEC": "1000000"})
        s.sql("CREATE TABLE t (a integer)")
        with disk.held("pwrite", "base/5/5"):
            os.kill(s.pid, signal.SIGINT)
            at = m.wait(r"^STOPPING=1\nSTATUS=Stopping: .*\nEXTEND_TIMEOUT_USEC=60000000$")
            at = m.wait(r"^STATUS=Stopping: checkpoint \d+ %", at)
            pings, at = m.quiet(3)
            assert pings >= 2
        at = m.wait(r"^STATUS=Stopping: .*\nEXTEND_TIMEOUT_USEC=60000000$", at)
        at = m.wait(r"^STATUS=Stopped cleanly$", at)
        support.until(lambda: m.got[at:] == ["BARRIER=1"], "the barrier is the last")
        s.wait_gone()
    finally:
        m.done()


def test_without_a_change_of_state_a_status_comes_once_a_second_at_most(told):
    server, m = told
    begin = m.wait(r"^READY=1\n")
    support.until(lambda: server.sql("SELECT 1") and sum("STATUS=Ready" in x for x in m.got[begin:]) >= 3, "its number of connections changes")
    when = [t for x, t in zip(m.got, m.when) if x.startswith("STATUS=Ready")]
    assert when[-1] - when[0] > len(when) - 2, when   # one of them may have been sent a second late


def test_pings_go_on_and_every_message_is_one_line_of_utf8(told):
    server, m = told
    m.wait(r"^READY=1\n")
    n = len(m.got)
    m.wait(r"^WATCHDOG=1$", n)
    m.wait(r"^WATCHDOG=1$", len(m.got))
    server.stop()
    for x in m.got:
        status = [line for line in x.split("\n") if line.startswith("STATUS=")]
        assert all(len(line) <= 207 for line in status), x


def test_a_refusal_is_told_with_its_reason(cluster):
    s = cluster()
    m = Manager(s)
    s.configure("max_connections = nonsense\n")
    try:
        p = support.run(support.PINIOND, "-D", s.data, check=False, env={"NOTIFY_SOCKET": m.path})
        assert p.returncode == 78
        at = m.wait(r"^STATUS=Configuration error: .*pinion\.conf:\d+: .*max_connections.*\nERRNO=22$")
        assert m.got[at:] == ["BARRIER=1"], "it was read before the process has gone"
    finally:
        m.done()

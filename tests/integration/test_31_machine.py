"""The postmaster's machine with real processes: deaths of each kind, stops in each state, what is refused meanwhile. AC… are the acceptance
scenarios of the postmaster (the table in tests/README.md says where each of them is)."""
import fcntl
import json
import os
import re
import signal
import sqlite3
import struct
import threading
import time

import pytest
import server as support
import varlink
from failing import Failing
from load import Load, check_content, more_commits, prepare
from server import numbers, one_row
from wire import Closed, Wire, connect, cstr, message, startup_packet

LONG = bool(os.environ.get("PINION_LONG"))
SOON = 10   # seconds: ten times a second that is promised
CRASH = ("terminating any other active server processes", "all server processes terminated; reinitializing",
         "database system is ready to accept connections")


def crashed(s, n, role=None):
    """The n-th crash cycle is over: its lines are there, in their order, and it serves."""
    s.until_recovered(n)
    assert s.log().count(CRASH[1]) == n and s.log().count(CRASH[2]) == n + 1
    tail = s.log().rpartition(CRASH[0])
    assert tail[1] and CRASH[1] in tail[2] and CRASH[2] in tail[2].rpartition(CRASH[1])[2]
    if role:
        assert re.search(role + r" \(PID \d+\) (was terminated by signal|exited with exit code)", tail[0]), tail[0][-500:]


def refusal(s, user="postgres"):
    """The error that a new client gets, None if it is let in, "" if there is nobody who says one: it came so early that the life that ends let it in
    and told it no more. The error is all that it gets: nobody asks it for a password first."""
    try:
        connect(s, user=user).close()
        return None
    except Closed as e:
        if not e.reply.errors:
            return ""
        assert e.reply.kinds == "E" and e.reply.errors[0]["S"] == e.reply.errors[0]["V"] == "FATAL", e.reply
        return e.reply.errors[0]
    except OSError:
        return ""


def until_refused(s, words):
    """Until a new client hears these words."""
    e = support.until(lambda: (e := refusal(s)) and words in e["M"] and e, f"a client hears {words!r}")
    assert e["C"] == "57P03", e
    return e


def thrown_out(w):
    """It idles and reads a warning that others have crashed, then the end."""
    r = w.read_end()
    assert r.kinds == "N" and (r.notices[0]["S"], r.notices[0]["C"]) == ("WARNING", "57P02"), r
    assert r.notices[0]["M"] == "terminating connection because of crash of another server process", r


# ---- deaths in RUN

@pytest.mark.parametrize("sig", [signal.SIGKILL, signal.SIGSEGV, signal.SIGQUIT])
@pytest.mark.parametrize("role, words", [("checkpointer", "checkpointer process"), ("bgwriter", "background writer process"),
                                         ("walwriter", "WAL writer process"), ("archiver", "archiver process"),
                                         ("autovacuum launcher", "autovacuum launcher process")])
def test_a_helper_that_dies_is_a_crash_of_all(cluster, role, words, sig):
    """AC021 checkpointer, AC022 bgwriter, AC023 walwriter, AC024 autovacuum launcher, AC025 archiver; AC042: who idles reads 57P02."""
    s = one_row(cluster, conf="archive_mode = on\narchive_command = 'true'\n" if role == "archiver" else "")
    pid, victim = s.pid, s.child(role)
    with connect(s) as w:
        w.ok("INSERT INTO t VALUES (2)")
        support.until(lambda: support.state_of(w.key[0]) == "S", "the session idles")
        os.kill(victim, sig)
        thrown_out(w)
    crashed(s, 1, words)
    assert s.pid == pid and numbers(s) == [1, 2]
    assert s.child(role) != victim


def test_a_killed_backend_is_a_crash_of_all(cluster):
    """AC001: the three lines, 57P02 to the others, every acknowledged commit, and no half one."""
    s = one_row(cluster)
    with connect(s) as w, connect(s) as victim:
        w.ok("INSERT INTO t VALUES (2)")
        victim.ok("BEGIN; INSERT INTO t VALUES (3)")
        support.until(lambda: support.state_of(w.key[0]) == "S", "the session idles")
        os.kill(victim.key[0], signal.SIGKILL)
        thrown_out(w)
    crashed(s, 1, "server process")
    assert numbers(s) == [1, 2]


def test_a_killed_child_that_has_not_heard_its_client_yet_is_a_crash(cluster):
    """AC028: it is attached from its birth."""
    s = one_row(cluster)
    before = set(s.children())
    with Wire(s):   # says nothing
        victim = support.until(lambda: next((p for p, r in s.children().items() if r == "backend" and p not in before), None), "its child")
        os.kill(victim, signal.SIGKILL)
        crashed(s, 1, "server process")
    assert numbers(s) == [1]


def test_a_backend_that_exits_with_0_in_the_middle_of_a_commit_is_a_crash(cluster):
    """AC035: politely, but without having given its place back."""
    f = Failing(cluster)
    s = f.server
    s.sql("CREATE TABLE t (a integer)")
    s.sql("INSERT INTO t VALUES (1)")
    with connect(s) as idle, connect(s) as w:
        f.next("fdatasync", "/pg_wal/0", -1)
        with pytest.raises(Closed) as e:
            w.query("INSERT INTO t VALUES (2)")
        assert not e.value.reply.tags
        thrown_out(idle)
    crashed(s, 1, "server process")
    assert f.has_fired() and f"server process (PID {w.key[0]}) exited with exit code 0" in s.log()
    assert numbers(s) in ([1], [1, 2])


def dead_end(s, before):
    return next((p for p, r in s.children().items() if r == "backend" and p not in before), None)


def test_a_killed_dead_end_is_a_line_in_the_log(cluster):
    """AC029: it maps nothing. AC059: a silent client on one does not hold up a fast stop."""
    s = one_row(cluster)
    with connect(s) as held:
        os.kill(s.pid, signal.SIGTERM)
        until_refused(s, "shutting down")
        before = set(s.children())
        with Wire(s):
            victim = support.until(lambda: dead_end(s, before), "a dead end")
            os.kill(victim, signal.SIGKILL)
            support.until(lambda: f"dead-end client backend (PID {victim}) was terminated by signal 9" in s.log(), "the line")
            assert held.ok("SELECT a FROM t").rows == [("1",)] and s.status()["crashRestarts"] == 0
        with Wire(s):
            pid = s.pid
            os.kill(pid, signal.SIGINT)
            support.until(lambda: support.state_of(pid) in ("", "Z"), "it has stopped", SOON)
            s.wait_gone()
    assert s.control_state() == "shut down"


@pytest.mark.parametrize("role", ["bgwriter", "walwriter", "autovacuum launcher", "stats"])
def test_a_helper_that_is_told_to_leave_is_replaced_silently(cluster, role):
    """AC032, AC091: sessions notice nothing."""
    s = cluster()
    s.configure(f"metrics_listen = '{s.data}/metrics'\n")   # the stats process is there for it
    s.start()
    s.sql("CREATE TABLE t (a integer)")
    with connect(s) as w:
        for _ in range(3):
            before = s.child(role)
            os.kill(before, signal.SIGTERM)
            support.until(lambda b=before: any(r == role and p != b for p, r in s.children().items()), f"another {role}")
            w.ok("INSERT INTO t VALUES (2)")
    assert s.status()["crashRestarts"] == 0 and f"(PID {before})" not in s.log()


def test_a_checkpointer_that_is_told_to_leave_stays(cluster):
    """AC033."""
    s = one_row(cluster)
    before = s.child("checkpointer")
    os.kill(before, signal.SIGTERM)
    s.sql("CHECKPOINT")
    assert s.child("checkpointer") == before and s.status()["crashRestarts"] == 0


def test_a_checkpointer_that_leaves_before_its_time_is_a_crash(cluster):
    """AC034: exit code 0 in the wrong state."""
    s = one_row(cluster)
    os.kill(s.child("checkpointer"), signal.SIGUSR2)
    crashed(s, 1, r"checkpointer process")
    assert "exited with exit code 0" in s.log() and numbers(s) == [1]


def test_a_session_that_ends_with_FATAL_is_no_crash(cluster):
    """AC036."""
    s = one_row(cluster)
    with connect(s) as w, connect(s) as victim:
        os.kill(victim.key[0], signal.SIGTERM)
        assert victim.read_end().errors[0]["C"] == "57P01"
        w.ok("INSERT INTO t VALUES (2)")
    assert s.status()["crashRestarts"] == 0


class Watcher(threading.Thread):
    """Asks the control socket again and again, on one connection: what it said."""

    def __init__(self, s):
        super().__init__(daemon=True)
        self.wire, self.over, self.states, self.slowest = varlink.Wire(s), threading.Event(), [], 0.0
        self.start()

    def run(self):
        is_last = False
        while not is_last:
            is_last = self.over.is_set()   # then once more: what is now
            begun = time.monotonic()
            status = self.wire.call("GetStatus")["parameters"]["status"]
            self.slowest = max(self.slowest, time.monotonic() - begun)
            now = (status["pmState"], status["state"])
            if self.states[-1:] != [now]:
                self.states.append(now)

    def stop(self):
        self.over.set()
        self.join(support.DEADLINE)
        assert not self.is_alive()
        return self.states


def test_who_ignores_QUIT_is_killed_after_5_seconds_and_said_so_once(cluster):
    """AC038 a stopped child; AC039 a second death of the same crash is silent; AC043 the control socket answers all the time."""
    f = Failing(cluster)
    s = f.server
    s.sql("CREATE TABLE t (a integer)")
    s.sql("INSERT INTO t VALUES (1)")
    watcher = Watcher(s)
    support.until(lambda: watcher.states, "it has seen the server run")
    with connect(s) as stopped, connect(s) as second, connect(s) as victim, connect(s):
        assert support.freeze(stopped.key[0]) and support.freeze(second.key[0])
        other = s.child("bgwriter")
        os.kill(victim.key[0], signal.SIGKILL)
        until_refused(s, "in recovery mode")   # AC079
        os.kill(second.key[0], signal.SIGKILL)   # AC039
        support.until(lambda: not support.state_of(second.key[0]) and not support.state_of(other), "they are gone and have been reaped")
        now = s.status()
        assert now["pmState"] == "PM_WAIT_BACKENDS" and now["state"] == "crash_recovering"
        with f.held("pread", "/pg_wal/0"):   # recovery stands before it begins: the state is there to be seen
            support.until(lambda: watcher.states[-1][0] == "PM_STARTUP", "a startup process is there")
        crashed(s, 1, "server process")
    log = s.log()
    assert log.count("issuing SIGKILL to recalcitrant children") == 1 and f"backend {stopped.key[0]}" in log
    assert log.count(CRASH[0]) == 1 and log.count("was terminated by signal") == 1
    states = watcher.stop()
    assert states[0] == states[-1] == ("PM_RUN", "ready") and states[1] == ("PM_WAIT_BACKENDS", "crash_recovering"), states
    assert {x for _, x in states[1:-1]} == {"crash_recovering"} and "PM_STARTUP" in [x for x, _ in states], states
    assert watcher.slowest < 4, watcher.slowest   # less than the wait for who ignores QUIT
    assert numbers(s) == [1]


def test_a_crash_with_restart_after_crash_off_ends_with_1(cluster):
    """AC041."""
    s = cluster(conf="restart_after_crash = off\n")
    p = s.foreground()
    s.until_ready()
    with connect(s) as w:
        os.kill(w.key[0], signal.SIGKILL)
        assert p.wait(support.DEADLINE) == 1
    assert "shutting down because restart_after_crash is off" in s.log() and not s.processes()
    assert s.control_state() == "in production"


# ---- the startup process

class Held:
    """A stock sqlite3 that reads a database: the startup process waits for it, up to 5 s, in PM_STARTUP."""

    def __init__(self, s):
        self.c = sqlite3.connect(s.data / "base/5/5", isolation_level=None)
        self.c.execute("BEGIN")
        self.c.execute("SELECT * FROM sqlite_master").fetchall()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.c.close()


def in_startup(s):
    p = s.foreground()
    support.until(lambda: s.status().get("pmState") == "PM_STARTUP" and "startup" in s.children().values(), "recovery is being prepared")
    return p


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGQUIT, signal.SIGKILL, signal.SIGSEGV])
def test_a_startup_process_that_dies_ends_the_server(cluster, sig):
    """AC044: it is never tried again. In redo: 58 `PM_RECOVERY` (AC045)."""
    s = one_row(cluster)
    s.kill9()
    with Held(s):
        p = in_startup(s)
        os.kill(s.child("startup"), sig)
        assert p.wait(support.DEADLINE) == 1
    assert "shutting down due to startup process failure" in s.log() and not s.processes()
    s.start()
    assert numbers(s) == [1]


def test_a_crash_of_another_while_starting_starts_anew(cluster):
    """AC040: the checkpointer dies while memory is made anew, AC076: who comes meanwhile hears "starting up"."""
    s = one_row(cluster)
    s.stop()
    with Held(s):
        in_startup(s)
        assert refusal(s)["M"] == "the database system is starting up" and refusal(s)["C"] == "57P03"
        os.kill(s.child("checkpointer"), signal.SIGKILL)
        support.until(lambda: s.log().count("reinitializing") == 1 and s.status().get("pmState") == "PM_STARTUP", "it begins anew")
        os.kill(s.child("checkpointer"), signal.SIGKILL)
        support.until(lambda: s.log().count("reinitializing") == 2, "and again")
    assert s.log().count(CRASH[0]) == 2 and "issuing SIGKILL" not in s.log()
    s.until_ready()
    assert numbers(s) == [1]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_a_stop_while_starting_is_obeyed_at_once(cluster, sig):
    """AC047, before redo."""
    s = one_row(cluster)
    s.kill9()
    with Held(s):
        p = in_startup(s)
        os.kill(p.pid, sig)
        assert p.wait(SOON) == 0
    s.start()
    assert numbers(s) == [1] and "automatic recovery in progress" in s.log()


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_in_the_middle_of_redo_leaves_it_to_the_next_start(cluster, sig):
    """AC047: redo stands at the beginning of its last segment until the stop has come; it does not go on to the end."""
    f = Failing(cluster, conf="checkpoint_timeout = 1h\n", init_args=("--wal-segsize=1",))
    s = f.server
    s.sql("CREATE TABLE t (a integer)")
    s.sql("SELECT pg_switch_wal()")
    with connect(s) as w:
        w.ok("SET synchronous_commit = off")
        for i in range(1000):
            w.ok(f"INSERT INTO t VALUES ({i})")
        w.ok("SET synchronous_commit = on; INSERT INTO t VALUES (1000)")
        last = w.ok("SELECT pg_walfile_name(pg_current_wal_insert_lsn())").rows[0][0]
    s.kill9()
    with f.held("pread", f"/pg_wal/{last}"):
        p = s.foreground(env=f.env)
        support.until(lambda: s.status().get("pmState") == "PM_RECOVERY", "redo has begun")
        os.kill(p.pid, sig)
        support.until(lambda: s.status().get("pmState") == "PM_WAIT_BACKENDS", "it is stopping")
        until_refused(s, "the database system is shutting down")
    assert p.wait(SOON) == 0
    assert s.control_state() == "shut down in recovery" and "redo done" not in s.log()
    s.start()
    assert "database system was shut down in recovery at" in s.log() and "automatic recovery in progress" in s.log()
    assert numbers(s) == list(range(1001))


def test_a_standby_and_an_old_recovery_file_are_refused_by_name(cluster):
    """AC053; AC020: a backup without its log."""
    s = one_row(cluster)
    s.stop()
    before = {p: p.read_bytes() for p in s.data.rglob("*") if p.is_file() and p != s.log_path}
    for name, code in (("standby.signal", 78), ("recovery.conf", 78), ("backup_label", 65)):
        (s.data / name).write_text("START WAL LOCATION: 9/28 (file 000000010000000900000000)\n")
        os.chown(s.data / name, (s.data / "PG_VERSION").stat().st_uid, -1)
        p = support.run(support.PINIOND, "-D", s.data, check=False)
        assert p.returncode == code and f"{name}\"" in p.stderr and "HINT" in p.stderr, (p.returncode, p.stderr)
        (s.data / name).unlink()
    # nothing was touched but what each start makes (options, files of the processes)
    data = ("base", "global", "pg_wal", "pg_xact", "pg_twophase")
    assert [p for p, b in before.items() if not p.exists() or p.read_bytes() != b and p.relative_to(s.data).parts[0] in data] == []
    assert not [p for d in data for p in (s.data / d).rglob("*") if p.is_file() and p not in before]
    s.start()
    assert numbers(s) == [1]


# ---- stops

def stopped_under_load(cluster, sig, state):
    """Under load, stopped by a signal with exit code 0, started again: what the next start has logged. Nothing acknowledged is lost."""
    s = cluster(init_args=("--wal-segsize=1",))
    prepare(s)
    s.stop()
    p = s.foreground()
    s.until_ready()
    with Load(s) as load:
        more_commits(load, 200)
        os.kill(p.pid, sig)
        assert p.wait(support.DEADLINE) == 0
        assert s.control_state() == state and s.log().rstrip().endswith("database system is shut down")
        at = len(s.log())
        s.start()
        more_commits(load, 50)
    check_content(s, load)
    return s.log()[at:]


def test_a_fast_stop_under_load_leaves_nothing_to_redo(cluster):
    """AC004."""
    log = stopped_under_load(cluster, signal.SIGINT, "shut down")
    assert "database system was shut down at" in log and "redo starts" not in log


def test_an_immediate_stop_under_load_is_recovered_from(cluster):
    """AC005, AC075."""
    log = stopped_under_load(cluster, signal.SIGQUIT, "in production")
    assert "not properly shut down; automatic recovery in progress" in log and "redo done" in log


def test_a_killed_postmaster_takes_all_along_and_loses_nothing(cluster):
    """AC002."""
    s = cluster(init_args=("--wal-segsize=1",))
    prepare(s)
    with Load(s) as load:
        for _ in range(3):
            more_commits(load, 100)
            children = [p for p, r in s.children().items() if r != "postmaster"]
            os.kill(s.pid, signal.SIGKILL)
            support.until(lambda c=children: all(support.state_of(p) in ("", "Z", "X") for p in c), "the children are gone", SOON)
            s.wait_gone()
            at = len(s.log())
            s.start()
            assert "not properly shut down; automatic recovery in progress" in s.log()[at:]
        more_commits(load, 50)
    check_content(s, load)


def test_all_processes_killed_at_once_again_and_again(cluster):
    """AC003: 50 times in the long suite; a stock pg_waldump reads the log after each."""
    s = cluster(conf="max_wal_size = 64MB\n", init_args=("--wal-segsize=1",))
    prepare(s)
    with Load(s) as load:
        for i in range(50 if LONG else 5):
            more_commits(load, 30 + i * 7 % 50)
            support.kill_each(s.processes())
            s.wait_gone()
            s.start()
            dump = s.waldump()
            assert dump.returncode == 0, dump.stderr
            check_content(s, load)
            assert not load.wrong, load.wrong
    check_content(s, load)


def waits_for(s):
    """What the status says of it."""
    return s.status().get("progress", {}).get("message", "")


def test_a_smart_stop_does_not_wait_for_who_never_said_who_it_is(cluster):
    """AC058: it is no session."""
    s = one_row(cluster, conf="authentication_timeout = 10min\n")
    with connect(s) as session, Wire(s) as silent:
        support.until(lambda: list(s.children().values()).count("backend") == 2, "both have their process")
        os.kill(s.pid, signal.SIGTERM)
        until_refused(s, "shutting down")
        assert session.ok("SELECT 1").rows == [("1",)]
        session.close()
        s.wait_gone()
        silent.read_end()


def test_a_smart_stop_serves_who_is_there_and_ends_with_the_last(cluster):
    """AC054, AC080."""
    s = one_row(cluster)
    p = s.pid
    with connect(s) as w, connect(s) as other:
        os.kill(p, signal.SIGTERM)
        e = until_refused(s, "shutting down")
        assert e["C"] == "57P03"
        w.ok("INSERT INTO t VALUES (2)")
        s.configure("statement_timeout = 77s\n")
        os.kill(p, signal.SIGHUP)
        support.until(lambda: w.ok("SHOW statement_timeout").rows == [("77s",)], "it still reads its configuration")
        os.kill(p, signal.SIGTERM)   # AC055: again is nothing
        text = support.until(lambda: f"backend {w.key[0]}" in (t := waits_for(s)) and t, "it names whom it waits for")
        assert s.status()["state"] == "draining" and f"backend {other.key[0]}" in text
        other.close()
        w.ok("INSERT INTO t VALUES (3)")
    s.wait_gone()
    assert s.log().count("received smart shutdown request") == 1
    s.start()
    assert numbers(s) == [1, 2, 3]


def test_stops_only_grow(cluster):
    """AC055, AC056, AC062."""
    s = cluster()
    child = s.foreground()
    s.until_ready()
    s.sql("CREATE TABLE t (a integer)")
    s.sql("INSERT INTO t VALUES (1)")
    with connect(s) as w, connect(s) as stopped:
        w.ok("BEGIN; INSERT INTO t VALUES (2)")
        support.until(lambda: support.state_of(w.key[0]) == "S", "it idles")
        assert support.freeze(stopped.key[0])
        p = child.pid
        os.kill(p, signal.SIGTERM)
        support.until(lambda: s.status().get("state") == "draining", "it drains")
        os.kill(p, signal.SIGINT)
        assert "57P01" in [e["C"] for e in w.read_end().errors]
        support.until(lambda: s.status().get("state") == "stopping", "it stops")
        for sig in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):   # nothing
            os.kill(p, sig)
        support.until(lambda: f"backend {stopped.key[0]}" in waits_for(s), "it names whom it waits for")
        os.kill(p, signal.SIGQUIT)   # AC061
        assert child.wait(support.DEADLINE) == 0 and not s.processes()
        assert s.log().count("issuing SIGKILL to recalcitrant children") == 1
    for words in ("smart", "fast", "immediate"):
        assert s.log().count(f"received {words} shutdown request") == 1
    assert s.log().count("aborting any active transactions") == 1 and "SIGHUP" not in s.log()
    s.start()
    assert numbers(s) == [1]   # AC062: what had not been committed is gone


def test_a_fast_stop_with_patience_becomes_immediate(cluster):
    """AC060."""
    s = cluster(conf="fast_shutdown_patience = 100ms\n")
    p = s.foreground()
    s.until_ready()
    with connect(s) as w:
        assert support.freeze(w.key[0])
        os.kill(p.pid, signal.SIGINT)
        assert p.wait(support.DEADLINE) == 0
        assert re.search(rf"performing immediate shutdown without waiting for .*backend {w.key[0]}\b", s.log())   # others may be slow as well
    assert s.control_state() == "in production"


@pytest.mark.parametrize("first", ["stop", "crash"])
def test_a_crash_and_a_fast_stop_end_with_1_in_either_order(cluster, first):
    """AC067, AC071."""
    s = cluster()
    p = s.foreground()
    s.until_ready()
    s.sql("CREATE TABLE t (a integer)")
    with connect(s) as stopped, connect(s) as victim:
        assert support.freeze(stopped.key[0])   # so that there is time for the second
        orders = [(p.pid, signal.SIGINT), (s.child("checkpointer") if first == "stop" else victim.key[0], signal.SIGKILL)]
        if first == "crash":
            orders.reverse()
        os.kill(*orders[0])
        support.until(lambda: s.status().get("pmState") == "PM_WAIT_BACKENDS", "the first is under way")
        os.kill(*orders[1])
        assert until_refused(s, "shutting down")["C"] == "57P03"
        assert p.wait(support.DEADLINE) == 1
    assert "abnormal database system shutdown" in s.log() and "reinitializing" not in s.log()
    assert s.control_state() == "in production"
    s.start()
    assert numbers(s) == [] and "automatic recovery in progress" in s.log()


def test_a_checkpointer_that_stands_still_in_its_last_checkpoint_does_not_hold_up_a_stop(cluster):
    """It is stopped and takes no signal but KILL; the end is a crash, the next start recovers."""
    s = cluster(conf="progress_timeout = 1s\n")
    p = s.foreground()
    s.until_ready()
    s.sql("CREATE TABLE t (a integer)")
    pid = s.child("checkpointer")
    os.kill(p.pid, signal.SIGSTOP)   # so that the stop comes first
    assert support.freeze(pid)
    os.kill(p.pid, signal.SIGINT)
    os.kill(p.pid, signal.SIGCONT)
    support.until(lambda: s.status().get("pmState") == "PM_SHUTDOWN" or p.poll() is not None, "it waits for the checkpoint")
    assert p.wait(support.DEADLINE) == 1
    assert re.search(rf"checkpointer process \(PID {pid}\) has shown no progress", s.log())
    s.start()
    assert numbers(s) == []


def test_a_throttled_checkpoint_hurries_when_the_server_stops(cluster):
    """AC064: it would have lasted minutes, 0.1 s for each page."""
    s = one_row(cluster, "checkpoint_timeout = 1h\ncheckpoint_completion_target = 0.9\nlog_checkpoints = on\nbgwriter_lru_maxpages = 0\n")
    s.sql("CREATE TABLE fat (a integer, b text)")
    s.sql("INSERT INTO fat WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 4000) SELECT i, hex(zeroblob(3000)) FROM n")
    s.ctl("checkpoint", "-D", s.data, "--spread", "--no-wait")
    support.until(lambda: "checkpoint starting:" in s.log(), "a checkpoint runs")
    assert "checkpoint complete" not in s.log()
    s.stop()
    tail = s.log().rpartition("received fast shutdown request")[2]
    assert tail.count("checkpoint complete") == 2 and "shutdown" in tail.partition("checkpoint starting:")[2]
    assert s.control_state() == "shut down"
    s.start()
    assert s.sql("SELECT count(*) FROM fat") == [(4000,)]


def test_a_storm_of_connects_while_stopping_is_answered_and_bounded(cluster):
    """AC089: dead ends are 64 at most, the control socket answers meanwhile, and the stop comes to its end."""
    s = cluster()
    p = s.foreground()
    s.until_ready()
    with connect(s) as held:
        assert support.freeze(held.key[0])   # so that the stop has somebody to wait for
        os.kill(p.pid, signal.SIGINT)
        support.until(lambda: s.status().get("pmState") == "PM_WAIT_BACKENDS", "it is stopping")
        most, heard = 0, 0
        for i in range(20):
            crowd = []
            for _ in range(150):
                try:
                    w = Wire(s)
                    crowd.append(w)
                    w.send(startup_packet({"user": "postgres", "database": "postgres"}))
                except OSError:
                    pass   # turned away before it could speak
            most = max(most, len([c for c in json.loads(s.ctl("ps", "-D", s.data, "--json").stdout)["processes"] if c.get("state") == "dead end"]))
            for w in crowd:
                if i == 0:
                    heard += b"57P03" in w.read_end_raw()
                w.close()
        assert 0 < heard and most <= 64, (heard, most)
        os.kill(held.key[0], signal.SIGCONT)
        assert p.wait(support.DEADLINE) == 0
    assert not s.processes()


def test_a_helper_that_cannot_be_forked_is_tried_again_and_again_with_one_line(cluster):
    """AC093: 30 s when long."""
    s = one_row(cluster)
    pid = s.pid
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        before = next(line for line in f if line.startswith("Max processes")).split()[2]
    support.run("prlimit", f"--pid={pid}", "--nproc=1:")
    try:
        os.kill(s.child("bgwriter"), signal.SIGTERM)
        support.until(lambda: "could not fork background writer process" in s.log(), "it says so")
        since = time.monotonic()
        support.until(lambda: time.monotonic() - since >= (30 if LONG else 2), "tries after 100, 200, 400 ms …")
        assert s.status()["state"] == "ready"
        assert s.log().count("could not fork background writer process") == 1
        assert "bgwriter" not in s.children().values()
    finally:
        support.run("prlimit", f"--pid={pid}", f"--nproc={before}:")
    s.child("bgwriter")   # is back
    assert numbers(s) == [1] and s.status()["crashRestarts"] == 0


def test_without_a_startup_process_there_is_no_server(cluster):
    """AC051: it cannot be forked, at the start and after a crash."""
    s = one_row(cluster)
    s.stop()
    p = support.run("prlimit", "--nproc=1:1", "--", support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 1 and "could not fork startup process" in p.stderr and not s.processes(), (p.returncode, p.stderr)
    p = s.foreground()
    s.until_ready()
    with connect(s) as victim:
        support.run("prlimit", f"--pid={p.pid}", "--nproc=1:1")
        os.kill(victim.key[0], signal.SIGKILL)
        assert p.wait(support.DEADLINE) == 1
    assert CRASH[1] in s.log() and "could not fork startup process" in s.log() and not s.processes()
    s.start()
    assert numbers(s) == [1]


# ---- the lock file

def test_a_removed_or_replaced_lock_file_stops_the_server(cluster):
    """AC013, AC014: a stranger's file stays."""
    for text in (None, "1\n/somewhere/else\n"):
        s = one_row(cluster)
        lock = s.data / "postmaster.pid"
        if text is None:
            lock.unlink()
        else:
            (s.data / "other").write_text(text)
            os.replace(s.data / "other", lock)
        support.until(lambda s=s: not s.processes(), "it has stopped")
        assert "performing immediate shutdown because data directory lock file is invalid" in s.log()
        assert lock.exists() == (text is not None) and (text is None or lock.read_text() == text)
        lock.unlink(missing_ok=True)
        s.start()
        assert numbers(s) == [1]


def test_a_directory_that_somebody_still_holds_is_refused(cluster):
    """AC010, AC011: the lock counts, not the number; a dead server's file does not hinder."""
    s = one_row(cluster)
    s.kill9()
    with open(s.data / "postmaster.pid", "r+b") as f:
        fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        p = support.run(support.PINIOND, "-D", s.data, check=False)
        assert p.returncode == 75 and "lock file" in p.stderr, p.stderr
    s.start()
    assert numbers(s) == [1]


def test_a_stopped_child_does_not_outlive_a_killed_postmaster(cluster):
    """AC010 again: the kernel kills it, so that the next start is not refused."""
    s = one_row(cluster)
    with connect(s) as w:
        assert support.freeze(w.key[0])
        w.send(message("Q", cstr("SELECT 1")))
        s.kill9()
    s.start()
    assert numbers(s) == [1]

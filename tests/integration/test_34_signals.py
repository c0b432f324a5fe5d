"""Each kind of process with each of TERM, QUIT, KILL, SEGV, and STOP with CONT, once, under load; then 100 seeded draws in the long suite. After each:
every kind that must run is there once, nobody is a zombie, an orphan or told and still here, no mapping and no descriptor has leaked, and what was
acknowledged is there."""
import contextlib
import fcntl
import os
import random
import signal
import struct
import time

import pytest
import server as support
from load import SEED, Load, check_content, more_commits, prepare
from wire import Closed, Wire, connect

LONG = bool(os.environ.get("PINION_LONG"))
HELPERS = ("checkpointer", "bgwriter", "walwriter", "archiver", "autovacuum launcher", "stats", "background worker")
KINDS = (*HELPERS, "backend", "silent")   # dead ends and the startup process have their own tests
ALL_KINDS = (*KINDS, "syslogger", "worker", "background worker")   # those have tests of their own, too
BUSY = "autovacuum_naptime = 1s\nautovacuum_analyze_threshold = 5\nautovacuum_analyze_scale_factor = 0\n"   # there are workers
SIGNALS = {"TERM": (signal.SIGTERM,), "QUIT": (signal.SIGQUIT,), "KILL": (signal.SIGKILL,), "SEGV": (signal.SIGSEGV,),
           "STOP+CONT": (signal.SIGSTOP, signal.SIGCONT)}
HARMLESS = {(kind, "TERM") for kind in (*HELPERS, "backend", "silent")}
STAYS = {("checkpointer", "TERM"), ("archiver", "TERM")}   # the archiver leaves a minute later


def proc(pid, name):
    try:
        with open(f"/proc/{pid}/{name}", encoding="utf-8", errors="replace") as f:
            return f.read()
    except OSError:
        return ""


def children_of(pid):
    """All of them, zombies too: {pid: (state, name)}."""
    found = {}
    for p in proc(pid, f"task/{pid}/children").split():
        text = proc(p, "stat")
        if text:
            found[int(p)] = (text.rpartition(")")[2].split()[0], text.partition("(")[2].rpartition(")")[0])
    return found


def shared_maps(pid):
    return sum("memfd:" in line for line in proc(pid, "maps").splitlines())


def n_fds(pid):
    try:
        return len(os.listdir(f"/proc/{pid}/fd"))
    except OSError:
        return 0


class Cluster:
    def __init__(self, cluster, conf=""):
        self.s = s = cluster(conf="shared_buffers = 2MB\nmax_wal_size = 80MB\nauthentication_timeout = 10min\n"
                             f"archive_mode = on\narchive_command = 'true'\nautoprewarm = on\nautoprewarm_interval = 1s\n{conf}",
                             init_args=("--wal-segsize=1",))
        s.configure(f"metrics_listen = '{s.data}/metrics'\n")
        prepare(s)
        self.pm = s.pid
        self.maps = shared_maps(self.pm)
        self.crashes = 0

    def is_up(self):
        return self.s.status().get("state") == "ready"

    def is_whole(self):
        """The invariant: served by one of each helper, all of them children of the postmaster, none half dead, none told to leave."""
        now = self.s.status()
        if now.get("pmState") != "PM_RUN" or now.get("state") != "ready":
            return False
        names = [name for _, name in children_of(self.pm).values()]
        return all(names.count(h[:15]) == 1 for h in HELPERS) and "startup" not in names

    def check(self, load):
        support.until(self.is_whole, "all are there")   # workers come and go
        support.until(lambda: not [c for c in children_of(self.pm).values() if c[0] in "ZXT"], "no zombie, nobody stopped")
        support.until(lambda: set(self.s.processes()) <= {self.pm, *children_of(self.pm)}, "no orphan")
        assert shared_maps(self.pm) == self.maps, "a mapping has leaked"
        support.until(lambda: all(shared_maps(p) <= self.maps for p in children_of(self.pm)), "one segment each")
        assert self.s.pid == self.pm
        more_commits(load, 10)
        check_content(self.s, load)

    def settle(self):
        """The number of descriptors of the postmaster when only its helpers are there."""
        support.until(lambda: len(children_of(self.pm)) == len(HELPERS) and support.state_of(self.pm) == "S", "all clients have left, and that is known")
        return n_fds(self.pm)


def startup_of(pm):
    return next((p for p, (_, name) in children_of(pm).items() if name == "startup"), None)


def silent_child(s):
    before = set(children_of(s.pid))
    w = Wire(s)

    def look():
        return next((p for p, (_, name) in children_of(s.pid).items() if name == "backend" and p not in before), None)
    return w, support.until(look, "its process")


def give(pid, name):
    for sig in SIGNALS[name]:
        try:
            if sig == signal.SIGSTOP:
                support.freeze(pid)
            else:
                os.kill(pid, sig)
        except ProcessLookupError:
            return False
    return True


def strike(c, kind, name):
    """Send it; True if it must be the crash of all."""
    s = c.s
    if kind == "syslogger":
        pid = s.child(kind)
        assert give(pid, name)
        if name in ("KILL", "SEGV"):
            support.until(lambda: not support.state_of(pid), "it is gone")
        support.until(lambda: [n for _, n in children_of(c.pm).values()].count("syslogger") == 1, "there is one")
        return False
    if kind == "background worker":
        pid = s.child(kind)
        assert give(pid, name)
        if name == "TERM":   # it has done its work: nobody makes another before he is asked
            support.until(lambda: not support.state_of(pid), "it is gone")
            s.ctl("reload", "-D", s.data)
            s.child(kind)
        return name not in ("TERM", "STOP+CONT")
    if kind == "worker":
        pid = catch_worker(c)
        assert give(pid, name)
        with contextlib.suppress(ProcessLookupError):   # killed as it stood
            os.kill(pid, signal.SIGCONT)
        return name not in ("TERM", "STOP+CONT")
    if kind == "silent":
        w, pid = silent_child(s)
        with w:
            assert give(pid, name)
            if name != "STOP+CONT":
                support.until(lambda: not support.state_of(pid), "it is gone")
    elif kind == "backend":
        with connect(s) as w:
            assert give(w.key[0], name)
            try:
                w.query("SELECT 1")
                assert name == "STOP+CONT"
            except (Closed, OSError):
                assert name != "STOP+CONT"
    else:
        pid = s.child(kind)
        assert give(pid, name)
        if name != "STOP+CONT" and (kind, name) not in STAYS:
            support.until(lambda: not support.state_of(pid), "it is gone")
        if (kind, name) == ("background worker", "TERM"):   # done for good, until somebody asks again
            s.ctl("reload", "-D", s.data)
    return name != "STOP+CONT" and (kind, name) not in HARMLESS


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_with_each_signal_under_load(cluster, kind):
    c = Cluster(cluster)
    n = c.settle()
    with Load(c.s, writers=4, readers=1) as load:
        more_commits(load, 20)
        for name in SIGNALS:
            if strike(c, kind, name):
                c.crashes += 1
            c.s.until_recovered(c.crashes)
            c.check(load)
    assert not load.wrong, load.wrong
    check_content(c.s, load)
    assert support.until(lambda: c.settle() == n, "no descriptor has leaked")
    c.s.stop()


def catch_worker(c):
    """An autovacuum worker is there for a few milliseconds: look without a pause. It stands when this returns."""
    end = time.monotonic() + support.DEADLINE
    while time.monotonic() < end:
        for pid, (_, name) in children_of(c.pm).items():
            if name == "autovacuum worker"[:15] and support.freeze(pid):
                return pid
    raise AssertionError("no autovacuum worker was met")


@pytest.mark.parametrize("kind, conf", [("syslogger", "logging_collector = on\n"), ("worker", BUSY), ("background worker", "autoprewarm = on\n")])
def test_who_is_not_always_there_with_each_signal(cluster, kind, conf):
    """The collector of the log is attached to nothing: its end is nobody's crash."""
    c = Cluster(cluster, conf=conf)
    with Load(c.s, writers=4, readers=1) as load:
        for name in SIGNALS:
            if strike(c, kind, name):
                c.crashes += 1
            c.s.until_recovered(c.crashes)
            c.check(load)
    assert not load.wrong, load.wrong
    check_content(c.s, load)
    c.s.stop()


def test_a_dead_end_with_each_signal_harms_nobody(cluster):
    """They are there while a smart stop waits: who is at work works on, and the stop ends well."""
    c = Cluster(cluster)
    with connect(c.s) as w:
        os.kill(c.pm, signal.SIGTERM)
        support.until(lambda: c.s.status().get("state") == "draining", "it drains")
        for name in SIGNALS:
            silent, pid = silent_child(c.s)
            with silent:
                assert give(pid, name)
                if name != "STOP+CONT":
                    support.until(lambda pid=pid: not support.state_of(pid), "it is gone")
            support.until(lambda pid=pid: not support.state_of(pid), "it is gone with its client")
            w.ok("UPDATE acct SET v = 0 WHERE id = 0")
            assert c.s.status()["crashRestarts"] == 0
    c.s.wait_gone()
    assert c.s.control_state() == "shut down"


@contextlib.contextmanager
def somebody_reads(server):
    """As a stock sqlite3 that has the file open: the startup process waits for it before it recovers (FILE-8), so that it is surely met."""
    with open(server.data / "base/5/5", "r+b") as f:
        fcntl.fcntl(f, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0x40000000, 512, 0))
        yield


def test_the_startup_process_with_each_signal(cluster):
    """It ends the server, or goes on; all acknowledged commits are there whatever befalls recovery, also twice: once while it waits, once as it comes."""
    c, n_ends = Cluster(cluster), 0
    with Load(c.s) as load:
        for name in SIGNALS:
            more_commits(load, 100)
            c.s.kill9()
            for hold in (somebody_reads, contextlib.nullcontext):
                with hold(c.s):
                    p = c.s.foreground()
                    pid = support.until(lambda p=p: startup_of(p.pid) or c.is_up() and -1, "a startup process, or the end of its work")
                    if pid > 0:
                        give(pid, name)
                support.until(lambda p=p: p.poll() is not None or c.is_up(), "it is up or gone")
                if p.poll() is None:
                    break
                assert p.returncode in (1, 75) and not c.s.processes()   # 75: this machine is so slow that it waited in vain
                n_ends += 1
            if not c.is_up():
                c.s.start()
            c.pm, c.maps = c.s.pid, shared_maps(c.s.pid)
            c.check(load)
    assert not load.wrong, load.wrong
    assert n_ends >= 4, "all but STOP and CONT end it"
    check_content(c.s, load)
    c.s.stop()


def test_draws(cluster):
    rng = random.Random(SEED)
    c = Cluster(cluster, conf=f"logging_collector = on\nautoprewarm = on\n{BUSY}")
    counts = {}
    with Load(c.s) as load:
        for _ in range(100 if LONG else 6):
            kind, name = rng.choice(ALL_KINDS), rng.choice(sorted(SIGNALS))
            more_commits(load, rng.randrange(30))
            if strike(c, kind, name):
                c.crashes += 1
            c.s.until_recovered(c.crashes)
            c.check(load)
            counts[kind, name] = counts.get((kind, name), 0) + 1
    assert not load.wrong, load.wrong
    check_content(c.s, load)
    c.s.stop()
    print(counts)

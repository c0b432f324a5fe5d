"""A storm of connects of every kind, as many as one generator offers: sessions work on, processes and memory stay bounded, and nothing is left of it."""
import contextlib
import json
import os
import re
import signal
import socket
import struct
import subprocess
import types
from pathlib import Path

import server as support
from wire import CANCEL_REQUEST, Closed, Wire, connect, packet

LONG = bool(os.environ.get("PINION_LONG"))
SECONDS = 30 if LONG else 3
PLACES = 60                 # max_connections
DEAD_ENDS, HELPERS = 64, 8  # tbl/child_kinds.def
BUSY = "\\set a random(1, 1000)\nUPDATE t SET v = v + 1 WHERE a = :a;\nSELECT v FROM t WHERE a = :a;\n"


def make(cluster):
    s = cluster(conf=f"max_connections = {PLACES}\n", tcp=True)
    (s.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.0/8 trust\n")
    s.start()
    s.sql("CREATE TABLE t (a integer PRIMARY KEY, v integer)")
    s.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 1000) INSERT INTO t SELECT x, 0 FROM c")
    (s.dir / "busy.sql").write_text(BUSY)
    build(s)
    return s


def build(s):
    subprocess.run(["cc", "-O2", "-D_GNU_SOURCE", "-o", s.dir / "storm", Path(support.__file__).parent / "storm.c"], check=True)


def sessions(s):
    """Eight that work for as long as the storm takes."""
    return subprocess.Popen([support.PGBIN / "pgbench", "-n", "-h", s.data, "-p", str(s.port), "-U", "postgres", "-f", s.dir / "busy.sql",
                             "-c", "8", "-T", str(SECONDS), "postgres"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def storm(s, *targets):
    return subprocess.Popen([s.dir / "storm", str(SECONDS), *map(str, targets)], stdout=subprocess.PIPE, text=True)


def children(pid):
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def private_kb(pid):
    """Memory of its own; 0 if it has gone."""
    try:
        m = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        m = None
    return int(m[1]) if m else 0


class Most:
    """The most that is ever seen."""

    def __init__(self):
        self.processes = self.postmaster = self.child = 0

    def look(self, pid):
        there = children(pid)
        self.processes = max(self.processes, len(there))
        self.postmaster = max(self.postmaster, private_kb(pid))
        self.child = max([self.child, *map(private_kb, there)])


def together(s, *targets):
    """(transactions per second of the sessions, what the generator says, what was seen meanwhile)."""
    most = Most()
    with sessions(s) as bench:
        support.until(lambda: list(s.children().values()).count("backend") >= 8, "all of them are there")
        g = storm(s, *targets)
        support.until(lambda: most.look(s.pid) or bench.poll() is not None, "the sessions come to their end", SECONDS + support.DEADLINE)
        text, said = bench.stdout.read(), json.loads(g.communicate()[0])
    assert bench.returncode == 0 and "failed transactions: 0 " in text, text
    tps = float(re.search(r"^tps = ([0-9.]+)", text, re.M)[1])
    print(f"{tps:.0f} transactions/s beside {said['tried'] / said['seconds']:.0f} connects/s: {said}; "
          f"{most.processes} processes, kB of the postmaster {most.postmaster}, of a child {most.child}")
    return tps, said, most


def beside_a_plain_listener(s):
    path = s.dir / "plain"
    with subprocess.Popen([s.dir / "storm", "--listen", path], stdout=subprocess.PIPE, text=True) as p:
        try:
            assert p.stdout.readline() == "listening\n"
            return together(s, path)[0]
        finally:
            p.kill()


def n_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def n_queued(s):
    """Clients that nobody has taken yet, many of them gone: behind a storm they are thousands, and who comes then comes after them."""
    lines = support.run("ss", "-xtlnH").stdout.splitlines()
    return sum(int(x.split()[2]) for x in lines if f".s.PGSQL.{s.port} " in x or f":{s.port} " in x)


def test_sessions_work_on_in_a_storm_and_nothing_is_left_of_it(cluster):
    """AC089 while it serves. When long: 30 s, and at least half of what they reach beside a plain listener."""
    s = make(cluster)
    helpers = {p for p, role in s.children().items() if p != s.pid and role not in ("backend", "autovacuum worker")}
    fds, size = n_fds(s.pid), private_kb(s.pid)
    plain = beside_a_plain_listener(s) if LONG else 0
    tps, said, most = together(s, s.data / f".s.PGSQL.{s.port}", s.port)
    assert tps >= plain / 2, f"{tps:.0f} against {plain:.0f}"
    assert said["in"] > 0, said   # who comes to work is let in
    assert most.processes <= 2 * PLACES + DEAD_ENDS + HELPERS
    if not support.is_sanitized():
        assert most.postmaster <= size + 1024 and most.child <= 8192
    support.until(lambda: not n_queued(s), "all have been taken", 3 * support.DEADLINE)
    support.until(lambda: set(children(s.pid)) == helpers, "all have left, none as a zombie")
    support.until(lambda: n_fds(s.pid) <= fds, "no descriptor has leaked")
    assert s.status()["crashRestarts"] == 0
    for word in ("PANIC", "was terminated", "could not fork"):
        assert word not in s.log()
    with contextlib.ExitStack() as held:   # no place is lost
        for _ in range(PLACES):
            held.enter_context(connect(s))
    s.stop()


def test_silent_clients_give_their_places_to_those_who_speak(cluster):
    """As many as there are places, and authentication_timeout is far."""
    s = cluster(conf="max_connections = 10\nauthentication_timeout = 10min\n")
    s.start()

    def get_in():
        try:
            return connect(s)
        except (Closed, OSError):
            return None

    with contextlib.ExitStack() as held:
        for _ in range(20):
            held.enter_context(Wire(s))
        with support.until(get_in, "a client that speaks is let in") as w:   # who has spoken stays
            for _ in range(30):
                held.enter_context(Wire(s))
            support.until(get_in, "the next as well").close()
            assert w.ok("SELECT 1").rows == [("1",)]
    assert s.status()["crashRestarts"] == 0


def test_who_gave_up_in_the_queue_costs_no_process_and_no_time(cluster):
    """Clients with a time-out, and a server that does not come to them: when it does, it takes those that are still there."""
    s = cluster(conf="log_connections = on\n")
    s.start()
    n = s.log().count("connection received")
    support.freeze(s.pid)
    try:
        for _ in range(200):
            Wire(s).close()
        w = Wire(s)
        with Wire(s) as cancel:   # has said what it wants, and left
            cancel.send(packet(CANCEL_REQUEST, struct.pack("!II", 1, 1)))
    finally:
        os.kill(s.pid, signal.SIGCONT)
    with w:
        assert w.login().ok("SELECT 1").rows == [("1",)]
    support.until(lambda: "PID 1 in cancel request did not match any process" in s.log(), "the request is heard")
    assert s.log().count("connection received") == n + 2
    s.stop()


def is_full(path):
    with socket.socket(socket.AF_UNIX) as c:
        c.setblocking(False)
        try:
            c.connect(str(path))
        except BlockingIOError:
            return True
        return False


def test_a_directory_of_its_own_is_a_way_in_while_the_queue_of_the_other_socket_is_full(cluster):
    """Who comes by the full one is turned away by the kernel, the superuser as well."""
    s = cluster(conf=f"max_connections = {PLACES}\n")
    own = s.dir / "own"
    own.mkdir()
    support.open_dir(own)
    s.configure(f"unix_socket_directories = '{s.data}, {own}'\n")
    s.start()
    build(s)
    path = s.data / f".s.PGSQL.{s.port}"
    with contextlib.ExitStack() as storms:
        for _ in range(3):
            g = storms.enter_context(subprocess.Popen([s.dir / "storm", "600", path], stdout=subprocess.DEVNULL))
            storms.callback(g.kill)
        support.until(lambda: is_full(path), "the queue is full")
        for _ in range(10):
            with connect(types.SimpleNamespace(data=own, port=s.port)) as w:
                assert w.ok("SELECT 1").rows == [("1",)]
        support.until(lambda: is_full(path), "and still is")
    s.stop()

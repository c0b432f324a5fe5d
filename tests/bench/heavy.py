"""Rows that need servers of their own: crash recovery, memory, the control socket, and what work that grows costs."""
import json
import re
import resource
import shutil
import socket
import statistics
import subprocess
import time
from datetime import datetime
from pathlib import Path

import server as support  # tests/support/server.py
import servers
import wire  # tests/support/wire.py
import workload
from rig import result

LOADED_CLIENTS = 8


def once(bench, name, make):
    """What several rows show is measured once."""
    if name not in bench.memo:
        bench.memo[name] = make(bench)
    return bench.memo[name]


# ---- crash recovery ----

def crashed(bench, target, n):
    """n transactions behind a checkpoint, then SIGKILL to all; the directory is kept as it was left."""
    target.sql("CHECKPOINT")
    workload.pgbench(target, bench.scripts, "tpcb_message", clients=LOADED_CLIENTS, transactions=n // LOADED_CLIENTS,
                     env={"PGOPTIONS": "-c synchronous_commit=off"})
    target.sql("UPDATE pgbench_branches SET bbalance = bbalance WHERE bid = 1")  # a commit that waits: all before it is durable
    wal = target.value("SELECT pg_current_wal_flush_lsn()")
    target.kill_all()
    target.data.rename(target.dir / "crashed")
    return wal


def redo_seconds(target):
    """Of the last redo, as the server's log has it: from the first record to the last."""
    elapsed = re.findall(r"redo done at .* elapsed: ([0-9.]+) s", target.log())
    if elapsed:
        return float(elapsed[-1])
    stamps = [re.findall(rf"^(\S+ \S+) UTC .*{what} at", target.log(), re.M)[-1] for what in ("redo starts", "redo done")]
    begin, end = [datetime.strptime(s, "%Y-%m-%d %H:%M:%S.%f") for s in stamps]
    return (end - begin).total_seconds()


def start_crashed(target, n):
    """One recovery of a copy: (transactions per second of redo, seconds until the first answer)."""
    if target.data.exists():
        shutil.rmtree(target.data)
    subprocess.run(["cp", "-a", target.dir / "crashed", target.data], check=True)
    (target.data / "server.log").unlink(missing_ok=True)
    subprocess.run(["sync", "-f", target.data], check=True)
    begin = time.monotonic()
    target.start(wait=False)
    servers.wait_ready(target)
    ready = time.monotonic() - begin
    kept = int(target.value("SELECT count(*) FROM pgbench_history"))
    if kept != n:
        raise workload.Failed(f"{target.label}: {kept} of {n} transactions after recovery")
    redo = redo_seconds(target)
    target.kill_all()
    return n / max(redo, 0.001), ready


def measure_recovery(bench):
    n = bench.options.crash_transactions
    rig = bench.new_rig(bench.options.scale, {"max_wal_size": "64GB", "checkpoint_timeout": "86400"})
    try:
        for t in rig.pair:
            crashed(bench, t, n)
        both = bench.paired(rig.pair, lambda t: start_crashed(t, n), again=False)[0]
        return [{label: [v[i] for v in values] for label, values in both.items()} for i in (0, 1)]
    finally:
        rig.done()


def recovery(bench, which):
    return result(once(bench, "recovery", measure_recovery)[which], note=f"{bench.options.crash_transactions} transactions; "
                  "PostgreSQL's log is in the page cache, Pinion reads its own from the disk again (REDO-1)")


# ---- memory ----

def pss(target):
    """(all, without shared memory) in bytes, of all processes of a server."""
    total = private = 0
    for pid in target.processes():
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
        kb = {k: int(v) for k, v in re.findall(r"^(Pss\w*):\s+(\d+) kB", text, re.M)}
        total += kb["Pss"] * 1024
        private += (kb["Pss"] - kb["Pss_Shmem"]) * 1024
    return total, private


def connected(target, n):
    """n sessions that have run one query and wait."""
    made = []
    for _ in range(n):
        c = target.connect()
        c.cursor().execute("SELECT abalance FROM pgbench_accounts WHERE aid = 1")
        made.append(c)
    return made


def measure_memory(bench):
    rig, values = bench.new_rig(1), {"idle": {}, "connection": {}, "total": {}}
    try:
        for t in rig.pair:
            t.stop()
            t.start()
            total, private = pss(t)
            many = connected(t, 50)
            values["connection"][t.label] = [(pss(t)[0] - total) / 50 / 1e6]
            values["idle"][t.label], values["total"][t.label] = [private / 1e6], [total / 1e6]
            for c in many:
                c.close()
        return values
    finally:
        rig.done()


def memory(bench, part):
    values = once(bench, "memory", measure_memory)
    note = "; ".join(f"{k}: {v[0]:.1f} MB with shared memory" for k, v in values["total"].items()) if part == "idle" else None
    return result(values[part], note=note)


# ---- the control socket ----

class Asked:
    """A socket that is asked with a NUL at the end and answers so."""

    def __init__(self, path):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(60)
        self.s.connect(str(path))

    def ask(self, request):
        """(seconds, length of the reply)."""
        begin, n = time.perf_counter(), 0
        self.s.sendall(request)
        while True:
            part = self.s.recv(65536)
            if not part:
                raise workload.Failed("the control socket was closed")
            n += len(part)
            if part.endswith(b"\0"):
                return time.perf_counter() - begin, n


STATUS = json.dumps({"method": "org.pinion.Control.GetStatus"}).encode() + b"\0"


def cpu_seconds(pid):
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def measure_status(bench):
    pinion = bench.rig().pinion
    control = Asked(pinion.data / "control")
    size = control.ask(STATUS)[1]
    echo = servers.Echo(bench.exe, size)
    taken = {"pinion": [], "ceiling": []}
    try:
        beside = Asked(echo.path)
        load = workload.start(pinion, bench.scripts, "tpcb_message", clients=LOADED_CLIENTS, seconds=bench.options.seconds * 2 + 1)
        servers.wait_backends(pinion, LOADED_CLIENTS)
        while load.poll() is None:
            for label, s in (("pinion", control), ("ceiling", beside)):
                taken[label].append(s.ask(STATUS)[0] * 1e3)
                time.sleep(0.001)   # this client's own pace: it measures, and is not a load
        load.communicate()
        n, pid = 1000, pinion.pid
        before = cpu_seconds(pid)
        for _ in range(n):
            control.ask(STATUS)
        return taken, (cpu_seconds(pid) - before) / n * 1e3
    finally:
        echo.done()


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(len(values) * q))]


def status(bench, q):
    taken, _ = once(bench, "status", measure_status)
    line = result({k: [quantile(v, q)] for k, v in taken.items()}, note=f"{len(taken['pinion'])} requests under {LOADED_CLIENTS} clients; "
                  "the ceiling is an echo of the same size")
    line["measured"] = line["pinion"] - 2 * line["ceiling"]
    return line


def status_inside(bench):
    line = result({"pinion": [once(bench, "status", measure_status)[1]]})
    return {**line, "measured": line["pinion"]}


# ---- work that grows ----

def slowdown(bench, target, grow, runs):
    """{name: transactions/s before / after grow()}."""
    def rates():
        return {name: statistics.median(workload.pgbench(target, bench.scripts, seconds=bench.options.seconds, **kw)
                                        for _ in range(min(3, bench.options.pairs))) for name, kw in runs.items()}

    rates()
    before = rates()
    kept = grow(target)
    after = rates()
    for x in kept or []:
        x.close()
    return {name: before[name] / after[name] for name in runs}


RUNS = {"select": {"script": "select", "clients": 2}, "message": {"script": "tpcb_message", "clients": LOADED_CLIENTS}}


def idle_connection(target):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(f"{target.host}/.s.PGSQL.{target.port}")
    s.sendall(wire.startup_packet({"user": "postgres", "database": "postgres"}))
    got = b""
    while not got.endswith(wire.message("Z", b"I")):
        part = s.recv(65536)
        if not part:
            raise workload.Failed(f"{target.label}: connection refused: {got[-200:]}")
        got += part
    return s


def measure_connections(bench):
    n = min(bench.options.idle_connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 200)
    rig = bench.new_rig(1, {"max_connections": str(n + 50)})
    try:
        return n, {t.label: slowdown(bench, t, lambda t: [idle_connection(t) for _ in range(n)], RUNS) for t in rig.pair}
    finally:
        rig.done()


def grow_connections(bench, which):
    n, factors = once(bench, "connections", measure_connections)
    return result({label: [f[which]] for label, f in factors.items()}, note=f"{n} idle connections")


def grow_databases(bench):
    rig = bench.new_rig(1)
    n = bench.options.databases

    def make(target):
        for i in range(n):
            target.sql(f"CREATE DATABASE d{i}")

    try:
        return result({"pinion": [slowdown(bench, rig.pinion, make, {"select": RUNS["select"]})["select"]]},
                      note=f"{n} databases (PostgreSQL would copy 7 MB each: not measured)")
    finally:
        rig.done()


def grow_data(bench):
    """Point SELECTs on the same tables: in the cache, and 50 × the cache; the rest is in the kernel's page cache."""
    small = max(128, int(bench.options.scale * 13.4e6 / 8192 / 50))
    rig = bench.new_rig(bench.options.scale, {"shared_buffers": str(small)})
    values = {"pinion": [], "postgres": []}
    try:
        for _ in range(bench.options.pairs):
            for big, tight in zip(bench.rig().pair, rig.pair):
                a, b = [workload.pgbench(t, bench.scripts, seconds=bench.options.seconds, **RUNS["select"]) for t in (big, tight)]
                values[big.label].append(a / b)
        return result(values, note=f"shared_buffers of {small} pages")
    finally:
        rig.done()


# ---- autovacuum ----

VACUUMED = re.compile(r"automatic vacuum of database \"postgres\": (\d+) of \d+ free pages given back in (\d+) transactions, .*"
                      r"writer lock held ([\d.]+) ms at most, p99 ([\d.]+) ms; elapsed ([\d.]+) s")


def measure_autovacuum(bench):
    """A table of so many MB is dropped beside clients that write; what the worker's lines say of its transactions."""
    mb = bench.options.vacuum_mb
    pinion = servers.Pinion({**servers.SETTINGS, "autovacuum_naptime": "1s", "log_autovacuum_min_duration": "0"})
    load = None
    try:
        pinion.start()
        workload.load(pinion, 1)
        pinion.sql("CREATE TABLE big (a text)")
        for _ in range(mb // 10):
            pinion.sql("INSERT INTO big WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 10000) SELECT hex(randomblob(500)) FROM c")
        load = workload.start(pinion, bench.scripts, "tpcb_message", clients=2, seconds=600)
        servers.wait_backends(pinion, 2)
        pinion.sql("DROP TABLE big")
        support.until(lambda: sum(int(m[0]) for m in VACUUMED.findall(pinion.log())) >= mb * 100, "the space is given back", deadline=300)
        return [[float(x) for x in m] for m in VACUUMED.findall(pinion.log()) if int(m[0])]
    finally:
        pinion.kill_all()
        if load is not None:
            load.communicate()
        pinion.done()


def autovacuum(bench, which):
    lines = once(bench, "autovacuum", measure_autovacuum)
    pages, steps, longest, p99, elapsed = (sum(x) if i in (0, 1, 4) else max(x) for i, x in enumerate(zip(*lines)))
    note = f"{pages * 8192 / 1e6:.0f} MB in {steps:.0f} transactions beside 2 writing clients, {elapsed:.1f} s"
    return {**result({"pinion": [longest if which == "max" else p99]}), "note": note}


# (name, what, unit, goal, function, arguments). A goal of three is for Pinion's own figure, not for the ratio.
ROWS = [
    ("recovery", "crash recovery, transactions per second of redo", "tx/s", (">=", 5), recovery, {"which": 0}),
    ("recovery_ready", "the same, start to first answer", "s", None, recovery, {"which": 1}),
    ("memory", "PSS of an idle server beyond shared memory", "MB", ("<=", 20, "MB"), memory, {"part": "idle"}),
    ("memory_connection", "PSS per idle connection", "MB", ("<=", 1, "MB"), memory, {"part": "connection"}),
    ("status_p50", "GetStatus under load, median, beside an echo", "ms", None, status, {"q": 0.5}),
    ("status_p99", "GetStatus under load, p99, beside an echo", "ms", ("<=", 2, "ms above 2 echoes"), status, {"q": 0.99}),
    ("status_inside", "GetStatus, processor time of the postmaster", "ms", ("<=", 0.2, "ms"), status_inside, {}),
    ("grow_connections_select", "idle connections: cost of a point SELECT", "×", ("<=", 2, "×"), grow_connections, {"which": "select"}),
    ("grow_connections_message", "idle connections: cost of a transaction, one message", "×", ("<=", 2, "×"), grow_connections,
     {"which": "message"}),
    ("grow_databases", "databases: cost of a point SELECT", "×", ("<=", 2, "×"), grow_databases, {}),
    ("autovacuum_p99", "a dropped table's space goes back: writer lock held, p99 of its transactions", "ms", ("<=", 50, "ms"), autovacuum, {"which": "p99"}),
    ("autovacuum_max", "the same, the longest", "ms", ("<=", 50, "ms"), autovacuum, {"which": "max"}),
    ("grow_data", "data of 50 × cache: cost of a point SELECT", "×", ("<=", 2, "×"), grow_data, {}),
]

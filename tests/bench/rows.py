"""The table of rows: what is measured, how, and what design section 10 asks of it. A row's function takes the bench and its own
arguments and gives one line (rig.result)."""
import re
import statistics

import heavy
import server as support
import workload
from rig import result


class Row:
    """`goal` is a ratio to PostgreSQL: (">=", 1.8), or with a unit Pinion's own figure: ("<=", 20, "MB"). None: no goal of ours."""

    def __init__(self, name, what, unit, goal, fn, **args):
        self.name, self.what, self.unit, self.goal, self.fn, self.args = name, what, unit, goal, fn, args

    def run(self, bench):
        line = self.fn(bench, **self.args)
        line = {"name": self.name, "what": self.what, "unit": self.unit, "goal": self.goal, **line}
        line["met"] = is_met(line)
        return line


def is_met(line):
    if line["goal"] is None:
        return None
    value = line.get("measured", line.get("pinion")) if len(line["goal"]) == 3 else line.get("ratio")
    if value is None:
        return False
    sign, bound = line["goal"][:2]
    return value >= bound if sign == ">=" else value <= bound


def throughput(bench, script, clients, protocol="simple", connect=False):
    """Transactions per second. A checkpoint and a short run before the first pair: whole pages are logged then."""
    rig = bench.rig()
    for t in rig.pair:
        t.sql("CHECKPOINT")

    def measure(target, seconds=bench.options.seconds):
        return workload.pgbench(target, bench.scripts, script, clients=clients, seconds=seconds, protocol=protocol, connect=connect)

    for t in rig.all:
        measure(t, max(1, bench.options.seconds // 2))
    tps, busy = bench.paired(rig.all, measure)
    cost = {label: statistics.median(b / (v * bench.options.seconds) * 1e6 for b, v in zip(busy[label], tps[label])) for label in tps}
    return result(tps, processor_usec=cost)


def waldump_sizes(target, begin, end):
    """(bytes of records, bytes of page images) between two positions, as pg_waldump counts them; it reads both logs."""
    p = support.run(support.PGBIN / "pg_waldump", "-p", target.wal_dir, "-s", begin, "-e", end, "--stats")
    m = re.search(r"^Total\s+\d+\s+(\d+)\s+\[.*?\]\s+(\d+)", p.stdout, re.M)
    return (int(m.group(1)), int(m.group(2))) if m else (0, 0)


def wal_bytes(bench, part, compression="lz4"):
    """Bytes of log per TPC-B-like transaction. part: "all" = right after a checkpoint, page images included; "records" = without."""
    rig = bench.rig()
    n = bench.options.wal_transactions
    rig.postgres.sql(f"ALTER SYSTEM SET wal_compression = {compression}")
    rig.postgres.sql("SELECT pg_reload_conf()")
    notes = {}

    def measure(target):
        target.sql("CHECKPOINT")
        begin = target.value("SELECT pg_current_wal_insert_lsn()")
        workload.pgbench(target, bench.scripts, "tpcb_message", clients=1, transactions=n)
        end = target.value("SELECT pg_current_wal_flush_lsn()")
        records, images = waldump_sizes(target, begin, end)
        notes[target.label] = f"{target.label}: records {records / n:.0f}, images {images / n:.0f}"
        return lsn_bytes(begin, end) / n if part == "all" else records / n

    try:
        return result(bench.paired(rig.pair, measure)[0], note=f"{n} transactions after a checkpoint; " + "; ".join(notes.values()))
    finally:
        rig.postgres.sql("ALTER SYSTEM RESET wal_compression")
        rig.postgres.sql("SELECT pg_reload_conf()")


def lsn_bytes(begin, end):
    def number(lsn):
        hi, lo = lsn.split("/")
        return (int(hi, 16) << 32) + int(lo, 16)

    return number(end) - number(begin)


def tpcb(name, what, goals, script, protocol):
    return [Row(f"{name}_{c}", f"{what}, {c} client{'s' if c > 1 else ''}", "tx/s", (">=", g) if g else None, throughput,
                script=script, clients=c, protocol=protocol) for c, g in zip((1, 8, 32), goals)]


ROWS = [
    *tpcb("tpcb", "TPC-B-like, a message per statement", (1.8, 1.5, 1.8), "tpcb", "simple"),
    *tpcb("tpcb_prepared", "TPC-B-like, prepared, a message per statement", (None, None, None), "tpcb", "prepared"),
    *tpcb("message", "TPC-B-like, one message", (3, 4, 4), "tpcb_message", "simple"),
    *tpcb("pipeline", "TPC-B-like, prepared in a pipeline", (3, 4, 4), "tpcb_pipeline", "prepared"),
    Row("select", "point SELECT, simple, 2 clients", "tx/s", (">=", 2), throughput, script="select", clients=2),
    Row("select_prepared", "point SELECT, prepared, 2 clients", "tx/s", (">=", 1.4), throughput, script="select", clients=2,
        protocol="prepared"),
    Row("connect", "connect, point SELECT, disconnect, 2 clients", "tx/s", (">=", 5), throughput, script="select", clients=2, connect=True),
    Row("connect_one", "connect, SELECT 1, disconnect, 2 clients", "tx/s", None, throughput, script="one", clients=2, connect=True),
    Row("wal", "WAL per TPC-B-like transaction, with page images (lz4)", "bytes", ("<=", 0.4), wal_bytes, part="all"),
    Row("wal_default", "the same, PostgreSQL's images not compressed (its default)", "bytes", ("<=", 0.4), wal_bytes, part="all",
        compression="off"),
    Row("wal_records", "the same, records only", "bytes", None, wal_bytes, part="records"),
    *[Row(*args, fn, **more) for *args, fn, more in heavy.ROWS],
]

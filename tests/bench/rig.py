"""The servers that are measured together, and how: P, B, C, P, B, C …, and the median of the ratios of the pairs."""
import shutil
import statistics
import tempfile
from pathlib import Path

import server as support
import servers
import workload
from processors import Watch

STOLEN_MAX = 0.04  # of the processors' time, taken by the host of a virtual machine: such a round is measured again


class Rig:
    """Pinion, PostgreSQL and the ceiling, started with the same settings; `scale` = 0: no tables."""

    def __init__(self, exe, scripts, scale, settings=None, also=()):
        self.scripts, self.all = scripts, []
        settings = {**servers.SETTINGS, **(settings or {})}
        try:
            for cls in (servers.Pinion, servers.Postgres):
                t = cls(settings)
                self.all.append(t)
                for text in also:
                    t.configure(text)
                t.start()
                if scale:
                    workload.load(t, scale)
            self.all.append(servers.Ceiling(exe))
        except BaseException:
            self.done()
            raise

    @property
    def pinion(self):
        return self.all[0]

    @property
    def postgres(self):
        return self.all[1]

    @property
    def pair(self):
        return self.all[:2]

    def done(self):
        for t in self.all:
            t.done()
        self.all = []


class Bench:
    """Options, a scratch directory, and the rig that most rows share."""

    def __init__(self, options, exe, tmp):
        self.options, self.exe = options, exe
        self.work = Path(tempfile.mkdtemp(prefix="pinion-bench-", dir=tmp))
        self.work.chmod(0o755)
        self.scripts = self.work
        workload.write_scripts(self.scripts, options.scale)
        self.shared, self.memo = None, {}
        self.stolen, self.n_again = [], 0  # of the rounds that were kept; rounds that were not

    def rig(self):
        if self.shared is None:
            self.shared = self.new_rig(self.options.scale)
        return self.shared

    def new_rig(self, scale, settings=None):
        return Rig(self.exe, self.scripts, scale, settings)

    def close_shared(self):
        if self.shared is not None:
            self.shared.done()
            self.shared = None

    def paired(self, targets, measure, again=True):
        """({label: [value of each round]}, {label: [seconds of processor time]}); measure(target) in turn, so that drift of the
        machine meets all alike. `again`: rounds that the host disturbed are repeated, up to twice as many; the quietest count."""
        pairs = self.options.pairs
        rounds = []
        while sum(r[0] <= STOLEN_MAX for r in rounds) < pairs and len(rounds) < pairs * (2 if again else 1):
            rounds.append(measured_round(targets, measure))
        rounds.sort(key=lambda r: r[0])
        self.n_again += len(rounds) - pairs
        kept = rounds[:pairs]
        self.stolen += [r[0] for r in kept]
        return tuple({t.label: [r[i][t.label] for r in kept] for t in targets} for i in (1, 2))

    def done(self):
        self.close_shared()
        shutil.rmtree(self.work)


def measured_round(targets, measure):
    """(largest share that the host took, {label: value}, {label: seconds of processor time})"""
    stolen, values, busy = 0, {}, {}
    for t in targets:
        with Watch() as w:
            values[t.label] = measure(t)
        stolen, busy[t.label] = max(stolen, w.stolen), w.busy
    return stolen, values, busy


def median_ratio(a, b):
    """Median of a[i] / b[i]; None where one is missing."""
    if not a or not b or any(y == 0 for y in b):
        return None
    return statistics.median(x / y for x, y in zip(a, b))


def result(values, **more):
    """One line of the table from {label: [values]}."""
    line = {label: statistics.median(v) for label, v in values.items() if v}
    line["ratio"] = median_ratio(values.get("pinion"), values.get("postgres"))
    line["ceiling_ratio"] = median_ratio(values.get("ceiling"), values.get("postgres"))
    line["values"] = values
    return {**line, **more}


def use(root, prefix):
    """Let tests/support start the build that is installed below root."""
    support.ROOT = Path(root)
    support.PINIOND = Path(f"{root}{prefix}/sbin/piniond")
    support.PINIONCTL = Path(f"{root}{prefix}/bin/pinionctl")

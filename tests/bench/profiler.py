"""Where a loaded backend's processor time goes: perf samples with whole stacks, folded into areas. A sample belongs to the innermost
frame that has an area: a folder of src/, what SQLite was asked for, or the system call; what libc does counts for its caller."""
import collections
import re
import subprocess
from pathlib import Path

import servers
import workload

AREAS = {
    "sqlite prepare": "SQLite: parse and prepare", "sqlite run": "SQLite: virtual machine, B-tree, pager",
    "sqlite other": "SQLite: the rest", "proc": "proc (loop, statistics of the session)", "sql": "sql (session)", "pgwire": "pgwire (messages)",
}
FREQUENCY = 997
WORKLOADS = [
    {"name": "select", "what": "point SELECT, simple, 2 clients", "script": "select", "clients": 2, "protocol": "simple"},
    {"name": "message", "what": "TPC-B-like, one message, 8 clients", "script": "tpcb_message", "clients": 8, "protocol": "simple"},
]
FRAME = re.compile(r"^\s+([0-9a-f]+) (.*) \((.*)\)$")


def folders(build):
    """{symbol: [folder of src/ …]} from the static libraries: a release build has no other memory of its files."""
    found = collections.defaultdict(list)
    for lib in sorted(Path(build).glob("src/*/lib*.a")):
        p = subprocess.run(["nm", lib], capture_output=True, text=True, check=False)
        for symbol in re.findall(r"^[0-9a-f]+ [tT] (\S+)$", p.stdout, re.M):
            folder = lib.parent.name
            if folder not in found[plain(symbol)]:
                found[plain(symbol)].append(folder)
    return found


def plain(symbol):
    """Without what the compiler appends to a part or a clone of a function."""
    return re.sub(r"\.(part|constprop|isra|cold|lto_priv)(\.\d+)*.*$", "", symbol)


def stacks(text):
    """Lists of (symbol, object), innermost first."""
    for block in text.split("\n\n"):
        frames = [m.groups()[1:] for m in map(FRAME.match, block.splitlines()) if m]
        if frames:
            yield [(plain(s.split("+")[0]), Path(o).name) for s, o in frames]


def kernel_area(frames):
    for symbol, _ in frames:
        m = re.match(r"__(?:x64|arm64)_sys_(\w+)", symbol)
        if m:
            return f"kernel: {m.group(1)}"
        if "page_fault" in symbol:
            return "kernel: page faults"
    return "kernel: interrupts, scheduler"


def sqlite_area(frames):
    """What SQLite was asked for: the frames of its library from here outwards."""
    names = []
    for symbol, obj in frames:
        if obj.startswith("libsqlite3"):
            names.append(symbol)
        elif not obj.startswith(("libc.", "inlined")):
            break
    if any(n.startswith(("sqlite3_prepare", "sqlite3RunParser")) for n in names):
        return "sqlite prepare"
    return "sqlite run" if any(n in ("sqlite3_step", "sqlite3VdbeExec") for n in names) else "sqlite other"


def own_area(frames, i, homes):
    mine = homes.get(frames[i][0], [])
    if len(mine) > 1:  # a static function that several folders have: the caller's
        for symbol, _ in frames[i + 1:]:
            near = [h for h in homes.get(symbol, []) if h in mine]
            if near:
                return near[0]
    return mine[0] if mine else "main"


def area_of(frames, homes):
    if frames[0][1].startswith("[kernel") or frames[0][1].startswith("[guest"):
        return kernel_area(frames)
    for i, (_, obj) in enumerate(frames):
        if obj.startswith("libsqlite3"):
            return sqlite_area(frames[i:])
        if obj == "piniond":
            return own_area(frames, i, homes)
    return "other libraries"


def fold(text, homes):
    """(samples, [(area, share)], [(symbol, area, share)])."""
    areas, symbols, n = collections.Counter(), collections.Counter(), 0
    for frames in stacks(text):
        n += 1
        area = area_of(frames, homes)
        areas[area] += 1
        symbols[(frames[0][0], area)] += 1
    share = 100 / max(n, 1)
    return n, [(a, c * share) for a, c in areas.most_common()], [(s, a, c * share) for (s, a), c in symbols.most_common(25)]


def record(bench, load):
    """perf script's text of one run."""
    server, data, seconds = bench.rig().pinion, bench.work / "perf.data", bench.options.seconds
    pgbench = workload.start(server, bench.scripts, load["script"], clients=load["clients"], seconds=seconds + 4, protocol=load["protocol"])
    try:
        pids = servers.wait_backends(server, load["clients"])
        p = subprocess.run(["perf", "record", "-q", "-F", str(FREQUENCY), "--call-graph", "dwarf,16384", "-o", data, "-p",
                            ",".join(map(str, pids)), "--", "sleep", str(seconds)], capture_output=True, text=True, check=False)
        if p.returncode != 0:
            raise workload.Failed(f"perf record: {p.stderr.strip()[-300:]}")
    finally:
        pgbench.communicate()
    p = subprocess.run(["perf", "script", "-i", data, "-F", "comm,ip,sym,dso"], capture_output=True, text=True, check=True)
    data.unlink()
    return p.stdout


def as_markdown(n, areas, symbols):
    out = [f"{n} samples of the backends' processor time.", "", "| Area | Share |", "|---|---|"]
    out += [f"| {AREAS.get(a, a)} | {s:.1f} % |" for a, s in areas if s >= 0.5]
    out += ["", "| Function | Area | Share |", "|---|---|---|"]
    return out + [f"| `{f}` | {AREAS.get(a, a)} | {s:.1f} % |" for f, a, s in symbols]


def run(bench, build):
    homes, profiles = folders(build), []
    for load in WORKLOADS:
        n, areas, symbols = fold(record(bench, load), homes)
        print(f"\nprofile: {load['what']} ({n} samples)")
        for a, s in areas:
            print(f"  {s:5.1f} %  {AREAS.get(a, a)}")
        print("  top functions:")
        for f, a, s in symbols:
            print(f"  {s:5.1f} %  {f:40} {a}", flush=True)
        profiles.append({"what": load["what"], "samples": n, "areas": areas, "symbols": symbols, "markdown": as_markdown(n, areas, symbols)})
    return profiles

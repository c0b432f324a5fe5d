"""What is said: a table on stdout, JSON, and RESULTS.md with the conditions."""
import json
import os
import platform
import statistics
import subprocess
import time
from pathlib import Path

import servers


def number(v):
    if v is None:
        return "–"
    return f"{v:,.0f}" if abs(v) >= 100 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}"


def times(v):
    return "–" if v is None else f"{v:.2f} ×"


def goal(line):
    if line["goal"] is None:
        return ""
    sign, bound, *unit = line["goal"]
    return f"{'≥' if sign == '>=' else '≤'} {bound} {unit[0] if unit else '×'} {'met' if line['met'] else 'NOT MET'}"


HEAD = ("Row", "What", "Unit", "Pinion", "PostgreSQL", "Ratio", "Goal", "Ceiling", "Its ratio", "µs of CPU")


def processor(line):
    """Processor time of the whole machine per transaction, the client's too: Pinion's / PostgreSQL's."""
    cost = line.get("processor_usec", {})
    return f"{cost['pinion']:.0f} / {cost['postgres']:.0f}" if "pinion" in cost and "postgres" in cost else "–"


def cells(line):
    if "error" in line:
        return (line["name"], line["what"], line["unit"], "failed", "", "", goal(line), "", "", "")
    return (line["name"], line["what"], line["unit"], number(line.get("pinion")), number(line.get("postgres")),
            times(line.get("ratio")), goal(line), number(line.get("ceiling")), times(line.get("ceiling_ratio")), processor(line))


def print_line(line):
    name, what, unit, *rest = cells(line)
    print(f"{name:25} {rest[0]:>9} {rest[1]:>10} {rest[2]:>8}  {rest[3]:16} {rest[4]:>9} {rest[5]:>8} {rest[6]:>11}  {what} [{unit}]", flush=True)
    for key in ("note", "error"):
        if line.get(key):
            print(f"{'':25} {line[key]}", flush=True)


def print_head():
    print(f"{'row':25} {'Pinion':>9} {'PostgreSQL':>10} {'ratio':>8}  {'goal':16} {'ceiling':>9} {'ratio':>8} {'µs of CPU':>11}", flush=True)


def first_line(path, key):
    for text in Path(path).read_text(errors="replace").splitlines():
        if text.startswith(key):
            return text.split(":", 1)[1].strip()
    return "?"


def output(*argv, cwd=None):
    p = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=cwd)
    return p.stdout.strip() or "?"


def host(bench):
    """What a host that has other guests took, of the processors' time, from the rounds that count."""
    if not bench.stolen:
        return "–"
    return (f"took {statistics.median(bench.stolen):.1%} of the processors' time (median of {len(bench.stolen)} rounds, {max(bench.stolen):.1%} at most); "
            f"{bench.n_again} disturbed rounds measured again")


def conditions(options, versions):
    """Where, when and how: what a reader needs to judge the figures or to repeat them."""
    here = Path(__file__).resolve().parents[2]
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "commit": output("git", "rev-parse", "--short=12", "HEAD", cwd=here) +
        (" with local changes" if output("git", "status", "--porcelain", "-uno", cwd=here) != "?" else ""),
        "machine": f"{os.cpu_count()} × {first_line('/proc/cpuinfo', 'model name')}, {first_line('/proc/meminfo', 'MemTotal')}",
        "kernel": platform.release(),
        "disk": output("findmnt", "-n", "-o", "SOURCE,FSTYPE,OPTIONS", "-T", str(options.tmp)),
        "load": f"{os.getloadavg()[0]:.2f} at the start",
        "versions": versions,
        "settings": {"both": servers.SETTINGS, "postgres": servers.ONLY_POSTGRES},
        "method": f"{options.pairs} alternated runs of {options.seconds} s, scale {options.scale}; ratio = median of the ratios",
        "loaded_machine": options.loaded_machine,
    }


def to_json(path, doc):
    Path(path).write_text(json.dumps(doc, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def to_markdown(path, doc):
    c = doc["conditions"]
    out = ["# Results", "", "Written by `tests/bench/run --results`; what the rows mean is in [README.md](README.md).", ""]
    if c["loaded_machine"]:
        out += ["**Taken on a machine that did other work at the same time: only the ratios mean something, and they are rough.**", ""]
    out += ["## Conditions", ""]
    out += [f"- {k}: {c[k]}" for k in ("date", "commit", "machine", "kernel", "disk", "load", "host", "method")]
    out += [f"- {v}" for v in c["versions"].values()]
    out += [f"- settings, {who}: " + ", ".join(f"`{k} = {v}`" for k, v in s.items()) for who, s in c["settings"].items()]
    if "syncs" in doc:
        out += [f"- the disk does {doc['syncs']:,.0f} writes of 8 kB with `fdatasync` a second: what one client that waits can reach"]
    out += ["", "## Table", "", "| " + " | ".join(HEAD) + " |", "|" + "---|" * len(HEAD)]
    out += ["| " + " | ".join(cells(line)) + " |" for line in doc["rows"]]
    notes = [f"- `{line['name']}`: {line.get('note') or line.get('error')}" for line in doc["rows"] if line.get("note") or line.get("error")]
    if notes:
        out += ["", *notes]
    for p in doc.get("profiles", []):
        out += ["", f"## Profile: {p['what']}", "", *p["markdown"]]
    Path(path).write_text("\n".join(out) + "\n", encoding="utf-8")

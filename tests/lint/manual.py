#!/usr/bin/env python3
"""The manual has what there is: pinionctl(1) every command of ctl/verbs.def, each with its options, and every exit code; pinion.control(7) every method, under those
who may call it, and piniond(8) every option of --help. Prints each difference and exits 1."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
options = {m[0]: (m[1], m[2]) for m in re.findall(r'^OPTION\((\w+),\s*(0|\'\w\'),\s*"([\w-]+)"', (ROOT / "ctl/options.def").read_text(), re.M)}
verbs = {m[0]: set(re.findall(r"OPT\((\w+)\)", m[1])) for m in
         re.findall(r'^VERB\("([\w-]+)", \w+, "[^"]*", \d+, \d+, ([^"]*),\s*"', (ROOT / "ctl/verbs.def").read_text(), re.M)}
manual = (ROOT / "packaging/man/pinionctl.1").read_text().replace("\\-", "-")
heads = {re.split(r"[ \\]", line)[0]: line for line in
         re.findall(r"^\.TP\n\.BR? (.*)$", manual.split(".SH COMMANDS\n")[1].split(".SH OUTPUT\n")[0], re.M)}

wrong = [f"{v}: not in the manual" for v in sorted(set(verbs) - set(heads))]
wrong += [f"{h}: in the manual, but no command" for h in sorted(set(heads) - set(verbs))]
for verb in sorted(set(verbs) & set(heads)):
    for name, (short, long) in options.items():
        there = f"--{long} " in heads[verb] + " " or (short != "0" and re.search(rf"-{short[1]}\b", heads[verb]))
        if bool(there) != (name in verbs[verb]):
            wrong.append(f"{verb}: --{long} is {'in the manual, but not taken' if there else 'not in the manual'}")
def page(name):
    return (ROOT / "packaging/man" / name).read_text().replace("\\-", "-")


# pinionctl(1): the exit codes of util.h
codes = {int(c) for c in re.findall(r"^    CTL_\w+ = (\d+),", (ROOT / "ctl/util.h").read_text(), re.M)}
there = {int(c) for c in re.findall(r"^(\d+)\t", manual.split(".SH EXIT STATUS\n")[1].split(".SH ")[0], re.M)}
wrong += [f"exit code {c}: {'not in the manual' if c in codes else 'in the manual only'}" for c in sorted(codes ^ there)]
for short, name in options.values():
    if f"--{name}" not in manual and (short == "0" or not re.search(rf"-{short[1]}\b", manual)) and name not in ("help", "version"):
        wrong.append(f"--{name}: nowhere in the manual")

# pinion.control(7): who may call which method
methods = re.findall(r'^CONTROL_METHOD\(\w+, "[\w.]+", (\w+), (PUBLIC|MONITOR|ADMIN),', (ROOT / "src/tbl/control_methods.def").read_text(), re.M)
who = re.split(r"^\.TP\n.*$", page("pinion.control.7").split(".SH PERMISSIONS\n")[1].split(".SH ")[0], flags=re.M)[1:]
for name, level in methods:
    if not re.search(rf"\b{name}\b", who[["PUBLIC", "MONITOR", "ADMIN"].index(level)]):
        wrong.append(f"{name}: not in pinion.control(7) for {level}")
wrong += [f"{name}: in pinion.control(7), but no method" for name in sorted(set(re.findall(r"\b[A-Z][a-z]+[A-Z]\w+\b", "".join(who))) - {m[0] for m in methods})]

# piniond(8): the options of --help
usage = re.findall(r'^    "  +(-\w)?(?:, )?(--[\w-]+)?', (ROOT / "src/main.c").read_text().split("usage_text[]")[1].split("struct options")[0], re.M)
daemon = page("piniond.8")
wrong += [f"{option}: not in piniond(8)" for pair in usage for option in pair if option and option not in daemon]

for line in wrong:
    print(line)
if not wrong:
    print(f"manual: {len(verbs)} commands of pinionctl with their options, {len(methods)} methods, {len(usage)} options of piniond")
sys.exit(bool(wrong))

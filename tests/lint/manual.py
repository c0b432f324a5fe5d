#!/usr/bin/env python3
"""pinionctl(1) has every command of ctl/verbs.def, and each with its options, and no other. Prints each difference and exits 1."""
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
for line in wrong:
    print(line)
if not wrong:
    print(f"manual: {len(verbs)} commands of pinionctl with their options")
sys.exit(bool(wrong))

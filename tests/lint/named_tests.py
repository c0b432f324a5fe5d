#!/usr/bin/env python3
"""Every test that the tables of tests/README.md name is there: a file (`fault/fault_commit.c`; two digits are
`integration/test_NN_*.py`), a program (`fuzz_conf`), or a part of a test's name in the file named before it."""
import re
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
SECTIONS = ("The rules' own tests", "Scenarios", "Bad input")
SCENARIOS = "1-5 7-14 17 18 20-25 28-45 47-56 58-67 71-81 84-93 98 99 124-129 134 136 141-143"   # those that this version must pass
TOKEN = re.compile(r"\b(\d\d)\b(?= `)|`([^`]+)`")


def sections():
    text = (TESTS / "README.md").read_text()
    for title in SECTIONS:
        yield title, re.split(r"^## ", text.split(f"## {title}\n")[1], flags=re.M)[0]


def find(name):
    """The files of a name, or none."""
    if re.fullmatch(r"\d\d", name):
        return list(TESTS.glob(f"integration/test_{name}_*.py"))
    if name.endswith((".c", ".py")):
        return list(TESTS.glob(name if "/" in name else f"*/{name}"))
    if re.match(r"(fuzz|sim|fault)_", name):
        return list(TESTS.glob(f"*/{name}.c")) + list(TESTS.glob(f"sim/{name.removeprefix('sim_')}.c"))
    return []


def missing():
    for title, text in sections():
        rows = [line.rstrip("|") for line in text.splitlines() if line.startswith("| ")][1:]
        if len(rows) < 10:
            yield f"no table in \"{title}\""
        for row in rows:
            files = []
            for number, name in TOKEN.findall(row.rsplit("|", 1)[1]):
                found = find(number or name)
                if found:
                    files = found
                elif not any(re.search(rf"\w*{re.escape(name.split('[')[0])}\w*\(", f.read_text()) for f in files):
                    yield f"{row[:60]} …: {number or name}"


def forgotten():
    """Scenarios without a row, or with two."""
    table = dict(sections())["Scenarios"]
    named = [int(n) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.M) for n in row.split(",")]
    for part in SCENARIOS.split():
        first, _, last = part.partition("-")
        for n in range(int(first), int(last or first) + 1):
            if named.count(n) != 1:
                yield f"AC{n:03} has {named.count(n)} rows"


wrong = [*missing(), *forgotten()]
for line in wrong:
    print(line)
if not wrong:
    print("every test that is named is there")
sys.exit(bool(wrong))

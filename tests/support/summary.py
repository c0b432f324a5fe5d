#!/usr/bin/env python3
"""Adds up meson's JSON logs and pytest's JUnit files: lists failures and skips, ends with the line CI reads. A skip that a Debian package could
have avoided ("not installed") is a failure."""
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


def from_meson(path):
    for line in Path(path).read_text().splitlines():
        t = json.loads(line)
        label = f"{Path(path).parents[1].name} {t['name']}"
        if t["result"] in ("OK", "EXPECTEDFAIL"):
            yield label, "passed", ""
        elif t["result"] == "SKIP":
            yield label, "skipped", next((x for x in t.get("stdout", "").splitlines() if "SKIP" in x), "")
        else:
            yield label, "failed", t["result"]


def from_junit(path):
    for case in ET.parse(path).getroot().iter("testcase"):
        label = f"{case.get('classname')}::{case.get('name')}"
        if case.find("failure") is not None or case.find("error") is not None:
            yield label, "failed", ""
        elif case.find("skipped") is not None:
            yield label, "skipped", case.find("skipped").get("message", "")
        else:
            yield label, "passed", ""


def main(paths):
    count = {"passed": 0, "failed": 0, "skipped": 0}
    for path in paths:
        if not Path(path).exists():
            print(f"failed: {path}: no results were written")
            count["failed"] += 1
            continue
        for label, result, why in (from_junit if path.endswith(".xml") else from_meson)(path):
            if result == "skipped" and "not installed" in why:
                result = "failed"
            count[result] += 1
            if result != "passed":
                print(f"{result}: {label}  {why}")
    print("{passed} passed, {failed} failed, {skipped} skipped".format(**count))
    return 1 if count["failed"] or not count["passed"] else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

#!/usr/bin/env python3
"""Adds up meson's JSON logs and pytest's JUnit files: lists failures, with the end of what they said, and skips; ends with the line CI reads. A skip
that a Debian package could have avoided ("not installed") is a failure."""
import json
import sys
import xml.etree.ElementTree as ET
from pathlib import Path


WORDS = 30   # lines of a failed test: CI's reader may see only the end of the whole


def last_words(*texts):
    lines = [x for text in texts for x in (text or "").splitlines()]
    return "".join(f"\n    | {x[:300]}" for x in lines[-WORDS:])


def from_meson(path):
    for line in Path(path).read_text().splitlines():
        t = json.loads(line)
        label = f"{Path(path).parents[1].name} {t['name']}"
        if t["result"] in ("OK", "EXPECTEDFAIL"):
            yield label, "passed", ""
        elif t["result"] == "SKIP":
            yield label, "skipped", next((x for x in t.get("stdout", "").splitlines() if "SKIP" in x), "")
        else:
            yield label, "failed", f"{t['result']}, code {t.get('returncode')}" + last_words(t.get("stdout"), t.get("stderr"))


def from_junit(path):
    for case in ET.parse(path).getroot().iter("testcase"):
        label = f"{case.get('classname')}::{case.get('name')}"
        failures = [x for x in case if x.tag in ("failure", "error")]
        if failures:
            yield label, "failed", last_words(*[x.text for x in failures])
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

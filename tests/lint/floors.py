#!/usr/bin/env python3
"""A folder includes its own headers and those of lower floors, as src/tbl/floors.def lists them; a library is
included only where it is at home; ctl takes nothing of src but tbl. Prints each breach and exits 1."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
INCLUDE = re.compile(r'^\s*#\s*include\s+(["<])([^">]+)[">]', re.M)


def table():
    text = (ROOT / "src/tbl/floors.def").read_text()
    floors = {f: a.split() for f, a in re.findall(r'^FLOOR\(\s*(\S+?),\s*"([^"]*)"\)', text, re.M)}
    libs = [(p, h.split()) for p, h in re.findall(r'^LIBRARY\("([^"]+)",\s*"([^"]*)"\)', text, re.M)]
    return floors, libs


def check_own(folder, target, floors):
    home = target.split("/")[0] if "/" in target else "."
    allowed = floors.get(folder)
    if allowed is None:
        return f"folder {folder} is not in floors.def"
    if home in (folder, "tbl") or home in allowed or target in allowed:
        return None
    return f"{folder} may not include {target}"


def check_library(folder, target, libs):
    for prefix, homes in libs:
        if target.startswith(prefix) and folder not in homes:
            return f"{folder} may not include <{target}>"
    return None


def check_ctl(quote, target):
    if quote == '"' and (ROOT / "src" / target).exists() and not target.startswith("tbl/"):
        return f"ctl may not include {target}"
    if quote == "<" and target.startswith(("json-c/", "sqlite3", "systemd/")):
        return f"ctl may not include <{target}>"
    return None


def main():
    floors, libs = table()
    breaches = []
    for path in sorted((ROOT / "src").rglob("*.[ch]")):
        rel = path.relative_to(ROOT / "src")
        folder = rel.parts[0] if len(rel.parts) > 1 else "."
        for quote, target in INCLUDE.findall(path.read_text()):
            what = (check_own(folder, target, floors) if quote == '"'
                    else check_library(folder, target, libs))
            if what:
                breaches.append(f"{path.relative_to(ROOT)}: {what}")
    for path in sorted((ROOT / "ctl").rglob("*.[ch]")):
        for quote, target in INCLUDE.findall(path.read_text()):
            what = check_ctl(quote, target)
            if what:
                breaches.append(f"{path.relative_to(ROOT)}: {what}")
    print("\n".join(breaches) or "floors: every include is allowed")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

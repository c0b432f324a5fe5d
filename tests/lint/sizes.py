#!/usr/bin/env python3
"""Files up to 800 lines, functions up to 60, lines up to 100 columns; every folder of src has a README; nothing new at the top level.
Tables (between clang-format off and on, and .def files) do not count. Prints each breach and exits 1."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES, FUNCTION_LINES, COLUMNS = 800, 60, 100
OFF, ON = "/* clang-format off */", "/* clang-format on */"
TOP = {"meson.build", "src", "units", "ctl", "tests", "packaging", "README.md", "LICENSE", "meson_options.txt"}


def counted(lines):
    """The lines that are no table: (number, text)."""
    table = False
    for no, text in enumerate(lines, 1):
        table = table or OFF in text
        if not table:
            yield no, text
        table = table and ON not in text


def functions(rows):
    """(first line, length) of each function body: a '{' in column 0 up to the '}' in column 0."""
    start = None
    for no, text in rows:
        if text.startswith("{"):
            start = no
        elif text.startswith("}") and start is not None:
            if text.rstrip() == "}":
                yield start, no - start - 1
            start = None


def name_of(lines, at):
    for k in range(at - 1, max(at - 12, 0), -1):
        m = re.match(r"(\w+)\(", lines[k - 1])
        if m:
            return m.group(1)
    return "?"


def check(path):
    lines = path.read_text().splitlines()
    rows = list(counted(lines))
    if len(rows) > FILE_LINES:
        yield f"{len(rows)} lines, at most {FILE_LINES}"
    for at, n in functions(rows):
        if n > FUNCTION_LINES:
            yield f"line {at}: {name_of(lines, at)}() has {n} lines, at most {FUNCTION_LINES}"
    for no, text in rows:
        if len(text) > COLUMNS:
            yield f"line {no}: {len(text)} columns, at most {COLUMNS}"


def main():
    breaches = []
    for top in ("src", "ctl", "tests"):
        for path in sorted((ROOT / top).rglob("*.[ch]")):
            breaches += [f"{path.relative_to(ROOT)}: {b}" for b in check(path)]
    for folder in sorted((ROOT / "src").iterdir()):
        if folder.is_dir() and any(folder.glob("*.c")) and not (folder / "README.md").exists():
            breaches.append(f"src/{folder.name}: no README.md")
    for path in sorted(ROOT.iterdir()):
        if not path.name.startswith((".", "build")) and path.name not in TOP:
            breaches.append(f"{path.name}: the top level is fixed")
    print("\n".join(breaches) or "sizes: every file and function is within its bounds")
    return 1 if breaches else 0


if __name__ == "__main__":
    sys.exit(main())

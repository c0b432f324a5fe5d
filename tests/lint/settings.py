#!/usr/bin/env python3
"""src/tbl/settings.def and settings_elsewhere.def fit together, and pinion.conf(5), which is made of them, has every row."""
import collections
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TABLES = [ROOT / "src/tbl/settings.def", ROOT / "src/tbl/settings_elsewhere.def"]
PAGE = ROOT / "packaging/man/settings.py"


def load():
    spec = importlib.util.spec_from_file_location("man_settings", PAGE)
    module = importlib.util.module_from_spec(spec)
    sys.dont_write_bytecode = True
    spec.loader.exec_module(module)
    return module


def twice(names):
    return [f"{n}: stands twice" for n, count in collections.Counter(n.lower() for n in names).items() if count > 1]


def check_tables(settings, elsewhere):
    wrong = twice([s.name for s in settings]) + twice([name for name, _ in elsewhere])
    for name, hint in elsewhere:
        for s in settings:
            if name.endswith("*") and s.name.lower().startswith(name[:-1].lower()) or s.name.lower() == name.lower():
                wrong.append(f"{s.name}: is a setting now: take {name} out of settings_elsewhere.def")
        if not re.match(r"[A-Za-z].*[.]$", hint):
            wrong.append(f"{name}: its hint is no sentence")
    for s in settings:
        if not re.match(r"[A-Z].*[.]$", s.text):
            wrong.append(f"{s.name}: its description is no sentence")
        if (s.type == "ENUM") != bool(s.values):
            wrong.append(f"{s.name}: values belong to ENUM, and only to it")
        if s.unit != "NONE" and s.type not in ("INT", "REAL"):
            wrong.append(f"{s.name}: a {s.type} has no unit")
    return wrong


def check_page(settings):
    page = subprocess.run([sys.executable, PAGE, *TABLES], capture_output=True, text=True, check=True).stdout
    listed = collections.Counter(name.replace("\\-", "-") for name in re.findall(r"^\.BR (\S+) \" \(", page, re.M))
    wrong = [f"{s.name}: {listed[s.name]} times in pinion.conf(5)" for s in settings if listed[s.name] != 1]
    if shutil.which("groff"):
        said = subprocess.run(["groff", "-man", "-Tutf8", "-ww"], input=page, capture_output=True, text=True, check=False).stderr
        wrong += [f"pinion.conf(5): {line}" for line in said.splitlines()]
    return wrong


def main():
    module = load()
    settings, elsewhere = module.settings(TABLES[0]), module.elsewhere(TABLES[1])
    wrong = check_tables(settings, elsewhere) + check_page(settings)
    print("\n".join(wrong) or f"settings: {len(settings)}, all in pinion.conf(5)")
    return 1 if wrong or not settings else 0


if __name__ == "__main__":
    sys.exit(main())

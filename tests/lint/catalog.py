#!/usr/bin/env python3
"""Every MESSAGE_ID of src/tbl/messages.def has a text in units/pinion.catalog and a place in src that says it, and the other
way round: a message of the catalogue that nobody says is a promise nobody keeps."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main():
    rows = re.findall(r'^MESSAGE\(\s*(\w+),\s*"([0-9a-f]{32})"', (ROOT / "src/tbl/messages.def").read_text(), re.M)
    table = {i for _, i in rows}
    source = "".join(p.read_text() for p in (ROOT / "src").rglob("*.c"))
    texts = re.findall(r"^-- ([0-9a-f]{32})$", (ROOT / "units/pinion.catalog").read_text(), re.M)
    wrong = [f"{i}: no text in units/pinion.catalog" for i in sorted(table - set(texts))]
    wrong += [f"{i}: not in src/tbl/messages.def" for i in sorted(set(texts) - table)]
    wrong += [f"{i}: twice in units/pinion.catalog" for i in sorted(i for i in set(texts) if texts.count(i) > 1)]
    wrong += [f"{name}: in src/tbl/messages.def, but nobody logs it" for name, _ in rows if not re.search(rf"\bLOG_EVENT_{name}\b", source)]
    wrong += [f"{i}: twice in src/tbl/messages.def" for i in sorted(table) if sum(i == x for _, x in rows) > 1]
    print("\n".join(wrong) or "catalog: complete")
    return 1 if wrong or not table else 0


if __name__ == "__main__":
    sys.exit(main())

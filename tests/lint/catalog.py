#!/usr/bin/env python3
"""Every MESSAGE_ID of src/tbl/messages.def has a text in units/pinion.catalog, and the other way round."""
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def main():
    table = set(re.findall(r'^MESSAGE\(\s*\w+,\s*"([0-9a-f]{32})"', (ROOT / "src/tbl/messages.def").read_text(), re.M))
    texts = re.findall(r"^-- ([0-9a-f]{32})$", (ROOT / "units/pinion.catalog").read_text(), re.M)
    wrong = [f"{i}: no text in units/pinion.catalog" for i in sorted(table - set(texts))]
    wrong += [f"{i}: not in src/tbl/messages.def" for i in sorted(set(texts) - table)]
    wrong += [f"{i}: twice in units/pinion.catalog" for i in sorted(i for i in set(texts) if texts.count(i) > 1)]
    print("\n".join(wrong) or "catalog: complete")
    return 1 if wrong or not table else 0


if __name__ == "__main__":
    sys.exit(main())

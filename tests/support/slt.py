#!/usr/bin/env python3
"""Runs files in the public sqllogictest format: on a server of ours over the wire, or on SQLite itself.

    slt.py --host DIR --port N [--database D] FILE…    each file in the database as it is
    slt.py --sqlite FILE…                              on an empty database in memory
    slt.py --sqlite --complete FILE…                   writes the results that SQLite gives into the files

Records: `statement ok|error [SQLSTATE]`, `query TYPES [nosort|rowsort|valuesort] [label]` with `----` and one value a line or
"N values hashing to MD5", `hash-threshold N`, `skipif NAME`, `onlyif NAME`, `halt`. The SQLSTATE is ours; SQLite has none. Values are
compared as the format says: I as an integer, R with three decimals, T as text with (empty), NULL, and @ for what cannot be printed."""
import argparse
import hashlib
import re
import sqlite3
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import wire  # noqa: E402  (tests/support/wire.py)


class Failure(Exception):
    """Something is not as the file says."""


class SqlError(Exception):
    def __init__(self, code, message):
        super().__init__(f"[{code}] {message}")
        self.code = code


class Ours:
    """A session of ours. It answers to sqlite as well: its dialect is SQLite's."""
    names = {"pinion", "sqlite"}

    def __init__(self, session):
        self.session = session

    def run(self, sql):
        r = self.session.query(sql)
        if r.errors:
            raise SqlError(r.code, r.error)
        return r.rows


class Plain:
    """SQLite without us."""
    names = {"sqlite"}

    def __init__(self):
        self.db = sqlite3.connect(":memory:", isolation_level=None)
        self.db.text_factory = lambda b: b.decode(errors="surrogateescape")
        self.db.execute("PRAGMA foreign_keys = ON")

    def run(self, sql):
        try:
            rows = self.db.execute(sql).fetchall()
        except (sqlite3.Error, sqlite3.Warning) as e:
            raise SqlError(None, str(e)) from None
        return [tuple("\\x" + v.hex() if isinstance(v, bytes) else v for v in row) for row in rows]


class Record:
    def __init__(self, line, words, conditions):
        self.line, self.words, self.conditions = line, words, conditions
        self.sql, self.want = [], None   # want: lines behind ----, None without it
        self.want_at = (0, 0)            # their place in the file

    @property
    def kind(self):
        return self.words[0]

    def is_for(self, names):
        return all((name in names) == (what == "onlyif") for what, name in self.conditions)


def parse(text):
    """The records of a file, one by one: what is behind a halt need not be any."""
    lines, conditions, i = text.split("\n"), [], 0
    while i < len(lines):
        words = lines[i].split()
        if not words or words[0].startswith("#"):
            i += 1
            continue
        if words[0] in ("skipif", "onlyif"):
            conditions.append((words[0], words[1].lower()))
            i += 1
            continue
        r = Record(i + 1, words, conditions)
        conditions = []
        i += 1
        if words[0] in ("statement", "query"):
            while i < len(lines) and lines[i].strip() and lines[i] != "----":
                r.sql.append(lines[i])
                i += 1
            if i < len(lines) and lines[i] == "----":
                begin = i = i + 1
                while i < len(lines) and lines[i] != "":
                    i += 1
                r.want, r.want_at = lines[begin:i], (begin, i)
        elif words[0] not in ("halt", "hash-threshold"):
            raise Failure(f"line {r.line}: no such record: {' '.join(words)}")
        yield r


def rendered(value, kind):
    if value is None:
        return "NULL"
    if kind == "I":
        return re.match(r"\s*([+-]?\d+)|", str(int(value) if isinstance(value, float) else value)).group(1) or "0"
    if kind == "R":
        try:
            return f"{float(value):.3f}"
        except ValueError:
            return "0.000"
    text = str(value)
    return "".join(c if " " <= c <= "~" else "@" for c in text) if text else "(empty)"


def result_of(rows, types, sort):
    """All values as lines, in the order the record asks for."""
    for row in rows:
        if len(row) != len(types):
            raise Failure(f"{len(row)} columns, the types are {types}")
    lines = [[rendered(v, t) for v, t in zip(row, types)] for row in rows]
    if sort == "rowsort":
        lines.sort()
    values = [v for row in lines for v in row]
    if sort == "valuesort":
        values.sort()
    return values


def hashed(values):
    return f"{len(values)} values hashing to {hashlib.md5(''.join(v + chr(10) for v in values).encode()).hexdigest()}"


class Run:
    """One file on one engine."""

    def __init__(self, engine):
        self.engine, self.threshold, self.labels = engine, 0, {}
        self.done = {"statement": 0, "query": 0, "skipped": 0}

    def statement(self, r):
        if r.words[1] not in ("ok", "error"):
            raise Failure(f"no such statement: {r.words[1]}")
        try:
            self.engine.run("\n".join(r.sql))
        except SqlError as e:
            if r.words[1] == "ok":
                raise Failure(str(e)) from None
            if len(r.words) > 2 and e.code not in (None, r.words[2]):
                raise Failure(f"{e}, not {r.words[2]}") from None
            return
        if r.words[1] == "error":
            raise Failure("no error")

    def query(self, r):
        """The lines that the record must have."""
        types, sort = r.words[1], (r.words + ["nosort"])[2]
        if not re.fullmatch("[TIR]+", types) or sort not in ("nosort", "rowsort", "valuesort"):
            raise Failure(f"no such query: {' '.join(r.words)}")
        try:
            values = result_of(self.engine.run("\n".join(r.sql)), types, sort)
        except SqlError as e:
            raise Failure(str(e)) from None
        label = r.words[3] if len(r.words) > 3 else None
        if label and self.labels.setdefault(label, values) != values:
            raise Failure(f"another result than before under the label {label}")
        if r.want and re.fullmatch(r"\d+ values hashing to [0-9a-f]{32}", r.want[0]):
            return [hashed(values)]
        return [hashed(values)] if 0 < self.threshold < len(values) and r.want is None else values

    def one(self, r):
        if r.kind == "hash-threshold":
            self.threshold = int(r.words[1])
            return
        if not r.is_for(self.engine.names):
            self.done["skipped"] += 1
            return
        self.done[r.kind] += 1
        try:
            if r.kind == "statement":
                self.statement(r)
            elif (got := self.query(r)) != (r.want or []):
                raise Failure(f"got {got[:20]}, want {(r.want or [])[:20]}")
        except Failure as e:
            raise Failure(f"line {r.line}: {' '.join(r.words)}: {' '.join(r.sql)[:200]}: {e}") from None

    def file(self, text):
        """Counts of what was run."""
        for r in parse(text):
            if r.kind == "halt" and r.is_for(self.engine.names):
                break
            if r.kind != "halt":
                self.one(r)
        return self.done


def complete(text):
    """The file with the results that SQLite gives."""
    lines, run = text.split("\n"), Run(Plain())
    changes = []
    for r in parse(text):
        if r.kind == "halt":
            break
        if r.kind == "hash-threshold":
            run.threshold = int(r.words[1])
        elif r.kind == "statement" and r.is_for(Plain.names):
            run.statement(r)
        elif r.kind == "query" and r.is_for(Plain.names):
            r.want, at = None, r.want_at
            changes.append((at, run.query(r)))
    for (begin, end), values in reversed(changes):
        lines[begin:end] = values
    return "\n".join(lines)


class Place:
    """Where wire.Wire finds a server."""

    def __init__(self, data, port):
        self.data, self.port = data, port


def main():
    p = argparse.ArgumentParser()
    p.add_argument("files", nargs="+")
    p.add_argument("--host", help="directory of the Unix socket")
    p.add_argument("--port", type=int, default=5454)
    p.add_argument("--user", default="postgres")
    p.add_argument("--database", default="postgres")
    p.add_argument("--sqlite", action="store_true")
    p.add_argument("--complete", action="store_true")
    a = p.parse_args()
    failed = 0
    for name in a.files:
        path = Path(name)
        try:
            if a.complete:
                path.write_text(complete(path.read_text()))
            elif a.sqlite:
                print(name, Run(Plain()).file(path.read_text()))
            else:
                with wire.Wire(Place(a.host, a.port)) as w:
                    print(name, Run(Ours(w.login(a.user, a.database))).file(path.read_text()))
        except Failure as e:
            print(f"FAIL {name}: {e}")
            failed += 1
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())

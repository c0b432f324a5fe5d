"""The same generated SQL through Pinion and through SQLite itself: same rows, same counts, same kinds of error, same content at the end."""
import os
import random
import re
import sqlite3
import time

import server as support
from wire import connect

SEED = int(os.environ.get("PINION_SEED", "0")) or random.randrange(1, 2**31)
LONG = bool(os.environ.get("PINION_LONG"))
SECONDS = int(os.environ.get("PINION_SECONDS", "0")) or (600 if LONG else 12)
STEPS = 100_000 if LONG else 1200
SESSIONS = 3

# What SQLite says, as SQLSTATE.
KINDS = (("UNIQUE constraint failed", "23505"), ("NOT NULL constraint failed", "23502"), ("CHECK constraint failed", "23514"),
         ("FOREIGN KEY constraint failed", "23503"), ("no such table", "42P01"), ("no such column", "42703"),
         ("duplicate column name", "42701"), ("syntax error", "42601"), ("no such savepoint", "3B001"))


def kind_of(error):
    text = str(error)
    for words, code in KINDS:
        if words in text:
            return code
    if "already exists" in text or "already another table" in text:
        return "42P07"
    return "other"


class Schema:
    """What the generator knows to exist: tables with their columns, views, indexes, triggers. Only names; it may be wrong after a rollback."""

    def __init__(self):
        self.tables, self.views, self.indexes, self.n = {}, [], [], 0

    def copy(self):
        c = Schema()
        c.tables = {k: list(v) for k, v in self.tables.items()}
        c.views, c.indexes, c.n = list(self.views), list(self.indexes), self.n
        return c

    def name(self, prefix):
        self.n += 1
        return f"{prefix}{self.n}"


class Generator:
    """Random statements over a small moving schema."""

    def __init__(self, rng):
        self.rng, self.schema = rng, Schema()

    def copy_counter(self, schema):
        """Go back to an older schema; names are not used twice."""
        schema.n = self.schema.n
        self.schema = schema

    # ---- values and expressions

    def literal(self, kind=None):
        r = self.rng
        kind = kind or r.choice(("integer", "real", "text", "blob", "null"))
        if kind == "integer":
            return str(r.choice((0, 1, -1, r.randrange(20), r.randrange(-10**6, 10**6), 2**31, -2**63 + 1, 2**63 - 1)))
        if kind == "real":
            return repr(r.choice((0.0, 0.5, -1.25, r.uniform(-1000, 1000), 1e15, 1e-7, 123456789.125)))
        if kind == "text":
            text = "".join(r.choice("abcdeß€'\\% _\U0001F600") for _ in range(r.choice((0, 1, 3, 8, 40))))
            return "'" + text.replace("'", "''") + "'"
        if kind == "blob":
            return f"x'{r.randbytes(r.choice((0, 1, 8, 300))).hex()}'"
        return "NULL"

    def value(self, column):
        text = "NULL" if self.rng.random() < 0.1 else self.literal(column[1])
        # A rowid of 2^63 - 1 makes SQLite draw the next ones at random.
        return str(2**62) if column[0] == "id" and text == str(2**63 - 1) else text

    def column(self, table):
        return self.rng.choice(self.schema.tables[table])

    def predicate(self, table, prefix=""):
        r = self.rng
        name, kind = self.column(table)
        name = prefix + name
        return r.choice((
            lambda: f"{name} {r.choice(('=', '<', '>', '<=', '>=', '<>', 'IS', 'IS NOT'))} {self.literal(kind)}",
            lambda: f"{prefix}id % {r.randrange(2, 7)} = {r.randrange(3)}",
            lambda: f"{prefix}id BETWEEN {r.randrange(100)} AND {r.randrange(200)}",
            lambda: f"{name} IS NULL",
            lambda: f"{name} IN ({self.literal(kind)}, {self.literal(kind)}, {self.literal(kind)})",
            lambda: f"typeof({name}) LIKE '{r.choice('tirbn')}%'",
            lambda: f"NOT ({name} > {self.literal(kind)})",
        ))()

    def table(self):
        return self.rng.choice(sorted(self.schema.tables)) if self.schema.tables else None

    # ---- statements

    def create_table(self):
        r, s = self.rng, self.schema
        t = s.name("t")
        cols, defs = [("id", "integer")], ["id integer PRIMARY KEY" + (" AUTOINCREMENT" if r.random() < 0.2 else "")]
        for i in range(r.randrange(1, 5)):
            kind = r.choice(("integer", "real", "text", "blob"))
            extra = r.choice(("", "", "", " NOT NULL", f" DEFAULT {self.literal(kind)}", " UNIQUE",
                              f" CHECK (c{i} IS NULL OR typeof(c{i}) <> 'blob')", " COLLATE NOCASE" if kind == "text" else ""))
            cols.append((f"c{i}", kind))
            defs.append(f"c{i} {kind}{extra}")
        if s.tables and r.random() < 0.4:
            cols.append(("ref", "integer"))
            defs.append(f"ref integer REFERENCES {self.table()} (id)" +
                        r.choice(("", " ON DELETE CASCADE", " ON DELETE SET NULL", " DEFERRABLE INITIALLY DEFERRED")))
        if r.random() < 0.15:
            defs.append(f"UNIQUE ({cols[0][0]}, {cols[1][0]})")
        s.tables[t] = cols
        return f"CREATE TABLE {t} ({', '.join(defs)})" + (" WITHOUT ROWID" if "AUTOINC" not in defs[0] and r.random() < 0.15 else "")

    def other_ddl(self):
        r, s, t = self.rng, self.schema, self.table()
        which = r.choice(("index", "view", "trigger", "add", "drop", "rename", "dropindex", "dropview", "partial", "dropcol"))
        if which in ("index", "partial"):
            i = s.name("i")
            s.indexes.append(i)
            cols = ", ".join(self.column(t)[0] for _ in range(r.randrange(1, 3)))
            return f"CREATE {'UNIQUE ' if r.random() < 0.1 else ''}INDEX {i} ON {t} ({cols})" + \
                (f" WHERE {self.column(t)[0]} IS NOT NULL" if which == "partial" else "")
        if which == "view":
            v = s.name("v")
            s.views.append(v)
            return f"CREATE VIEW {v} AS SELECT id, count(*) AS n, max({self.column(t)[0]}) AS m FROM {t} GROUP BY id % 5"
        if which == "trigger":
            return f"CREATE TRIGGER {s.name('g')} AFTER INSERT ON {t} WHEN new.id % 7 = 0 BEGIN " \
                   f"UPDATE {t} SET {s.tables[t][1][0]} = {self.value(s.tables[t][1])} WHERE id = new.id - 1; END"
        if which == "add":
            name, kind = s.name("c"), r.choice(("integer", "text"))
            s.tables[t].append((name, kind))
            return f"ALTER TABLE {t} ADD COLUMN {name} {kind}" + r.choice(("", f" DEFAULT {self.literal(kind)}"))
        if which == "drop" and len(s.tables) > 3:
            del s.tables[t]
            return f"DROP TABLE {t}"
        if which == "rename":
            new = s.name("t")
            s.tables[new] = s.tables.pop(t)
            return f"ALTER TABLE {t} RENAME TO {new}"
        if which == "dropindex" and s.indexes:
            return f"DROP INDEX IF EXISTS {s.indexes.pop(r.randrange(len(s.indexes)))}"
        if which == "dropview" and s.views:
            return f"DROP VIEW IF EXISTS {s.views.pop(r.randrange(len(s.views)))}"
        if which == "dropcol" and len(s.tables[t]) > 3:
            return f"ALTER TABLE {t} DROP COLUMN {s.tables[t].pop()[0]}"
        return r.choice((f"REINDEX {t}", f"SELECT count(*) FROM {t}", "ANALYZE"))

    def insert(self):
        r, t = self.rng, self.table()
        cols = self.schema.tables[t]
        rows = []
        for _ in range(r.choice((1, 1, 2, 5, 20))):
            rows.append("(" + ", ".join(["NULL" if r.random() < 0.1 else str(r.randrange(200))] + [self.value(c) for c in cols[1:]]) + ")")
        names = ", ".join(c[0] for c in cols)
        head = r.choice(("INSERT", "INSERT", "INSERT", "INSERT OR IGNORE", "INSERT OR REPLACE", "REPLACE"))
        tail = r.choice(("", "", "", "", f" ON CONFLICT (id) DO UPDATE SET {cols[1][0]} = excluded.{cols[1][0]}", " ON CONFLICT DO NOTHING",
                         " RETURNING *"))
        if " OR " in head or head == "REPLACE":
            tail = ""
        return f"{head} INTO {t} ({names}) VALUES {', '.join(rows)}{tail}"

    def bulk(self):
        r, t = self.rng, self.table()
        c = self.schema.tables[t][1]
        return f"WITH RECURSIVE s(x) AS (VALUES ({r.randrange(1000)}) UNION ALL SELECT x + 1 FROM s LIMIT {r.choice((50, 300, 2000))}) " \
               f"INSERT OR REPLACE INTO {t} (id, {c[0]}) SELECT x * 3, " + \
               {"integer": "x * x", "real": "x / 7.0", "text": "printf('%.*c', x % 400, 'q') || x", "blob": "CAST(hex(x) AS blob)"}[c[1]] + " FROM s"

    def update(self):
        t = self.table()
        c = self.column(t)
        value = self.rng.choice((self.value(c), "id + 1" if c[1] == "integer" else self.value(c), c[0]))
        return f"UPDATE {self.rng.choice(('', '', 'OR IGNORE ', 'OR REPLACE '))}{t} SET {c[0]} = {value} WHERE {self.predicate(t)}"

    def delete(self):
        t = self.table()
        return f"DELETE FROM {t}" + (f" WHERE {self.predicate(t)}" if self.rng.random() < 0.95 else "")

    def select(self):
        r, a, b = self.rng, self.table(), self.table()
        ca = self.column(a)[0]
        return r.choice((
            lambda: f"SELECT * FROM {a} WHERE {self.predicate(a)}",
            lambda: f"SELECT count(*), count({ca}), min({ca}), max({ca}), count(DISTINCT {ca}) FROM {a}",
            lambda: f"SELECT x.id, y.id FROM {a} x JOIN {b} y ON x.id = y.id + {r.randrange(3)} WHERE {self.predicate(a, 'x.')}",
            lambda: f"SELECT x.id, y.{self.column(b)[0]} FROM {a} x LEFT JOIN {b} y ON x.id = y.id WHERE {self.predicate(a, 'x.')}",
            lambda: f"SELECT {ca}, count(*) FROM {a} GROUP BY {ca} HAVING count(*) > {r.randrange(3)}",
            lambda: f"SELECT id FROM {a} UNION SELECT id FROM {b} EXCEPT SELECT id FROM {a} WHERE {self.predicate(a)}",
            lambda: f"SELECT id, row_number() OVER (ORDER BY id), sum(id) OVER (ORDER BY id ROWS 2 PRECEDING) FROM {a} WHERE {self.predicate(a)}",
            lambda: f"SELECT id FROM {a} WHERE EXISTS (SELECT 1 FROM {b} WHERE {b}.id = {a}.id AND {self.predicate(b, b + '.')})",
            lambda: f"SELECT id FROM {a} ORDER BY {ca}, id LIMIT {r.randrange(1, 30)} OFFSET {r.randrange(5)}",
            lambda: f"SELECT * FROM {r.choice(self.schema.views)}" if self.schema.views else f"SELECT count(*) FROM {a}",
            lambda: f"SELECT {self.literal()}, {self.literal()}, {self.literal()} || {self.literal('text')}, abs({self.literal('real')})",
        ))()

    def wrong(self):
        t = self.table()
        return self.rng.choice((f"SELEC * FROM {t}", "SELECT * FROM nowhere", f"SELECT nope FROM {t}", f"INSERT INTO {t} (nope) VALUES (1)",
                                f"SELECT * FROM {t} WHERE", f"CREATE TABLE {t} (a integer)"))

    def statement(self):
        if len(self.schema.tables) < 3:
            return self.create_table()
        return self.rng.choices((self.create_table, self.other_ddl, self.insert, self.bulk, self.update, self.delete, self.select, self.wrong),
                                (2, 5, 25, 3, 15, 6, 40, 2))[0]()


def as_text(v):
    """A value of Python's sqlite3 as Pinion sends it; floats as floats."""
    if v is None or isinstance(v, float):
        return v
    return "\\x" + v.hex() if isinstance(v, bytes) else str(v)


def same_value(ours, theirs):
    theirs = as_text(theirs)
    if isinstance(theirs, float):
        return ours is not None and float(ours) == theirs
    return ours == theirs


def comparable(rows, key):
    return sorted(rows, key=lambda r: [key(v) for v in r])


def order_key(v):
    """The same place for '1.5' and 1.5, '7' and 7."""
    v = as_text(v)
    if v is None:
        return (0, "")
    if isinstance(v, float):
        v = repr(v)
    try:
        f = float(v)
        return (1, "", f, v if v.lstrip("-").isdigit() else "") if f == f else (2, v)   # large integers have one float
    except ValueError:
        return (2, v)


def same_rows(ours, theirs):
    if len(ours) != len(theirs):
        return False
    ours, theirs = comparable(ours, order_key), comparable(theirs, order_key)
    return all(len(a) == len(b) and all(map(same_value, a, b)) for a, b in zip(ours, theirs))


class Pair:
    """Pinion's sessions beside one SQLite database; a statement goes to both."""

    def __init__(self, server, rng):
        self.server, self.rng = server, rng
        self.theirs = sqlite3.connect(":memory:", isolation_level=None)
        self.theirs.text_factory = lambda b: b.decode(errors="surrogateescape")   # x'c0' || 'a' is no UTF-8
        self.theirs.execute("PRAGMA foreign_keys = ON")
        self.history, self.who = [], []
        self.connect()

    def connect(self):
        self.sessions = [connect(self.server) for _ in range(SESSIONS)]
        self.at = self.sessions[0]

    def switch(self):
        self.at = self.rng.choice(self.sessions)

    def close(self):
        for w in self.sessions:
            w.close()

    def both(self, text):
        """(Reply, rows or exception)."""
        self.history.append(text)
        self.who.append(self.sessions.index(self.at))
        reply = self.at.query(text)
        try:
            cursor = self.theirs.execute(text)
            theirs = cursor.fetchall()
            changes = cursor.rowcount
        except (sqlite3.Error, OverflowError) as e:
            return reply, e, None
        return reply, theirs, changes

    def fail(self, why):
        tail = "\n".join(t[:300] for t in self.history[-12:])
        names = "|".join(set(re.findall(r"\b[tiv]\d+\b", self.history[-1] + why))) or "nothing"
        told = [f"{i} session {w}: {t[:200]}" for i, (t, w) in enumerate(zip(self.history, self.who)) if re.search(rf"\b({names})\b", t)]
        tail += "\nwhat was said of these tables:\n" + "\n".join(told[-60:])
        raise AssertionError(f"PINION_SEED={SEED}: step {len(self.history)}: {why}\nlast statements:\n{tail}")

    def run(self, text):
        """True if it succeeded; both must agree."""
        reply, theirs, changes = self.both(text)
        if isinstance(theirs, Exception):
            if not reply.errors:
                self.fail(f"SQLite says {theirs!r}, Pinion {reply.tags}")
            want = kind_of(theirs)
            if want not in ("other", reply.code):
                self.fail(f"SQLite says {theirs!r}, Pinion {reply.errors[0]}")
            return False
        if reply.errors:
            self.fail(f"Pinion says {reply.errors[0]}, SQLite {theirs[:5]}")
        if not same_rows(reply.rows, theirs):
            self.fail(f"rows differ: Pinion {len(reply.rows)} {comparable(reply.rows, order_key)[:8]}, "
                      f"SQLite {len(theirs)} {comparable(theirs, order_key)[:8]}")
        word = text.split()[0]
        if word in ("UPDATE", "DELETE") and int(reply.tags[0].split()[-1]) != changes:
            self.fail(f"Pinion says {reply.tags}, SQLite {changes} changed")
        return True

    def command(self, text, theirs=None):
        """A transaction command; SQLite may need another one."""
        self.history.append(text)
        self.who.append(self.sessions.index(self.at))
        reply = self.at.query(text)
        if theirs is not None:
            self.theirs.execute(theirs)
        if reply.errors:
            self.fail(f"{text}: {reply.errors[0]}")
        return reply


def block(pair, gen, rng):
    """One transaction block with savepoints; errors are answered by ROLLBACK or ROLLBACK TO."""
    before = gen.schema.copy()
    pair.command(rng.choice(("BEGIN", "BEGIN ISOLATION LEVEL REPEATABLE READ", "BEGIN ISOLATION LEVEL SERIALIZABLE", "START TRANSACTION")),
                 "BEGIN")
    marks = []
    for _ in range(rng.randrange(1, 12)):
        what = rng.random()
        if what < 0.15:
            marks.append((f"s{len(marks)}", gen.schema.copy()))
            pair.command(f"SAVEPOINT {marks[-1][0]}", f"SAVEPOINT {marks[-1][0]}")
        elif what < 0.22 and marks:
            at = rng.randrange(len(marks))
            pair.command(f"ROLLBACK TO {marks[at][0]}", f"ROLLBACK TO {marks[at][0]}")
            gen.copy_counter(marks[at][1].copy())
            del marks[at + 1:]
        elif what < 0.26 and marks:
            at = rng.randrange(len(marks))
            pair.command(f"RELEASE SAVEPOINT {marks[at][0]}", f"RELEASE {marks[at][0]}")
            del marks[at:]
        elif not pair.run(gen.statement()):
            if pair.at.query("SELECT 1").code != "25P02":
                pair.fail("the block did not become a failed one")
            if not pair.theirs.in_transaction or not marks or rng.random() < 0.3:   # a full disk undoes all, savepoints too
                pair.command("ROLLBACK", "ROLLBACK" if pair.theirs.in_transaction else None)
                gen.copy_counter(before)
                return
            pair.command(f"ROLLBACK TO {marks[-1][0]}", f"ROLLBACK TO {marks[-1][0]}")
            gen.copy_counter(marks[-1][1].copy())
    if rng.random() < 0.2:
        pair.command("ROLLBACK", "ROLLBACK")
        gen.copy_counter(before)
        return
    reply, theirs, _ = pair.both("COMMIT")
    if isinstance(theirs, Exception):   # a deferred foreign key
        pair.theirs.execute("ROLLBACK")
        gen.copy_counter(before)
        if reply.code != kind_of(theirs):
            pair.fail(f"COMMIT: SQLite says {theirs!r}, Pinion {reply}")
    elif reply.errors or reply.tags != ["COMMIT"]:
        pair.fail(f"COMMIT: {reply}")


def compare_content(pair):
    schema = pair.theirs.execute("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name").fetchall()
    ours = pair.at.ok("SELECT type, name, tbl_name, sql FROM sqlite_master WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name").rows
    if ours != schema:
        pair.fail(f"schemas differ: {set(ours) ^ set(schema)}")
    for kind, name, _, _ in schema:
        if kind == "table":
            pair.run(f'SELECT * FROM "{name}"')
    if pair.at.ok("PRAGMA integrity_check").rows != [("ok",)]:
        pair.fail("integrity_check")


def restart(pair, how):
    pair.close()
    pair.server.kill9() if how == "kill" else pair.server.stop()
    pair.server.start()
    pair.connect()


def test_pinion_and_sqlite_agree(cluster):
    rng = random.Random(SEED)
    print(f"PINION_SEED={SEED}")
    # autovacuum's own commits would be 40001 to a REPEATABLE READ that writes behind them
    server = cluster(conf="shared_buffers = 1MB\nmax_wal_size = 8MB\nautovacuum = off\n", init_args=("--wal-segsize=1",))
    server.start()
    pair, gen = Pair(server, rng), Generator(rng)
    end, steps, restarts = time.monotonic() + SECONDS, 0, 0
    while steps < STEPS and time.monotonic() < end:
        steps += 1
        pair.switch()
        what = rng.random()
        if what < 0.35:
            block(pair, gen, rng)
        elif what < 0.355:
            pair.at.ok("CHECKPOINT")
            if pair.at.ok("PRAGMA quick_check").rows != [("ok",)] or (LONG and pair.at.ok("PRAGMA integrity_check").rows != [("ok",)]):
                pair.fail(f"damage: {pair.at.ok('PRAGMA integrity_check').rows[:5]}")
        elif what < (0.357 if LONG else 0.356):
            restart(pair, rng.choice(("kill", "stop")))
            restarts += 1
            compare_content(pair)
        else:
            before = gen.schema.copy()
            if not pair.run(gen.statement()):
                gen.copy_counter(before)
    compare_content(pair)
    restart(pair, "kill")
    compare_content(pair)
    pair.close()
    server.stop()
    check = sqlite3.connect(f"file:{server.data}/base/5/5?mode=ro", uri=True)
    assert check.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    assert sorted(check.iterdump()) == sorted(pair.theirs.iterdump())
    print(f"{steps} steps, {len(pair.history)} statements, {restarts + 1} restarts")


def test_the_comparison_itself_notices_differences():
    assert same_rows([("1", None, "0.5", "\\x00ff")], [(1, None, 0.5, b"\0\xff")])
    assert same_rows([("b",), ("a",)], [("a",), ("b",)])
    for ours, theirs in ([("1",)], [(2,)]), ([("1",)], []), ([(None,)], [("",)]), ([("0.5",)], [(0.25,)]):
        assert not same_rows(ours, theirs)
    support.until(lambda: True, "")

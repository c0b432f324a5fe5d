"""What a session says at the edges of the protocol, and what it leaves behind: beside it stands what PostgreSQL 15 answers to the same bytes."""
import struct

import pytest
import server as support
from wire import connect, cstr, message

SHARED = {"init_args": ("--wal-segsize=1",)}   # how the fixture of this name is made
INT8, TEXT, FLOAT8 = 20, 25, 701


@pytest.fixture
def wire(shared):
    with connect(shared) as w:
        w.ok("DROP TABLE IF EXISTS t; CREATE TABLE t (a integer PRIMARY KEY, b)")
        yield w


def parse(text, name="", types=()):
    return message("P", cstr(name) + cstr(text) + struct.pack(f"!H{len(types)}I", len(types), *types))


def bind(*values, name="", portal="", binary=False):
    body = struct.pack("!HHH", 1, binary, len(values)) + b"".join(struct.pack("!i", len(v)) + v for v in values)
    return message("B", cstr(portal) + cstr(name) + body + struct.pack("!H", 0))


def execute(portal="", limit=0):
    return message("E", cstr(portal) + struct.pack("!I", limit))


SYNC = message("S")


def count(w):
    return int(w.ok("SELECT count(*) FROM t").rows[0][0])


def talk(w, data):
    w.send(data)
    return w.read_to("Z")


# ---- errors that no statement made

BROKEN = {
    "query not utf8": (message("Q", b"SELECT '\xff'\0"), "22021"),
    "parse not utf8": (message("P", b"\0SELECT '\xff'\0\0\0") + SYNC, "22021"),
    "value not utf8": (parse("INSERT INTO t VALUES ($1, 1)") + bind(b"\xff") + execute() + SYNC, "22021"),
    "value cut": (parse("SELECT $1") + message("B", b"\0\0\0\0\0\1\0\0\0\5abc") + execute() + SYNC, "08P01"),
    "too long": (message("Q", b"SELECT '" + b"x" * (5 << 20) + b"'\0"), "53200"),
    "too long in a pipeline": (parse("SELECT $1") + bind(b"x" * (5 << 20)) + execute() + SYNC, "53200"),
    "function call": (message("F", struct.pack("!IHHH", 1, 0, 0, 0)), "0A000"),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_message_that_is_refused_fails_the_transaction_block(shared, what):
    """Else COMMIT would make half of a transaction durable, and say nothing."""
    data, code = BROKEN[what]
    with connect(shared, options="-c session_memory_limit=4MB") as w:
        w.ok("DROP TABLE IF EXISTS t; CREATE TABLE t (a integer PRIMARY KEY, b)")
        w.ok("BEGIN; INSERT INTO t VALUES (1, 1)")
        r = talk(w, data)
        assert (r.code, r.status) == (code, "E"), r
        assert w.query("INSERT INTO t VALUES (2, 2)").code == "25P02"
        assert w.ok("COMMIT").tags == ["ROLLBACK"]
        assert count(w) == 0


def test_a_message_that_is_refused_undoes_the_pipeline_it_is_in(shared, wire):
    wire.send(parse("INSERT INTO t VALUES (1, 1)") + bind() + execute() + message("Q", b"\xff\0"))
    assert wire.read_to("Z").code == "22021"
    with connect(shared) as other:
        assert count(other) == count(wire) == 0


# ---- values

@pytest.mark.parametrize("oid, value, binary, code", [
    (INT8, b"99999999999999999999", False, "22003"), (FLOAT8, b"1e400", False, "22003"),
    (FLOAT8, b"NaN", False, "0A000"), (FLOAT8, struct.pack("!d", float("nan")), True, "0A000"),
    (TEXT, b"a\xffb", True, "22021"), (TEXT, b"a\0b", True, "22021"), (TEXT, b"a\0b", False, "22021"),
], ids=["bigint", "double", "nan", "binary-nan", "binary-utf8", "binary-nul", "nul"])
def test_a_value_is_stored_as_it_was_sent_or_refused(wire, oid, value, binary, code):
    r = talk(wire, parse("INSERT INTO t VALUES (1, $1)", types=[oid]) + bind(value, binary=binary) + execute() + SYNC)
    assert (r.code, r.status) == (code, "I"), r
    assert count(wire) == 0


# ---- portals

@pytest.mark.parametrize("text", ["INSERT INTO t VALUES (1, 1)", "BEGIN", "DROP TABLE t"])
def test_a_portal_that_did_its_work_is_not_run_again(wire, text):
    r = talk(wire, parse(text) + bind() + execute() + execute() + SYNC)
    assert r.code in ("55000", "34000") and len(r.tags) == 1, r
    wire.query("ROLLBACK")


def test_a_portal_at_its_end_has_no_more_rows(wire):
    wire.ok("INSERT INTO t VALUES (1, 1)")
    r = talk(wire, parse("SELECT a FROM t") + bind() + execute() + execute() + SYNC)
    assert r.rows == [("1",)] and r.tags == ["SELECT 1", "SELECT 0"], r


def test_a_query_message_ends_the_unnamed_portal(wire):
    wire.ok("BEGIN")
    wire.send(parse("SELECT 1") + bind() + message("Q", cstr("SELECT 2")))
    assert wire.read_to("Z").rows == [("2",)]
    assert talk(wire, execute() + SYNC).code == "34000"
    wire.ok("ROLLBACK")


def test_an_empty_query_commits_the_pipeline_before_it(shared, wire):
    wire.send(parse("INSERT INTO t VALUES (1, 1)") + bind() + execute() + message("Q", cstr("")))
    assert wire.read_to("Z").kinds == "12CIZ"
    with connect(shared, options="-c lock_timeout=60s") as other:
        assert count(other) == 1
        other.ok("INSERT INTO t VALUES (2, 2)")   # nobody holds the writer lock


# ---- transactions and commands

def test_a_begin_that_failed_has_begun_nothing(shared, wire):
    assert wire.query("SELECT 1; BEGIN ISOLATION LEVEL SERIALIZABLE").status == "I"
    with connect(shared) as other:
        other.ok("BEGIN IMMEDIATE")
        wire.ok("SET lock_timeout = '50ms'")
        r = wire.query("BEGIN IMMEDIATE")
        assert (r.code, r.status) == ("55P03", "I"), r
        other.ok("ROLLBACK")
    assert wire.ok("INSERT INTO t VALUES (1, 1)").status == "I"


def test_a_read_only_transaction_makes_and_drops_no_database(wire):
    wire.ok("CREATE DATABASE kept")
    wire.ok("SET default_transaction_read_only = on")
    for text in ("CREATE DATABASE other", "DROP DATABASE kept", "DROP DATABASE IF EXISTS other"):
        assert wire.query(text).code == "25006", text
    wire.ok("RESET default_transaction_read_only")
    wire.ok("DROP DATABASE kept")


def test_what_is_closed_or_forgotten_is_read_to_its_end(wire):
    assert wire.query("CLOSE nothing").code == "34000"
    assert wire.query("CLOSE a b").code == "42601"
    assert wire.query("UNLISTEN").code == wire.query("UNLISTEN 1").code == "42601"
    assert wire.ok("CLOSE ALL; UNLISTEN *; UNLISTEN somebody").tags == ["CLOSE CURSOR ALL", "UNLISTEN", "UNLISTEN"]


# ---- prepared statements

def test_a_statement_may_have_65535_parameters(wire):
    n = 65535
    text = "INSERT INTO t (b) VALUES " + ",".join(f"(${i})" for i in range(1, n + 1))
    r = talk(wire, parse(text, types=[INT8] * n) + bind(*[str(i).encode() for i in range(n)]) + execute() + SYNC)
    assert r.tags == [f"INSERT 0 {n}"], r
    assert wire.ok("SELECT count(*) FROM t WHERE b = a - 1").rows == [(str(n),)]


@pytest.mark.parametrize("n", [3, 100], ids=["few", "many"])
def test_parameters_are_taken_by_their_numbers(wire, n):
    text = "SELECT " + ",".join(f"${i}" for i in range(n, 0, -1)) + f", $1 || ${n}, $2::int"
    r = talk(wire, parse(text) + bind(*[str(i).encode() for i in range(1, n + 1)]) + execute() + SYNC)
    assert not r.errors and r.rows[0] == (*(str(i) for i in range(n, 0, -1)), f"1{n}", "2"), r
    for text in ("SELECT $0", "SELECT $65536"):
        assert talk(wire, parse(text) + SYNC).code == "42P02", text
    assert (wire.query("SELECT $1").code, wire.query("SELECT $1").error) == ("42P02", "there is no parameter $1")


def test_a_prepared_statement_writes_to_the_table_that_its_name_means_now(shared, wire):
    """A temporary table takes no writer lock; the one behind it does."""
    wire.ok("CREATE TEMP TABLE hidden (a); CREATE TABLE main.hidden (a)")
    assert not talk(wire, parse("INSERT INTO hidden VALUES (1)", name="ins") + parse("SELECT * FROM hidden", name="sel") + SYNC).errors
    run = bind(name="ins") + execute() + SYNC
    assert talk(wire, run).tags == ["INSERT 0 1"]
    wire.ok("DROP TABLE temp.hidden")
    assert talk(wire, run).tags == ["INSERT 0 1"]
    wire.ok("BEGIN")
    assert talk(wire, run).tags == ["INSERT 0 1"]
    wire.ok("COMMIT")
    with connect(shared) as other:
        assert other.ok("SELECT count(*) FROM hidden").rows == [("2",)]
    wire.ok("ALTER TABLE hidden ADD COLUMN b")
    r = talk(wire, bind(name="sel") + execute() + SYNC)
    assert (r.code, r.error) == ("0A000", "cached plan must not change result type")
    wire.ok("DROP TABLE hidden")


@pytest.mark.parametrize("change", ["ALTER TABLE t ADD COLUMN c", "ALTER TABLE t DROP COLUMN b"])
def test_a_prepared_statement_whose_columns_another_session_changed_says_so(shared, wire, change):
    """The code by which drivers know that they have to prepare again."""
    wire.ok("INSERT INTO t VALUES (1, 1)")
    talk(wire, parse("SELECT *, 1 FROM t", name="s") + SYNC)
    with connect(shared) as other:
        other.ok(change)
    for _ in range(2):
        r = talk(wire, bind(name="s") + message("D", b"P\0") + execute() + SYNC)
        assert (r.code, r.error) == ("0A000", "cached plan must not change result type")
    assert talk(wire, parse("SELECT *, 1 FROM t") + bind() + message("D", b"P\0") + execute() + SYNC).tags == ["SELECT 1"]


def test_many_prepared_statements_are_found_by_their_names(wire):
    n = 3000
    r = talk(wire, b"".join(parse(f"SELECT {i}", name=f"s{i}") for i in range(n)) + SYNC)
    assert r.kinds == "1" * n + "Z"
    for i in (0, 1, n // 2, n - 1):
        assert talk(wire, bind(name=f"s{i}") + execute() + SYNC).rows == [(str(i),)]
    assert wire.ok("DEALLOCATE s1").tags == ["DEALLOCATE"] and talk(wire, bind(name="s1") + SYNC).code == "26000"
    assert talk(wire, bind(name="s2") + execute() + SYNC).rows == [("2",)]
    wire.ok("DEALLOCATE ALL")
    assert all(talk(wire, bind(name=f"s{i}") + SYNC).code == "26000" for i in (0, 2, n - 1))


# ---- what is left behind

def test_discard_all_takes_back_what_pragmas_changed(wire):
    names = ("recursive_triggers", "reverse_unordered_selects", "automatic_index", "analysis_limit")

    def state():
        return [wire.ok(f"PRAGMA {p}").rows[0][0] for p in names] + [wire.ok("SELECT 'a' LIKE 'A'").rows[0][0]]
    before = state()
    wire.ok("; ".join(f"PRAGMA {p} = {1 - min(int(v), 1)}" for p, v in zip(names, before)) + "; PRAGMA case_sensitive_like = on")
    assert not any(a == b for a, b in zip(before, state()))
    wire.ok("DISCARD ALL")
    assert state() == before


def test_discard_all_drops_temporary_triggers_of_common_tables(wire):
    wire.ok("CREATE TEMP TABLE seen (a); CREATE TEMP VIEW v AS SELECT a FROM seen; CREATE TEMP TRIGGER note AFTER INSERT ON t BEGIN INSERT INTO seen VALUES (new.a); END;"
            "CREATE TEMP TRIGGER on_view INSTEAD OF INSERT ON v BEGIN SELECT 1; END")
    wire.ok("INSERT INTO t VALUES (1, 1)")
    wire.ok("DISCARD ALL")
    assert wire.ok("SELECT count(*) FROM temp.sqlite_schema").rows == [("0",)]
    wire.ok("INSERT INTO t VALUES (2, 2)")


def test_a_long_statement_leaves_no_memory_behind(shared, wire):
    def memory():
        with open(f"/proc/{wire.key[0]}/status", encoding="ascii") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])
    before = memory()
    assert talk(wire, parse("SELECT /*" + "x" * (32 << 20) + "*/ 1") + bind() + execute() + SYNC).rows == [("1",)]
    assert talk(wire, parse("SELECT 2") + bind() + execute() + SYNC).rows == [("2",)]
    assert memory() - before < 8 << 10 or support.is_sanitized(), "kB"


def test_a_name_that_is_too_long_ends_with_a_whole_character(shared, wire):
    name = "x" * 32 + "é" * 20   # 72 bytes; 63 are 32, 15 of these and half of one
    wire.ok(f'CREATE DATABASE "{name}"')
    with connect(shared, database=name[:47]) as other:
        assert other.ok("SELECT current_database()").rows == [(name[:47],)]
    with connect(shared, database=name) as other:   # cut in the same way
        assert other.ok("SELECT current_database()").rows == [(name[:47],)]
    shared.drop_database(name)


# ---- open portals beside other statements of their transaction

def suspended(w, text="SELECT a FROM t ORDER BY a"):
    """A portal p with one row fetched."""
    r = talk(w, parse(text, name="p") + bind(name="p", portal="p") + execute("p", 1) + SYNC)
    assert not r.errors and len(r.rows) == 1 and "s" in r.kinds, r
    return r.rows[0][0]


def rest(w):
    r = talk(w, execute("p") + SYNC)
    assert not r.errors, r
    return [int(row[0]) for row in r.rows], r.tags[0]


@pytest.mark.parametrize("first", ["", "UPDATE t SET b = 5 WHERE a = 3"], ids=["read-so-far", "has-written"])
@pytest.mark.parametrize("text", ["DELETE FROM t", "INSERT INTO t SELECT a + 10, b FROM t", "DROP TABLE t"])
def test_an_open_portal_does_not_see_what_its_transaction_writes_after_it(wire, first, text):
    wire.ok("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    wire.ok("BEGIN")
    wire.ok(first)
    assert suspended(wire) == "1"
    wire.ok(text)
    assert rest(wire) == ([2, 3], "SELECT 2")
    wire.ok("ROLLBACK")


def test_an_open_portal_does_not_see_writes_to_its_temporary_table(wire):
    wire.ok("CREATE TEMP TABLE mine (a integer); INSERT INTO mine VALUES (1), (2), (3)")
    wire.ok("BEGIN")
    suspended(wire, "SELECT a FROM mine")
    wire.ok("INSERT INTO mine VALUES (4), (5)")
    assert rest(wire) == ([2, 3], "SELECT 2")
    wire.ok("ROLLBACK")


def test_a_portal_that_returns_what_it_writes_counts_its_rows(wire):
    wire.ok("BEGIN")
    assert suspended(wire, "INSERT INTO t VALUES (1, 1), (2, 2), (3, 3) RETURNING a") == "1"
    assert wire.ok("SAVEPOINT s").tags == ["SAVEPOINT"]   # SQLite takes none beside a statement that writes
    assert wire.ok("UPDATE t SET b = 0").tags == ["UPDATE 3"]
    assert rest(wire) == ([2, 3], "INSERT 0 2")
    wire.ok("COMMIT")
    assert count(wire) == 3


@pytest.mark.parametrize("text, code", [("RELEASE s", None), ("ROLLBACK TO s", None), ("ROLLBACK TO before", "34000")])
@pytest.mark.parametrize("first", ["SELECT 1", "INSERT INTO t VALUES (9, 9)"], ids=["reads", "writes"])
def test_a_portal_lives_as_long_as_the_savepoint_it_was_made_in(wire, first, text, code):
    wire.ok("INSERT INTO t VALUES (1, 1), (2, 2), (3, 3)")
    wire.ok("BEGIN; SAVEPOINT before")
    wire.ok(first)
    suspended(wire)
    wire.ok("SAVEPOINT s")
    wire.ok(text)
    if code is None:
        assert rest(wire)[0][:2] == [2, 3]
    else:
        assert talk(wire, execute("p") + SYNC).code == code
    wire.ok("ROLLBACK")


def test_a_savepoint_does_not_make_a_read_only_transaction_write(wire):
    r = wire.query("BEGIN READ ONLY; SAVEPOINT s; SET TRANSACTION READ WRITE")
    assert (r.code, r.status) == ("25001", "E")
    wire.ok("ROLLBACK")

"""What one session may take: values, rows, sorts, temporary tables and transactions that want much fail with their reason or use files; session and server live on."""
from pathlib import Path

import psycopg2
import pytest
import server as support

NUMBERS = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {}) "
LIMIT_MB = 32
OWN_MB = 1 << 20 if support.is_sanitized() else 12   # of a backend beside SQLite's memory


def peak_mb(conn):
    """Most anonymous memory of this session's process so far, roughly: its peak less what it shares with the others."""
    text = (Path("/proc") / str(conn.get_backend_pid()) / "status").read_text()
    kb = {line.split(":")[0]: int(line.split()[1]) for line in text.splitlines() if line.startswith(("VmHWM", "RssShmem", "RssFile"))}
    return (kb["VmHWM"] - kb["RssShmem"] - kb["RssFile"]) / 1024


def fails(cur, statement, *codes):
    with pytest.raises(psycopg2.Error) as e:
        cur.execute(statement)
    assert e.value.pgcode in codes, f"{statement[:60]}: {e.value.pgcode} {e.value}"
    return str(e.value)


@pytest.fixture
def small(cluster):
    s = cluster(conf=f"shared_buffers = 2MB\nsession_memory_limit = {LIMIT_MB}MB\nwork_mem = 1MB\n", init_args=("--wal-segsize=1",))
    s.start()
    yield s
    assert "terminated by signal" not in s.log() and "all server processes" not in s.log()
    s.stop()


WANTS_MUCH = [
    "SELECT length(randomblob(500000000))",
    "SELECT zeroblob(500000000)",                       # made only when it is sent
    "SELECT zeroblob(20000000)",                        # fits, but not with the text that the client gets
    "SELECT hex(zeroblob(5000000)), hex(zeroblob(5000000)), hex(zeroblob(5000000))",
    NUMBERS.format(100000) + "SELECT group_concat(hex(randomblob(500))) FROM c",
    NUMBERS.format(1000000) + "SELECT json_group_array(hex(randomblob(500))) FROM c",
    "SELECT printf('%.*c', 50000000, 'x')",
    "SELECT replace(hex(zeroblob(1000000)), '0', hex(zeroblob(100)))",
    "INSERT INTO t VALUES (1, randomblob(500000000))",
]


@pytest.mark.parametrize("statement", WANTS_MUCH)
def test_what_wants_too_much_memory_fails_with_53200(small, statement):
    small.sql("CREATE TABLE t (id integer PRIMARY KEY, pad blob)")
    conn = small.connect()
    cur = conn.cursor()
    message = fails(cur, statement, "53200")
    assert "session_memory_limit" in message
    peak = peak_mb(conn)
    assert peak <= 2 * LIMIT_MB + OWN_MB, f"{peak:.0f} MB"
    cur.execute("INSERT INTO t VALUES (2, zeroblob(1000000))")
    cur.execute("SELECT count(*), sum(length(pad)) FROM t")
    assert cur.fetchall() == [(1, 1000000)]
    conn.close()


def test_values_rows_and_statements_beyond_the_fixed_limits_fail_with_54000(small):
    conn = small.connect()
    cur = conn.cursor()
    cur.execute("SET session_memory_limit = '2GB'")
    fails(cur, "SELECT length(zeroblob(1100000000))", "54000")
    fails(cur, "SELECT " + ", ".join(["1"] * 3000), "54000")
    fails(cur, f"CREATE TABLE w ({', '.join(f'c{i} integer' for i in range(3000))})", "54000")
    fails(cur, "SELECT zeroblob(600000000)", "53200", "54000")
    cur.execute("SELECT 1")
    assert cur.fetchall() == [(1,)]
    conn.close()


def test_a_message_longer_than_the_limit_is_skipped_with_53200(small):
    conn = small.connect()
    cur = conn.cursor()
    for _ in range(2):
        assert "session_memory_limit" in fails(cur, "SELECT length('" + "x" * (LIMIT_MB * 1024 * 1024 + 1) + "')", "53200")
        cur.execute("SELECT 1")
        assert cur.fetchall() == [(1,)]
    assert peak_mb(conn) <= OWN_MB
    conn.close()


USES_FILES = [
    NUMBERS.format(40000) + "SELECT count(*) FROM (SELECT hex(randomblob(200)) AS h FROM c ORDER BY h LIMIT 39999)",
    NUMBERS.format(40000) + "SELECT count(DISTINCT hex(randomblob(200))) FROM c",
    "SELECT count(*) FROM (WITH RECURSIVE c(x, y) AS (VALUES (1, '') UNION SELECT x + 1, hex(randomblob(200)) FROM c WHERE x < 30000) SELECT * FROM c)",
    "CREATE TEMP TABLE x AS SELECT * FROM big",
    "CREATE INDEX i ON big (pad)",
    "UPDATE big SET pad = pad || 'x'",
    "SELECT max(n) FROM (SELECT sum(length(pad)) OVER (ORDER BY pad) AS n FROM big)",
    "CREATE TABLE other AS SELECT * FROM big ORDER BY pad",
]


@pytest.fixture(scope="module")
def big():
    s = support.Server(conf=f"shared_buffers = 2MB\nsession_memory_limit = {LIMIT_MB}MB\nwork_mem = 1MB\n", init_args=("--wal-segsize=1",))
    try:
        s.start()
        s.sql("CREATE TABLE big (id integer PRIMARY KEY, pad text)")
        s.sql("INSERT INTO big " + NUMBERS.format(20000) + "SELECT x, hex(randomblob(300)) FROM c")
        yield s
    finally:
        s.done()


@pytest.mark.parametrize("statement", USES_FILES)
def test_sorts_temporary_tables_and_transactions_use_files_up_to_their_limit(big, statement):
    conn = big.connect(autocommit=False)
    cur = conn.cursor()
    cur.execute("SET temp_file_limit = '2MB'")
    conn.commit()
    assert "temp_file_limit" in fails(cur, statement, "53400")
    conn.rollback()
    cur.execute("SELECT count(*), sum(length(pad)) FROM big")
    assert cur.fetchall() == [(20000, 12000000)]
    cur.execute("SET temp_file_limit = -1")
    cur.execute(statement)
    if cur.description:
        cur.fetchall()
    conn.rollback()
    cur.execute("SELECT count(*), sum(length(pad)) FROM big")
    assert cur.fetchall() == [(20000, 12000000)]
    assert peak_mb(conn) <= LIMIT_MB + OWN_MB, f"{peak_mb(conn):.0f} MB"
    conn.close()
    assert big.sql("PRAGMA integrity_check") == [("ok",)]

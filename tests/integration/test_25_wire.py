"""The protocol byte by byte: start-up, refusals, simple and extended queries, time-outs, cancel, and clients that talk nonsense."""
import os
import random
import signal
import socket
import struct
import threading

import pytest
import server as support
from wire import CANCEL_REQUEST, GSS_REQUEST, PROTOCOL, SSL_REQUEST, Closed, Wire, connect, cstr, message, packet, startup_packet

SEED = int(os.environ.get("PINION_SEED", "0")) or random.randrange(1, 2**31)
PARAMETERS = {"application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "in_hot_standby",
              "integer_datetimes", "IntervalStyle", "is_superuser", "server_encoding", "server_version",
              "session_authorization", "standard_conforming_strings", "TimeZone"}
SHARED = {"tcp": True}   # how the fixture of this name is made


@pytest.fixture
def wire(shared):
    with connect(shared) as w:
        yield w


def refused(server, **params):
    with pytest.raises(Closed) as e:
        connect(server, **params)
    assert e.value.reply.kinds[-1] == "E", e.value.reply
    error = e.value.reply.errors[0]
    assert error["S"] == error["V"] == "FATAL", error
    return error["C"], error["M"]


def still_serves(server):
    with connect(server) as w:
        assert w.ok("SELECT 1").rows == [("1",)]


# ---- start-up

def test_the_greeting_has_all_parameters_and_a_cancel_key(shared):
    with connect(shared, application_name="tester") as w:
        assert w.greeting.kinds[0] == "R" and w.greeting.kinds[-2:] == "KZ"
        assert w.greeting.status == "I"
        assert set(w.parameters) == PARAMETERS
        assert w.parameters["application_name"] == "tester"
        assert w.parameters["client_encoding"] == w.parameters["server_encoding"] == "UTF8"
        assert w.parameters["server_version"].startswith("15.0 (Pinion ")
        assert w.parameters["session_authorization"] == "postgres"
        assert w.parameters["is_superuser"] == "on"
        assert int(w.ok("SELECT pg_backend_pid()").rows[0][0]) == w.key[0]


@pytest.mark.parametrize("tcp", [False, True], ids=["unix", "tcp"])
def test_encryption_is_answered_with_N_once_each_then_start_up_goes_on(shared, tcp):
    """AC090."""
    with Wire(shared, tcp=tcp) as w:
        for code in (SSL_REQUEST, GSS_REQUEST):
            w.send(packet(code))
            assert w.read_byte() == "N"
        assert w.login().ok("SELECT 2").rows == [("2",)]


def test_bytes_sent_ahead_of_the_answer_to_an_encryption_request_are_refused(shared):
    with Wire(shared) as w:
        w.send(packet(SSL_REQUEST) + startup_packet({"user": "postgres"}))
        answer = w.read_end_raw()
        assert b"received unencrypted data after" in answer and not answer.startswith(b"N"), answer
    still_serves(shared)


def test_an_unknown_minor_version_is_negotiated_down(shared):
    """AC090."""
    with Wire(shared) as w:
        w.send(startup_packet({"user": "postgres", "database": "postgres", "_pq_.fancy": "1"}, PROTOCOL + 2))
        reply = w.read_to("Z")
        assert reply.kinds[0] == "v", reply
        newest, n = struct.unpack_from("!II", reply.messages[0][1])
        assert newest & 0xFFFF == 0 and n == 1 and b"_pq_.fancy" in reply.messages[0][1]
        assert reply.status == "I"


@pytest.mark.parametrize("major", [1, 2])
def test_an_old_protocol_is_refused_in_its_own_form(shared, major):
    """AC090."""
    with Wire(shared) as w:
        w.send(startup_packet({"user": "postgres"}, major << 16))
        assert w.read_end_raw() == f"EFATAL:  unsupported frontend protocol {major}.0: server supports 3.0 to 3.0\n\0".encode()


@pytest.mark.parametrize("major", [4, 99])
def test_an_unknown_major_version_is_refused(shared, major):
    with Wire(shared) as w:
        w.send(startup_packet({"user": "postgres"}, major << 16))
        reply = w.read_end()
        assert reply.code == "0A000" and "unsupported frontend protocol" in reply.error


def test_unknown_names_are_refused_with_the_words_of_postgresql(shared):
    assert refused(shared, database="nowhere") == ("3D000", 'database "nowhere" does not exist')
    assert refused(shared, user="nobody") == ("28000", 'role "nobody" does not exist')
    assert refused(shared, database="pinion_catalog")[0] in ("55000", "3D000")
    assert refused(shared, client_encoding="LATIN1")[0] == "22023"
    assert refused(shared, nonsense="1")[0] == "42704"
    with Wire(shared) as w:
        w.send(startup_packet({"database": "postgres"}))
        reply = w.read_end()
        assert (reply.code, reply.error) == ("28000", "no PostgreSQL user name specified in startup packet")


def test_the_database_defaults_to_the_user_name(shared):
    with Wire(shared) as w:
        w.send(startup_packet({"user": "postgres"}))
        assert w.read_to("Z").status == "I"


def test_settings_of_the_start_up_packet_are_in_force(shared):
    with connect(shared, options="-c statement_timeout=4321 -c lock_timeout=7s") as w:
        assert w.ok("SHOW statement_timeout").rows == [("4321ms",)]
        assert w.ok("SHOW lock_timeout").rows == [("7s",)]


@pytest.mark.parametrize("data", [
    b"", b"\0", b"\0\0\0\x08", struct.pack("!I", 0), struct.pack("!I", 3) + b"x" * 10, struct.pack("!I", 10001) + b"x" * 100,
    struct.pack("!I", 0x7FFFFFFF) + b"x" * 100, struct.pack("!I", 0xFFFFFFFF), struct.pack("!II", 9, PROTOCOL) + b"u",
    struct.pack("!II", 16, PROTOCOL) + b"user\0abc", struct.pack("!II", 13, PROTOCOL) + b"user\0",
    packet(SSL_REQUEST, b"x"), packet(CANCEL_REQUEST, b"1234"), packet(CANCEL_REQUEST, b"1234567890"), b"GET / HTTP/1.0\r\n\r\n",
], ids=range(15))
def test_a_bad_first_packet_hurts_only_its_sender(shared, data):
    with Wire(shared) as w:
        w.send(data)
        w.sock.shutdown(socket.SHUT_WR)
        assert b"R\0\0\0\x08" not in w.read_end_raw()   # not let in
    still_serves(shared)


@pytest.mark.parametrize("data", [startup_packet({"user": "postgres"})[:20], struct.pack("!I", 2), struct.pack("!I", 10**6) + b"x" * 1000], ids=["half", "2", "million"])
def test_what_is_no_start_up_packet_is_closed_with_at_most_one_line_and_costs_nothing(shared, data):
    """AC085: nothing is said to it, and what it says of its length is not believed."""
    def memory():
        with open(f"/proc/{shared.pid}/status", encoding="ascii") as f:
            return int(next(line for line in f if line.startswith("VmRSS")).split()[1])

    def knock():
        with Wire(shared) as w:
            w.send(data)
            w.sock.shutdown(socket.SHUT_WR)
            assert w.read_end_raw() == b""
    for _ in range(20):
        knock()
    support.until(lambda: "backend" not in shared.children().values(), "who came before has said all it has to say")
    before, lines = memory(), shared.log().count("\n")
    for _ in range(100):
        knock()
    still_serves(shared)
    assert shared.log().count("\n") - lines <= 100
    assert memory() - before < (8192 if support.is_sanitized() else 1024), "kB"


def test_random_first_packets_hurt_only_their_senders(shared):
    rng = random.Random(SEED)
    print(f"PINION_SEED={SEED}")
    good = startup_packet({"user": "postgres", "database": "postgres"})
    for _ in range(100):
        data = bytearray(rng.randbytes(rng.randrange(64)) if rng.random() < 0.3 else good)
        for _ in range(rng.randrange(1, 4)):
            if data:
                data[rng.randrange(len(data))] = rng.randrange(256)
        with Wire(shared) as w:
            try:
                w.send(bytes(data) + (rng.randbytes(20) if rng.random() < 0.3 else b""))
                w.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            w.read_end_raw()
    still_serves(shared)


def test_random_bytes_after_login_hurt_only_their_senders(shared):
    rng = random.Random(SEED + 1)
    print(f"PINION_SEED={SEED}")
    good = message("Q", cstr("SELECT 1")) + message("P", cstr("s") + cstr("SELECT 2") + b"\0\0") + \
        message("B", cstr("") + cstr("s") + b"\0\0\0\0\0\0") + message("E", cstr("") + b"\0\0\0\0") + message("S")
    for _ in range(60):
        data = bytearray(good)
        for _ in range(rng.randrange(1, 6)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        with connect(shared) as w:
            try:
                w.send(bytes(data))
                w.sock.shutdown(socket.SHUT_WR)
            except OSError:
                pass
            w.read_end_raw()
    still_serves(shared)


def test_a_silent_client_is_left_after_authentication_timeout(cluster):
    """AC084: closed without a word or a line; its process is gone, its place free."""
    s = cluster(conf="authentication_timeout = 1s\nmax_connections = 2\nsuperuser_reserved_connections = 0\n")
    s.start()
    lines = s.log().count("\n")
    with Wire(s) as a, Wire(s) as b, Wire(s) as c, Wire(s) as d:   # all places there are
        for w in (a, b, c, d):
            assert w.read_end().kinds == ""
    support.until(lambda: "backend" not in s.children().values(), "their processes are gone")
    assert s.log().count("\n") == lines
    s.configure("authentication_timeout = 1min\n")   # for those who speak, but slowly
    s.ctl("reload", "-D", s.data)
    with connect(s), connect(s):
        pass


@pytest.mark.parametrize("kind,size", [("Q", 3), ("Q", 0xFFFFFFFF), ("S", 20000), ("Q", 0x7FFFFFFF), ("X", 0)])
def test_a_wild_length_ends_the_session(shared, kind, size):
    with connect(shared) as w:
        w.send(kind.encode() + struct.pack("!I", size) + b"abc")
        reply = w.read_end()
        assert reply.code == "08P01" and reply.errors[0]["S"] == "FATAL", reply
    still_serves(shared)


def test_an_unknown_message_type_ends_the_session(shared):
    with connect(shared) as w:
        w.send(message("y", b"what"))
        assert w.read_end().code == "08P01"


# ---- simple query

def test_one_reply_per_query_with_the_status_letter(wire):
    r = wire.ok("SELECT 1 AS a, 'x' AS b, NULL AS c")
    assert r.kinds == "TDCZ" and r.rows == [("1", "x", None)] and r.tags == ["SELECT 1"] and r.status == "I"
    assert [c[0] for c in r.columns[0]] == ["a", "b", "c"]
    assert wire.ok("").kinds == "IZ"
    assert wire.ok("  ;; -- nothing\n").kinds == "IZ"
    assert wire.ok("BEGIN").status == "T"
    assert wire.query("SELEC").status == "E"
    assert wire.query("SELECT 1").code == "25P02"
    assert wire.query("SELECT 1").error == "current transaction is aborted, commands ignored until end of transaction block"
    r = wire.ok("COMMIT")
    assert r.tags == ["ROLLBACK"] and r.status == "I"
    assert wire.ok("SELECT 1; SELECT 2").kinds == "TDCTDCZ"


def test_tags_are_those_of_postgresql(wire):
    r = wire.ok("CREATE TABLE tags (a integer); INSERT INTO tags VALUES (1), (2); UPDATE tags SET a = 5; SELECT * FROM tags;"
                "DELETE FROM tags WHERE a = 9; CREATE INDEX tagsi ON tags (a); DROP TABLE tags")
    assert r.tags == ["CREATE TABLE", "INSERT 0 2", "UPDATE 2", "SELECT 2", "DELETE 0", "CREATE INDEX", "DROP TABLE"]
    r = wire.ok("BEGIN; SAVEPOINT s; ROLLBACK TO s; RELEASE s; COMMIT")
    assert r.tags == ["BEGIN", "SAVEPOINT", "ROLLBACK", "RELEASE", "COMMIT"]
    r = wire.ok("SET statement_timeout = 0; RESET statement_timeout; SHOW port")
    assert r.tags == ["SET", "RESET", "SHOW"]


def test_an_error_carries_its_fields(wire):
    r = wire.query("SELECT 1,\n nope FROM nowhere")
    e = r.errors[0]
    assert e["S"] == e["V"] == "ERROR" and e["C"] == "42P01" and "nowhere" in e["M"], e
    wire.ok("CREATE TABLE ef (a integer PRIMARY KEY, b integer NOT NULL CHECK (b > 0))")
    try:
        assert wire.query("INSERT INTO ef VALUES (1, NULL)").code == "23502"
        assert wire.query("INSERT INTO ef VALUES (1, -1)").code == "23514"
        wire.ok("INSERT INTO ef VALUES (1, 1)")
        assert wire.query("INSERT INTO ef VALUES (1, 1)").code == "23505"
        r = wire.query("SELECT zap FROM ef")
        assert r.code == "42703" and r.errors[0].get("P") == "8", r
        r = wire.query("SELECT a b c FROM ef")
        assert r.code == "42601" and r.errors[0].get("P") == "12", r
        assert wire.query("CREATE TABLE ef (a integer)").code == "42P07"
        assert wire.query("SELECT nofunc(1)").code == "42883"
        r = wire.query("SELECT 'é', é FROM ef WHERE x y")   # positions count characters, not bytes
        assert r.code == "42601" and r.errors[0].get("P") == "31", r
    finally:
        wire.ok("DROP TABLE ef")


def test_statements_of_one_query_are_one_transaction(wire):
    wire.ok("CREATE TABLE m (a integer)")
    try:
        r = wire.query("INSERT INTO m VALUES (1); INSERT INTO m VALUES (2); SELEC; INSERT INTO m VALUES (3)")
        assert r.code == "42601" and r.status == "I"
        assert wire.ok("SELECT count(*) FROM m").rows == [("0",)]
        r = wire.query("INSERT INTO m VALUES (1); SELECT * FROM nowhere; INSERT INTO m VALUES (3)")
        assert r.code == "42P01" and r.status == "I" and r.tags == ["INSERT 0 1"]
        assert wire.ok("SELECT count(*) FROM m").rows == [("0",)]
        # BEGIN in the middle makes it a block; what came before is part of it
        r = wire.query("INSERT INTO m VALUES (1); BEGIN; INSERT INTO m VALUES (2)")
        assert r.status == "T" and not r.errors
        wire.ok("ROLLBACK")
        assert wire.ok("SELECT count(*) FROM m").rows == [("0",)]
        # COMMIT in the middle ends it: what comes after is another one
        r = wire.query("BEGIN; INSERT INTO m VALUES (1); COMMIT; INSERT INTO m VALUES (2); SELECT * FROM nowhere")
        assert r.code == "42P01" and r.status == "I"
        assert wire.ok("SELECT a FROM m").rows == [("1",)]
    finally:
        wire.query("ROLLBACK")
        wire.ok("DROP TABLE m")


def test_transaction_commands_out_of_place_warn(wire):
    for text, code in (("COMMIT", "25P01"), ("ROLLBACK", "25P01")):
        r = wire.ok(text)
        assert [n["C"] for n in r.notices] == [code] and r.notices[0]["S"] == "WARNING" and r.status == "I"
    wire.ok("BEGIN")
    r = wire.ok("BEGIN")
    assert [n["C"] for n in r.notices] == ["25001"] and r.status == "T"
    wire.ok("ROLLBACK")
    assert wire.query("SAVEPOINT s").code == "25P01"
    wire.ok("BEGIN")
    assert wire.query("ROLLBACK TO nope").code == "3B001"
    wire.ok("ROLLBACK")


def test_a_changed_parameter_is_reported_before_ready(wire):
    r = wire.ok("SET application_name = 'somebody'")
    assert r.kinds == "CSZ" and wire.parameters["application_name"] == "somebody"
    wire.ok("BEGIN")
    wire.ok("SET application_name = 'else'")
    wire.ok("ROLLBACK")
    assert wire.parameters["application_name"] == "somebody"
    assert wire.ok("SHOW application_name").rows == [("somebody",)]
    wire.ok("RESET application_name")
    assert wire.query("SET server_version = '9'").code == "55P02"
    assert wire.query("SET nonsense = 1").code == "42704"
    assert wire.query("SET statement_timeout = 'abc'").code == "22023"
    assert wire.query("SHOW nonsense").code == "42704"


def test_text_that_is_not_utf8_is_refused_and_the_session_goes_on(wire):
    wire.send(message("Q", b"SELECT '\xff\xfe'\0"))
    r = wire.read_to("Z")
    assert r.code == "22021" and r.status == "I"
    assert wire.ok("SELECT 'ok'").rows == [("ok",)]


def test_results_larger_than_all_buffers_arrive_whole(wire):
    r = wire.ok("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 100000) SELECT x FROM c")
    assert len(r.rows) == 100000 and r.rows[-1] == ("100000",) and r.tags == ["SELECT 100000"]
    r = wire.ok("SELECT hex(zeroblob(5000000))")
    assert len(r.rows[0][0]) == 10_000_000


def test_a_hundred_queries_sent_at_once_are_answered_in_order(wire):
    wire.send(b"".join(message("Q", cstr(f"SELECT {i}")) for i in range(100)))
    assert [wire.read_to("Z").rows for _ in range(100)] == [[(str(i),)] for i in range(100)]


def test_what_would_reach_outside_the_server_is_denied(shared, wire):
    path = shared.dir / "outside"
    for text in (f"ATTACH 'file:{path}?vfs=unix' AS x", f"ATTACH '{path}' AS x", f"VACUUM INTO 'file:{path}?vfs=unix'",
                 "SELECT fts3_tokenizer('simple')", "SELECT load_extension('x')", "PRAGMA journal_mode = WAL",
                 "PRAGMA locking_mode = EXCLUSIVE", "PRAGMA writable_schema = on", "PRAGMA cache_spill = 1",
                 "PRAGMA page_size = 512", "PRAGMA hard_heap_limit = 1", "PRAGMA temp_store_directory = '/tmp'"):
        r = wire.query(text)
        assert r.errors and r.status == "I", text
    assert not path.exists()


# ---- extended query

def test_extended_queries_work_or_are_refused_and_sync_resynchronises(wire):
    r = wire.extended("SELECT 41 + 1 AS answer")
    if r.code == "0A000":
        assert r.kinds == "EZ" and r.status == "I"
        assert wire.ok("SELECT 1").rows == [("1",)]
        return
    assert r.kinds == "12TDCZ" and r.rows == [("42",)]
    assert wire.extended("SELECT $1 || 'b', $2", ["a", None]).rows == [("ab", None)]
    assert wire.extended("").kinds == "12nIZ"
    # an error: everything up to Sync is dropped
    r = wire.extended("SELECT * FROM nowhere")
    assert r.kinds == "EZ" and r.code == "42P01" and r.status == "I"
    wire.ok("CREATE TABLE x (a integer)")
    # a pipeline is one transaction
    wire.extended("INSERT INTO x VALUES (1)", sync=False)
    wire.extended("INSERT INTO x VALUES (2)", sync=False)
    r = wire.extended("INSERT INTO nowhere VALUES (3)")
    assert r.code == "42P01" and r.status == "I"
    assert wire.ok("SELECT count(*) FROM x").rows == [("0",)]
    # a row limit
    wire.ok("BEGIN")
    wire.ok("INSERT INTO x VALUES (1), (2), (3)")
    r = wire.extended("SELECT a FROM x ORDER BY a", limit=2)
    assert r.kinds == "12TDDsZ" and r.status == "T"
    wire.ok("ROLLBACK")
    assert wire.query("SELECT 1").rows == [("1",)]
    wire.send(message("B", cstr("") + cstr("nope") + struct.pack("!HHH", 0, 0, 0)) + message("S"))
    assert wire.read_to("Z").code == "26000"
    wire.send(message("E", cstr("nope") + struct.pack("!I", 0)) + message("S"))
    assert wire.read_to("Z").code == "34000"
    wire.ok("DROP TABLE x")


def test_function_calls_by_message_are_refused(wire):
    wire.send(message("F", struct.pack("!IHHH", 1, 0, 0, 0)))
    r = wire.read_to("Z")
    assert r.code == "0A000" and r.status == "I"


def test_a_parse_of_the_same_text_sees_the_schema_as_it_is(shared, wire):
    with connect(shared) as other:
        other.ok("CREATE TABLE ps (a integer); INSERT INTO ps VALUES (1)")
        for name in ("", "", "one", "two"):   # the unnamed one is kept for the next, a closed one, too
            r = wire.extended("SELECT * FROM ps", name=name)
            assert (r.rows, r.code) == ([("1",)], None), r
        other.ok("ALTER TABLE ps ADD COLUMN b integer DEFAULT 2")
        for name in ("", "three"):
            r = wire.extended("SELECT * FROM ps", name=name)
            assert (r.rows, r.code) == ([("1", "2")], None), r
        assert wire.extended("DISCARD ALL").code is None
        assert wire.extended("SELECT * FROM ps", name="one").rows == [("1", "2")]   # the name is free again
        other.ok("DROP TABLE ps")
        assert wire.extended("SELECT * FROM ps").code == "42P01"


# ---- cancel, time-outs, ends

ENDLESS = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


def test_cancel_with_the_right_key_only(shared, wire):
    """AC086: who runs the same beside it goes on."""
    pid, key = wire.key
    other = connect(shared)
    other.send(message("Q", cstr(ENDLESS)))

    def state_of_other():
        return shared.sql(f"SELECT state FROM pg_stat_activity WHERE pid = {other.key[0]}")
    support.until(lambda: state_of_other() == [("active",)], "the other one's statement runs")
    assert wire.cancel(shared, (pid, key ^ 1)).kinds == ""   # nothing happens, nothing is said
    assert wire.cancel(shared, (pid + 12345, key)).kinds == ""
    wire.send(message("Q", cstr(ENDLESS)))
    stop = threading.Event()

    def keep_cancelling():   # the first may come before the statement begins
        while not stop.is_set():
            wire.cancel(shared)
            stop.wait(0.05)

    t = threading.Thread(target=keep_cancelling)
    t.start()
    try:
        r = wire.read_to("Z")
    finally:
        stop.set()
        t.join()
    assert r.code == "57014" and r.error == "canceling statement due to user request" and r.status == "I"
    support.until(lambda: wire.query("SELECT 7").rows == [("7",)], "the session goes on")
    assert state_of_other() == [("active",)]
    other.close()


def test_a_wrong_key_is_logged_and_cancels_nothing(shared, wire):
    """AC087: key or process; nothing is answered."""
    pid, key = wire.key
    assert wire.cancel(shared, (pid, key ^ 0x55)).kinds == ""
    assert wire.cancel(shared, (pid + 4321, key)).kinds == ""
    support.until(lambda: f"PID {pid + 4321} in cancel request did not match any process" in shared.log(), "the line about the process")
    support.until(lambda: f"wrong key in cancel request for process {pid}" in shared.log(), "the log line")
    assert wire.ok("SELECT 1").rows == [("1",)]


def test_statement_timeout_ends_a_statement(wire):
    wire.ok("SET statement_timeout = 100")
    r = wire.query(ENDLESS)
    assert r.code == "57014" and r.error == "canceling statement due to statement timeout" and r.status == "I"
    support.until(lambda: not wire.query("SET statement_timeout = 0").errors, "even this may take longer")
    wire.ok("BEGIN; SET LOCAL statement_timeout = 100")
    r = wire.query(ENDLESS)
    assert r.code == "57014" and r.status == "E"
    support.until(lambda: not wire.query("ROLLBACK").errors, "even this may take longer")
    assert wire.ok("SHOW statement_timeout").rows == [("0",)]


def test_lock_timeout_ends_a_wait_for_the_writer(shared, wire):
    with connect(shared) as other:
        other.ok("CREATE TABLE lt (a integer)")
        other.ok("BEGIN; INSERT INTO lt VALUES (1)")
        wire.ok("SET lock_timeout = 100")
        r = wire.query("INSERT INTO lt VALUES (2)")
        assert r.code == "55P03" and r.error == "canceling statement due to lock timeout", r
        assert wire.ok("SELECT count(*) FROM lt").rows == [("0",)]   # readers do not wait
        wire.ok("SET lock_timeout = 0; SET statement_timeout = 100")
        assert wire.query("INSERT INTO lt VALUES (2)").code == "57014"
        wire.ok("SET statement_timeout = 0")
        other.ok("COMMIT")
        wire.ok("INSERT INTO lt VALUES (3)")
        wire.ok("DROP TABLE lt")


def test_idle_sessions_in_transactions_are_ended(shared):
    with connect(shared) as w:
        w.ok("SET idle_in_transaction_session_timeout = 100")
        w.ok("BEGIN")
        r = w.read_end()
        assert r.code == "25P03" and r.errors[0]["S"] == "FATAL"
        assert r.error == "terminating connection due to idle-in-transaction timeout"


def test_a_silent_writer_loses_the_writer_lock(shared):
    with connect(shared) as w, connect(shared) as other:
        other.ok("CREATE TABLE iw (a integer)")
        w.ok("SET idle_in_write_transaction_timeout = 200")
        w.ok("BEGIN; INSERT INTO iw VALUES (1)")
        other.ok("INSERT INTO iw VALUES (2)")   # waits for the other's end
        r = w.read_end()
        assert r.code == "25P03" and r.errors[0]["S"] == "FATAL", r
        assert other.ok("SELECT a FROM iw").rows == [("2",)]
        other.ok("DROP TABLE iw")


@pytest.mark.parametrize("spin", ("0", "1ms"))
def test_a_writer_between_two_messages_hears_terminate_and_forgets_cancel(shared, spin):
    with connect(shared) as w, connect(shared) as other:
        other.ok("CREATE TABLE ws (a integer)")
        w.ok(f"SET writer_lock_spin = '{spin}'")
        w.ok("BEGIN")
        for i in range(20):   # some of it while it looks, some while it sleeps
            w.ok(f"INSERT INTO ws VALUES ({i})")
            w.cancel(shared)
        assert w.ok("SELECT count(*) FROM ws").rows == [("20",)]
        os.kill(w.key[0], signal.SIGTERM)
        assert w.read_end().code == "57P01"
        other.ok("INSERT INTO ws VALUES (1)")   # the lock is free
        assert other.ok("SELECT a FROM ws").rows == [("1",)]
        other.ok("DROP TABLE ws")


def test_a_reader_in_a_transaction_is_not_a_silent_writer(shared):
    with connect(shared) as w:
        w.ok("SET idle_in_write_transaction_timeout = 50")
        w.ok("BEGIN; SELECT 1")
        w.sock.settimeout(0.5)
        with pytest.raises(TimeoutError):
            w.read_message()
        w.sock.settimeout(60)
        assert w.ok("COMMIT").status == "I"


def test_terminate_says_57P01(shared):
    with connect(shared) as w:
        os.kill(w.key[0], signal.SIGTERM)
        r = w.read_end()
        assert (r.code, r.error) == ("57P01", "terminating connection due to administrator command")
    with connect(shared) as w:   # also in the middle of a statement
        w.send(message("Q", cstr(ENDLESS)))
        os.kill(w.key[0], signal.SIGTERM)
        assert w.read_end().code == "57P01"
    still_serves(shared)


def test_terminate_message_and_lost_clients_leave_no_backend(shared):
    with connect(shared) as w, connect(shared) as lost:
        pids = {w.key[0], lost.key[0]}
        lost.ok("BEGIN")
        w.send(message("X"))
        assert w.read_end().kinds == ""
    support.until(lambda: not pids & set(shared.children()), "the backends have left")


# ---- limits, access rules, states

def test_too_many_connections(cluster):
    s = cluster(conf="max_connections = 5\nsuperuser_reserved_connections = 0\n")
    s.start()
    held = [connect(s) for _ in range(5)]
    assert refused(s) == ("53300", "sorry, too many clients already")
    held.pop().close()
    support.until(lambda: can_connect(s), "a place is free again")
    for w in held:
        w.close()


def test_a_full_table_of_children_turns_one_more_away(cluster):
    """AC081: not all of them have said who they are."""
    s = cluster(conf="max_connections = 3\nsuperuser_reserved_connections = 0\nauthentication_timeout = 10min\n")
    s.start()
    crowd = [connect(s) for _ in range(3)]
    crowd += [Wire(s) for _ in range(3)]   # twice max_connections: the table
    try:
        support.until(lambda: list(s.children().values()).count("backend") == 6, "each has its process")
        with pytest.raises(Closed) as e:
            connect(s)
        assert e.value.reply.kinds == "E" and e.value.reply.code == "53300" and e.value.reply.error == "sorry, too many clients already", e.value.reply
        crowd.pop(0).close()   # one that had logged in
        support.until(lambda: can_connect(s), "a place is free again")
    finally:
        for w in crowd:
            w.close()
    assert s.status()["crashRestarts"] == 0 and "PANIC" not in s.log()


def can_connect(s):
    try:
        connect(s).close()
        return True
    except Closed:
        return False


def test_access_rules_refuse_with_the_words_of_postgresql(cluster):
    s = cluster()
    (s.data / "pg_hba.conf").write_text("local postgres postgres trust\nlocal all rejected reject\n")
    s.start()
    code, text = refused(s, user="rejected")
    assert code == "28000" and text.startswith("pg_hba.conf rejects connection for host \"[local]\", user \"rejected\"")
    code, text = refused(s, user="other")
    assert code == "28000" and text.startswith('no pg_hba.conf entry for host "[local]", user "other", database "postgres"')
    still_serves(s)
    (s.data / "pg_hba.conf").write_text("local all all nonsense\n")
    assert s.ctl("reload", "-D", s.data, check=False).returncode != 0
    still_serves(s)


def test_a_smart_stop_refuses_new_clients_and_serves_old_ones(cluster):
    s = cluster()
    s.start()
    with connect(s) as w:
        os.kill(s.pid, signal.SIGTERM)

        def is_refused():
            try:
                connect(s).close()
                return False
            except Closed as e:
                assert (e.reply.code, e.reply.error) in (("57P03", "the database system is shutting down"), (None, None)), e.reply
                return e.reply.code   # None: it spoke so late that nobody listened any more

        support.until(is_refused, "new clients are refused")
        assert w.ok("SELECT 1").rows == [("1",)]
    s.wait_gone()


def sleeps(pid):
    """Does the process wait? Then its last answer is out, and no message is cut by what it says next."""
    return support.state_of(pid) == "S"


def test_an_immediate_stop_says_so(cluster):
    s = cluster()
    s.start()
    with connect(s) as w:
        w.ok("SELECT 1")
        support.until(lambda: sleeps(w.key[0]), "the backend waits for the next query")
        os.kill(s.pid, signal.SIGQUIT)
        r = w.read_end()
        assert [n["C"] for n in r.notices] == ["57P01"] and r.notices[0]["S"] == "WARNING", r
    s.wait_gone()


def test_a_crash_of_a_sibling_says_57P02(cluster):
    s = cluster()
    s.start()
    with connect(s) as w, connect(s) as victim:
        w.ok("SELECT 1")
        support.until(lambda: sleeps(w.key[0]), "the backend waits for the next query")
        os.kill(victim.key[0], signal.SIGKILL)
        r = w.read_end()
        assert [n["C"] for n in r.notices] == ["57P02"], r
    s.until_recovered()
    still_serves(s)

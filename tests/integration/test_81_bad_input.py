"""What is wrong outside: rows of the table in tests/README.md that no other file tests. Each is answered as the table says, and the rest goes on."""
import os
import re
import socket
import subprocess
import time
from pathlib import Path

import pytest
import server as support
import varlink
from wire import Closed, Wire, connect, startup_packet

ENDLESS = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


# ---- JSON

PING = b'"method":"org.pinion.Control.Ping"'
BAD_JSON = {
    "deep": b"{" + PING + b',"parameters":' + b'{"a":' * 20 + b"1" + b"}" * 20 + b"}\0",
    "very deep": b"[" * 60000 + b"\0",
    "huge": b"{" + PING + b',"parameters":{"a":"' + b"x" * 70000 + b'"}}\0',
    "never ending": b"{" + b" " * 200000,
    "duplicate key": b"{" + PING + b"," + PING + b"}\0",
    "duplicate key inside": b"{" + PING + b',"parameters":{"a":1,"a":2}}\0',
    "cut": b"{" + PING + b',"para',
    "cut in a string": b'{"method":"org.pin',
    "nothing": b"\0",
    "no object": b"[1]\0",
    "NUL in a string": b'{"method":"a\\u0000b"}\0',
    "no UTF-8": b'{"method":"\xff\xfe"}\0',
    "large number": b"{" + PING + b',"more":99999999999999999999}\0',
    "many keys": b"{" + PING + b',"parameters":{' + b",".join(b'"k%d":1' % i for i in range(300)) + b"}}\0",
    "single quotes": b"{'method':'org.pinion.Control.Ping'}\0",
    "trailing comma": b"{" + PING + b",}\0",
    "method is a number": b'{"method":7}\0',
    "parameters are a list": b"{" + PING + b',"parameters":[]}\0',
}
REFUSED_JSON = {   # well-formed, but not what the interface has: an answer
    "unknown method": (b'{"method":"org.pinion.Control.Explode"}\0', b"org.varlink.service.MethodNotFound"),
    "half a surrogate": (b'{"method":"org.pinion.Control.\\ud800"}\0', b"org.varlink.service.MethodNotFound"),
    "unknown interface": (b'{"method":"org.example.Ping"}\0', b"org.varlink.service.InterfaceNotFound"),
    "unknown parameter": (b"{" + PING + b',"parameters":{"nope":1}}\0', b"org.varlink.service.InvalidParameter"),
    "wrong type": (b'{"method":"org.pinion.Control.Stop","parameters":{"mode":3}}\0', b"org.varlink.service.InvalidParameter"),
    "not one of the modes": (b'{"method":"org.pinion.Control.Stop","parameters":{"mode":"gently"}}\0', b"org.varlink.service.InvalidParameter"),
}


def control_says(server, data):
    """All that comes back, up to the end of the connection."""
    got = b""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(support.DEADLINE)
        s.connect(str(server.data / "control"))
        try:
            s.sendall(data)
            s.shutdown(socket.SHUT_WR)
            while part := s.recv(65536):
                got += part
        except (ConnectionResetError, BrokenPipeError):
            pass   # closed before all was read
    return got


@pytest.mark.parametrize("what", BAD_JSON)
def test_bad_json_ends_its_connection_without_an_answer(shared, what):
    assert control_says(shared, BAD_JSON[what]) == b""
    assert shared.status()["state"] == "ready"


@pytest.mark.parametrize("what", REFUSED_JSON)
def test_calls_that_the_interface_does_not_have_are_answered(shared, what):
    data, error = REFUSED_JSON[what]
    assert error in control_says(shared, data)
    assert shared.status()["state"] == "ready"


# ---- damage

def fill_segments(server):
    server.start()
    server.sql("CREATE TABLE t (a integer, p text)")
    for i in range(40):
        server.sql(f"INSERT INTO t VALUES ({i}, hex(randomblob(30000)))")
    server.end = server.sql("SELECT pg_current_wal_flush_lsn()")[0][0]
    server.kill9()
    return sorted(p for p in (server.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", p.name))


@pytest.mark.parametrize("how", ["flipped", "zeros"])
def test_a_damaged_log_is_refused_not_taken_for_its_end(cluster, how):
    """A torn end is survived; but segments behind the damage prove that it was no end (REDO-4)."""
    s = cluster(init_args=("--wal-segsize=1",))
    segment = fill_segments(s)[1]
    good = segment.read_bytes()
    bad = bytearray(good)
    bad[500000:508192] = bytes(8192) if how == "zeros" else bytes(b ^ 0xFF for b in bad[500000:508192])
    segment.write_bytes(bad)
    p = s.start(check=False)
    assert "65" in p.stderr and "log is damaged at 0/" in s.log() and "but goes on in" in s.log() and "HINT" in s.log()
    s.wait_gone()
    segment.write_bytes(good)
    s.start()
    assert s.sql("SELECT count(*) FROM t") == [(40,)]


def test_a_log_that_is_not_there_is_named(cluster):
    """A symbolic link to a file system that is not mounted, for example."""
    s = cluster()
    s.start()
    s.kill9()
    os.rename(s.data / "pg_wal", s.data / "away")
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 65 and 'could not open directory "pg_wal"' in p.stderr, p
    os.rename(s.data / "away", s.data / "pg_wal")
    s.start()


def test_a_torn_end_of_the_log_is_its_end(cluster):
    """What comes last may be torn by a power cut: nothing that was acknowledged is behind it."""
    s = cluster(init_args=("--wal-segsize=1",))
    fill_segments(s)
    number, end = divmod(int(s.end.split("/")[1], 16), 1 << 20)
    last = s.data / "pg_wal" / f"{1:08X}{0:08X}{number:08X}"
    data = bytearray(last.read_bytes())
    data[end:end + 100] = bytes([7] * 100)   # not ours: a record that never came to be
    last.write_bytes(data[:1 << 20])
    s.start()
    assert s.sql("SELECT count(*) FROM t") == [(40,)]


@pytest.mark.parametrize("what,code", [("global/pg_control", 77), ("pinion.conf", 78), ("pg_hba.conf", 78)])
def test_a_file_that_may_not_be_read_is_named(cluster, what, code):
    s = cluster()
    os.chmod(s.data / what, 0)
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == code and os.path.basename(what) in p.stderr and "Permission denied" in p.stderr
    os.chmod(s.data / what, 0o600)
    s.start()


def test_a_database_file_that_may_not_be_opened_costs_only_its_database(cluster):
    s = cluster()
    s.start()
    s.sql("CREATE DATABASE other")
    s.sql("CHECKPOINT")
    s.kill9()   # after a clean stop less is opened at the start
    os.chmod(s.data / "base/5/5", 0)
    s.start()
    p = subprocess.run(["sqlite3", s.data / "base/16384/16384", "SELECT count(*) FROM sqlite_master"], capture_output=True, text=True, check=False)
    assert "locked" in p.stderr, p   # FILE-8: also what is behind it in the list
    with pytest.raises(Closed) as e:
        connect(s)
    assert e.value.reply.errors and "base/5/5" in e.value.reply.error, e.value.reply
    with connect(s, database="other") as w:
        w.ok("CREATE TABLE t (a); INSERT INTO t VALUES (1)")
    s.stop()
    os.chmod(s.data / "base/5/5", 0o600)
    s.start()
    assert s.sql("SELECT 1") == [(1,)]


def test_a_server_started_without_standard_descriptors_writes_no_log_into_its_files(cluster):
    s = cluster()
    p = subprocess.Popen(support.as_user("sh", "-c", f"exec {support.PINIOND} -D {s.data} <&- >&- 2>&-"))
    try:
        s.until_ready()
        for fd in range(3):
            assert os.readlink(f"/proc/{s.pid}/fd/{fd}") == "/dev/null", fd
        s.configure("lock_timeout = 7s\n")   # goes by a memory file, which was "standard error"
        s.ctl("reload", "-D", s.data)
        support.until(lambda: s.sql("SHOW lock_timeout") == [("7s",)], "children have it")
        s.stop()
        assert p.wait(support.DEADLINE) == 0
    finally:
        p.kill()
        p.wait()


# ---- full tables

def children_of(pid):
    return [int(p) for p in support.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def knock(server):
    """What a client hears before it is let in or turned away."""
    with Wire(server) as w:
        try:
            w.send(startup_packet({"user": "postgres", "database": "postgres"}))
        except OSError:
            pass   # turned away before it could speak
        return w.read_end_raw()


def let_in(server):
    try:
        connect(server).close()
        return True
    except (OSError, Closed, AssertionError):   # an old-style error is no message of protocol 3
        return False


@pytest.mark.parametrize("option,name,words", [("nproc", "Max processes", b"Resource temporarily unavailable"), ("nofile", "Max open files", b"Too many open files")])
def test_a_full_table_turns_new_clients_away_and_nobody_else(server, option, name, words):
    """AC088: in the old form, without waiting for who does not read."""
    pid = server.pid
    with connect(server) as w, varlink.Wire(server) as control:
        w.ok("CREATE TABLE t (a integer)")
        before = support.limit(pid, name)
        for _ in range(2):   # two turns of the loop: what is left of those who asked before is closed
            control.call("Ping")
        support.set_limit(pid, option, 1 if option == "nproc" else len(os.listdir(f"/proc/{pid}/fd")) + 1)
        try:
            said = knock(server)
            assert said.startswith(b"Ecould not fork new process for connection: ") and words in said, said
            support.until(lambda: not [p for p in children_of(pid) if support.state_of(p) == "Z"], "who could not be watched is waited for all the same")
            deaf = [Wire(server) for _ in range(40)]
            w.ok("INSERT INTO t VALUES (1)")
            w.ok("CHECKPOINT")
            assert server.status()["state"] == "ready"
            for c in deaf:
                c.close()
        finally:
            support.set_limit(pid, option, before)
        support.until(lambda: let_in(server), "clients are let in again")
        assert w.ok("SELECT a FROM t").rows == [("1",)]
    server.stop()


def test_a_postmaster_without_any_descriptor_left_leaves_clients_in_the_queue(server):
    pid = server.pid
    with connect(server) as w:
        before = support.limit(pid, "Max open files")
        support.set_limit(pid, "nofile", 10)
        try:
            with Wire(server) as waiting:
                waiting.send(startup_packet({"user": "postgres", "database": "postgres"}))
                support.until(lambda: "could not accept new connection: Too many open files" in server.log(), "it says so")
                tried = wakes(pid)
                support.until(lambda: wakes(pid) >= tried + 20, "it goes on trying, every 100 ms")
                assert server.log().count("could not accept new connection") == 1   # and says so once a minute
                assert w.ok("SELECT 1").rows == [("1",)]
                begun = cpu_seconds(pid)
                support.set_limit(pid, "nofile", before)
                assert waiting.read_to("Z").status == "I"
                assert cpu_seconds(pid) - begun < 1
        finally:
            support.set_limit(pid, "nofile", before)
    assert let_in(server)


def wakes(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("voluntary_ctxt_switches")).split()[1])


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_a_backend_without_descriptors_fails_its_statement_only(server):
    """Temporary files and data files need descriptors."""
    with connect(server) as w:
        w.ok("CREATE TABLE t (a integer)")
        before = support.limit(w.key[0], "Max open files")
        support.set_limit(w.key[0], "nofile", 5)
        for text in ("SELECT count(*) FROM t", "INSERT INTO t VALUES (1)", "CREATE DATABASE nope"):
            r = w.query(text)
            assert r.status == "I"
            assert not r.errors or r.code in ("53000", "53200", "58030", "XX000", "53300"), r
        support.set_limit(w.key[0], "nofile", before)
        assert w.ok("SELECT count(*) FROM t").rows[0][0] in ("0", "1")
    assert server.sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'checkpointer'") == [(1,)]


def test_too_few_descriptors_are_told_at_the_start(cluster):
    s = cluster()
    p = subprocess.Popen(support.as_user("prlimit", "--nofile=200:200", support.PINIOND, "-D", s.data), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        support.until(lambda: s.status().get("state") == "ready", "it is up")
        assert s.sql("SELECT 1") == [(1,)]
        s.stop()
        assert "only 200 files may be open at once" in p.communicate(timeout=support.DEADLINE)[1]
    finally:
        p.kill()
        p.wait()


# ---- the clock

def test_a_clock_that_jumps_changes_nothing_but_what_it_shows(cluster):
    s = cluster(conf="checkpoint_timeout = 30s\n")
    shift, library = s.dir / "shift", s.dir / "clock_shift.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-D_GNU_SOURCE", "-o", library, Path(support.__file__).parent / "clock_shift.c", "-ldl"], check=True)
    library.chmod(0o755)
    shift.write_text("0")
    env = {"LD_PRELOAD": str(library), "CLOCK_SHIFT": str(shift)}
    s.start(env=env)

    def shown(w):
        return int(w.ok("SELECT strftime('%s', 'now')").rows[0][0])

    year = 366 * 86400
    with connect(s) as w:
        w.ok("CREATE TABLE t (a integer)")
        for seconds in (-year, year, -86400, 3600, 0):
            shift.write_text(str(seconds))
            assert abs(shown(w) - time.time() - seconds) < support.DEADLINE
            w.ok("INSERT INTO t VALUES (1)")
            w.ok("CHECKPOINT")
            w.ok("SET statement_timeout = 200")
            begun = time.monotonic()
            assert w.query(ENDLESS).code == "57014"
            assert 0.2 <= time.monotonic() - begun < support.DEADLINE
            w.ok("SET statement_timeout = 0")
            assert s.status()["state"] == "ready"
    shift.write_text(str(-year))   # earlier than all that the files say
    s.kill9()
    s.start(env=env)
    with connect(s) as w:
        assert w.ok("SELECT count(*) FROM t").rows == [("5",)]
        w.ok("INSERT INTO t VALUES (2)")
    shift.write_text(str(year))
    s.stop()
    shift.write_text("0")
    s.start(env=env)
    assert s.sql("SELECT count(*) FROM t") == [(6,)]

"""Connections: psql and drivers, access rules, limits, time-outs, cancel, the ends of a session, and clients that lie."""
import os
import shutil
import signal
import socket
import struct
import threading

import psycopg2
import pytest
import server as support


class Wire:
    """Protocol 3.0 by hand, over the Unix socket."""

    def __init__(self, server):
        self.s = socket.socket(socket.AF_UNIX)
        self.s.settimeout(support.DEADLINE)
        self.s.connect(f"{server.data}/.s.PGSQL.{server.port}")

    def startup(self, **params):
        body = struct.pack("!I", 196608) + b"".join(
            k.encode() + b"\0" + v.encode() + b"\0" for k, v in params.items()) + b"\0"
        self.s.sendall(struct.pack("!I", len(body) + 4) + body)
        return self.until_ready()

    def send(self, kind, body=b""):
        self.s.sendall(kind + struct.pack("!I", len(body) + 4) + body)

    def exactly(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                raise EOFError(data)
            data += more
        return data

    def message(self):
        kind = self.exactly(1)
        (n,) = struct.unpack("!I", self.exactly(4))
        return kind.decode(), self.exactly(n - 4)

    def until_ready(self):
        """All messages up to ReadyForQuery, or to the end of the connection."""
        got = []
        try:
            while not got or got[-1][0] != "Z":
                got.append(self.message())
        except (EOFError, ConnectionResetError):
            pass
        return got

    def close(self):
        self.s.close()


def kinds(messages):
    return "".join(k for k, _ in messages)


def field(messages, code):
    body = next(b for k, b in messages if k == "E")
    return next(f[1:].decode() for f in body.split(b"\0") if f[:1] == code.encode())


def test_psql_answers(server):
    assert server.psql("SELECT 1").stdout == "1\n"
    assert server.psql("SELECT version()").stdout.startswith("PostgreSQL 15.0 (Pinion ")
    p = server.psql("SELECT nothing FROM nowhere", check=False)
    assert p.returncode != 0 and "ERROR:" in p.stderr


def test_the_greeting_tells_the_thirteen_settings(server):
    w = Wire(server)
    got = w.startup(user="postgres", application_name="wire")
    told = dict(b.decode().rstrip("\0").split("\0") if b.count(b"\0") > 1 else (b.decode().rstrip("\0"), "")
                for k, b in got if k == "S")
    assert kinds(got) == "R" + "S" * 13 + "KZ"
    assert told["application_name"] == "wire" and told["server_encoding"] == "UTF8"
    assert told["is_superuser"] == "on" and told["session_authorization"] == "postgres"
    assert told["server_version"].startswith("15.0 (Pinion")
    w.send(b"Q", b"SET application_name = 'other'\0")
    got = w.until_ready()
    assert kinds(got) == "CSZ" and b"other" in got[1][1]
    w.close()


def test_a_pipeline_by_the_extended_protocol(server):
    server.sql("CREATE TABLE t (a integer, b text)")
    w = Wire(server)
    w.startup(user="postgres")
    w.send(b"P", b"s\0INSERT INTO t VALUES ($1, $2)\0" + struct.pack("!H", 0))
    for i in range(3):
        w.send(b"B", b"\0s\0" + struct.pack("!HH", 0, 2) + struct.pack("!I", 1) + str(i).encode() +
               struct.pack("!i", -1) + struct.pack("!H", 0))
        w.send(b"E", b"\0" + struct.pack("!I", 0))
    w.send(b"S")
    assert kinds(w.until_ready()) == "1" + "2C" * 3 + "Z"
    w.send(b"P", b"\0SELECT a FROM t ORDER BY a\0" + struct.pack("!H", 0))
    w.send(b"D", b"S\0")
    w.send(b"B", b"\0\0" + struct.pack("!HHH", 0, 0, 0))
    w.send(b"E", b"\0" + struct.pack("!I", 2))
    w.send(b"E", b"\0" + struct.pack("!I", 0))
    w.send(b"S")
    assert kinds(w.until_ready()) == "1tT2DDsDCZ"
    w.send(b"P", b"\0SELECT broken from\0" + struct.pack("!H", 0))
    w.send(b"B", b"\0\0" + struct.pack("!HHH", 0, 0, 0))
    w.send(b"Q", b"SELECT 1\0")
    w.send(b"S")
    assert kinds(w.until_ready()) == "EZ"
    w.send(b"Q", b"SELECT count(*) FROM t\0")
    assert kinds(w.until_ready()) == "TDCZ"
    w.close()


@pytest.mark.parametrize("what, params, code", [
    ("no such database", {"user": "postgres", "database": "nope"}, "3D000"),
    ("no such role", {"user": "nobody-here"}, "28000"),
    ("no user", {"database": "postgres"}, "28000"),
    ("replication", {"user": "postgres", "replication": "true"}, None),
    ("bad replication", {"user": "postgres", "replication": "maybe"}, "22023"),
    ("unknown setting", {"user": "postgres", "no_such_setting": "1"}, "42704"),
    ("setting of the server", {"user": "postgres", "shared_buffers": "1GB"}, "55P02"),
    ("other encoding", {"user": "postgres", "client_encoding": "LATIN1"}, "22023"),
    ("bad options", {"user": "postgres", "options": "-x"}, "42601"),
])
def test_refusals_have_their_code(server, what, params, code):
    w = Wire(server)
    got = w.startup(**params)
    assert kinds(got)[-1] == "E", what
    assert field(got, "V") == "FATAL"
    if code is not None:
        assert field(got, "C") == code
    w.close()
    assert server.sql("SELECT 1") == [(1,)]


def test_clients_that_lie_harm_nobody(server):
    for junk in (b"", b"\0", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 64, b"\0\0\0\x08\x04\xd2\x16\x2f" * 2,
                 b"\0\0\0\x08\0\3\0\0", struct.pack("!II", 9000, 196608) + b"user\0x"):
        w = Wire(server)
        w.s.sendall(junk)
        w.s.shutdown(socket.SHUT_WR)
        w.until_ready()
        w.close()
    w = Wire(server)
    w.startup(user="postgres")
    w.s.sendall(b"Q" + struct.pack("!I", 0x3FFFFFFF) + b"SELECT")
    w.close()
    w = Wire(server)
    w.startup(user="postgres")
    w.s.sendall(b"Q" + struct.pack("!I", 3))
    assert field(w.until_ready(), "C") == "08P01"
    w.close()
    support.until(lambda: list(server.children().values()).count("backend") == 0, "the backends are gone")
    assert "crash" not in server.log()


def test_rules_of_pg_hba_conf_are_kept(cluster):
    server = cluster(tcp=True)
    hba = server.data / "pg_hba.conf"
    hba.write_text("local all bob reject\nlocal all all trust\nhost all all 127.0.0.2/32 trust\n")
    server.start()
    assert server.sql("SELECT 1") == [(1,)]
    with pytest.raises(psycopg2.OperationalError, match="pg_hba.conf rejects connection"):
        server.connect(user="bob")
    with pytest.raises(psycopg2.OperationalError, match="no pg_hba.conf entry for host \"127.0.0.1\""):
        psycopg2.connect(host="127.0.0.1", port=server.port, user="postgres", dbname="postgres")
    hba.write_text("local all all trust\nhost all all all scram-sha-256\n")
    p = server.ctl("reload", "-D", server.data, check=False)
    assert p.returncode != 0
    assert server.sql("SELECT 1") == [(1,)], "a bad file changes nothing"
    with pytest.raises(psycopg2.OperationalError, match="pg_hba.conf rejects connection"):
        server.connect(user="bob")
    hba.write_text("local all all peer\n")
    server.ctl("reload", "-D", server.data)
    with pytest.raises(psycopg2.OperationalError, match="Peer authentication failed for user \"postgres\""):
        server.connect()
    server.stop()
    hba.write_text("local all all md5\n")
    p = server.start(check=False)
    assert p.returncode != 0
    assert "md5" in server.log() + p.stderr


def test_peer_lets_in_whom_the_kernel_names(cluster):
    server = cluster(init_args=("-U", support.USER, "--auth-local=peer"))
    server.start()
    argv = ("psql", "-XAt", "-h", server.data, "-p", str(server.port), "-U", support.USER, "-d", "postgres", "-c", "SELECT 1")
    assert support.run(*argv).stdout == "1\n"
    p = support.run(*argv, user=False, check=False)   # root is somebody else
    assert p.returncode == 2 and f'Peer authentication failed for user "{support.USER}"' in p.stderr
    assert "do not match" in server.log()


def test_a_socket_directory_may_have_a_blank_or_a_comma_in_its_name(cluster):
    server = cluster()
    dirs = [server.dir / "a b", server.dir / 'c, "d"']
    for d in dirs:
        d.mkdir()
        shutil.chown(d, support.USER)
    server.configure(f"""unix_socket_directories = ' {dirs[0]} , "{str(dirs[1]).replace('"', '""')}",{server.data}'\n""")
    server.start()
    assert server.status()["listen"] == [f"{d}/.s.PGSQL.{server.port}" for d in (*dirs, server.data)]
    with psycopg2.connect(host=str(dirs[0]), port=server.port, user="postgres", dbname="postgres") as c:
        assert c.server_version
    assert (server.data / "postmaster.pid").read_text().splitlines()[4] == str(dirs[0])
    c.close()


def test_the_last_places_are_for_superusers(cluster):
    server = cluster(conf="max_connections = 5\nsuperuser_reserved_connections = 2\n")
    server.start()
    held = [server.connect() for _ in range(5)]
    with pytest.raises(psycopg2.OperationalError, match="too many clients already"):
        server.connect()
    held.pop().close()

    def one_more():
        try:
            held.append(server.connect())
            return True
        except psycopg2.OperationalError:
            return False
    support.until(one_more, "the place is free again")
    for c in held:
        c.close()


ENDLESS = "WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c) SELECT count(*) FROM c"


def cancel_when_it_runs(server, conn):
    """A cancel request that comes before the statement would be forgotten."""
    pid = conn.info.backend_pid
    support.until(lambda: server.sql(f"SELECT state FROM pg_stat_activity WHERE pid = {pid}") == [("active",)], "the statement runs")
    conn.cancel()


def test_cancel_ends_the_statement_not_the_session(server):
    conn = server.connect()
    cur = conn.cursor()
    canceller = threading.Thread(target=cancel_when_it_runs, args=(server, conn))
    canceller.start()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        cur.execute(ENDLESS)
    canceller.join()
    cur.execute("SELECT 1")
    assert cur.fetchone() == (1,)
    conn.cancel()   # nothing runs: forgotten
    cur.execute("SELECT 2")
    assert cur.fetchone() == (2,)
    conn.close()


def test_cancel_is_served_while_a_smart_stop_waits(server):
    """A dead end takes the request: it is not attached to the segment."""
    conn = server.connect()
    pid = server.pid
    failed = []

    def stop_and_cancel():
        os.kill(pid, signal.SIGTERM)

        def is_refused():
            try:
                server.connect().close()
                return False
            except psycopg2.OperationalError as e:
                return "shutting down" in str(e)
        try:
            support.until(is_refused, "new clients are refused")
        except AssertionError as e:
            failed.append(e)
        while not ended.is_set():   # the first may come before the statement begins
            conn.cancel()
            ended.wait(0.05)
    ended = threading.Event()
    t = threading.Thread(target=stop_and_cancel)
    t.start()
    with pytest.raises(psycopg2.errors.QueryCanceled):
        conn.cursor().execute(ENDLESS)
    ended.set()
    t.join()
    assert not failed, failed
    conn.close()
    server.wait_gone()


def test_statement_timeout(server):
    conn = server.connect()
    cur = conn.cursor()
    cur.execute("SET statement_timeout = '200ms'")
    with pytest.raises(psycopg2.errors.QueryCanceled, match="statement timeout"):
        cur.execute(ENDLESS)
    cur.execute("SHOW statement_timeout")
    assert cur.fetchone() == ("200ms",)
    conn.close()


@pytest.mark.parametrize("setting, sql, code", [
    ("idle_session_timeout", "SELECT 1", "57P05"),
    ("idle_in_transaction_session_timeout", "BEGIN", "25P03"),
    ("idle_in_write_transaction_timeout", "BEGIN; INSERT INTO t VALUES (1)", "25P03"),
])
def test_silence_ends_a_session(cluster, setting, sql, code):
    server = cluster()
    server.start()
    server.sql("CREATE TABLE t (a integer)")
    w = Wire(server)
    w.startup(user="postgres")
    w.send(b"Q", f"SET {setting} = '100ms'; {sql}\0".encode())
    w.until_ready()
    got = w.until_ready()
    assert kinds(got) == "E" and field(got, "C") == code
    w.close()
    assert server.sql("SELECT count(*) FROM t") == [(0,)]
    server.sql("INSERT INTO t VALUES (2)")   # the writer lock is free


def test_terminate_and_stop_are_told(server):
    conn = server.connect()
    cur = conn.cursor()
    cur.execute("SELECT pg_backend_pid()")
    os.kill(int(cur.fetchone()[0]), signal.SIGTERM)
    w = Wire(server)
    w.startup(user="postgres")

    def is_dead():
        try:
            cur.execute("SELECT 1")
            return False
        except psycopg2.Error as e:
            return e.pgcode == "57P01" or conn.closed
    support.until(is_dead, "the session is terminated")
    server.stop("fast")
    assert field(w.until_ready(), "C") == "57P01"
    w.close()


def test_what_logins_remember_ends_with_the_database(server):
    def code(name):
        w = Wire(server)
        try:
            messages = w.startup(user="postgres", database=name)
            return field(messages, "C") if any(k == "E" for k, _ in messages) else None
        finally:
            w.close()

    for _ in range(3):
        assert code("one") == "3D000"
        server.sql("CREATE DATABASE one")
        for _ in range(3):
            assert code("one") is None
        server.drop_database("one")
        assert code("one") == "3D000"


def test_a_reload_reaches_open_sessions(server):
    conn = server.connect()
    cur = conn.cursor()
    server.configure("lock_timeout = 7s\n")
    server.ctl("reload", "-D", server.data)

    def shown():
        cur.execute("SHOW lock_timeout")
        return cur.fetchone()[0] == "7s"
    support.until(shown, "the session follows")
    conn.close()

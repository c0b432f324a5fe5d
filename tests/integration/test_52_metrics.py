"""The metrics page: read by Prometheus' own parser, over a Unix socket and TCP; bad requests, silent clients, stops and kills."""
import contextlib
import http.client
import os
import re
import signal
import socket

import pytest

import server as support

openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser", reason="SKIP: python3-prometheus-client is not installed")


class UnixConnection(http.client.HTTPConnection):
    def __init__(self, path):
        super().__init__("localhost", timeout=support.DEADLINE)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(support.DEADLINE)
        self.sock.connect(str(self.path))


def start(cluster, where=None):
    server = cluster()
    path = where or server.data / "metrics"
    server.configure(f"metrics_listen = '{path}'\n")
    server.start()
    server.child("stats")
    return server, path


def ask(make, method="GET", target="/metrics"):
    c = make()
    try:
        c.request(method, target)
        r = c.getresponse()
        return r.status, r.headers.get("Content-Type"), r.read().decode()
    except (ConnectionError, FileNotFoundError):
        return 0, None, ""
    finally:
        c.close()


def samples(page):
    found = {}
    for family in openmetrics.text_string_to_metric_families(page):
        for s in family.samples:
            found[(s.name, tuple(sorted(s.labels.items())))] = s.value
    return found


def test_the_page_says_what_the_views_say(cluster):
    server, path = start(cluster)
    server.sql("CREATE TABLE t (a integer)")
    server.sql("INSERT INTO t VALUES (1), (2), (3)")
    server.sql('CREATE DATABASE "od\\d ""name"""')
    status, kind, page = support.until(lambda: (lambda a: a if a[0] else None)(ask(lambda: UnixConnection(path))), "it listens")
    assert status == 200 and kind.startswith("application/openmetrics-text"), page
    found = samples(page)
    db = (("database", "postgres"),)
    assert found[("pinion_database_tup_inserted_total", db)] == 3
    assert ("pinion_database_xact_commit_total", (("database", 'od\\d "name"'),)) in found
    records, size = server.sql("SELECT wal_records, wal_bytes FROM pg_stat_wal")[0]
    assert 0 < found[("pinion_wal_records_total", ())] <= records
    assert 0 < found[("pinion_wal_bytes_total", ())] <= size
    assert found[("pinion_wal_sync_time_seconds_total", ())] > 0
    assert found[("pinion_archiver_archived_total", ())] == found[("pinion_archiver_failed_total", ())] == 0
    assert found[("pinion_max_connections", ())] == 100
    assert found[("pinion_wal_flush_position_bytes", ())] > 1 << 24
    conn = server.connect()

    def sessions():
        return {labels[0][1]: v for (n, labels), v in samples(ask(lambda: UnixConnection(path))[2]).items() if n == "pinion_sessions" and v}
    support.until(lambda: sessions() == {"idle": 1}, "those before have left, this one is counted")
    conn.close()


def test_other_requests_are_refused_and_harm_nobody(cluster):
    port = support.free_port()
    server, _ = start(cluster, f"localhost:{port}")

    def make():
        return http.client.HTTPConnection("127.0.0.1", port, timeout=support.DEADLINE)

    support.until(lambda: ask(make)[0] == 200, "it listens")
    assert ask(make, "HEAD")[0] == 200
    assert ask(make, target="/")[0] == 404 and ask(make, target="/metrics/../etc/passwd")[0] == 404
    assert ask(make, "POST")[0] in (405, 501) and ask(make, "DELETE")[0] in (405, 501)
    silent = [socket.create_connection(("127.0.0.1", port), timeout=support.DEADLINE) for _ in range(20)]
    for text in (b"\0" * 5000, b"GET /metrics HTTP/1.1\r\n" + b"X: " + b"y" * 20000 + b"\r\n\r\n", b"GET " + b"/" * 20000 + b" HTTP/1.1\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port), timeout=support.DEADLINE) as s:
            s.sendall(text)
            try:
                while s.recv(4096):
                    pass
            except ConnectionError:
                pass
    assert ask(make)[0] == 200
    for s in silent:  # each is given up by the server
        while s.recv(1000):
            pass
        s.close()
    assert server.sql("SELECT 1") == [(1,)]
    assert "crash" not in server.log()


def test_it_comes_back_and_leaves_with_the_server(cluster):
    server, path = start(cluster)
    support.until(lambda: ask(lambda: UnixConnection(path))[0] == 200, "it listens")
    first = server.child("stats")
    os.kill(first, signal.SIGTERM)
    support.until(lambda: not support.state_of(first), "it has left")
    support.until(lambda: ask(lambda: UnixConnection(path))[0] == 200, "another one listens")
    os.kill(server.child("stats"), signal.SIGKILL)  # attached: a crash of all, and its socket stays behind
    server.until_recovered()
    support.until(lambda: ask(lambda: UnixConnection(path))[0] == 200, "the socket left over is taken")
    server.stop()
    assert not path.exists()


def test_a_file_that_is_no_socket_is_left_alone(cluster):
    server = cluster()
    path = server.data / "precious"
    path.write_text("mine")
    server.configure(f"metrics_listen = '{path}'\n")
    server.start(check=False)
    assert f'could not listen on "{path}" for metrics_listen: Address already in use' in server.log()
    assert path.read_text() == "mine"


@pytest.mark.parametrize("place", ["nonsense", "localhost:http", "localhost:0", "::1:9454", "/" + 107 * "x", ":9454"])
def test_a_place_that_is_none_is_refused_with_file_and_line(cluster, place):
    server = cluster(conf=f"# here\nmetrics_listen = '{place}'\n")
    line = (server.data / "pinion.conf").read_text().split("metrics_listen = '" + place)[0].count("\n") + 1
    p = server.ctl("check-config", "-D", server.data, check=False)
    said = f'pinion.conf:{line}: invalid value for parameter "metrics_listen": "{place}"'
    assert p.returncode == 78 and said in p.stderr and "hint: " in p.stderr
    assert server.start(check=False).returncode == 78
    assert said in server.log()


def test_a_place_that_cannot_be_had_is_refused_at_the_start(cluster):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        server = cluster(conf=f"metrics_listen = '127.0.0.1:{taken.getsockname()[1]}'\n")
        p = server.foreground()
        assert p.wait(support.DEADLINE) == 69
        assert "Address already in use" in server.log() and re.search(r'It is set in "\S+/pinion.conf", line \d+\.', server.log())
        assert not (server.data / "postmaster.pid").exists()
    server.start()   # it is free now
    server.stop()


def test_who_listens_there_and_answers_nobody_does_not_hang_the_start(cluster):
    server = cluster()
    path = server.data / "metrics"
    server.configure(f"metrics_listen = '{path}'\n")
    with contextlib.ExitStack() as all_of:
        taken = all_of.enter_context(socket.socket(socket.AF_UNIX))
        taken.bind(str(path))
        path.chmod(0o666)
        taken.listen(0)
        with pytest.raises(BlockingIOError):   # until its queue is full
            while True:
                c = all_of.enter_context(socket.socket(socket.AF_UNIX))
                c.setblocking(False)
                c.connect(str(path))
        assert server.foreground().wait(support.DEADLINE) == 69
    assert "Address already in use" in server.log()


def test_silent_clients_fill_neither_the_log_nor_the_processor(cluster):
    """More than it takes: it waits until some have left, and looks once a second."""
    server, path = start(cluster)
    before = len(server.log())
    with contextlib.ExitStack() as held:
        def are_too_many():
            for _ in range(60):
                c = held.enter_context(socket.socket(socket.AF_UNIX))
                c.setblocking(False)
                try:
                    c.connect(str(path))
                except BlockingIOError:   # the queue is full, and it has not been run yet
                    c.close()
                    break
            return "could not accept a connection for the metrics page: Too many open files" in server.log()
        support.until(are_too_many, "they are too many")

    def is_there():
        with contextlib.suppress(BlockingIOError):   # the queue is full for a moment
            return ask(lambda: UnixConnection(path))[0] == 200
        return False
    support.until(is_there, "the page is there again")
    assert len(server.log()) < before + 1000
    server.stop()

"""Connections from outside: peers that vanish, access rules as a view, cancel requests while the server stops."""
import ctypes
import os
import signal
import socket
import struct
import time

import pytest
import server as support
from wire import Closed, Wire, connect, cstr, message

SO_ATTACH_FILTER = 26


def fall_silent(w):
    """From now on the client's kernel drops what comes for it: no answer, no acknowledgement, as if its machine had lost power."""
    program = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))   # return 0: of each packet keep nothing
    w.sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HxxxxxxP", 1, ctypes.addressof(program)))


def backends(s):
    return [p for p, role in s.children().items() if role == "backend"]


@pytest.mark.parametrize("conf, text", [
    ("tcp_keepalives_idle = 1\ntcp_keepalives_interval = 1\ntcp_keepalives_count = 1\n", None),
    ("tcp_user_timeout = 1s\n", "SELECT 1"),
    pytest.param("", "SELECT 1", marks=pytest.mark.skipif(not os.environ.get("PINION_LONG"), reason="5 s of waiting in vain"))])
def test_a_peer_that_vanished_is_given_up(cluster, conf, text):
    """By keepalives when nothing is to be sent, by the user time-out when something is; without, it is waited for as long as the system says."""
    s = cluster(conf=conf, tcp=True)
    s.start()
    with Wire(s, tcp=True) as w:
        w.login().ok("BEGIN; CREATE TABLE held (a integer)")
        begin = time.monotonic()
        fall_silent(w)
        if text:
            w.send(message("Q", cstr(text)))
        if conf:
            support.until(lambda: not backends(s), "it is given up")
            s.sql("CREATE TABLE held (b integer)")   # the writer lock is free
        else:
            support.until(lambda: time.monotonic() - begin > 5, "longer than it took the others")
            assert len(backends(s)) == 1


def test_tcp_settings_are_the_sessions_own(cluster):
    s = cluster(conf="tcp_keepalives_idle = 100\n", tcp=True)
    s.start()

    def timer():
        """What is left until the next probe, as ss writes it."""
        text = support.run("ss", "-tnoH", "state", "established", f"sport = :{s.port}").stdout
        return text.partition("timer:(keepalive,")[2].partition(",")[0]

    with Wire(s, tcp=True) as w:
        w.login()
        support.until(lambda: timer().startswith("1min"), "100 s")
        w.ok("SET tcp_keepalives_idle = '3h'")
        support.until(lambda: timer().startswith(("2hr", "3hr", "179min", "180min")), f"3 h: {timer()}")
        assert w.ok("SHOW tcp_keepalives_idle").rows == [("3h",)]
        assert w.query("SET tcp_keepalives_count = 128").code == "22023"
    with connect(s) as w:   # a Unix socket: nothing to tell, nothing to fail
        w.ok("SET tcp_user_timeout = 1000")


def rules(s):
    return s.sql("SELECT line_number, type, database, user_name, address, netmask, auth_method, error FROM pg_hba_file_rules")


def test_access_rules_are_seen_as_they_are_in_the_file(server):
    (server.data / "pg_hba.conf").write_text("# rules\nlocal all all trust\nhost db \"A b\",c 10.0.0.0/8 reject\n")
    assert rules(server) == [(2, "local", "{all}", "{all}", None, None, "trust", None),
                             (3, "host", "{db}", "{A b,c}", "10.0.0.0", "255.0.0.0", "reject", None)]
    with open(server.data / "pg_hba.conf", "a", encoding="ascii") as f:
        f.write("host all all all md5\nlocal all all peer\n")
    found = rules(server)
    assert found[2][:7] == (4, None, None, None, None, None, None) and 'authentication method "md5" is not supported yet' in found[2][7]
    assert found[3] == (5, "local", "{all}", "{all}", None, None, "peer", None)
    assert server.ctl("reload", "-D", server.data, check=False).returncode != 0   # as the view says
    (server.data / "pg_hba.conf").unlink()
    assert [r[0] for r in rules(server)] == [None] and "could not open access rules" in rules(server)[0][7]


def test_a_wrong_key_is_logged_by_a_dead_end_too(server):
    """AC087, while a smart stop waits; the right one: 20 `cancel_is_served`."""
    with connect(server) as w:
        os.kill(server.pid, signal.SIGTERM)

        def is_refused():
            try:
                connect(server).close()
                return False
            except Closed as e:
                return e.reply.code == "57P03"
        support.until(is_refused, "new clients are refused")
        pid, key = w.key
        assert w.cancel(server, (pid, key ^ 1)).kinds == "" and w.cancel(server, (pid + 4321, key)).kinds == ""
        support.until(lambda: f"wrong key in cancel request for process {pid}" in server.log(), "the line about the key")
        support.until(lambda: f"PID {pid + 4321} in cancel request did not match any process" in server.log(), "the line about the process")
        assert w.ok("SELECT 1").rows == [("1",)]
    server.wait_gone()

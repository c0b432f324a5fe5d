"""The control socket of a real server, by pinionctl and by hand: it answers in every state, and what it says is so."""
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import server as support
import varlink_idl
from varlink import Wire
from wire import connect, cstr, message


def status(server):
    with Wire(server) as w:
        return w.call("GetStatus")["parameters"]["status"]


def test_status_agrees_with_what_sql_and_the_files_say(server):
    server.sql("CREATE TABLE t (a INTEGER)")
    s = server.status()
    assert (s["state"], s["pmState"], s["role"]) == ("ready", "PM_RUN", "primary")
    assert s["mainPid"] == server.pid
    assert s["dataDirectory"] == str(server.data)
    assert f"{server.data}/.s.PGSQL.{server.port}" in s["listen"]
    assert s["flushLsn"] == server.sql("SELECT pg_current_wal_flush_lsn()")[0][0]
    control = support.run(support.PGBIN / "pg_controldata", server.data).stdout
    assert re.search(rf"Database system identifier: +{s['systemIdentifier']}\n", control)
    assert re.search(rf"Latest checkpoint location: +{s['lastCheckpoint']['lsn']}\n", control)
    first = server.ctl("status", "-D", server.data).stdout.splitlines()[0]
    assert "PM_RUN" in first and "ready (primary)" in first


def test_sessions_are_counted_and_listed(server):
    c = server.connect()
    c.cursor().execute("SELECT 1")
    with Wire(server) as w:
        processes = w.call("ListProcesses")["parameters"]["processes"]
        assert [p["role"] for p in processes][0] == "postmaster"
        assert {p["role"] for p in processes} == {"postmaster", "checkpointer", "bgwriter", "walwriter", "autovacuum launcher", "backend"}
        backend = w.call("ListProcesses", role="backend")["parameters"]["processes"][0]
        assert (backend["database"], backend["user"], backend["critical"]) == ("postgres", "postgres", False)
        assert backend["pid"] == c.info.backend_pid
        assert backend["state"] == "idle"
    assert status(server)["connections"] == 1
    c.close()
    support.until(lambda: status(server)["connections"] == 0, "the session has ended")


def test_a_checkpoint_over_the_socket_is_one_in_the_log(server):
    server.sql("CREATE TABLE t (a)")
    server.sql("INSERT INTO t VALUES (hex(randomblob(20000)))")
    reply = json.loads(server.ctl("checkpoint", "-D", server.data, "--json").stdout.splitlines()[-1])   # progress comes before it
    assert reply["completed"] is True
    assert status(server)["lastCheckpoint"]["lsn"] == reply["lsn"]
    control = support.run(support.PGBIN / "pg_controldata", server.data).stdout
    assert re.search(rf"Latest checkpoint location: +{reply['lsn']}\n", control)
    assert "checkpoint complete" in server.log()


def startup_stands(server):
    """The pid of the startup process, held in the middle of its work; None if it was through before."""
    def look():
        try:
            if status(server)["state"] == "ready":
                return -1
            with Wire(server) as w:
                found = w.call("ListProcesses", role="startup")["parameters"]["processes"]
            return found[0]["pid"] if found else None
        except (OSError, EOFError):
            return None
    pid = support.until(look, "a startup process, or the end of its work")
    return pid if pid > 0 and support.freeze(pid) else None


def test_it_answers_during_recovery_and_says_how_far_it_is(cluster):
    s = cluster(conf="checkpoint_timeout = 1h\nmax_wal_size = 2GB\n")
    s.start()
    s.sql("CREATE TABLE t (a)")
    for times in (8, 24, 72):   # more to recover, until it is caught at it
        for _ in range(times):
            s.sql("INSERT INTO t WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000) SELECT hex(randomblob(50)) FROM n")
        rows = s.sql("SELECT count(*) FROM t")
        s.kill9()
        s.start(wait=False)
        pid = startup_stands(s)
        if pid:
            break
        s.until_ready()
    assert pid
    now = status(s)   # recovery stands still: whatever is asked now is asked in recovery
    assert now["state"] in ("starting", "recovering") and now["pmState"] in ("PM_STARTUP", "PM_RECOVERY")
    p = s.ctl("status", "-D", s.data, check=False)
    assert p.returncode == 5 and "not accepting connections" in p.stdout
    p = s.ctl("checkpoint", "-D", s.data, check=False)
    assert p.returncode == 1 and "cannot execute Checkpoint in state" in p.stderr
    os.kill(pid, signal.SIGCONT)
    support.until(lambda: status(s)["state"] == "ready", "it is up")
    assert s.sql("SELECT count(*) FROM t") == rows


def test_a_stop_over_the_socket_streams_and_ends_with_last_words(server):
    with Wire(server) as watcher, Wire(server) as w:
        watcher.send("WatchStatus", more=True)
        assert watcher.reply()["parameters"]["status"]["state"] == "ready"
        w.send("Stop", more=True, mode="fast")
        replies = [w.reply()]
        while replies[-1].get("continues"):
            replies.append(w.reply())
        assert replies[-1] == {"parameters": {"completed": True, "clean": True}}
        states = []
        with pytest.raises(EOFError):
            while True:
                r = watcher.reply()
                states.append(r["parameters"].get("status", {}).get("state", r.get("error")))
        assert "stopping" in states and states[-1] == "org.pinion.Control.OperationFailed"
    server.wait_gone()
    assert server.ctl("status", "-D", server.data, check=False).returncode == 3


def test_a_smart_stop_drains_and_a_fast_one_overtakes_it(server):
    c = server.connect()
    c.cursor().execute("SELECT 1")
    p = server.ctl("stop", "-D", server.data, "-m", "smart", "--timeout=2", check=False)
    assert p.returncode == 75 and "goes on" in p.stderr
    s = support.until(lambda: (x := status(server))["state"] == "draining" and x, "it drains")
    assert s["pmState"] == "PM_RUN"
    assert "stopped cleanly" in server.stop("fast").stdout
    c.close()


def test_a_smart_stop_that_waits_can_be_taken_back(server):
    with connect(server) as old, Wire(server) as w:
        w.send("Stop", more=True, mode="smart")
        support.until(lambda: status(server)["state"] == "draining", "it waits")
        assert "stop is canceled" in server.ctl("cancel-stop", "-D", server.data).stdout
        reply = w.reply()
        while reply.get("continues"):
            reply = w.reply()
        assert reply["error"] == "org.pinion.Control.OperationFailed" and reply["parameters"]["message"] == "the stop was canceled"
        assert status(server)["state"] == "ready"
        assert (server.data / "postmaster.pid").read_text().splitlines()[7].strip() == "ready"
        with connect(server) as new:
            assert new.ok("SELECT 1").rows == old.ok("SELECT 1").rows
        p = server.ctl("cancel-stop", "-D", server.data, check=False)
        assert p.returncode == 1 and "no stop that could be canceled" in p.stderr
        server.ctl("stop", "-D", server.data, "-m", "smart", "--no-wait")
        support.until(lambda: status(server)["state"] == "draining", "it waits again")
    server.wait_gone()
    assert server.control_state() == "shut down"


def test_a_reload_applies_all_or_nothing(server):
    before = status(server)["configGeneration"]
    server.configure("lock_timeout = 7s")
    assert "lock_timeout" in json.loads(server.ctl("reload", "-D", server.data, "--json").stdout)["changed"]
    assert server.sql("SHOW lock_timeout") == [("7s",)]
    server.configure("\nlock_timeout = 9s\nwork_mem = nonsense\n")
    p = server.ctl("reload", "-D", server.data, check=False)
    assert p.returncode == 78 and re.search(r"pinion\.conf:\d+: ", p.stderr)
    assert server.sql("SHOW lock_timeout") == [("7s",)]
    s = status(server)
    assert (s["configGeneration"], s["configValid"]) == (before + 1, False)


def test_settings_are_those_of_sql_with_their_files(server):
    server.configure("\nwork_mem = 8MB\nmax_connections = 55\n")
    server.ctl("reload", "-D", server.data)
    listed = {x["name"]: x for x in json.loads(server.ctl("show", "-D", server.data, "--all", "--json").stdout)["settings"]}
    names = [r[0] for r in server.sql("SELECT name FROM pg_settings")]
    assert list(listed) == names
    for name in ("work_mem", "shared_buffers", "checkpoint_timeout", "data_directory", "max_connections"):
        assert server.sql(f"SHOW {name}") == [(listed[name]["value"],)]
    assert listed["work_mem"]["file"] == str(server.data / "pinion.conf") and listed["work_mem"]["line"] > 0
    assert listed["max_connections"]["pendingRestart"] and not listed["work_mem"]["pendingRestart"]
    assert "which a restart applies" in server.ctl("show", "-D", server.data, "max_connections").stdout
    assert 'unrecognized configuration parameter' in server.ctl("show", "-D", server.data, "wrk_mem", check=False).stderr


def test_cancel_and_terminate_reach_one_session_only(server):
    with connect(server) as other, connect(server) as w:
        pid = w.key[0]

        def tell(verb, code):
            w.send(message("Q", cstr("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n")))
            done = threading.Event()

            def keep_telling():   # the first may come before the statement begins
                while not done.is_set():
                    server.ctl(verb, "-D", server.data, str(pid), check=False)
            t = threading.Thread(target=keep_telling)
            t.start()
            try:
                assert (w.read_to("Z") if verb == "cancel" else w.read_end()).code == code
            finally:
                done.set()
                t.join()
        tell("cancel", "57014")
        support.until(lambda: w.query("SELECT 7").rows == [("7",)], "the session goes on")
        tell("terminate", "57P01")
        support.until(lambda: server.ctl("terminate", "-D", server.data, str(pid), check=False).returncode == 1, "it is gone")
        p = server.ctl("terminate", "-D", server.data, str(server.child("checkpointer")), check=False)
        assert p.returncode == 1 and "the server's own" in p.stderr
        assert other.ok("SELECT 1").rows == [("1",)]


def test_rubbish_and_slow_clients_do_not_hold_up_anybody(server):
    rng = [bytes([i]) * 1000 for i in range(1, 60, 7)]
    for rubbish in rng + [b"{}\0", b'{"method":1}\0', b"[" * 5000 + b"\0", b"GET / HTTP/1.0\r\n\r\n\0"]:
        with Wire(server) as w:
            try:
                w.s.sendall(rubbish)
                w.s.shutdown(socket.SHUT_WR)
                assert w.s.recv(10) == b""
            except (ConnectionResetError, BrokenPipeError):
                pass   # it has not read all
    idle = [Wire(server) for _ in range(12)]
    for w in idle:
        w.s.sendall(b'{"method":"org.pin')  # never finished
    assert status(server)["state"] == "ready"
    for w in idle:
        w.s.close()


def test_a_seventeenth_connection_of_one_user_is_refused(server):
    wires = []
    try:
        for _ in range(16):
            wires.append(Wire(server))
            wires[-1].call("Ping")
        extra = Wire(server)
        wires.append(extra)
        with pytest.raises((EOFError, BrokenPipeError, ConnectionResetError)):
            extra.call("Ping")
        assert "monotonicUSec" in wires[0].call("Ping")["parameters"]
    finally:
        for w in wires:
            w.s.close()


def test_replies_are_what_the_interface_describes(server):
    c = server.connect()
    c.cursor().execute("SELECT 1")
    with Wire(server) as w:
        def described(interface):
            return varlink_idl.Idl(w.call("org.varlink.service.GetInterfaceDescription", interface=interface)["parameters"]["description"])
        control, service = described("org.pinion.Control"), described("org.varlink.service")
        assert set(control.methods) == {"Ping", "GetStatus", "WatchStatus", "ListProcesses", "CheckConfig", "Reload", "Checkpoint", "Stop", "CancelStop", "ListSettings", "SignalProcess",
                                        "ListHistory", "RotateLog", "Promote", "Demote", "Switchover", "ListReplication"}
        for idl, method in [(control, "Ping"), (control, "GetStatus"), (control, "ListProcesses"), (control, "Checkpoint"), (control, "CheckConfig"), (control, "Reload"), (control, "ListSettings"), (control, "ListHistory"),
                            (service, "GetInfo")]:
            reply = w.call(f"{idl.name}.{method}")
            assert set(reply) == {"parameters"}
            idl.check(idl.methods[method][1], reply["parameters"], method)
        for method, given in [("Promote", {}), ("Demote", {"upstream": "b"}), ("Switchover", {"target": "b"}), ("ListReplication", {})]:
            reply = w.call(method, **given)
            assert reply["error"] == "org.pinion.Control.OperationFailed" and reply["parameters"]["sqlstate"] == "0A000"
            control.check(control.errors["OperationFailed"], reply["parameters"], method)
        server.configure("\nlock_timeout = nonsense\n")
        reply = w.call("CheckConfig")
        control.check(control.methods["CheckConfig"][1], reply["parameters"], "CheckConfig")
        assert reply["parameters"]["valid"] is False and reply["parameters"]["problems"][0]["setting"] == "lock_timeout"
        reply = w.call("Reload")
        assert reply["error"] == "org.pinion.Control.ConfigInvalid"
        control.check(control.errors["ConfigInvalid"], reply["parameters"], "ConfigInvalid")
        w.send("WatchStatus", more=True)
        reply = w.reply()
        control.check(control.methods["WatchStatus"][1], reply["parameters"], "WatchStatus")
    with Wire(server) as w:
        w.send("Stop", more=True, mode="smart")
        reply = w.reply()
        assert reply["continues"] is True
        control.check(control.methods["Stop"][1], reply["parameters"], "Stop")
        c.close()
        while reply.get("continues"):
            reply = w.reply()
        control.check(control.methods["Stop"][1], reply["parameters"], "Stop")


def test_standard_tools_get_along_with_it(server):
    """One line of shell, as the documentation shows."""
    with Wire(server) as w:
        info = w.call("org.varlink.service.GetInfo")["parameters"]
        assert info["interfaces"] == ["org.varlink.service", "org.pinion.Control"]
        assert w.call("Dance")["error"] == "org.varlink.service.MethodNotFound"
        text = w.call("org.varlink.service.GetInterfaceDescription", interface="org.pinion.Control")["parameters"]["description"]
        assert "method GetStatus() -> (status: Status)" in text
    with socket.socket(socket.AF_UNIX) as s:  # echo … | nc -UN: no NUL, half-closed
        s.connect(str(server.data / "control"))
        s.sendall(b'{"method":"org.pinion.Control.GetStatus"}\n')
        s.shutdown(socket.SHUT_WR)
        got = b""
        while part := s.recv(65536):
            got += part
    assert json.loads(got.rstrip(b"\0"))["parameters"]["status"]["pmState"] == "PM_RUN"


class Echo:
    """A process that sends back what it gets: what a round trip costs on this machine at this moment."""

    def __init__(self):
        self.sock, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            self.sock.close()
            while data := theirs.recv(100):
                theirs.send(data)
            os._exit(0)
        theirs.close()

    def call(self):
        self.sock.send(b"x")
        self.sock.recv(1)

    def done(self):
        self.sock.close()
        os.waitpid(self.pid, 0)


def test_status_is_fast_under_load(server):
    """Budget of design 10, with room for a busy test machine: the loop must not wait for the database."""
    echo = Echo()   # before there are threads
    server.sql("CREATE TABLE t (a)")
    stop = threading.Event()

    def work():
        c = server.connect()
        while not stop.is_set():
            c.cursor().execute("INSERT INTO t VALUES (hex(randomblob(200)))")
        c.close()
    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()

    def seconds(call):
        begun = time.monotonic()
        call()
        return time.monotonic() - begun
    try:
        with Wire(server) as w:
            took = [(seconds(lambda: w.call("GetStatus")), seconds(echo.call)) for _ in range(300)]
    finally:
        stop.set()
        for t in threads:
            t.join()
        echo.done()
    ours, echoed = (sorted(x)[150] for x in zip(*took))
    assert ours < 0.02 + 2 * echoed, f"median {ours * 1000:.2f} ms, of an echo {echoed * 1000:.2f} ms"


def test_two_servers_on_one_directory_are_refused(server):
    p = support.run(support.PINIOND, "-D", server.data, check=False)
    assert p.returncode == 75
    assert status(server)["state"] == "ready"


def test_root_is_refused(server):
    p = subprocess.run([str(support.PINIOND), "-D", str(server.data)], capture_output=True, text=True, timeout=support.DEADLINE, check=False)
    if os.geteuid() != 0:
        pytest.skip("SKIP: not root")
    assert p.returncode == 77 and "root" in p.stderr

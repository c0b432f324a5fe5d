"""The control socket among other people's Varlink: systemd's own `varlinkctl` of version 257, and the traps its clients set
(systemd-ops 2.2, 2.4: each number here is one of them; part 7, point 7).

varlinkctl is this machine's, or that of a Debian 13 (support/trixie.py) with the socket bound into it; without either its tests are skipped."""
import json
import os
import re
import shutil
import socket
import subprocess
import threading
from pathlib import Path

import pytest
import server as support
import trixie
import varlink_idl
from test_70_control import Wire, status

MAN = Path(__file__).resolve().parents[2] / "packaging/man/pinion.control.7"


# ---- systemd's client

@pytest.fixture
def varlinkctl(server):
    root, why = (None, None) if shutil.which("varlinkctl") else trixie.find()
    if why:
        pytest.skip(f"SKIP: no varlinkctl on this machine, and {why}")

    def run(*argv, check=True):
        if root:
            p = trixie.inside(root, "varlinkctl", *["/mnt/control" if a == "SOCK" else a for a in argv], bind=server.data)
        else:
            p = support.run("varlinkctl", *[server.data / "control" if a == "SOCK" else a for a in argv], check=False, user=False, stdin="")
        assert not check or p.returncode == 0, f"{argv} → {p.returncode}\n{p.stdout}\n{p.stderr}"
        return p
    return run


def test_stock_varlinkctl_finds_and_calls_everything(varlinkctl, server):
    info = varlinkctl("info", "SOCK").stdout
    assert re.search(r"Vendor: Pinion\n", info) and re.search(r"Interfaces: org.pinion.Control\n +org.varlink.service\n", info), info
    assert varlinkctl("list-interfaces", "SOCK").stdout.split() == ["org.pinion.Control", "org.varlink.service"]
    with Wire(server) as w:
        text = w.call("org.varlink.service.GetInterfaceDescription", interface="org.pinion.Control")["parameters"]["description"]
    methods = varlinkctl("list-methods", "SOCK").stdout.split()
    assert {m.removeprefix("org.pinion.Control.") for m in methods if m.startswith("org.pinion")} == set(varlink_idl.Idl(text).methods)
    for interface in ("org.pinion.Control", "org.varlink.service"):
        p = varlinkctl("introspect", "SOCK", interface)
        assert f"interface {interface}\n" in p.stdout and p.stderr == "", p.stderr   # it would warn of what it cannot parse
        varlink_idl.Idl(p.stdout)
    assert "monotonicUSec" in json.loads(varlinkctl("call", "SOCK", "org.pinion.Control.Ping", "{}").stdout)
    assert json.loads(varlinkctl("call", "SOCK", "org.pinion.Control.GetStatus", "{}").stdout)["status"]["pmState"] == "PM_RUN"
    for flags in (["--more"], ["-E"], []):
        out = varlinkctl(*flags, "call", "SOCK", "org.pinion.Control.Checkpoint", "{}").stdout.replace("\x1e", "")
        assert json.loads(out.splitlines()[-1])["completed"] is True
    assert json.loads(varlinkctl("--collect", "call", "SOCK", "org.pinion.Control.Checkpoint", "{}").stdout)[-1]["completed"] is True
    assert varlinkctl("--oneway", "call", "SOCK", "org.pinion.Control.Ping", "{}").stdout == ""
    watched = varlinkctl("--more", "call", "SOCK", "org.pinion.Control.WatchStatus", '{"untilState":["ready"]}').stdout.replace("\x1e", "")
    assert json.loads(watched)["status"]["state"] == "ready"


def test_stock_varlinkctl_says_what_went_wrong(varlinkctl):
    for call, error in [(("Nothing", "{}"), "org.varlink.service.MethodNotFound"), (("WatchStatus", "{}"), "org.varlink.service.ExpectedMore"),
                        (("CancelStop", "{}"), "org.pinion.Control.OperationFailed"), (("Ping", '{"x":1}'), "org.varlink.service.InvalidParameter"),
                        (("SignalProcess", '{"pid":1,"action":"cancel"}'), "org.pinion.Control.NoSuchProcess")]:
        p = varlinkctl("call", "SOCK", f"org.pinion.Control.{call[0]}", call[1], check=False)
        assert p.returncode == 1 and error in p.stderr, p.stderr
    p = varlinkctl("--graceful=org.pinion.Control.OperationFailed", "call", "SOCK", "org.pinion.Control.CancelStop", "{}")
    assert json.loads(p.stdout)["sqlstate"] == "55000"


def test_stock_varlinkctl_follows_a_stop_to_its_end(varlinkctl, server):
    out = varlinkctl("--more", "call", "SOCK", "org.pinion.Control.Stop", '{"mode":"fast"}').stdout.replace("\x1e", "")
    replies = [json.loads(line) for line in out.splitlines()]
    assert replies[-1] == {"completed": True, "clean": True} and len(replies) > 1
    server.wait_gone()


# ---- the traps

def every_reply(server):
    """A reply of each method, good or an error, and of a stream."""
    with Wire(server) as w:
        text = w.call("org.varlink.service.GetInterfaceDescription", interface="org.pinion.Control")["parameters"]["description"]
        for method in varlink_idl.Idl(text).methods:
            if method not in ("Stop", "WatchStatus"):
                for parameters in ({}, {"nonsense": 1}):
                    yield w.call(method, **parameters)
        for full in ("org.varlink.service.GetInfo", "org.varlink.service.Nothing", "org.nobody.Nothing"):
            yield w.call(full)
        w.send("Checkpoint", more=True)
        while True:
            reply = w.reply()
            yield reply
            if not reply.get("continues"):
                break
        w.send("WatchStatus", more=True)
        yield w.reply()
    with Wire(server) as w:
        w.s.sendall(b'{"method":"org.pinion.Control.Ping","org.example.vendor":{"a":1}}\0')
        yield w.reply()


def test_trap_1_a_reply_has_no_key_that_systemd_would_hang_up_on(shared):
    seen = set()
    for reply in every_reply(shared):
        assert set(reply) <= {"parameters", "error", "continues"}, reply
        assert reply.get("continues", True) is True and not ("error" in reply and "continues" in reply)
        seen |= set(reply)
    assert seen == {"parameters", "error", "continues"}


GOOD = "interface a.b\ntype T (x: int)\nmethod M() -> (t: T)\n"


@pytest.mark.parametrize("bad", [
    "interface a.b\ntype T (x: int # behind the last field\n)\nmethod M() -> ()\n", "interface a.b\ntype T (x: [string]())\nmethod M() -> ()\n",
    "interface a.b\nmethod M() -> (x: [][]string)\n", "interface a.b\ntype T (ready, re-covering)\nmethod M() -> (t: T)\n",
    "interface a.b\nmethod M() -> (x: ())\n", "interface a.b\nmethod M() -> (x: any)\n", "interface a.b\nmethod M() -> (x: Missing)\n",
    "interface a.b\ntype M (x: int)\nmethod M() -> ()\n",
])
def test_trap_2_our_parser_is_as_strict_as_systemds(bad):
    """test_70 puts the server's own descriptions through it."""
    varlink_idl.Idl(GOOD)
    with pytest.raises(AssertionError):
        varlink_idl.Idl(bad)


def test_trap_3_the_interface_of_all_services_is_described(shared):
    with Wire(shared) as w:
        for interface in w.call("org.varlink.service.GetInfo")["parameters"]["interfaces"]:
            text = w.call("org.varlink.service.GetInterfaceDescription", interface=interface)["parameters"]["description"]
            assert varlink_idl.Idl(text).name == interface and "\r" not in text
        service = varlink_idl.Idl(w.call("org.varlink.service.GetInterfaceDescription", interface="org.varlink.service")["parameters"]["description"])
        assert set(service.errors) >= {"InterfaceNotFound", "MethodNotFound", "MethodNotImplemented", "InvalidParameter", "PermissionDenied", "ExpectedMore"}
        assert w.call("org.varlink.service.GetInterfaceDescription", interface="org.nobody")["error"] == "org.varlink.service.InterfaceNotFound"


NC = """import socket, sys, threading
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(sys.stdin.buffer.read())
s.shutdown(socket.SHUT_WR)
while data := s.recv(65536):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
"""


def documented_lines():
    """The shell lines of the manual that talk to the socket without a client of ours."""
    text = MAN.read_text().replace("\\(aq", "'").replace("\\e", "\\").replace("\\-", "-")
    return [line for line in text.splitlines() if line.startswith("printf ")]


def test_trap_4_and_5_the_documented_shell_lines_work_as_they_stand(server, tmp_path):
    """jq 1.6 prints the first of several NUL-separated documents only; socat leaves half a second after the end of its input."""
    lines = documented_lines()
    assert len(lines) >= 3
    nc = tmp_path / "nc.py"
    nc.write_text(NC)
    jq = shutil.which("jq") or "python3 -c 'import json,sys; print(json.dumps([json.loads(x) for x in sys.stdin][-1]))' #"
    for line in lines:
        assert "tr '\\0' '\\n'" in line, line
        assert "nc -U -N " in line or re.search(r"socat -t\d+ ", line), line
        shell = re.sub(r"(nc -U -N |socat -t\d+ - UNIX-CONNECT:)/run/pinion/main/control", f"python3 {nc} {server.data}/control", line)
        assert shell != line
        shell = shell.replace("| jq ", f"| {jq} ")
        if "WatchStatus" in line:   # each change at once, though a filter's output is a pipe
            got = subprocess.Popen(["bash", "-c", shell], stdout=subprocess.PIPE, text=True)
            assert "stdbuf -o0 tr" in line
            assert json.loads(got.stdout.readline())["parameters"]["status"]["state"] == "ready"
            server.stop()
            rest = got.communicate(timeout=support.DEADLINE)[0]
            assert '"stopping"' in rest, rest
            server.start()
        else:
            out = subprocess.run(["bash", "-c", shell], capture_output=True, text=True, timeout=support.DEADLINE, check=True).stdout
            assert "ready" in out, out


def test_trap_5_who_has_closed_its_sending_side_is_still_served(server):
    """Until the call that is pending has ended; and the end of input takes the place of a missing NUL."""
    with Wire(server) as w:
        w.s.sendall(b'{"method":"org.pinion.Control.Checkpoint","more":true}\0{"method":"org.pinion.Control.WatchStatus","more":true}')
        w.s.shutdown(socket.SHUT_WR)
        reply = w.reply()
        while reply.get("continues"):
            reply = w.reply()
        assert reply["parameters"]["completed"] is True
        assert w.reply()["parameters"]["status"]["state"] == "ready"
        server.sql("CREATE TABLE t (a)")
        server.ctl("stop", "-D", server.data, "--no-wait")
        states = []
        with pytest.raises(EOFError):
            while True:
                states.append(w.reply().get("parameters", {}).get("status", {}).get("state"))
        assert "stopping" in states


# ---- who sends too much, too slowly, too deep

def ends(sock):
    """Waits for the server to hang up; what it said before."""
    got = b""
    try:
        while data := sock.recv(65536):
            got += data
    except ConnectionResetError:
        pass
    return got


@pytest.mark.skipif(not os.environ.get("PINION_LONG"), reason="long: waits for the 10 s")
def test_a_message_that_is_begun_has_to_end(shared):
    """Slowloris: a byte now and then does not keep a connection (10 s a message); others are served meanwhile."""
    with Wire(shared) as w:
        over = threading.Event()

        def drip():
            try:
                while not over.wait(0.5):
                    w.s.sendall(b" ")
            except OSError:
                pass
        w.s.sendall(b'{"method":"org.pinion.Control.Ping"')
        t = threading.Thread(target=drip)
        t.start()
        try:
            for _ in range(10):
                assert status(shared)["state"] == "ready"
            assert ends(w.s) == b""
        finally:
            over.set()
            t.join()


@pytest.mark.parametrize("what", ["16 MiB", "deep", "64 KiB"])
def test_a_message_too_large_or_too_deep_ends_its_connection_only(shared, what):
    message = {"16 MiB": b'{"method":"' + b"x" * (16 << 20) + b'"}\0', "64 KiB": b'{"method":"' + b"x" * (64 << 10) + b'"}\0',
               "deep": b'{"method":"org.pinion.Control.Ping","parameters":' + b'{"a":' * 30000 + b"1" + b"}" * 30001 + b"\0"}[what]
    before = Path(f"/proc/{shared.pid}/status").read_text()
    with Wire(shared) as w, Wire(shared) as other:
        try:
            w.s.sendall(message)
        except (BrokenPipeError, ConnectionResetError):
            pass
        assert ends(w.s) == b""
        assert "monotonicUSec" in other.call("Ping")["parameters"]
    rss = [int(re.search(r"VmRSS:\s+(\d+)", x)[1]) for x in (before, Path(f"/proc/{shared.pid}/status").read_text())]
    assert rss[1] - rss[0] < 4096, "nothing of it was kept"


def test_many_calls_at_once_are_answered_in_their_order(shared):
    with Wire(shared) as w:
        calls = [b'{"method":"org.pinion.Control.Ping"}\0', b'{"method":"org.pinion.Control.Nothing"}\0', b'{"method":"org.pinion.Control.Ping","oneway":true}\0']
        w.s.sendall(b"".join(calls * 300))
        for _ in range(300):
            assert "monotonicUSec" in w.reply()["parameters"]
            assert w.reply()["error"] == "org.varlink.service.MethodNotFound"

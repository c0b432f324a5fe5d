"""Sockets that outlive the postmaster, and those that systemd makes (systemd-ops 3.5; part 7, point 5; judge 3 of the issue)."""
import re

import pytest
from machine import until

# argv: what to do with the postmaster while it stands still, its pid, the port, the socket's path, how many clients.
# All of them stand in the queue, having said who they are; then the postmaster goes. Their answers, counted.
CROWD = r"""
import collections, os, resource, socket, struct, subprocess, sys
command, pid, port, path, n = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], int(sys.argv[5])
hello = struct.pack("!II", 0, 3 << 16) + b"user\0pinion\0database\0postgres\0\0"
hello = struct.pack("!I", len(hello)) + hello[4:]

def client(i):
    s = socket.create_connection(("127.0.0.1", port), 30) if i % 2 else socket.socket(socket.AF_UNIX)
    s.settimeout(30)
    if not i % 2:
        s.connect(path)
    s.sendall(hello)
    return s

def take(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data

def answer(s):
    s.settimeout(120)
    try:
        while True:
            kind, size = struct.unpack("!cI", take(s, 5))
            body = take(s, size - 4)
            if kind == b"Z":
                return "ready"
            if kind == b"E":
                return next(f[1:].decode() for f in body.split(b"\0") if f[:1] == b"C")
    except (EOFError, ConnectionError) as e:
        return type(e).__name__
    finally:
        s.close()

resource.setrlimit(resource.RLIMIT_NOFILE, (4096, 4096))
heard, crowd = collections.Counter(), []
if command == "run":    # not held up: whoever it has taken already may go with it, but nobody is refused
    p = subprocess.Popen(sys.argv[6:])
    while p.poll() is None or len(crowd) < n:
        try:
            crowd.append(client(len(crowd)))
        except (BrokenPipeError, ConnectionResetError) as e:    # taken, and gone with who took it before the packet was sent
            heard[type(e).__name__] += 1
        except OSError as e:
            heard[type(e).__name__] += 1
            break
        while len(crowd) > 400:
            heard[answer(crowd.pop(0))] += 1
        if sum(heard.values()) + len(crowd) >= n and p.poll() is not None:
            break
else:
    os.kill(pid, 19)
    for i in range(n):
        try:
            crowd.append(client(i))
        except OSError as e:
            heard[type(e).__name__] += 1
    if command == "restart":
        subprocess.Popen(sys.argv[6:])    # its signal comes with a SIGCONT
    else:
        os.kill(pid, 9)
for s in crowd:
    heard[answer(s)] += 1
print(dict(heard))
"""


@pytest.fixture
def open_to_all(instance):
    """TCP and Unix clients come in without a password, as many as a test needs."""
    m = instance.m
    hba = m.run("cat", "/etc/pinion/main/pg_hba.conf").stdout
    m.write("/etc/pinion/main/pg_hba.conf", "local all all trust\nhost all all 127.0.0.1/32 trust\n")
    instance.systemctl("stop")
    m.write(instance.conf, instance.conf_text + "\nlisten_addresses = '127.0.0.1'\nmax_connections = 1100\n")
    instance.systemctl("start")
    yield instance
    m.write("/etc/pinion/main/pg_hba.conf", hba)
    instance.systemctl("stop")


def port_of(i):
    return int(re.search(r"^port = '?(\d+)", i.conf_text, re.M)[1])


def crowd(i, command, *argv, n=1000):
    p = i.m.run("python3", "-c", CROWD, command, i.pid, port_of(i), f"/run/pinion/main/.s.PGSQL.{port_of(i)}", n, *argv)
    heard = eval(p.stdout)   # pylint: disable=eval-used
    print(command, heard)
    return heard


def stored(i):
    return int(i.show("NFileDescriptorStore")["NFileDescriptorStore"])


def wait_active(i, pid):
    until(lambda: i.pid not in (0, pid) and i.show("ActiveState")["ActiveState"] == "active", "the service is back")


@pytest.mark.parametrize("way", ["restart", "kill"])
def test_a_thousand_who_wait_are_all_answered(open_to_all, way):
    i = open_to_all
    until(lambda: stored(i) == 2, "both sockets are parked")
    pid = i.pid
    heard = crowd(i, way, "systemctl", "restart", i.unit)
    assert set(heard) <= {"ready", "57P03"} and sum(heard.values()) == 1000, heard
    wait_active(i, pid)
    assert stored(i) == 2


@pytest.mark.parametrize("way", ["restart", "kill"])
def test_nobody_is_refused_while_the_postmaster_changes_under_load(open_to_all, way):
    """Clients come all the time. Who was already taken by a postmaster that is killed goes with it; nobody else goes without an answer."""
    i = open_to_all
    pid = i.pid
    heard = crowd(i, "run", *(["systemctl", "restart", i.unit] if way == "restart" else ["kill", "-KILL", str(pid)]), n=1500)
    assert set(heard) <= {"ready", "57P03"} | ({"EOFError", "ConnectionResetError", "BrokenPipeError"} if way == "kill" else set()), heard
    assert heard["ready"] > 0
    wait_active(i, pid)


def test_a_stop_drops_the_sockets_and_a_new_address_takes_their_place(open_to_all):
    i = open_to_all
    until(lambda: stored(i) == 2, "both sockets are parked")
    i.m.write(i.conf, i.conf_text + "\nlisten_addresses = ''\n")
    i.systemctl("restart")
    until(lambda: stored(i) == 1, "the port is not kept")
    i.systemctl("stop")
    assert stored(i) == 0
    assert i.m.run("ls", "-A", "/run/pinion/main", check=False).stdout == ""


def test_socket_units_start_the_instance_and_keep_their_names(open_to_all):
    i, m = open_to_all, open_to_all.m
    control, db = "pinion@main.socket", "pinion-db@main.socket"
    i.systemctl("stop")
    i.drop_in("RuntimeDirectoryPreserve=yes\n")
    m.write("/etc/systemd/system/pinion-db@main.socket.d/port.conf", f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{port_of(i)}\n")
    m.run("systemctl", "daemon-reload")
    try:
        m.run("systemctl", "start", control, db)
        assert i.show("ActiveState")["ActiveState"] == "inactive"
        psql = ["psql", "-X", "-At", "-h", "127.0.0.1", "-p", port_of(i), "-U", "pinion", "-d", "postgres", "-c", "SELECT 1"]
        p = m.run(*psql, check=False)   # starts it, waits, and may hear that it starts
        assert p.stdout == "1\n" or "starting up" in p.stderr, p
        until(lambda: m.run(*psql, check=False).stdout == "1\n", "it serves")
        until(lambda: i.show("ActiveState")["ActiveState"] == "active", "the service manager has heard of it")
        until(lambda: stored(i) == 1, "the Unix socket is the server's own")
        assert "PM_RUN" in i.ctl("status").stdout
        i.systemctl("stop")
        assert "PM_" in i.ctl("status", check=False).stdout   # the question has started it
        until(lambda: i.show("ActiveState")["ActiveState"] == "active", "it runs again")
    finally:
        m.run("systemctl", "stop", control, db, check=False)
        m.run("rm", "-rf", "/etc/systemd/system/pinion-db@main.socket.d")
        i.systemctl("stop")

"""units/dropins/50-locked-down.conf: an instance whose sockets come from socket units needs no network at all (systemd-ops 3.4, last row)."""
import pytest
from machine import until
from test_62_confined import DOC, exposure

PORT = 15455


@pytest.fixture
def locked_down(instance):
    """pinion@main without any network; its port is opened by pinion-db@main.socket."""
    m = instance.m
    hba = "/etc/pinion/main/pg_hba.conf"
    before = m.run("cat", hba).stdout
    instance.systemctl("stop")
    m.write(hba, before.replace("reject", "trust"))
    m.write("/etc/systemd/system/pinion-db@main.socket.d/50-test.conf", f"[Socket]\nListenStream=\nListenStream=127.0.0.1:{PORT}\n")
    instance.drop_in(m.run("cat", f"{DOC}/50-locked-down.conf").stdout.split("[Service]", 1)[1])
    m.run("ip", "link", "set", "lo", "up")
    m.run("systemctl", "start", "pinion-db@main.socket")
    yield instance
    instance.systemctl("stop", check=False)
    m.run("systemctl", "stop", "pinion-db@main.socket")
    m.run("rm", "-r", "/etc/systemd/system/pinion-db@main.socket.d")
    m.write(hba, before)


def over_tcp(m, statement):
    return m.run("psql", "-X", "-At", "-h", "127.0.0.1", "-p", PORT, "-U", "pinion", "-d", "postgres", "-c", statement, check=False)


def test_it_serves_the_port_that_it_was_given_and_sees_no_network(locked_down, capsys):
    i, m = locked_down, locked_down.m
    i.systemctl("start")
    assert over_tcp(m, "SELECT 1").stdout == "1\n", i.journal()[-2000:]
    figure = exposure(m, i.unit)
    with capsys.disabled():
        print(f"\nexposure of a locked-down pinion@main.service: {figure}")
    assert figure <= 0.4
    links = m.run("nsenter", "-t", i.pid, "-n", "ip", "-o", "link").stdout.splitlines()
    assert len(links) == 1 and ": lo:" in links[0], links
    assert m.run("readlink", f"/proc/{i.pid}/ns/net").stdout != m.run("readlink", "/proc/1/ns/net").stdout   # nor is that loopback the machine's
    # It works inside as without: sessions, archiving by a shell, a crash, a reload.
    m.write(i.conf, i.conf_text + "\narchive_mode = on\narchive_command = 'cp %p archived-%f'\n")
    i.systemctl("restart")
    assert over_tcp(m, "CREATE TABLE locked (a); INSERT INTO locked VALUES (7); SELECT a FROM locked").stdout.splitlines()[-1] == "7"
    over_tcp(m, "SELECT pg_switch_wal()")
    until(lambda: m.sh("ls /var/lib/pinion/main/archived-*", check=False).returncode == 0, "a segment was archived")
    m.sh("kill -KILL $(pgrep -u pinion -x bgwriter)")
    i.until_recovered()
    assert over_tcp(m, "DROP TABLE IF EXISTS locked").returncode == 0
    i.systemctl("reload")
    i.systemctl("stop")
    assert i.show("Result")["Result"] == "success"


def test_a_client_starts_it(locked_down):
    i, m = locked_down, locked_down.m
    assert i.show("ActiveState")["ActiveState"] == "inactive"
    first = over_tcp(m, "SELECT 2")   # it is answered, or told to try again
    assert first.stdout == "2\n" or "the database system is starting up" in first.stderr, first.stderr
    until(lambda: over_tcp(m, "SELECT 2").stdout == "2\n", "it serves")
    until(lambda: i.show("ActiveState")["ActiveState"] == "active", "the service manager has heard of it")

"""The unit under systemd 257 with the drop-ins that it alone understands (systemd-ops 3.3; part 7, points 6 and 8): tighter, and PrivateUsers=identity
leaves everybody who they are."""
import json
import re

from test_62_confined import exposure


def as_somebody(newer, groups, *argv):
    """uid 12345 in these supplementary groups."""
    names = [newer.m.run("getent", "group", g).stdout.split(":")[2] for g in groups]
    keep = [f"--groups={','.join(names)}"] if names else ["--clear-groups"]
    return newer.m.run("setpriv", "--reuid=12345", "--regid=12345", *keep, "pinionctl", "-i", "main", *argv, check=False)


def test_it_is_ready_and_tight(newer, capsys):
    version = newer.m.run("systemctl", "--version").stdout.split()[1]
    figure = exposure(newer.m, newer.unit)
    with capsys.disabled():
        print(f"\nexposure of pinion@main.service under systemd {version}: {figure}")
    assert int(version) >= 257 and figure <= 1.1
    shown = newer.show("PrivateUsersEx", "PrivateTmpEx", "ProtectControlGroupsEx", "RestartSteps", "ActiveState")
    assert shown == {"PrivateUsersEx": "identity", "PrivateTmpEx": "disconnected", "ProtectControlGroupsEx": "strict", "RestartSteps": "6", "ActiveState": "active"}
    log = newer.journal()
    assert "Unknown key" not in log and "Failed to parse" not in log


def test_who_asks_is_who_it_is(newer):
    assert newer.sql("SELECT 1;").stdout == "1\n"   # peer authentication of the server's user
    p = newer.m.run("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "psql", "-X", "-h", "/run/pinion/main", "-p", "15454", "-U", "pinion",
                    "-d", "postgres", "-c", "SELECT 1", check=False)
    assert "Peer authentication failed" in p.stderr, p.stderr
    assert as_somebody(newer, [], "ps").returncode == 77 and as_somebody(newer, [], "is-ready").returncode == 0
    assert as_somebody(newer, ["pinion-monitor"], "ps").returncode == 0 and as_somebody(newer, ["pinion-monitor"], "checkpoint").returncode == 77
    assert as_somebody(newer, ["pinion-admin"], "checkpoint").returncode == 0
    assert re.search(r"control call Checkpoint by uid 12345, .*: accepted", newer.journal())


def test_it_lives_and_stops_as_elsewhere(newer):
    newer.sql("CREATE TABLE t (a); INSERT INTO t VALUES (1);")
    newer.systemctl("reload")
    pid = next(p["pid"] for p in json.loads(newer.ctl("ps", "--json").stdout)["processes"] if p["role"] == "bgwriter")
    newer.m.sh(f"kill -KILL {pid}")
    newer.until_recovered()
    newer.ctl("wait", "--for=ready", "--timeout=60")
    newer.systemctl("restart")
    assert newer.sql("SELECT a FROM t;").stdout == "1\n"
    newer.systemctl("stop")
    assert newer.show("Result", "ExecMainStatus") == {"Result": "success", "ExecMainStatus": "0"}

"""The sandbox of the unit: how tight it is (the figure is printed), and that everything works inside it without one call that it had to
refuse; OOM scores; cgroups of children (systemd-ops 3.2-3.4, 3.11; part 7, point 6)."""
import json
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path

import machine as support
import pytest
from machine import until

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import trixie  # noqa: E402

DOC = "/usr/share/doc/pinion/dropins"


def exposure(m, *unit):
    text = m.run("systemd-analyze", "security", "--no-pager", *unit, check=False).stdout
    return float(re.search(r"exposure level for .*: ([0-9.]+)", text).group(1))


def test_the_exposure_is_small(machine, capsys):
    figure = exposure(machine, "--offline=true", "/lib/systemd/system/pinion@.service")
    with capsys.disabled():
        print(f"\nexposure of pinion@.service: {figure}")
    assert figure <= 1.2


def test_a_newer_systemd_is_content_with_its_drop_ins():
    """Those of units/dropins for 254 and 257 are not installed here: systemd 252 does not know what is in them."""
    root, why = trixie.find()
    if why:
        pytest.skip(f"SKIP: {why}")
    drop_ins = Path(__file__).resolve().parents[2] / "units/dropins"
    with tempfile.TemporaryDirectory() as top:
        shutil.copytree(support.ROOT / "lib/systemd/system" if (support.ROOT / "lib/systemd/system").is_dir() else support.ROOT / "usr/lib/systemd/system",
                        top, dirs_exist_ok=True)
        unit = Path(top) / "pinion@.service"
        os.makedirs(f"{unit}.d", exist_ok=True)
        for name in ("10-systemd-254.conf", "20-systemd-257.conf"):
            shutil.copy(drop_ins / name, f"{unit}.d")
        unit.write_text(re.sub(r"/usr/s?bin/pinion\w+", "/bin/true", unit.read_text()))   # the programs are not in there
        p = trixie.inside(root, "env", "SYSTEMD_UNIT_PATH=/mnt:", "systemd-analyze", "verify", "--man=no", "pinion@main.service", bind=top)
        assert p.stdout + p.stderr == ""
        p = trixie.inside(root, "env", "SYSTEMD_UNIT_PATH=/mnt:", "systemd-analyze", "security", "--offline=true", "--no-pager", "/mnt/pinion@.service", bind=top)
        assert float(re.search(r"exposure level for .*: ([0-9.]+)", p.stdout).group(1)) <= 1.1, p.stdout[-500:] + p.stderr


class Trace:
    """Calls that failed with EPERM, of our processes and what they run, from the start of the unit on: strace follows the service manager."""

    def __init__(self, m):
        self.m = m
        self.file = "/var/tmp/eperm"
        m.run("rm", "-f", self.file)
        m.run("systemd-run", "--unit=trace", "--collect", "strace", "-f", "-Y", "-qq", "-e", "status=failed", "-e", "signal=none", "-o", self.file, "-p", "1")
        until(lambda: self.is_on() or m.run("systemctl", "is-active", "trace", check=False).returncode != 0, "the service manager is traced")
        if not self.is_on():
            pytest.skip("SKIP: on this machine nothing may be traced")

    def is_on(self):
        return "TracerPid:\t0\n" not in self.m.run("cat", "/proc/1/status").stdout

    def end(self):
        self.m.run("systemctl", "stop", "trace")
        lines = self.m.run("cat", self.file).stdout.splitlines()
        # "123<comm> call(…) = -1 EPERM (…)"; "(piniond)" is the service manager's, before it has become ours.
        ours = [x for x in lines if re.match(r"\d+<(piniond|postmaster|syslogger|startup|checkpointer|bgwriter|walwriter|archiver|autovacuum .*|stats|backend|pinionctl|sh|cp|test)> ", x)]
        # SO_SNDBUFFORCE is libsystemd's, in sd_notify(): no unprivileged process may, and it goes on without.
        return ours, [x for x in ours if "= -1 EPERM" in x and "SO_SNDBUFFORCE" not in x]


def workload(instance):
    """Log, checkpoint, archiving by a shell, many sessions, sorts with temporary files, reload, metrics, crash, control."""
    m = instance.m
    instance.systemctl("start")
    instance.sql("CREATE TABLE IF NOT EXISTS work (id INTEGER PRIMARY KEY, t TEXT);")
    instance.sql("INSERT INTO work (t) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 30000) SELECT hex(randomblob(100)) FROM n;")
    instance.sql("SET work_mem = '64kB'; SELECT count(*) FROM (SELECT DISTINCT t FROM work ORDER BY t);")
    instance.sql("UPDATE work SET t = t || 'x' WHERE id % 3 = 0; DELETE FROM work WHERE id % 7 = 0;")
    instance.sql("CREATE DATABASE sandbox;")
    instance.sql("SELECT pg_switch_wal();")
    m.sh("for i in 1 2 3 4 5 6 7 8; do (echo 'BEGIN; INSERT INTO work (t) VALUES (1); COMMIT; SELECT count(*) FROM work;'"
         " | setpriv --reuid=pinion --regid=pinion --clear-groups psql -X -h /run/pinion/main -p 15454 -U pinion -d postgres) & done; wait")
    instance.ctl("checkpoint")
    instance.systemctl("reload")
    until(lambda: m.sh("ls /var/lib/pinion/main/archived", check=False).stdout, "a segment was archived by a shell's cp")
    until(lambda: "pinion_" in m.run("curl", "-s", "--unix-socket", "/run/pinion/main/metrics", "http://x/metrics", check=False).stdout, "the metrics page")
    # Peer authentication sees who it is, also who it is not.
    nobody = m.run("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "psql", "-X", "-h", "/run/pinion/main", "-p", "15454", "-U", "pinion",
                   "-d", "postgres", "-c", "SELECT 1", check=False)
    assert "Peer authentication failed" in nobody.stderr, nobody.stderr
    for verb in (["ps"], ["show"], ["status"], ["check-config"]):
        instance.ctl(*verb)
    pid = next(p["pid"] for p in json.loads(instance.ctl("ps", "--json").stdout)["processes"] if p["role"] == "bgwriter")
    m.run("kill", "-KILL", pid)
    instance.until_recovered()
    rows = instance.sql("SELECT count(*) FROM work;").stdout
    instance.systemctl("stop")
    instance.systemctl("start")
    assert instance.sql("SELECT count(*) FROM work;").stdout == rows


@pytest.mark.skipif(not shutil.which("strace"), reason="SKIP: strace is not installed")
def test_all_works_inside_and_nothing_had_to_be_refused(instance):
    instance.systemctl("stop")
    instance.m.write(instance.conf, instance.conf_text + "\narchive_mode = on\nlogging_collector = on\nmetrics_listen = '/run/pinion/main/metrics'\n"
                     "archive_command = 'mkdir -p archived && test ! -f archived/%f && cp %p archived/%f'\nlog_connections = on\nlisten_addresses = '127.0.0.1'\n")
    trace = Trace(instance.m)
    try:
        workload(instance)
    finally:
        seen, refused = trace.end()
    assert len(seen) > 100, "strace has seen nothing"
    assert refused == [], "\n".join(refused[:20])


def by_role(instance):
    found = {}
    for p in json.loads(instance.ctl("ps", "--json").stdout)["processes"]:
        found.setdefault(p["role"], p["pid"])
    return found


def of_each(instance, name):
    """{role: text} of a file in /proc; of a child that is just born perhaps what it was born with."""
    read = {role: instance.m.run("cat", f"/proc/{pid}/{name}", check=False) for role, pid in by_role(instance).items()}
    return {role: p.stdout for role, p in read.items() if p.returncode == 0}   # others have gone


def test_a_child_is_killed_for_memory_before_the_postmaster(instance):
    """OOMScoreAdjust= protects the postmaster, children put themselves back to PG_OOM_ADJUST_VALUE."""
    shown = instance.show("OOMScoreAdjust", "Environment", "OOMPolicy")
    assert shown["OOMPolicy"] == "continue" and shown["Environment"] == "PG_OOM_ADJUST_FILE=/proc/self/oom_score_adj PG_OOM_ADJUST_VALUE=0"
    instance.systemctl("stop")
    if shown["OOMScoreAdjust"] != "-900":   # the kernel of a sandbox: show the same one step higher
        instance.drop_in("OOMScoreAdjust=0\nEnvironment=PG_OOM_ADJUST_VALUE=200\n")
    instance.systemctl("start")
    of_postmaster = int(instance.show("OOMScoreAdjust")["OOMScoreAdjust"])
    value = 0 if of_postmaster < 0 else 200
    until(lambda: {(role == "postmaster", score) for role, score in of_each(instance, "oom_score_adj").items()} ==
          {(True, f"{of_postmaster}\n"), (False, f"{value}\n")}, "each child has put itself back")


def test_children_have_cgroups_of_their_own_where_they_were_delegated(instance):
    m = instance.m
    instance.systemctl("stop")
    instance.m.write(instance.conf, instance.conf_text + "\nchild_cgroups = on\n")
    instance.drop_in("Restart=no\n")
    assert instance.systemctl("start", check=False).returncode != 0
    assert instance.show("ExecMainStatus")["ExecMainStatus"] == "78"
    assert "Delegate=yes" in instance.journal() and "could not make cgroup" in instance.show("StatusText")["StatusText"]

    text = m.run("cat", f"{DOC}/60-delegate.conf").stdout
    instance.drop_in(text.split("[Service]", 1)[1])
    instance.systemctl("reset-failed")
    instance.systemctl("start")
    session = "echo 'SELECT pg_backend_pid(); SELECT 1;' | setpriv --reuid=pinion --regid=pinion --clear-groups psql -X -At -h /run/pinion/main -p 15454 -U pinion -d postgres"
    m.sh(f"(sleep 600 | {session.split('|', 1)[1]}) >/dev/null 2>&1 &")
    try:
        until(lambda: "backend" in by_role(instance), "a session")
        top = instance.show("ControlGroup")["ControlGroup"]

        def each_in_its_own():
            where = {role: re.search(r"^0::(.*)$", text, re.M)[1] for role, text in of_each(instance, "cgroup").items()}
            own = {"postmaster": f"{top}/postmaster", "backend": f"{top}/backends"}
            return {"checkpointer", "walwriter", "bgwriter", "backend"} <= set(where) and all(at == own.get(role, f"{top}/aux") for role, at in where.items())

        until(each_in_its_own, "each is in its own")
        # A crash and a reload change nothing about it.
        m.run("kill", "-KILL", by_role(instance)["bgwriter"])
        instance.until_recovered()
        instance.systemctl("reload")
        until(lambda: f"0::{top}/aux\n" in of_each(instance, "cgroup").get("bgwriter", ""), "it is there again")
    finally:
        m.run("pkill", "-x", "psql", check=False)
    instance.systemctl("stop")
    assert instance.show("Result")["Result"] == "success"
    assert m.run("pgrep", "-u", "pinion", check=False).stdout == ""


def test_a_limit_of_memory_needs_its_controller(instance):
    m = instance.m
    instance.systemctl("stop")
    instance.m.write(instance.conf, instance.conf_text + "\nchild_cgroups = on\nbackends_memory_max = 700MB\n")
    instance.drop_in("Restart=no\n" + m.run("cat", f"{DOC}/60-delegate.conf").stdout.split("[Service]", 1)[1])
    p = instance.systemctl("start", check=False)
    if p.returncode != 0:   # the kernel has it elsewhere
        assert instance.show("ExecMainStatus")["ExecMainStatus"] == "78"
        assert "needs the memory controller" in instance.journal()
        return
    top = instance.show("ControlGroup")["ControlGroup"]
    assert m.sh(f"cat /sys/fs/cgroup{top}/backends/memory.max || cat /sys/fs/cgroup/unified{top}/backends/memory.max").stdout.strip() == str(700 << 20)

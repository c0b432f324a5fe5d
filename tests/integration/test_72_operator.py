"""What an operator has besides the state: the history, a stop that drains, doctor, report."""
import contextlib
import json
import os
import re
import signal
import tarfile

import pytest
import server as support
from wire import connect


def entries(server, n=200):
    return json.loads(server.ctl("history", "-D", server.data, "-n", str(n), "--json").stdout)["entries"]


def events(server, n=200):
    return [e["event"] for e in entries(server, n)]


def test_the_history_tells_every_start_stop_crash_and_reload_with_its_cause(server):
    assert events(server) == ["start", "ready"]
    assert "nothing is known of runs before" in entries(server)[0]["message"]
    os.kill(server.child("bgwriter"), signal.SIGKILL)
    support.until(lambda: events(server, 2) == ["crash", "ready"], "it is back")
    crash, again = entries(server, 2)
    assert re.fullmatch(r"bgwriter \d+ was terminated by signal 9: Killed", crash["message"]) and "restart 1" in again["message"]
    server.configure("lock_timeout = 5s\n")
    server.ctl("reload", "-D", server.data)
    server.configure("lock_timeout = soon\n")
    server.ctl("reload", "-D", server.data, check=False)
    good, bad = entries(server, 2)
    assert (good["event"], bad["event"]) == ("reload", "reload_failed")
    assert "changed: lock_timeout" in good["message"] and "pinionctl" in good["by"] and re.search(r"pinion.conf:\d+: ", bad["message"])
    os.kill(server.pid, signal.SIGHUP)
    support.until(lambda: events(server, 2) == ["reload_failed", "reload_failed"], "the signal was taken")
    assert re.fullmatch(r"SIGHUP of uid 0, pid \d+", entries(server, 1)[0]["by"])
    (server.data / "pinion.conf").write_text((server.data / "pinion.conf").read_text().replace("lock_timeout = soon\n", ""))
    server.ctl("stop", "-D", server.data, "--reason", "new\tkernel")
    stop, stopped = entries(server, 2)   # from the file now
    assert (stop["event"], stop["message"], stop["reason"]) == ("stop", "fast stop requested", "new kernel")
    assert (stopped["event"], stopped["message"]) == ("stopped", "stopped cleanly")
    p = server.ctl("status", "-D", server.data, check=False)
    assert p.returncode == 3 and "Last word  stopped cleanly" in p.stdout and "new kernel" in p.stdout
    server.start()
    assert "after a clean stop" in entries(server, 2)[0]["message"]
    before = server.pid
    server.kill9()
    assert "ended without a word" in server.ctl("status", "-D", server.data, check=False).stdout
    server.start()
    assert f"the run before (PID {before}) ended without a word" in entries(server, 2)[0]["message"]
    server.stop("immediate")
    assert "recovery at next start" in entries(server, 1)[0]["message"]
    assert len(events(server)) > 10


def test_ready_after_a_crash_is_told_as_that_whatever_was_told_between(server):
    with connect(server) as c:
        assert support.freeze(c.key[0])   # the crash is not over before it has left
        os.kill(server.child("bgwriter"), signal.SIGKILL)
        support.until(lambda: "crash" in events(server), "it was seen")
        os.kill(server.pid, signal.SIGHUP)
        support.until(lambda: "reload" in events(server), "and so was the reload")
        with contextlib.suppress(ProcessLookupError):
            os.kill(c.key[0], signal.SIGCONT)
        support.until(lambda: events(server, 1) == ["ready"], "it is back")
    assert "restart 1" in entries(server, 1)[0]["message"]


def test_a_history_that_cannot_be_kept_stops_nobody(cluster):
    s = cluster()
    (s.data / "pinion_history").mkdir()
    s.start()
    assert "the history of the server is not kept" in s.log() and events(s) == ["start", "ready"]
    s.stop()


def test_a_recovery_that_ends_in_a_new_timeline_is_a_promotion(server):
    server.stop()
    (server.data / "recovery.signal").touch()
    server.configure("restore_command = 'false'\nrecovery_target_timeline = 'current'\n")
    server.start()
    assert events(server, 3) == ["start", "promotion", "ready"]
    assert (entries(server, 2)[0]["message"], entries(server, 1)[0]["timeline"]) == ("timeline 2, before 1", 2)


def test_a_smart_stop_becomes_a_fast_one_when_the_time_to_drain_is_over(server):
    with connect(server) as c:
        assert c.ok("SELECT 1")
        p = server.ctl("stop", "-D", server.data, "--drain=1s")
        assert re.search(r"data: draining: 1 client left, fast stop in [01] s", p.stdout) and "stopped cleanly" in p.stdout
    assert [e["message"] for e in entries(server, 3)] == ["smart stop requested", "fast stop requested", "stopped cleanly"]
    assert entries(server, 2)[0]["by"] == "the end of the time to drain"


def test_a_drain_that_is_taken_back_does_not_end_later(server):
    with connect(server) as c:
        assert c.ok("SELECT 1")
        server.ctl("stop", "-D", server.data, "--drain=1min", "--no-wait")   # more than we need to take it back
        support.until(lambda: "fast stop in" in server.status().get("progress", {}).get("message", ""), "it drains")
        server.ctl("cancel-stop", "-D", server.data)
        assert events(server, 1) == ["stop_canceled"]
        server.ctl("stop", "-D", server.data, "-m", "smart", "--no-wait")   # without a limit
        support.until(lambda: server.status()["state"] == "draining", "it drains")
        assert "fast stop in" not in server.status()["progress"]["message"]
        server.ctl("stop", "-D", server.data, "--drain=1h", "--no-wait")
        assert support.until(lambda: re.search(r"fast stop in 59 min \d+ s", server.status()["progress"]["message"]), "the limit is told")


@pytest.mark.skipif(os.geteuid() != 0, reason="SKIP: not root, there is one user only")
def test_a_stranger_sees_the_state_and_hears_what_he_would_need(cluster):
    s = cluster()
    s.dir.chmod(0o755)
    s.configure(f"control_socket = '{s.dir}/control'\n")
    s.start()

    def stranger(*argv):
        return support.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--", support.PINIONCTL, "--socket", s.dir / "control", *argv,
                           user=False, check=False)
    p = stranger("status")
    assert p.returncode == 0 and "ready (primary)" in p.stdout and str(s.data) not in p.stdout
    p = stranger("reload")
    assert p.returncode == 77 and p.stderr.startswith("pinionctl: error: permission denied for Reload, uid 65534 (nobody)\n  hint: It needs root")
    assert stranger("history").returncode == 77
    assert stranger("doctor").returncode in (0, 1, 5)


def test_the_log_is_rotated_over_the_socket(cluster):
    s = cluster(conf="logging_collector = on\nlog_filename = 'one.log'\n")
    s.start()
    support.until((s.data / "log/one.log").exists, "the collector has made it")
    (s.data / "log/one.log").rename(s.data / "log/moved.log")
    s.ctl("rotate-log", "-D", s.data)
    support.until((s.data / "log/one.log").exists, "a new file of the name")
    s.stop()


def test_logs_finds_the_file_of_a_running_server(server):
    assert "ready to accept connections" in server.ctl("logs", "-D", server.data).stdout
    assert len(server.ctl("logs", "-D", server.data, "-n", "1").stdout.splitlines()) == 1
    server.stop()
    p = server.ctl("logs", "-D", server.data, check=False)
    assert p.returncode == 1 and "start -l FILE" in p.stderr


def test_the_doctor_sees_what_is_wrong(cluster):
    s = cluster()
    s.start()

    def found(code):
        p = s.ctl("doctor", "-D", s.data, "--json", check=False)
        levels = {c["check"]: c["level"] for c in json.loads(p.stdout)["checks"]}
        bad = sorted(check for check, level in levels.items() if level in ("warning", "bad"))
        assert p.returncode == code, (p.returncode, bad)
        assert len(levels) > 10 and levels["server"] == "ok"
        return bad
    # The disk of the machine may be nearly full; that is no fault of the server's.
    assert set(found(s.ctl("doctor", "-D", s.data, check=False).returncode)) <= {"disk of data", "disk of wal", "memory", "kernel"}
    s.configure("max_connections = 0\n")
    assert "configuration" in found(1)
    p = s.ctl("doctor", "-D", s.data, check=False)
    assert re.search(r"BAD   configuration  1 error: \S+/pinion.conf:\d+: ", p.stdout)


def test_a_report_of_a_real_server_holds_no_statement_and_no_name(cluster, tmp_path):
    s = cluster(conf="log_statement = all\narchive_command = 'true --password=geheim'\nlog_line_prefix = '%m [%p] at-%u@%d '\n")
    s.start()
    with connect(s) as c:
        assert c.ok("SELECT 'geheim'")
        c.query("SELECT geheim FROM nowhere")
        support.until(lambda: 'relation "nowhere" does not exist' in s.log(), "it is logged")
        with open(s.log_path, "a", encoding="utf-8") as f:   # as recovery says it
            f.write('2026-11-21 13:40:00.000 UTC [1] WARNING:  archive_cleanup_command "rm geheim": failed with exit code 1\n')
        path = support.open_dir(tmp_path) / "r:1.tgz"
        s.ctl("report", "-D", s.data, "-o", path)
    with tarfile.open(path) as tar:
        files = {os.path.basename(m.name): tar.extractfile(m).read().decode() for m in tar.getmembers() if m.isfile()}
    assert {"status.json", "server.log", "history.json", "doctor.json"} <= set(files)
    assert "ready to accept connections" in files["server.log"]
    assert "geheim" not in "".join(files.values())
    assert " at-" not in files["server.log"] and re.match(r"\d{4}-\d\d-\d\d [\d:.]+ UTC \[\d+\] LOG:  starting", files["server.log"])
    assert '"user": "postgres"' not in files["processes.json"]


def test_a_report_that_finds_no_room_or_may_not_be_written_leaves_nothing(small_disk, cluster):
    disk, s = small_disk(1), cluster()
    disk.fill()

    def left():
        return [p.name for p in disk.path.iterdir() if p != disk.filler]
    p = s.ctl("report", "-D", s.data, "-o", disk.path / "r.tgz", check=False)
    assert p.returncode == 1 and f'could not write "{disk.path}/r.tgz": tar ended with status' in p.stderr and left() == []
    p = s.ctl("report", "-D", s.data, "-o", s.dir / "r.tgz", check=False, env={"TMPDIR": str(disk.path)})
    assert p.returncode == 1 and "No space left on device\n  hint: Set TMPDIR " in p.stderr and left() == []
    p = s.ctl("report", "-D", s.data, "-o", "/etc/r.tgz", check=False)
    assert p.returncode == 1 and 'could not create "/etc/r.tgz": Permission denied' in p.stderr
    assert s.ctl("report", "-D", s.data, "-o", s.dir / "r.tgz").returncode == 0


def test_a_start_right_behind_a_kill_is_a_start(server):
    """The kernel has not cleared the dead one away yet: it is not "already running", nor are its children in the way."""
    for _ in range(3):
        os.kill(server.pid, signal.SIGKILL)
        assert "ready after" in server.start().stdout
    assert server.sql("SELECT 1") == [(1,)]


def test_the_doctor_sees_a_rule_that_trusts_other_machines(server):
    hba = server.data / "pg_hba.conf"
    before = hba.read_text()
    for rule, is_open in (("0.0.0.0/0 trust", True), ("0.0.0.0 0.0.0.0 trust", True), (":: :: trust", True), ("all trust", True), ("::1:0/64 trust", True),
                          ("127.0.0.1/0 trust", True), ("127.0.0.1/32 trust", False), ("127.0.0.1 255.0.0.0 trust", False), ("::1/128 trust", False),
                          ("0.0.0.0/0 reject", False)):
        hba.write_text(f"{before}host all all {rule} # so\n")
        server.ctl("check-config", "-D", server.data)
        checks = {c["check"]: c for c in json.loads(server.ctl("doctor", "-D", server.data, "--json", check=False).stdout)["checks"]}
        assert (checks["access"]["level"] == "warning") == is_open, (rule, checks["access"])

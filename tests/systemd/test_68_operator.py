"""What pinionctl says of an instance of the service manager's: status, list, doctor, history, report, and a restart that would fail."""
import json
import re


def test_status_list_and_doctor_know_the_unit(instance):
    said = instance.ctl("status").stdout
    assert re.search(r"^● main +ready \(primary\) +PM_RUN", said) and re.search(r"(?m)^    Unit +pinion@main.service, main pid \d+$", said)
    rows = json.loads(instance.m.run("pinionctl", "--json", "list").stdout)["instances"]
    assert [(r["instance"], r["state"], r["unit"]) for r in rows] == [("main", "ready", "pinion@main.service")]
    p = instance.ctl("doctor", "--json", check=False)
    checks = {c["check"]: c for c in json.loads(p.stdout)["checks"]}
    assert checks["unit"]["finding"].startswith("pinion@main.service") and checks["server"]["level"] == "ok"
    assert checks["groups"]["level"] == "ok" and checks["data directory"]["finding"].startswith("/var/lib/pinion/main, mode 0700")


def test_a_restart_with_errors_in_the_files_leaves_the_server_alone(instance):
    pid = instance.pid
    instance.m.write(instance.conf, instance.conf_text + "max_connections = 0\n")
    p = instance.ctl("restart", check=False)
    assert p.returncode == 78 and re.search(r"/etc/pinion/main/pinion.conf:\d+: 0 is outside the valid range", p.stderr)
    assert instance.pid == pid
    p = instance.ctl("doctor", check=False)
    assert p.returncode == 1 and re.search(r"(?m)^BAD +configuration +1 error: /etc/pinion/main/pinion.conf:\d+: ", p.stdout)


def test_a_start_that_fails_says_why_and_one_that_takes_long_goes_on(instance):
    instance.ctl("stop")
    instance.m.write(instance.conf, instance.conf_text + "max_connections = 0\n")
    p = instance.ctl("start", check=False)
    assert p.returncode == 78 and re.search(r"pinion.conf:\d+: 0 is outside the valid range", p.stderr) and "logs -n 20" in p.stderr
    instance.m.write(instance.conf, instance.conf_text)
    instance.systemctl("reset-failed")
    instance.drop_in("ExecStartPre=/bin/sleep 3\n")
    p = instance.ctl("start", "--timeout=0.5", check=False)
    assert p.returncode == 75 and "not done after 0.5 s; the service manager goes on" in p.stderr
    instance.ctl("wait", "--timeout=60")
    instance.drop_in("")


def test_a_start_right_behind_a_kill_is_over_when_it_is_ready(instance):
    """Not what systemctl says of a unit whose end the service manager has not seen yet."""
    instance.m.sh(f"kill -KILL {instance.pid} && pinionctl -i main start")
    assert instance.status()["state"] == "ready"


def test_files_that_are_not_ours_to_read_are_no_errors_in_the_configuration(instance):
    instance.ctl("stop")
    p = instance.m.run("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "pinionctl", "check-config", check=False)
    assert p.returncode == 77 and "not yours to read" in p.stderr, p.stderr


def test_the_history_names_who_stopped_it(instance):
    instance.ctl("stop", "--reason", "for the test")
    p = instance.ctl("status", check=False)
    assert p.returncode == 3 and "for the test" in p.stdout and "stopped since" in p.stdout
    stop, stopped = json.loads(instance.ctl("history", "-n", "2", "--json").stdout)["entries"]
    assert (stop["event"], stop["reason"], stopped["message"]) == ("stop", "for the test", "stopped cleanly")
    instance.systemctl("start")
    instance.systemctl("stop")
    stop = json.loads(instance.ctl("history", "-n", "2", "--json").stdout)["entries"][0]
    assert re.fullmatch(r"SIG\w+ of uid 0, pid 1", stop["by"])


def test_a_report_has_the_journal_without_sessions(instance):
    instance.sql("SELECT no_such_column", check=False)
    instance.ctl("report", "-o", "/tmp/report.tar.gz")
    journal = instance.m.sh("tar -xzOf /tmp/report.tar.gz --wildcards '*/journal.txt'").stdout
    assert "ready to accept connections" in journal and "no_such_column" not in journal

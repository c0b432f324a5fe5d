"""The journal of the unit: fields, MESSAGE_IDs and their texts (systemd-ops 3.8); and the log collector instead of it."""
import json
import re

from machine import until

IDS = "5b0f6d2c1f0a4c0c9a8f8d6a5a7b1e"


def entries(instance, since, **fields):
    """Entries of the instance behind the cursor `since` whose fields are these. Of a process that ends right behind its last words journald
    may come too late to see the unit (a few of a hundred here): those have the instance's name, as `pinionctl logs` knows."""
    uid = instance.m.run("id", "-u", "pinion").stdout.strip()
    instance.m.run("journalctl", "--sync")
    out = instance.m.run("journalctl", "-o", "json", "--no-pager", *since, f"_SYSTEMD_UNIT={instance.unit}", "+", f"UNIT={instance.unit}", "+",
                         "SYSLOG_IDENTIFIER=pinion@main", f"_UID={uid}").stdout
    found = [json.loads(x) for x in out.splitlines()]
    return [e for e in found if all(e.get(k) == v for k, v in fields.items())]


def here(instance):
    """Where the journal ends now."""
    instance.m.run("journalctl", "--sync")
    out = instance.m.run("journalctl", "-n1", "--show-cursor", "--no-pager", "-u", instance.unit).stdout
    return ["--after-cursor", re.search(r"^-- cursor: (.*)$", out, re.M).group(1)]


def one(instance, since, what, **fields):
    return until(lambda: entries(instance, since, **fields), what)[0]


def test_an_error_of_a_session_has_its_fields(instance):
    since = here(instance)
    p = instance.sql("SELECT pg_backend_pid();\nSELECT * FROM no_table_of_mine;", check=False)
    pid = p.stdout.strip()
    e = one(instance, since, "the error", PINION_SQLSTATE="42P01")
    assert "no_table_of_mine" in e["MESSAGE"] and e["PRIORITY"] == "4" and e["PINION_LEVEL"] == "ERROR"
    assert e["PINION_USER"] == "pinion" and e["PINION_DATABASE"] == "postgres" and e["PINION_PROCESS"] == "backend"
    assert e["PINION_QUERY"] == "SELECT * FROM no_table_of_mine;" and e["PINION_INSTANCE"] == "main"
    assert e["PINION_APPLICATION"] == "psql" and e["PINION_CLIENT"] == "[local]"
    assert e["SYSLOG_IDENTIFIER"] == "pinion@main" and e["_PID"] == pid
    if "_SYSTEMD_UNIT" in e:   # journald still met the process
        assert e["_COMM"] == "backend" and e["_SYSTEMD_UNIT"] == instance.unit


def test_logs_have_the_last_words_of_everybody(instance):
    """Also of those whom journald did not meet any more: journalctl -u would miss them."""
    for i in range(20):
        instance.sql(f"SELECT * FROM no_table_of_nobody_{i};", check=False)
    until(lambda: instance.ctl("logs", "-n", "200").stdout.count('"no_table_of_nobody_') >= 20, "all of them")
    assert instance.ctl("logs", "-n", "200").stdout.count('"no_table_of_nobody_') == 20


def test_events_have_ids_and_the_catalogue_explains_them(instance):
    m = instance.m
    m.run("journalctl", "--update-catalog")
    since = here(instance)
    instance.systemctl("restart")
    ready = one(instance, since, "ready", MESSAGE_ID=IDS + "02")
    assert ready["MESSAGE"] == "database system is ready to accept connections" and int(ready["PINION_DURATION_USEC"]) > 0
    stop = one(instance, since, "the stop", MESSAGE_ID=IDS + "03")
    assert ready["PINION_STATE"] == "PM_RUN" and stop["PINION_STATE"] == "PM_STOP_BACKENDS"
    assert stop["PINION_OPERATION"] == "stop-fast" and stop["PINION_PROCESS"] == "postmaster"
    assert entries(instance, since, MESSAGE_ID=IDS + "04") and entries(instance, since, MESSAGE_ID=IDS + "01")
    text = m.run("journalctl", "-x", "--no-pager", "-u", instance.unit, f"MESSAGE_ID={IDS}03").stdout
    assert "Subject: A stop was requested" in text and "Defined-By: Pinion" in text
    known = m.run("journalctl", "--list-catalog").stdout
    assert len(set(re.findall(rf"^{IDS}[0-9a-f]{{2}}", known, re.M))) >= 22


def test_a_crash_names_the_child(instance):
    since = here(instance)
    pid = json.loads(instance.ctl("ps", "--json").stdout)["processes"]
    pid = next(x["pid"] for x in pid if x["role"] == "bgwriter")
    instance.m.run("kill", "-KILL", pid)
    e = one(instance, since, "the crash", MESSAGE_ID=IDS + "05")
    assert e["PINION_CHILD_PID"] == e["OBJECT_PID"] == str(pid)
    assert e["PINION_CHILD_ROLE"] == "bgwriter" and e["PINION_SIGNAL"] == "9"
    begin = one(instance, since, "recovery begins", MESSAGE_ID=IDS + "0d")
    assert re.fullmatch("[0-9A-F]+/[0-9A-F]+", begin["PINION_REDO_LSN"]) and begin["PINION_PROCESS"] == "startup"
    one(instance, since, "recovery ends", MESSAGE_ID=IDS + "0e")
    one(instance, since, "ready", MESSAGE_ID=IDS + "02")


def test_a_rejected_file_is_named_in_fields(instance):
    n = len(instance.conf_text.splitlines()) + 2
    since = here(instance)
    instance.m.write(instance.conf, instance.conf_text + "\nport = nonsense\n")
    assert instance.systemctl("reload", check=False).returncode != 0
    e = one(instance, since, "the rejection", MESSAGE_ID=IDS + "09")
    assert e["PINION_CONFIG_FILE"] == instance.conf and e["PINION_CONFIG_LINE"] == str(n), (e, n)
    asked = one(instance, since, "who asked", PINION_OPERATION="Reload")
    assert asked["PINION_REQUESTER_UID"] == instance.m.run("id", "-u", "pinion").stdout.strip()   # ExecReload= runs as the unit's user


def test_the_collector_takes_the_place_of_the_journal_and_has_the_last_word(instance):
    """KillMode=mixed kills what is left when the postmaster is gone: by then the files are complete (AC074)."""
    m = instance.m
    log = "/var/lib/pinion/main/log/all.log"
    instance.systemctl("stop")
    instance.m.write(instance.conf, instance.conf_text + "\nlogging_collector = on\nlog_filename = 'all.log'\n")
    since = here(instance)
    for _ in range(3):
        instance.systemctl("start")
        instance.sql("SELECT * FROM no_table_collected;", check=False)
        instance.systemctl("stop")
        text = m.run("cat", log).stdout
        assert text.rstrip().endswith("LOG:  database system is shut down"), text[-500:]
        assert instance.show("Result") == {"Result": "success"}
    assert text.count("ERROR:  ") == text.count("STATEMENT:  SELECT * FROM no_table_collected;") == 3, text
    told = [e["MESSAGE"] for e in entries(instance, since) if "PINION_PROCESS" in e]
    assert any("redirecting log output" in x for x in told) and not any("ready to accept" in x for x in told), told

"""The log collector: files, formats, rotation, and that it outlives everybody (AC031, AC033, AC074; O02)."""
import csv
import io
import json
import os
import re
import signal
import threading

import psycopg2
import pytest
import server as support
from server import PGBIN, PINIOND, until
from wire import connect

COLLECT = "logging_collector = on\nlog_filename = 'pinion-%Y-%m-%d_%H%M%S.log'\n"
LINE = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} UTC \[\d+\] (LOG|ERROR|FATAL|WARNING|HINT|DETAIL|STATEMENT):  ")


def logs(s, suffix=".log"):
    return sorted((s.data / "log").glob(f"*{suffix}"))


def text(s, suffix=".log"):
    return "".join(p.read_text(errors="replace") for p in logs(s, suffix))


def started(cluster, conf=""):
    s = cluster(conf=COLLECT + conf)
    s.start()
    until((s.data / "current_logfiles").exists, "the collector has its files")
    return s


def logged(s, what, suffix=".log"):
    return until(lambda: what in text(s, suffix), f"{what!r} in the log")


def fail(s, word):
    """A statement that ends in an error with `word` in it."""
    with pytest.raises(psycopg2.Error):
        s.sql(f"SELECT * FROM no_table_{word}")


def test_all_that_is_said_is_in_the_file_and_the_last_word_is_the_last(cluster):
    """AC074."""
    s = started(cluster)
    fail(s, "first")
    logged(s, "no_table_first")
    assert "STATEMENT:  SELECT * FROM no_table_first" in text(s)
    assert "redirecting log output to logging collector process" in s.log()
    assert 'directory "log"' in s.log() and "ready to accept" not in s.log()
    assert "starting Pinion" in text(s) and "ready to accept connections" in text(s)
    current = (s.data / "current_logfiles").read_text()
    assert current == f"stderr log/{logs(s)[0].name}\n"
    assert logs(s)[0].stat().st_mode & 0o777 == 0o600
    logger = s.child("syslogger")
    s.stop()
    assert text(s).rstrip().endswith("LOG:  database system is shut down")
    assert all(LINE.match(x) for x in text(s).splitlines()), text(s)
    until(lambda: support.state_of(logger) in ("", "Z"), "the collector is gone")


@pytest.mark.parametrize("mode", ["smart", "immediate"])
def test_the_other_stops_are_in_the_file_too(cluster, mode):
    s = started(cluster)
    s.stop(mode)
    assert text(s).rstrip().endswith("LOG:  database system is shut down")
    s.wait_gone()


def test_the_collector_ignores_signals_and_is_replaced_when_killed(cluster):
    """AC031, AC033, O02."""
    s = started(cluster)
    logger = s.child("syslogger")
    others = {p for p, r in s.children().items() if r not in ("syslogger", "backend")}
    for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGUSR2):
        os.kill(logger, sig)
    fail(s, "afterwards")
    logged(s, "no_table_afterwards")
    assert s.child("syslogger") == logger
    assert support.freeze(logger)
    fail(s, "meanwhile")
    assert "no_table_meanwhile" not in text(s)
    os.kill(logger, signal.SIGKILL)
    again = until(lambda: next((p for p, r in s.children().items() if r == "syslogger" and p != logger), None), "a new collector")
    assert again != logger
    logged(s, "no_table_meanwhile")
    fail(s, "new")
    logged(s, "no_table_new")
    assert text(s).count(f"system logger process (PID {logger}) was terminated by signal 9") == 1
    assert "terminating any other" not in text(s)
    assert {p for p, r in s.children().items() if r not in ("syslogger", "backend")} == others


def test_a_killed_collector_under_load_loses_nothing_said_after_it(cluster):
    s = started(cluster)
    stop = threading.Event()
    said = [[] for _ in range(4)]

    def talk(i):
        c = s.connect()
        n = 0
        while not stop.is_set():
            with pytest.raises(psycopg2.Error):
                c.cursor().execute(f"SELECT * FROM no_table_{i}_{n}_x")
            said[i].append(n)
            n += 1
        c.close()

    threads = [threading.Thread(target=talk, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        logger = s.child("syslogger")
        for _ in range(3):
            until(lambda: min(map(len, said)) > 20, "load")
            os.kill(logger, signal.SIGKILL)
            logger = until(lambda: next((p for p, r in s.children().items() if r == "syslogger" and p != logger), None), "a new collector")
            marks = [len(x) for x in said]
            until(lambda: all(len(x) > m + 20 for x, m in zip(said, marks)), "load goes on")
    finally:
        stop.set()
        for t in threads:
            t.join()
    s.stop()
    whole = text(s)
    for i, m in enumerate(marks):
        for n in range(m + 1, said[i][-1] + 1):
            assert f"no_table_{i}_{n}_x" in whole, (i, n)
    assert all(LINE.match(x) for x in whole.splitlines()), [x for x in whole.splitlines() if not LINE.match(x)][:5]


def test_a_collector_that_stands_still_does_not_stop_the_server(cluster):
    s = started(cluster)
    logger = s.child("syslogger")
    assert support.freeze(logger)
    try:
        c = s.connect()
        big = "x" * 200000
        for i in range(12):                      # 2.4 MB into a pipe of 1 MB
            with pytest.raises(psycopg2.Error):
                c.cursor().execute(f"SELECT {i} FROM no_table WHERE '{big}' = ''")
        assert s.sql("SELECT 1") == [(1,)]
        assert s.status()["pmState"] == "PM_RUN"
    finally:
        os.kill(logger, signal.SIGCONT)
    logged(s, "no_table WHERE")
    with pytest.raises(psycopg2.Error):
        c.cursor().execute("SELECT * FROM no_table_again")
    logged(s, "no_table_again")
    assert re.search(r"\d+ log entries of this process are lost", text(s))
    s.stop()


def test_the_collector_survives_a_crash_of_another(cluster):
    s = started(cluster)
    logger = s.child("syslogger")
    c = s.connect()
    pid = c.info.backend_pid
    os.kill(pid, signal.SIGKILL)
    logged(s, "all server processes terminated; reinitializing")
    until(lambda: text(s).count("ready to accept connections") == 2, "ready again")
    assert s.child("syslogger") == logger
    assert f"server process (PID {pid}) was terminated by signal 9" in text(s)


def test_the_collector_outlives_a_killed_postmaster_only_as_long_as_anybody_writes(cluster):
    s = started(cluster)
    logger = s.child("syslogger")
    s.kill9()
    until(lambda: support.state_of(logger) in ("", "Z"), "the collector is gone")
    s.start()
    logged(s, "interrupted")


def test_files_change_by_request_of_sql_and_of_pg_ctl(cluster):
    s = started(cluster, "log_filename = 'one.log'\n")
    until(lambda: s.sql("SELECT pg_current_logfile()") == [("log/one.log",)], "its name is known")
    moved = (s.data / "log/one.log").rename(s.data / "log/moved.log")
    fail(s, "before")
    until(lambda: "no_table_before" in moved.read_text(), "the old file is still written")
    assert s.sql("SELECT pg_rotate_logfile()") == [(True,)]
    until((s.data / "log/one.log").exists, "a new file of the name")
    fail(s, "after")
    until(lambda: "no_table_after" in (s.data / "log/one.log").read_text(), "the new file is written")
    assert "no_table_after" not in moved.read_text()
    if (PGBIN / "pg_ctl").exists():
        (s.data / "log/one.log").rename(s.data / "log/moved2.log")
        support.run(PGBIN / "pg_ctl", "logrotate", "-D", s.data)
        until((s.data / "log/one.log").exists, "a new file of the name")
    assert s.sql("SELECT pg_current_logfile('csvlog')") == [(None,)]


def test_files_change_again_and_again_though_nobody_says_anything(cluster):
    s = started(cluster, "log_filename = 'one.log'\n")
    logged(s, "ready to accept connections")
    logger = s.child("syslogger")
    for i in range(3):
        (s.data / "log/one.log").rename(s.data / f"log/moved{i}.log")
        os.kill(logger, signal.SIGUSR1)
        until((s.data / "log/one.log").exists, "a new file of the name")


def test_without_a_collector_there_is_nothing_to_rotate(server):
    assert server.sql("SELECT pg_rotate_logfile(), pg_current_logfile()") == [(False, None)]
    assert "syslogger" not in server.children().values() and not (server.data / "current_logfiles").exists()


def test_a_statement_of_the_extended_protocol_stands_beside_its_error(cluster):
    s = started(cluster, "log_statement = 'mod'\n")
    s.psql("CREATE TABLE t (a integer PRIMARY KEY)")
    with connect(s) as w:
        assert w.extended("INSERT INTO t VALUES ($1)", [7]).tags == ["INSERT 0 1"]
        assert w.extended("INSERT INTO t VALUES ($1)", [7]).code == "23505"
        assert w.extended("SELECT a FROM t WHERE a = $1", [1, 2]).code == "08P01"   # in Bind
    s.stop()
    whole = text(s)
    assert whole.count("LOG:  execute <unnamed>: INSERT INTO t VALUES ($1)") == 2, whole
    assert re.search(r"ERROR:  .*\n(.*DETAIL:  .*\n)?.*STATEMENT:  INSERT INTO t VALUES \(\$1\)\n", whole), whole
    assert "STATEMENT:  SELECT a FROM t WHERE a = $1\n" in whole and "execute <unnamed>: SELECT" not in whole, whole


def test_files_change_by_size_and_by_a_reload(cluster):
    s = started(cluster, "log_rotation_size = 64kB\n")
    first = logs(s)[0]
    c = s.connect()

    def more():
        with pytest.raises(psycopg2.Error):
            c.cursor().execute(f"SELECT * FROM no_table WHERE '{'y' * 4000}' = ''")
        return len(logs(s)) > 1

    until(more, "a second file")
    assert first.stat().st_size >= 64 * 1024
    s.configure("log_directory = 'elsewhere'\nlog_filename = 'x.log'\nlog_file_mode = 0640\nlog_destination = 'stderr, jsonlog'")
    s.ctl("reload", "-D", s.data)
    until(lambda: (s.data / "elsewhere/x.log").exists() and (s.data / "elsewhere/x.json").exists(), "the new files")
    assert (s.data / "elsewhere/x.log").stat().st_mode & 0o777 == 0o640
    until(lambda: (s.data / "current_logfiles").read_text() == "stderr elsewhere/x.log\njsonlog elsewhere/x.json\n", "they are named")
    s.stop()
    assert (s.data / "elsewhere/x.log").read_text().rstrip().endswith("database system is shut down")


def test_csvlog_and_jsonlog_have_postgresqls_columns_and_keys(cluster):
    s = started(cluster, "log_destination = 'csvlog,jsonlog'\nlog_connections = on\n")
    c = s.connect(application_name='app "q"')
    with pytest.raises(psycopg2.Error):
        c.cursor().execute("SELECT 'a\nb,\"c\"' FROM no_table_csv")
    pid = c.info.backend_pid
    c.close()
    s.stop()
    rows = list(csv.reader(io.StringIO(text(s, ".csv"))))
    assert rows and all(len(r) == 26 for r in rows), [r for r in rows if len(r) != 26][:3]
    (row,) = [r for r in rows if "no_table_csv" in r[13]]
    assert row[1:4] == ["postgres", "postgres", str(pid)] and row[4] == "[local]" and row[7] == "SELECT"
    assert row[11:13] == ["ERROR", "42P01"] and row[19] == "SELECT 'a\nb,\"c\"' FROM no_table_csv"
    assert row[22] == 'app "q"' and row[23] == "client backend"
    assert rows[-1][13] == "database system is shut down" and rows[-1][23] == "postmaster"
    lines = [json.loads(x) for x in text(s, ".json").splitlines()]
    (j,) = [x for x in lines if "no_table_csv" in x["message"]]
    assert j["pid"] == pid and j["user"] == j["dbname"] == "postgres" and j["state_code"] == "42P01"
    assert j["statement"] == row[19] and j["application_name"] == 'app "q"' and j["backend_type"] == "client backend"
    assert j["session_id"] == row[5] and str(j["line_num"]) == row[6] and j["error_severity"] == "ERROR"
    assert any(x["message"].startswith("connection authorized") for x in lines)
    assert "no_table_csv" not in text(s)          # the text file is for those who know no better


def test_statements_are_logged_as_the_settings_want_them(cluster):
    s = started(cluster, "log_line_prefix = '%q%u@%d %a %e %i '\nlog_statement = 'ddl'\n")
    c = s.connect(application_name="me")
    cur = c.cursor()
    cur.execute("CREATE TABLE t (a integer)")
    cur.execute("INSERT INTO t VALUES (1)")
    cur.execute("SET log_statement = 'mod'")
    cur.execute("INSERT INTO t VALUES (2)")
    cur.execute("SELECT * FROM t WHERE a = 3")
    cur.execute("SET log_statement = 'all'")
    cur.execute("SELECT * FROM t WHERE a = 4")
    cur.execute("SET log_statement = 'none'")
    cur.execute("SET log_min_duration_statement = 0")
    cur.execute("SELECT 5 FROM t")
    cur.execute("SET log_min_duration_statement = -1")
    cur.execute("SET log_error_verbosity = 'verbose'")
    cur.execute("SET log_min_error_statement = 'panic'")
    with pytest.raises(psycopg2.Error):
        cur.execute("SELECT * FROM no_table_6")
    c.close()
    s.stop()
    whole = text(s)
    assert "postgres@postgres me 00000 idle LOG:  statement: CREATE TABLE t (a integer)\n" in whole, whole
    assert "INSERT INTO t VALUES (1)" not in whole and "statement: INSERT INTO t VALUES (2)" in whole
    assert "a = 3" not in whole and "statement: SELECT * FROM t WHERE a = 4" in whole
    assert re.search(r"LOG:  duration: \d+\.\d{3} ms  statement: SELECT 5 FROM t\n", whole)
    assert re.search(r"42P01 SELECT ERROR:  42P01: .*no_table_6", whole) and "STATEMENT" not in whole
    assert "\nLOG:  database system is shut down" in whole


def test_what_programs_write_without_a_head_is_kept(cluster):
    """The server's standard error is the pipe: anybody may write into it."""
    s = started(cluster)
    pid = s.pid
    with open(f"/proc/{pid}/fd/2", "w", encoding="ascii") as f:
        f.write("a line of a stranger\n" + "z" * 9000 + "\nhalf a line")
    fail(s, "behind")
    logged(s, "no_table_behind")
    whole = text(s)
    assert "a line of a stranger\n" in whole and whole.count("z") >= 9000
    assert re.search(r"half a line\n\d{4}-.*ERROR: ", whole), whole


def test_a_full_disk_of_the_log_does_not_stop_the_server(small_disk, cluster):
    disk = small_disk(2)
    s = cluster(conf=COLLECT + f"log_directory = '{disk.path}'\nlog_filename = 'x.log'\n")
    s.start()
    log = disk.path / "x.log"
    disk.fill()
    c = s.connect()

    def fails():
        with pytest.raises(psycopg2.Error):
            c.cursor().execute(f"SELECT * FROM no_table WHERE '{'y' * 4000}' = ''")
        return "could not write to log file" in s.log()

    until(fails, "the old standard error tells it")
    assert s.sql("SELECT 1") == [(1,)]
    disk.empty()

    def told():
        with pytest.raises(psycopg2.Error):
            c.cursor().execute("SELECT * FROM no_table_again")
        return "bytes of the log are lost here" in log.read_text()

    until(told, "the file tells what is missing")
    assert s.log().count("could not write to log file") == 1
    s.stop()
    assert log.read_text().rstrip().endswith("database system is shut down")


def test_a_directory_that_cannot_be_written_leaves_the_log_where_it_was(cluster):
    s = cluster(conf=COLLECT + "log_directory = '/proc/nowhere'\n")
    s.start()
    until(lambda: "could not open log file" in s.log(), "it is said")
    until(lambda: "ready to accept connections" in s.log(), "the log is on standard error")
    s.configure("log_directory = 'log'")
    s.ctl("reload", "-D", s.data)
    fail(s, "there")
    logged(s, "no_table_there")


def test_a_refused_start_is_said_to_both(cluster):
    import socket
    s = cluster(conf=COLLECT, tcp=True)
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", s.port))
        held.listen()
        p = support.run(PINIOND, "-D", s.data, check=False)
    assert p.returncode == 69 and str(s.port) in p.stderr
    until(lambda: str(s.port) in text(s), "the file says it too")


def test_csvlog_without_a_collector_is_said_to_be_text(cluster):
    s = cluster(conf="log_destination = 'csvlog'")
    s.start()
    assert 'log_destination is "csvlog", but without logging_collector' in s.log() and "LOG:  database system is ready" in s.log()


@pytest.mark.parametrize("line,word", [("log_destination = 'syslog'", "log_destination"), ("log_line_prefix = '%m %x '", "%x"),
                                       ("log_filename = 'a/b.log'", "log_filename")])
def test_what_the_log_cannot_do_is_refused(cluster, line, word):
    s = cluster(conf=line)
    p = support.run(PINIOND, "-D", s.data, check=False)
    assert p.returncode == 78 and word in p.stderr, p.stderr


def test_a_start_that_fails_at_the_control_socket_says_so_to_both(cluster):
    s = cluster(conf=f"{COLLECT}control_socket = '/nowhere/at/all/control'\n")
    p = s.start(check=False)
    assert p.returncode == 1 and "/nowhere/at/all" in p.stderr, p.stderr   # not only that it ended with a number
    until(lambda: 'FATAL:  could not open directory "/nowhere/at/all/"' in text(s), "the file says it too")
    assert "refused to start: could not open directory" in (s.data / "pinion_history").read_text(encoding="utf-8")

"""pg_settings, SHOW, reloads: what is in force, where it is written, and what a restart would change."""
import contextlib
import os
import re
import signal
import threading

import psycopg2
import pytest

import server as support
from wire import connect

COLUMNS = ("name setting unit category short_desc extra_desc context vartype source min_val max_val enumvals boot_val reset_val "
           "sourcefile sourceline pending_restart").split()


def setting(server, name, columns="setting, source, sourcefile, sourceline, pending_restart"):
    return server.sql(f"SELECT {columns} FROM pg_settings WHERE name = '{name}'")[0]


def line_of(server, text):
    lines = (server.data / "pinion.conf").read_text(encoding="utf-8").splitlines()
    return max(i for i, line in enumerate(lines, 1) if line.startswith(text))


def test_pg_settings_has_the_columns_of_postgresql_and_says_where_a_value_stands(server):
    with server.connect() as c, c.cursor() as cur:
        cur.execute("SELECT * FROM pg_settings")
        assert [d[0] for d in cur.description] == COLUMNS
        names = [r[0] for r in cur.fetchall()]
    assert names == sorted(names, key=str.lower) and names == [r[0] for r in server.sql("SHOW ALL")]
    server.configure("\nlock_timeout = 7s\n")
    (server.data / "postgresql.auto.conf").write_text("# by hand\nstatement_timeout = '9s'\n", encoding="utf-8")
    assert server.sql("SELECT pg_reload_conf()") == [(True,)]
    support.until(lambda: setting(server, "lock_timeout")[0] == "7000", "the reload is seen")
    assert setting(server, "lock_timeout") == ("7000", "configuration file", str(server.data / "pinion.conf"), line_of(server, "lock_timeout"), False)
    assert setting(server, "statement_timeout") == ("9000", "configuration file", str(server.data / "postgresql.auto.conf"), 2, False)
    assert setting(server, "work_mem") == ("4096", "default", None, None, False)
    with server.connect(options="-c lock_timeout=3s") as c, c.cursor() as cur:
        cur.execute("SELECT setting, source, reset_val, sourcefile FROM pg_settings WHERE name = 'lock_timeout'")
        assert cur.fetchall() == [("3000", "client", "3000", None)]


def test_what_needs_a_restart_is_pending_until_there_is_one(server):
    before = server.sql("SHOW shared_buffers")
    server.configure("shared_buffers = 48MB\nlock_timeout = 4s\n")
    server.ctl("reload", "-D", server.data)
    assert re.search(r'parameter "shared_buffers" cannot be changed without restarting the server', server.log())
    support.until(lambda: server.sql("SHOW lock_timeout") == [("4s",)], "the reload is seen")
    assert setting(server, "shared_buffers", "pending_restart") == (True,)
    assert server.sql("SHOW shared_buffers") == before
    assert "shared_buffers" in server.status()["pendingRestart"]
    server.stop()
    server.start()
    assert server.sql("SHOW shared_buffers") == [("48MB",)]
    assert setting(server, "shared_buffers")[1:] == ("configuration file", str(server.data / "pinion.conf"), line_of(server, "shared_buffers"), False)


def test_psql_lists_what_is_not_default(server):
    assert "port|" in server.psql(r"\dconfig", args=("-F", "|")).stdout


def auto_conf(server):
    return (server.data / "postgresql.auto.conf").read_text(encoding="utf-8")


def test_alter_system_takes_effect_at_a_reload_or_at_a_restart(server):
    with contextlib.closing(server.connect()) as open_before, open_before.cursor() as cur:
        server.sql("ALTER SYSTEM SET lock_timeout = '11s'")
        server.sql("ALTER SYSTEM SET max_connections = 33")
        assert auto_conf(server).splitlines()[2:] == ["lock_timeout = '11s'", "max_connections = '33'"]
        assert not list(server.data.glob("*.tmp"))
        cur.execute("SHOW lock_timeout")
        assert cur.fetchall() == [("0",)]
        server.sql("SELECT pg_reload_conf()")
        support.until(lambda: setting(server, "max_connections", "pending_restart") == (True,), "the reload is seen")

        def shown():
            cur.execute("SHOW lock_timeout")
            return cur.fetchall() == [("11s",)]
        support.until(shown, "the open session follows")
    assert setting(server, "lock_timeout") == ("11000", "configuration file", str(server.data / "postgresql.auto.conf"), 3, False)
    server.stop("immediate")   # it is durable
    server.start()
    assert server.sql("SHOW max_connections") == [("33",)]
    server.sql("ALTER SYSTEM RESET ALL")
    server.sql("SELECT pg_reload_conf()")
    support.until(lambda: setting(server, "max_connections", "pending_restart") == (True,), "it would go back")
    assert server.sql("SHOW lock_timeout") == [("0",)]


def test_alter_system_never_writes_what_the_server_would_not_start_with(server):
    before = auto_conf(server)
    for text, code in [("max_connections = 2", "22023"), ("superuser_reserved_connections = 100", "22023"), ("fsync = off", "42704"),
                       ("port = 99999", "22023"), ("block_size = 4096", "55P02"), ("wal_level = minimal", "55P02")]:
        with pytest.raises(psycopg2.Error) as e:
            server.sql(f"ALTER SYSTEM SET {text}")
        assert e.value.pgcode == code, text
    assert auto_conf(server) == before
    server.sql("ALTER SYSTEM SET superuser_reserved_connections = 1")
    server.sql("ALTER SYSTEM SET max_connections = 2")
    server.stop()
    server.start()
    assert server.sql("SHOW max_connections") == [("2",)]


def test_many_who_alter_the_system_at_once_lose_nothing(server):
    names = ["lock_timeout", "statement_timeout", "idle_session_timeout", "bgwriter_delay", "wal_writer_delay", "work_mem", "temp_file_limit",
             "checkpoint_warning"]
    failures = []

    def alter(name):
        try:
            with contextlib.closing(server.connect()) as c, c.cursor() as cur:
                for i in range(100, 110):
                    cur.execute(f"ALTER SYSTEM SET {name} = {i}")
        except psycopg2.Error as e:
            failures.append(e)

    threads = [threading.Thread(target=alter, args=(name,)) for name in names]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failures
    assert sorted(auto_conf(server).splitlines()[2:]) == sorted(f"{name} = '109'" for name in names)
    assert server.ctl("reload", "-D", server.data).returncode == 0


# ---- wrong files

def break_files(server):
    """Five errors in three files; what is told about each."""
    n = len((server.data / "pinion.conf").read_text(encoding="utf-8").splitlines())
    server.configure("lock_timeout = 5s\nfsync = off\nwork_mem = plenty\ninclude 'more/none.conf'\n")
    (server.data / "postgresql.auto.conf").write_text("# x\nmax_conections = '7'\n", encoding="utf-8")
    hba = (server.data / "pg_hba.conf").read_text(encoding="utf-8")
    (server.data / "pg_hba.conf").write_text(hba + "local all all maybe\n", encoding="utf-8")
    conf = server.data / "pinion.conf"
    return [f'{conf}:{n + 2}: unrecognized configuration parameter "fsync"', f'{conf}:{n + 3}: invalid value for parameter "work_mem": "plenty"',
            f"{conf}:{n + 4}: could not open configuration file", f"{server.data}/postgresql.auto.conf:2: unrecognized", f"{server.data}/pg_hba.conf:{len(hba.splitlines()) + 1}: "]


def test_a_reload_tells_all_that_is_wrong_and_changes_nothing(server):
    before = server.sql("SELECT name, setting, sourcefile, sourceline, pending_restart FROM pg_settings")
    wrong = break_files(server)
    p = server.ctl("reload", "-D", server.data, check=False)
    assert p.returncode == 78 and "generation 1 stays active" in p.stderr
    log = server.log()
    for text in wrong:
        assert text in p.stderr and text in log, (text, p.stderr, log)
    assert "synchronous_commit = off" in p.stderr and 'Perhaps you meant "max_connections".' in log
    assert server.sql("SELECT name, setting, sourcefile, sourceline, pending_restart FROM pg_settings") == before
    assert server.status()["configValid"] is False


def test_pg_file_settings_shows_what_a_reload_would_make_of_the_files(server):
    server.configure("work_mem = 1MB\nwork_mem = 2MB\nmax_connections = 50\n")
    n = line_of(server, "max_connections")
    conf = str(server.data / "pinion.conf")
    text = "SELECT sourcefile, sourceline, name, setting, applied, error FROM pg_file_settings"
    rows = server.sql(text + f" WHERE sourceline >= {n - 2} ORDER BY seqno")
    assert rows == [(conf, n - 2, "work_mem", "1MB", False, None), (conf, n - 1, "work_mem", "2MB", True, None),
                    (conf, n, "max_connections", "50", False, None)]   # the last one waits for a restart
    server.configure("work_mem = plenty\n'\n")
    assert server.sql(text + f" WHERE sourceline > {n}") == [
        (conf, n + 1, "work_mem", "plenty", False, 'invalid value for parameter "work_mem": "plenty"'),
        (conf, n + 2, None, None, False, "syntax error: a line begins with the name of a setting")]
    assert server.sql("SELECT count(*) FROM pg_file_settings WHERE applied") == [(0,)]


def test_check_config_tells_the_same_of_a_server_that_runs_and_one_that_does_not(server):
    said = server.ctl("check-config", "-D", server.data)
    assert said.stdout.endswith(": the configuration files are fine\n")
    server.configure("shared_buffers = 48MB\n")
    assert 'parameter "shared_buffers" cannot be changed without restarting' in server.ctl("check-config", "-D", server.data).stdout
    wrong = break_files(server)
    running = server.ctl("check-config", "-D", server.data, check=False)
    log = server.log()
    server.stop()
    stopped = server.ctl("check-config", "-D", server.data, check=False)
    assert running.returncode == stopped.returncode == 78 and running.stderr == stopped.stderr
    assert "5 problems in the configuration files" in running.stderr
    for text in wrong:
        assert text in running.stderr, (text, running.stderr)
    assert "plenty" not in log   # only looked
    plain = support.run(support.PINIOND, "-D", server.data, "--check", check=False)
    assert plain.returncode == 78 and all(text in plain.stdout for text in wrong)
    p = server.start(check=False)   # and so does a start
    assert p.returncode == 78 and all(text in server.log() for text in wrong)


def test_included_files_are_read_in_order_and_named(server):
    d = server.data / "conf.d"
    d.mkdir()
    for name, text in [("10-a.conf", "lock_timeout = 1s\nwork_mem = 1MB\n"), ("20-b.conf", "lock_timeout = 2s\n"), ("B.conf", "work_mem = 3MB\n"),
                       (".hidden.conf", "nonsense\n"), ("old.conf.bak", "nonsense\n")]:
        (d / name).write_text(text, encoding="utf-8")
    (server.data / "one.conf").write_text("include_if_exists = 'nowhere.conf'\ninclude_dir 'conf.d'\n", encoding="utf-8")
    server.configure("include 'one.conf'\n")
    p = server.ctl("reload", "-D", server.data)
    assert "lock_timeout" in p.stdout and "work_mem" in p.stdout
    support.until(lambda: setting(server, "lock_timeout")[:4] == ("2000", "configuration file", str(d / "20-b.conf"), 1), "the last file wins")
    assert setting(server, "work_mem")[:4] == ("3072", "configuration file", str(d / "B.conf"), 1)
    (d / "30-c.conf").write_text("\nport = much\n", encoding="utf-8")
    p = server.ctl("reload", "-D", server.data, check=False)
    assert p.returncode == 78 and f"{d}/30-c.conf:2: " in p.stderr
    (d / "30-c.conf").write_text("include '../one.conf'\n", encoding="utf-8")
    p = server.ctl("reload", "-D", server.data, check=False)
    assert p.returncode == 78 and re.search(r'conf\.d/30-c\.conf:1: configuration file ".*one\.conf" includes itself', p.stderr)


def test_a_process_that_is_late_takes_what_was_found_good_not_what_the_files_say_by_then(server):
    with contextlib.closing(server.connect()) as c, c.cursor() as cur:
        cur.execute("SELECT 1")
        support.freeze(c.info.backend_pid)
        server.configure("lock_timeout = 5s\nmax_connections = 44\n")
        server.ctl("reload", "-D", server.data)
        server.configure("lock_timeout = 6s\nnonsense = 1\n")   # an editor has saved half of it
        os.kill(c.info.backend_pid, signal.SIGCONT)

        def shown():
            cur.execute("SELECT setting FROM pg_settings WHERE name = 'lock_timeout' OR pending_restart ORDER BY name")
            return cur.fetchall() == [("5000",), ("100",)]
        support.until(shown, "it has the settings of the reload")


# ---- SIGHUP while stopping

def test_ac054_a_reload_works_while_a_smart_stop_waits(server):
    with contextlib.closing(server.connect()) as c, c.cursor() as cur:
        os.kill(server.pid, signal.SIGTERM)
        support.until(lambda: server.status()["state"] == "draining", "it drains")
        server.configure("lock_timeout = 8s\n")
        os.kill(server.pid, signal.SIGHUP)

        def shown():
            cur.execute("SHOW lock_timeout")
            return cur.fetchall() == [("8s",)]
        support.until(shown, "the session that is left follows")
    server.wait_gone()


def test_ac056_a_fast_stop_does_not_look_at_sighup(server):
    with contextlib.closing(server.connect()) as c:
        support.freeze(c.info.backend_pid)
        os.kill(server.pid, signal.SIGINT)
        support.until(lambda: server.status()["state"] == "stopping", "it stops")
        os.kill(server.pid, signal.SIGHUP)
        os.kill(server.pid, signal.SIGTERM)   # weaker: no effect either
        assert server.status()["state"] == "stopping"   # the loop has turned
        p = server.ctl("reload", "-D", server.data, check=False)
        assert p.returncode == 1 and "stop" in p.stderr
        os.kill(c.info.backend_pid, signal.SIGCONT)
    server.wait_gone()
    assert "reloading configuration files" not in server.log()


def test_a_session_that_comes_after_a_reload_lives_by_it(cluster):
    """snapshot_patience is kept with the handle on the cache, and is an hour for who comes with what the start said."""
    s = cluster(conf="shared_buffers = 1MB\ncache_overflow_limit = 1MB\nsnapshot_patience = 1h\n", init_args=("--wal-segsize=1",))
    s.start()
    s.configure("snapshot_patience = 200ms\n")
    s.ctl("reload", "-D", s.data)
    with connect(s) as w, connect(s) as reader:
        w.ok("CREATE TABLE t (gen integer, pad text)")
        w.ok("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 1200) INSERT INTO t SELECT 0, hex(randomblob(400)) FROM c")
        reader.ok("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.ok("SELECT count(*) FROM t")
        w.ok(f"SET statement_timeout = '{support.DEADLINE:.0f}s'")
        codes = [w.query(f"UPDATE t SET gen = {gen}, pad = hex(randomblob(400))").code for gen in range(1, 6)]
        assert set(codes) <= {None, "53200"}, codes   # not 57014: it waits for a fifth of a second
        assert reader.query("SELECT count(*) FROM t").code == "72000"
    s.stop()

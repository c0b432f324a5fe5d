"""pg_settings, SHOW, reloads: what is in force, where it is written, and what a restart would change."""
import re

import server as support

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

"""Starting and stopping: what is refused and with which exit code, what is repaired, and that nothing is left behind."""
import contextlib
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess

import psycopg2
import pytest
import server as support
from wire import connect

EX_DATAERR, EX_NOINPUT, EX_UNAVAILABLE, EX_TEMPFAIL, EX_NOPERM, EX_CONFIG = 65, 66, 69, 75, 77, 78


def refused(server, *args, user=True):
    """(exit code, what it said) of a piniond that does not come up."""
    p = support.run(support.PINIOND, "-D", server.data, *args, check=False, user=user)
    return p.returncode, p.stderr


def assert_refused(server, code, *needles, args=(), user=True):
    got, said = refused(server, *args, user=user)
    assert got == code, f"exit {got}, want {code}\n{said}"
    for needle in needles:
        assert needle in said, f"no {needle!r} in\n{said}"
    assert not server.processes()


def edit(path, fn):
    data = bytearray(path.read_bytes())
    fn(data)
    path.write_bytes(data)


def segments(server):
    return sorted(p for p in (server.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", p.name))


# ---- refusals

def test_root_is_refused(cluster):
    s = cluster()
    assert_refused(s, EX_NOPERM, "root", user=False)
    p = support.run(support.PINIOND, "init", "-D", s.dir / "other", check=False, user=False)
    assert p.returncode == EX_NOPERM and "root" in p.stderr


def test_a_missing_or_foreign_data_directory_is_refused(cluster):
    s = cluster()
    moved = s.data.rename(s.dir / "moved")
    assert_refused(s, EX_NOINPUT, str(s.data))
    s.data.mkdir()
    os.chown(s.data, pwd.getpwnam(support.USER).pw_uid, -1)
    os.chmod(s.data, 0o700)
    got, said = refused(s)
    assert got in (EX_DATAERR, EX_NOINPUT, EX_CONFIG), said   # empty: no cluster
    s.data.rmdir()
    moved.rename(s.data)
    os.chmod(s.data, 0o755)
    assert_refused(s, EX_NOPERM, "permission")
    os.chmod(s.data, 0o700)
    (s.data / "PG_VERSION").write_text("14\n")
    assert_refused(s, EX_DATAERR, "another version", "14")
    (s.data / "PG_VERSION").write_text("15\n")
    s.start()


def test_another_owner_of_the_data_directory_is_refused(cluster):
    s = cluster()
    nobody = pwd.getpwnam("nobody")
    for p in [s.data, *s.data.rglob("*")]:
        os.chown(p, nobody.pw_uid, nobody.pw_gid)
    got, said = refused(s)
    assert got == EX_NOPERM, said


def test_a_second_postmaster_is_refused(server):
    pid = server.pid
    code, said = refused(server)
    assert code == EX_TEMPFAIL and str(pid) in said, said
    assert server.pid == pid and server.sql("SELECT 1")
    assert "already running" in server.start().stdout


def test_a_port_in_use_is_refused(cluster):
    s = cluster(tcp=True)
    with socket.socket() as held:
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind(("127.0.0.1", s.port))
        held.listen()
        code, said = refused(s)
        assert code == EX_UNAVAILABLE and str(s.port) in said, said
    s.start()


@pytest.mark.parametrize("line,words", [
    ("shared_buffers = lots", "shared_buffers"), ("nonsense = 1", "nonsense"), ("port = 70000", "70000"), ("port 'x", "unterminated quoted value"),
    ("include 'missing.conf'", "missing.conf"), ("wal_block_size = 4096", "cannot be changed"),
])
def test_a_broken_configuration_names_file_and_line(cluster, line, words):
    s = cluster()
    n = len((s.data / "pinion.conf").read_text().splitlines())
    s.configure(line)
    assert_refused(s, EX_CONFIG, words, "pinion.conf")
    _, said = refused(s)
    assert re.search(rf"pinion\.conf\W.*{n + 1}\b|line {n + 1}\b|pinion\.conf:{n + 1}\b", said), f"line {n + 1} is not named in\n{said}"


def test_broken_access_rules_name_file_and_line(cluster):
    s = cluster()
    (s.data / "pg_hba.conf").write_text("local all all trust\nlocal all all maybe\n")
    assert_refused(s, EX_CONFIG, "pg_hba.conf", "maybe", "2")


def test_usage_errors_exit_64():
    for args in (["--nonsense"], ["-D"], []):
        p = support.run(support.PINIOND, *args, check=False, env={"PGDATA": ""})
        assert p.returncode in (64, EX_NOINPUT), (args, p.returncode, p.stderr)
    assert support.run(support.PINIOND, "--version").stdout.startswith("piniond")


# ---- damage

def make_content(server):
    server.start()
    server.sql("CREATE TABLE t (a integer)")
    server.sql("INSERT INTO t VALUES (1), (2), (3)")


def assert_content(server):
    assert [int(r[0]) for r in server.sql("SELECT a FROM t ORDER BY a")] == [1, 2, 3]


@pytest.mark.parametrize("how", ["clean", "kill"])
def test_one_bad_copy_of_the_control_file_is_survived_with_a_warning(cluster, how):
    s = cluster()
    make_content(s)
    s.stop() if how == "clean" else s.kill9()
    control = s.data / "global/pg_control"
    edit(control, lambda d: d.__setitem__(slice(40, 60), b"\xa5" * 20))
    s.start()
    assert_content(s)
    assert "WARNING" in s.log() and "pg_control" in s.log()
    s.stop()
    p = support.run(support.PGBIN / "pg_controldata", s.data)
    assert "WARNING" not in p.stdout + p.stderr and "shut down" in p.stdout


def test_two_bad_copies_of_the_control_file_are_refused_with_a_hint(cluster):
    s = cluster()
    make_content(s)
    s.stop()
    files = [p for p in (s.data / "global").iterdir() if p.name.startswith("pg_control")]
    saved = {p: p.read_bytes() for p in files}
    for p in files:
        edit(p, lambda d: [d.__setitem__(i, d[i] ^ 0xFF) for i in range(0, len(d), 7)])
    assert_refused(s, EX_DATAERR, "pg_control", "HINT")
    for p in files:
        p.write_bytes(b"")
    assert_refused(s, EX_DATAERR, "pg_control")
    for p, data in saved.items():
        p.write_bytes(data)
    s.start()
    assert_content(s)


def test_a_missing_log_is_refused_not_taken_for_its_end(cluster):
    s = cluster(init_args=("--wal-segsize=1",))
    make_content(s)
    for _ in range(3):
        s.sql("INSERT INTO t SELECT 9 WHERE 0")
    s.sql("CREATE TABLE fat (x text)")
    s.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 2000) INSERT INTO fat SELECT hex(randomblob(1000)) FROM c")
    s.kill9()
    used = [p for p in segments(s) if any(p.read_bytes()[:8])]
    hole = segments(s)[len(used) // 2]
    saved = hole.read_bytes()
    hole.unlink()
    p = s.start(check=False)
    assert p.returncode != 0, "it came up with a hole in its log"
    assert hole.name in s.log() + p.stderr
    s.wait_gone()
    hole.write_bytes(saved)
    os.chown(hole, pwd.getpwnam(support.USER).pw_uid, -1)
    os.chmod(hole, 0o600)
    s.start()
    assert_content(s)
    assert int(s.sql("SELECT count(*) FROM fat")[0][0]) == 2000


def test_a_damaged_page_is_named_and_not_shown(cluster):
    s = cluster()
    make_content(s)
    s.stop()
    edit(s.data / "base/5/5", lambda d: d.__setitem__(slice(2 * 8192 + 4000, 2 * 8192 + 4010), b"\xa5" * 10))
    s.start()
    c = s.connect()
    with pytest.raises(psycopg2.Error) as e:
        c.cursor().execute("SELECT a FROM t")
    assert e.value.pgcode == "XX001", e.value
    assert "base/5/5" in s.log()


def test_a_file_changed_while_the_server_was_stopped_is_refused(cluster):
    s = cluster()
    make_content(s)
    s.stop()
    subprocess.run(["setpriv", f"--reuid={support.USER}", "--clear-groups", "--", "sqlite3", s.data / "base/5/5", "INSERT INTO t VALUES (4)"],
                   check=True, capture_output=True)
    s.start(check=False)
    with pytest.raises(psycopg2.Error):
        s.sql("SELECT 1")
    assert "base/5/5\" was changed while the server was stopped" in s.log()


def test_leftovers_of_a_kill_do_not_hinder_the_next_start(cluster):
    s = cluster(tcp=True)
    make_content(s)
    s.kill9()
    assert (s.data / "postmaster.pid").exists() and (s.data / f".s.PGSQL.{s.port}").exists()
    (s.data / "pg_wal/junk.tmp").write_text("x")
    s.start()
    assert_content(s)


def test_a_lock_file_of_a_living_stranger_does_not_hinder(cluster):
    s = cluster()
    make_content(s)
    s.kill9()
    text = (s.data / "postmaster.pid").read_text().split("\n", 1)
    (s.data / "postmaster.pid").write_text(f"1\n{text[1]}")   # pid 1 lives, but holds no lock
    s.start()
    assert_content(s)


# ---- stops

@pytest.mark.parametrize("sig,mode", [(signal.SIGTERM, "smart"), (signal.SIGINT, "fast"), (signal.SIGQUIT, "immediate")])
def test_each_signal_stops(cluster, sig, mode):
    s = cluster()
    make_content(s)
    with connect(s) as w:
        w.ok("BEGIN; INSERT INTO t VALUES (4)")
        support.until(lambda: support.state_of(w.key[0]) == "S", "the backend waits for the next query")
        os.kill(s.pid, sig)
        if mode == "smart":
            w.ok("ROLLBACK")
        else:
            assert "57P01" in [f["C"] for f in (lambda r: r.errors + r.notices)(w.read_end())]
    s.wait_gone()
    assert not (s.data / "postmaster.pid").exists()
    assert not (s.data / f".s.PGSQL.{s.port}").exists()
    state = support.run(support.PGBIN / "pg_controldata", s.data).stdout
    assert ("in production" if mode == "immediate" else "shut down") in state
    s.start()
    assert_content(s)


def test_a_fast_stop_may_follow_a_smart_one_and_an_immediate_one_both(cluster):
    for last in (signal.SIGINT, signal.SIGQUIT):
        s = cluster()
        make_content(s)
        with connect(s) as w:
            w.ok("SELECT 1")
            pid = s.pid
            os.kill(pid, signal.SIGTERM)
            support.until(lambda: s.status().get("pmState") != "PM_RUN" or s.status().get("state") == "draining", "it drains")
            os.kill(pid, last)
            s.wait_gone()
        s.start()
        assert_content(s)


# ---- reload

def test_a_reload_with_a_broken_file_changes_nothing(server):
    server.configure("log_connections = on\n")
    server.ctl("reload", "-D", server.data)
    support.until(lambda: server.sql("SHOW log_connections") == [("on",)], "the reload is seen")
    old = connect(server)
    server.configure("log_connections = off\nnonsense = 1\n")
    p = server.ctl("reload", "-D", server.data, check=False)
    assert p.returncode != 0 and "nonsense" in p.stderr + p.stdout, p
    assert server.sql("SHOW log_connections") == [("on",)]
    assert old.ok("SHOW log_connections").rows == [("on",)]
    os.kill(server.pid, signal.SIGHUP)
    support.until(lambda: "nonsense" in server.log(), "the log names it")
    assert server.sql("SHOW log_connections") == [("on",)]
    old.close()


def test_a_reload_reaches_sessions_that_are_open(server):
    with connect(server) as w:
        assert w.ok("SHOW statement_timeout").rows == [("0",)]
        server.configure("statement_timeout = 77s\nport = 1\n")
        p = server.ctl("reload", "-D", server.data)
        assert "port" in p.stdout + p.stderr + server.log()   # needs a restart, and says so
        support.until(lambda: w.ok("SHOW statement_timeout").rows == [("77s",)], "the open session has it")
        assert w.ok("SHOW port").rows == [(str(server.port),)]


# ---- nothing is left behind

def shared_things():
    """Shared memory and semaphores that have names, with their owners; not those of a PostgreSQL that runs beside us."""
    shm = {name for name in os.listdir("/dev/shm") if not name.startswith("PostgreSQL")}
    ipc = subprocess.run(["ipcs", "-m", "-p"], capture_output=True, text=True, check=True).stdout
    segments = {tuple(map(int, (line.split()[0], line.split()[2]))) for line in ipc.splitlines() if line[:1].isdigit()}   # id, maker
    return shm, segments


def test_children_die_with_the_postmaster_and_nothing_is_left(cluster):
    before, segments = shared_things()   # process numbers come again: only what is new counts
    s = cluster()
    make_content(s)
    clients = [s.connect() for _ in range(3)]
    memfds = [link for p in s.processes() for link in fds(p) if "memfd" in link]
    assert memfds or s.processes()
    children = set(s.children())
    assert not children & {maker for _, maker in shared_things()[1] - segments}, "memory of System V"
    s.kill9()
    support.until(lambda: all(support.state_of(p) in ("Z", "X", "") for p in children), "the children are dead")
    assert shared_things()[0] == before
    for c in clients:
        c.close()
    s.start()
    s.stop()
    names = {p.name for p in s.data.iterdir()}
    assert not names & {"postmaster.pid", "control", f".s.PGSQL.{s.port}", f".s.PGSQL.{s.port}.lock"}
    assert shared_things()[0] == before


def fds(pid):
    links = []
    with contextlib.suppress(FileNotFoundError):   # the process has gone
        for n in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(FileNotFoundError):   # it was closed meanwhile
                links.append(os.readlink(f"/proc/{pid}/fd/{n}"))
    return links


def test_backends_inherit_only_what_they_need(server):
    with connect(server) as w:
        w.ok("SELECT 1")
        links = fds(w.key[0])
        assert not [x for x in links if str(server.data / "control") in x]
        # one connection: its own; no listening socket, no other client
        assert sum(x.startswith("socket:") for x in links) <= 2, links
        assert not [x for x in links if x.startswith("/tmp") and str(server.data) not in x], links


def test_an_unused_directory_can_be_removed_after_a_stop(cluster):
    s = cluster()
    s.start()
    s.stop()
    copy = s.dir / "copy"
    shutil.copytree(s.data, copy)
    assert not [p for p in copy.rglob("*") if p.suffix == ".tmp"]


def test_an_address_of_two_names_is_listened_on_once(cluster):
    s = cluster()
    s.configure("listen_addresses = 'localhost, 127.0.0.1, localhost'")
    s.start()
    assert s.log().count(f"listening on 127.0.0.1:{s.port}\n") == 1
    s.stop()


def test_a_socket_and_its_lock_file_do_not_grow_old(server):
    """Else whoever cleans /tmp takes them. Looked at each minute, and at a reload."""
    names = [server.data / f".s.PGSQL.{server.port}{suffix}" for suffix in ("", ".lock")]
    for name in names:
        os.utime(name, (1, 1))
    server.ctl("reload", "-D", server.data)
    assert all(name.stat().st_mtime > 1e9 for name in names)

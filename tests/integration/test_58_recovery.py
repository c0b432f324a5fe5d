"""Archive recovery and point-in-time recovery from a cold copy and an archive; judged by stock tools as well (AC045, AC047–AC050, AC077, AC078)."""
import os
import re
import shutil
import signal

import psycopg2
import pytest
import server as support
from failing import Failing
from wire import Closed, connect


def control(server):
    text = support.run(support.PGBIN / "pg_controldata", server.data).stdout
    return {k.strip(): v.strip() for k, _, v in (line.partition(":") for line in text.splitlines())}


class Archive:
    """A cluster with an archive, stopped; a cold copy of its beginning; and what happened between."""

    def __init__(self, cluster, dir_):
        self.cluster = cluster
        self.dir = support.open_dir(dir_)
        self.primary = s = cluster(init_args=("--wal-segsize=1",))
        s.configure(f"archive_mode = on\narchive_command = 'test ! -f {self.dir}/%f && cp %p {self.dir}/%f'\n")
        s.start()
        s.sql("CREATE TABLE t (n integer PRIMARY KEY, pad text)")
        s.sql("INSERT INTO t VALUES (0, 'in the base')")
        s.stop()
        self.base = s.dir / "base"
        support.run("cp", "-a", s.data, self.base)
        s.start()
        self.xid, self.time, self.end, self.point = {}, {}, {}, {}
        for n in range(1, 7):
            self.insert(s, n)
        s.stop()

    def insert(self, s, n):
        c = s.connect(autocommit=False)
        cur = c.cursor()
        cur.execute(f"INSERT INTO t VALUES ({n}, hex(randomblob(20000)))")
        cur.execute("SELECT txid_current()")
        self.xid[n] = cur.fetchone()[0]
        c.commit()
        c.close()
        self.end[n] = s.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
        self.point[n] = s.sql(f"SELECT pg_create_restore_point('point {n}')")[0][0]
        self.time[n] = s.sql("SELECT clock_timestamp()")[0][0]
        if n % 2 == 0:
            s.sql("SELECT pg_switch_wal()")

    def restore(self, conf="", archive=False, base=None, signal_file=True, command=None):
        """A new server over a copy of the base, not started."""
        s = self.cluster(init_args=("--wal-segsize=1",))
        shutil.rmtree(s.data)
        support.run("cp", "-a", base or self.base, s.data)
        (s.data / "server.log").unlink(missing_ok=True)
        command = command or f"cp {self.dir}/%f %p"
        s.configure(f"port = {s.port}\narchive_mode = {'on' if archive else 'off'}\nrestore_command = '{command}'\nlog_min_messages = notice\n{conf}\n")
        if signal_file:
            support.run("touch", s.data / "recovery.signal")
        return s


def rows(server):
    return [n for n, in server.sql("SELECT n FROM t ORDER BY n")]


def rows_of(server):
    """All of the table, pads as well; of a stopped server by the stock program."""
    if server.status().get("state") == "ready":
        return [tuple(r) for r in server.sql("SELECT n, pad FROM t ORDER BY n")]
    p = support.run("sqlite3", server.data / "base/5/5", "SELECT n, pad FROM t ORDER BY n")
    return [(int(n), pad) for n, _, pad in (line.partition("|") for line in p.stdout.splitlines())]


def startup_of(server):
    return server.child("startup")


@pytest.fixture
def archive(cluster, tmp_path):
    return Archive(cluster, tmp_path)


def check_promoted(s, tli, reason):
    assert not (s.data / "recovery.signal").exists() and not (s.data / "pinion_promotion").exists()
    c = control(s)
    assert c["Database cluster state"] == "in production"
    assert c["Latest checkpoint's TimeLineID"] == str(tli)
    assert c["Latest checkpoint's PrevTimeLineID"] == str(tli - 1)
    assert c["Minimum recovery ending location"] == "0/0"
    line = (s.data / f"pg_wal/{tli:08X}.history").read_text().rstrip("\n").split("\n\n" if tli > 2 else "\0")[-1].split("\t")
    assert line[0] == str(tli - 1) and re.match(reason, line[2]), line
    # The first record of the new timeline, by a stock tool.
    seg = int(line[1].split("/")[1], 16) >> 20
    p = support.run(support.PGBIN / "pg_waldump", s.data / f"pg_wal/{tli:08X}00000000{seg:08X}", check=False)
    assert f"tli {tli}; prev tli {tli - 1}" in p.stdout, p.stdout + p.stderr
    return line[1]


def test_without_a_target_everything_in_the_archive_comes_back_on_a_new_timeline(archive):
    s = archive.restore("recovery_end_command = 'echo %r > ended'", archive=True)
    s.start()
    assert rows(s) == list(range(7))
    check_promoted(s, 2, "no recovery target specified")
    for text in ("starting archive recovery", 'restored log file "000000010000000000000002" from archive', "consistent recovery state reached at",
                 "selected new timeline ID: 2", "archive recovery complete"):
        assert text in s.log()
    assert re.match(r"^0000000[12]0000000000000[0-9A-F]{3}$", (s.data / "ended").read_text().strip())
    # Life goes on, over restarts and crashes, and the archive gets the new history.
    s.sql("INSERT INTO t VALUES (100, 'new')")
    support.until(lambda: (archive.dir / "00000002.history").exists(), "the history is archived")
    s.kill9()
    s.start()
    assert rows(s) == list(range(7)) + [100]
    p = s.ctl("verify", "-D", s.data, check=False)
    s.stop()
    p = s.ctl("verify", "-D", s.data, check=False)
    assert p.returncode == 0, p.stdout + p.stderr
    assert not [x for x in (s.data / "pg_wal").iterdir() if x.name.startswith("RECOVERY")]


def test_the_half_written_segment_of_the_old_timeline_is_never_archived_as_if_it_were_whole(archive):
    archive.primary.start()
    archive.insert(archive.primary, 7)
    half = archive.primary.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
    archive.primary.kill9()
    s = archive.restore(base=archive.primary.data)
    s.start()
    assert rows(s) == list(range(8))
    check_promoted(s, 2, "no recovery target specified")
    s.sql("INSERT INTO t VALUES (100, 'new')")
    s.sql("SELECT pg_switch_wal()")
    s.kill9()   # no checkpoint that would recycle both
    later = archive.dir / "later"
    later.mkdir()
    support.open_dir(later)
    s.configure(f"archive_mode = on\narchive_command = 'cp %p {later}/%f'\n")   # what has no mark is found and archived
    s.start()
    support.until(lambda: (later / half.replace("00000001", "00000002", 1)).exists(), "its successor is archived")
    assert not (later / half).exists() and not (archive.dir / half).exists()


@pytest.mark.parametrize("setting,value,want,reason,text", [
    ("recovery_target_xid", "{xid[3]}", 3, "after transaction", "recovery stopping after commit of transaction"),
    ("recovery_target_xid", "{xid[3]} -", 2, "before transaction", "recovery stopping before commit of transaction"),
    ("recovery_target_time", "{time[4]}", 4, "before 20", "recovery stopping before commit of transaction"),
    ("recovery_target_lsn", "{point[2]}", 2, "after LSN", "recovery stopping after WAL location"),
    ("recovery_target_lsn", "{end[5]} -", 5, "before LSN", "recovery stopping before WAL location"),
    ("recovery_target_name", "point 1", 1, 'at restore point "point 1"', 'recovery stopping at restore point "point 1", time'),
    ("recovery_target", "immediate", 0, "reached consistency", "recovery stopping after reaching consistency"),
])
def test_recovery_stops_at_its_target(archive, setting, value, want, reason, text):
    value = value.format(xid=archive.xid, time=archive.time, point=archive.point, end=archive.end)
    exclusive = value.endswith(" -")
    s = archive.restore(f"{setting} = '{value.removesuffix(' -')}'\nrecovery_target_inclusive = {'off' if exclusive else 'on'}\n"
                        "recovery_target_action = promote\n")
    s.start()
    assert rows(s) == list(range(want + 1))
    assert text in s.log()
    check_promoted(s, 2, reason)
    s.sql("INSERT INTO t VALUES (200, 'on timeline 2')")
    before = s.sql("SELECT txid_current()")[0][0]
    assert before > archive.xid[want] if want else before
    s.kill9()
    s.start()
    assert rows(s) == list(range(want + 1)) + [200]


def test_a_reached_target_ends_the_server_unless_it_is_promoted_and_the_next_start_can_go_further(archive):
    s = archive.restore("recovery_target_name = 'point 2'\n")
    ends = []
    for n in (1, 2):   # AC049: a second start stops at the same place
        assert s.foreground().wait(support.DEADLINE) == 0   # pause: nobody can look without hot standby
        assert s.log().count("shutdown at recovery target") == n and not s.processes()
        assert control(s)["Database cluster state"] == "shut down in recovery"
        assert (s.data / "recovery.signal").exists()
        ends.append((control(s)["Minimum recovery ending location"], re.findall(r'recovery stopping at restore point "point 2"', s.log())))
    assert ends[0][0] == ends[1][0] and len(ends[1][1]) == 2, ends
    s.configure("recovery_target_name = 'point 5'\nrecovery_target_action = promote\n")
    s.start()
    assert rows(s) == list(range(6))
    check_promoted(s, 2, 'at restore point "point 5"')


def test_a_target_that_does_not_come_is_an_error(archive):
    s = archive.restore("recovery_target_name = 'never made'\n")
    assert s.foreground().wait(support.DEADLINE) == 1 and not s.processes()
    assert "FATAL:  recovery ended before configured recovery target was reached" in s.log()
    assert control(s)["Database cluster state"] == "in archive recovery"   # AC050
    # Without the signal file it is neither here nor there.
    (s.data / "recovery.signal").unlink()
    s.start(check=False)
    s.wait_gone()
    assert 'archive recovery of this cluster has not ended: "in archive recovery"' in s.log()


@pytest.mark.parametrize("conf,text", [
    ("recovery_target_xid = 5\nrecovery_target_name = x", "multiple recovery targets specified"),
    ("recovery_target_time = 'tomorrow'", 'invalid value for parameter "recovery_target_time": "tomorrow"'),
    ("recovery_target = later", 'invalid value for parameter "recovery_target": "later"'),
    ("recovery_target_timeline = newest", 'invalid value for parameter "recovery_target_timeline": "newest"'),
    ("archive_mode = always", 'invalid value for parameter "archive_mode": "always"'),
])
def test_wrong_settings_are_refused_before_anything_is_touched(cluster, conf, text):
    s = cluster(conf=conf)
    p = s.start(check=False)
    assert p.returncode != 0 and text in p.stderr + s.log()


def test_an_old_recovery_conf_and_a_missing_restore_command_are_refused(archive):
    s = archive.restore("restore_command = ''\n")
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 78 and "must specify restore_command when standby mode is not enabled" in p.stderr, p.stderr
    (s.data / "recovery.signal").unlink()
    support.run("touch", s.data / "recovery.conf")
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 78 and 'recovery.conf" is not supported' in p.stderr, p.stderr
    (s.data / "recovery.conf").unlink()
    s.start()
    assert rows(s) == [0]   # nothing was changed


def test_timelines_can_be_chosen(archive):
    first = archive.restore("recovery_target_name = 'point 2'\nrecovery_target_action = promote\n", archive=True)
    first.start()
    first.sql("INSERT INTO t VALUES (300, 'only on timeline 2')")
    first.sql("SELECT pg_switch_wal()")
    first.stop()
    latest = archive.restore()
    latest.start()
    assert rows(latest) == [0, 1, 2, 300]
    check_promoted(latest, 3, "no recovery target specified")
    current = archive.restore("recovery_target_timeline = current\n")
    current.start()
    assert rows(current) == list(range(7))
    assert (current.data / "pg_wal/00000003.history").read_text().startswith("1\t")   # 2 is taken
    numbered = archive.restore("recovery_target_timeline = 2\n")
    numbered.start()
    assert rows(numbered) == [0, 1, 2, 300]
    missing = archive.restore("recovery_target_timeline = 9\n")
    missing.start(check=False)
    missing.wait_gone()
    assert "recovery target timeline 9 does not exist" in missing.log()


def test_a_damaged_page_at_a_promotion_is_found_and_costs_its_database(archive):
    """AC143: the disk gives back something else than was written; the server says so, and is a primary all the same."""
    s = archive.restore("recovery_target_lsn = '" + archive.end[5] + "'\nrecovery_target_action = promote\nstartup_verify = touched")
    f = Failing(server=s)
    path = s.data / "base/5/5"
    with f.held("fsync", "/data/base"):   # the pages are written, the checkpoint is not made
        s.start(env=f.env, wait=False)
        f.until_met()
        support.until(lambda: s.status().get("progress", {}).get("phase") == "settle" and path.stat().st_size > 8 * 8192, "it settles")
        with open(path, "r+b") as file:
            file.seek(5 * 8192 + 4000)
            file.write(b"damage")
    support.until(lambda: s.status().get("state") == "ready", "it is promoted")
    assert s.status()["refusedDatabases"] == 1 and s.status()["timeline"] == 2
    with pytest.raises(psycopg2.OperationalError, match="found damaged at the start(.|\n)*page 6: checksum"):
        s.connect()
    assert 'database "postgres", base/5/5, page 6' in s.log() and "database system is ready" in s.log()


def test_a_kill_in_the_middle_starts_again(archive):
    block = archive.dir / "block"
    s = archive.restore(command=f"while test -f {block} && test %f = 000000010000000000000004; do sleep 0.05; done; cp {archive.dir}/%f %p")
    block.touch()
    s.start(wait=False)
    support.until(lambda: 'restored log file "000000010000000000000003"' in s.log(), "half of it is redone")
    s.kill9()
    block.unlink()
    assert control(s)["Database cluster state"] == "in archive recovery"
    s.start()
    assert rows(s) == list(range(7))
    check_promoted(s, 2, "no recovery target specified")


def test_restartpoints_bound_what_is_redone_twice_and_what_pg_wal_holds(archive):
    p = archive.primary
    p.start()
    for n in range(20, 32):
        archive.insert(p, n)
        p.sql(f"UPDATE t SET pad = hex(randomblob(200000)) WHERE n = {n}")
        p.sql("CHECKPOINT")
    p.stop()
    want = rows_of(p)
    block = archive.dir / "block"
    block.touch()
    last = sorted(x.name for x in archive.dir.iterdir() if re.match("^[0-9A-F]{24}$", x.name))[-2]
    s = archive.restore("max_wal_size = 2MB\nmin_wal_size = 2MB\narchive_cleanup_command = 'echo %r >> cleaned'\nlog_min_messages = log\n",
                        command=f"while test -f {block} && test %f = {last}; do sleep 0.05; done; cp {archive.dir}/%f %p")
    s.start(wait=False)
    support.until(lambda: "recovery restart point at" in s.log() and f'"{last}"' not in s.log() and (s.data / "cleaned").exists(), "restartpoints are made")
    support.until(lambda: b"waiting for " + last.encode() in (support.Path("/proc") / str(startup_of(s)) / "cmdline").read_bytes(), "it waits for the last segment")
    assert not (s.data / "pg_wal/000000010000000000000002").exists()
    oldest = (s.data / "cleaned").read_text().split()[-1]
    s.kill9()
    block.unlink()
    assert control(s)["Latest checkpoint's REDO WAL file"] == oldest > "000000010000000000000004"
    asked = s.log().count("restored log file")
    s.start()
    assert s.log().count("restored log file") - asked < asked   # not from the beginning
    assert rows_of(s) == want
    check_promoted(s, 2, "no recovery target specified")
    s.stop()
    v = s.ctl("verify", "-D", s.data, check=False)
    assert v.returncode == 0, v.stdout + v.stderr
    # A target before what the pages may hold by now is refused.


def test_pages_on_disk_may_not_be_newer_than_the_target(archive):
    s = archive.restore("recovery_target_name = 'point 6'\nmax_wal_size = 2MB\n")
    s.start(check=False)
    s.wait_gone()
    assert control(s)["Database cluster state"] == "shut down in recovery"
    assert control(s)["Minimum recovery ending location"] != "0/0"
    s.configure("recovery_target_name = 'point 1'\nrecovery_target_action = promote\n")
    s.start(check=False)
    if "before consistent recovery point" in s.log():
        s.wait_gone()
        assert "FATAL" in s.log()
    else:   # no page had to be written
        assert rows(s) == [0, 1]


def test_the_log_in_pg_wal_is_used_where_the_archive_has_none(archive):
    """A crashed primary, its archive and its own last segments; a target in its past is refused: its pages are newer."""
    p = archive.primary
    p.configure("archive_command = 'exit 1'\n")
    p.start()
    for n in (7, 8):
        archive.insert(p, n)
    p.kill9()
    s = archive.restore(base=p.data, conf="recovery_target_name = 'point 3'\nrecovery_target_action = promote\n")
    (s.data / "postmaster.pid").unlink(missing_ok=True)
    s.start(check=False)
    s.wait_gone()
    assert "recovery" in s.log() and "FATAL" in s.log()
    s.configure("recovery_target_name = ''\n")
    s.start()
    assert rows(s) == list(range(9))
    check_promoted(s, 2, "no recovery target specified")


def test_PM_RECOVERY_tells_its_clients_what_is_not_there_yet_and_ends_with_its_startup_process_or_a_stop(archive):
    """AC077, AC078: refused before anybody is asked for a password. AC045: KILL. AC047: a stop."""
    block = archive.dir / "block"
    block.touch()
    s = archive.restore(command=f"while test -f {block} && test %f = 000000010000000000000004; do sleep 0.05; done; cp {archive.dir}/%f %p")
    for hot, message, detail, end in (
            ("on", "the database system is not yet accepting connections", "Consistent recovery state has not been yet reached.", "kill"),
            ("off", "the database system is not accepting connections", "Hot standby mode is disabled.", "stop")):
        s.configure(f"hot_standby = {hot}\n")
        p = s.foreground()
        support.until(lambda: s.status().get("pmState") == "PM_RECOVERY", "it recovers")
        assert s.status()["state"] == "recovering"
        with pytest.raises(Closed) as refused:
            connect(s)
        e = refused.value.reply.errors[0]
        assert refused.value.reply.kinds == "E" and (e["S"], e["C"], e["M"], e["D"]) == ("FATAL", "57P03", message, detail), e
        if end == "kill":
            os.kill(startup_of(s), signal.SIGKILL)
            assert p.wait(support.DEADLINE) == 1 and "shutting down due to startup process failure" in s.log()
            assert control(s)["Database cluster state"] == "in archive recovery" and "reinitializing" not in s.log()
        else:
            os.kill(p.pid, signal.SIGINT)
            assert p.wait(10) == 0 and control(s)["Database cluster state"] == "shut down in recovery"
        s.wait_gone()   # a sleep of the command may outlast its shell
    block.unlink()
    s.start()
    assert rows(s) == list(range(7))
    check_promoted(s, 2, "no recovery target specified")


@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stop_ends_a_sleeping_restore_command_with_all_it_started(archive, mode):
    s = archive.restore(command="sleep 1000; echo")
    s.start(wait=False)
    sleeping = support.until(lambda: support.running(s, "sleep"),
                             "the command runs")
    pid = s.pid
    os.kill(pid, signal.SIGINT if mode == "fast" else signal.SIGQUIT)   # AC048
    support.until(lambda: support.state_of(sleeping[0]) in ("Z", "") and support.state_of(pid) in ("Z", ""), "server and the command's group are gone", 10)
    s.wait_gone()
    assert (s.data / "recovery.signal").exists()


def test_what_a_failing_restore_command_leaves_is_removed(archive):
    s = archive.restore(command=f"cp {archive.dir}/%f %p || {{ echo half > %p; false; }}")
    s.start()
    assert rows(s) == list(range(7))
    assert not [x for x in (s.data / "pg_wal").iterdir() if x.name.startswith("RECOVERY")]


@pytest.mark.parametrize("command,text", [("kill -QUIT $$", "was terminated by signal 3: Quit"), ("no-such-command", "failed with exit code 127"),
                                          ("head -c 100 {dir}/%f > %p", "has wrong size: 100 instead of 1048576")])
def test_a_restore_command_that_cannot_answer_ends_recovery(archive, command, text):
    s = archive.restore(command=command.format(dir=archive.dir), conf="recovery_target_timeline = current\n")
    s.start(check=False)
    s.wait_gone()
    assert text in s.log()


def test_clients_are_told_to_wait_while_the_archive_is_asked(archive):
    s = archive.restore(command="sleep 1000")
    s.start(wait=False)
    p = support.until(lambda: (r := s.psql("SELECT 1", check=False)).returncode and "starting up" in r.stderr and r, "clients are told")
    assert "the database system is starting up" in p.stderr
    s.stop("immediate", check=False)
    s.wait_gone()

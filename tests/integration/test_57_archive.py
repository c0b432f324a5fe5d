"""The archiver: what is archived, in which order, what is kept until it is, and how it ends (AC037, AC072, AC073, AC092, AC134)."""
import datetime
import os
import re
import signal
import threading

import pytest
import server as support

SEGMENT = re.compile(r"^[0-9A-F]{24}$")


def archive_of(server):
    d = server.dir / "archive"
    if not d.exists():
        d.mkdir()
        support.open_dir(d)
    return d


def archiving(cluster, command=None, conf="", segsize=1):
    """A running server with 1 MB segments that archives into archive_of(server)."""
    s = cluster(init_args=(f"--wal-segsize={segsize}",))
    a = archive_of(s)
    command = command or f"test ! -f {a}/%f && cp %p {a}/%f"
    s.configure(f"archive_mode = on\narchive_command = '{command}'\n{conf}\n")
    s.start()
    return s


def marks(server, kind):
    return sorted(p.name[:-len(kind) - 1] for p in (server.data / "pg_wal/archive_status").iterdir() if p.name.endswith(f".{kind}"))


def switch(server, n=1):
    """End n segments, each with a commit in it; their names."""
    server.sql("CREATE TABLE IF NOT EXISTS t (x)")
    names = []
    for i in range(n):
        server.sql(f"INSERT INTO t VALUES ({i})")
        names.append(server.sql("SELECT pg_walfile_name(pg_switch_wal())")[0][0])
    return names


def counts(server):
    return server.sql("SELECT archived_count, last_archived_wal, failed_count, last_failed_wal, last_archived_time, stats_reset FROM pg_stat_archiver")[0]


def test_a_switched_segment_is_archived_and_stock_pg_waldump_reads_it(cluster):
    s = archiving(cluster)
    names = switch(s, 3)
    a = archive_of(s)
    support.until(lambda: marks(s, "done")[-1:] == names[-1:], "the last one is done")
    assert sorted(p.name for p in a.iterdir() if SEGMENT.match(p.name))[-3:] == names
    assert not marks(s, "ready")
    for name in names:
        assert (a / name).stat().st_size == 1 << 20
        p = support.run(support.PGBIN / "pg_waldump", a / name)
        assert "SWITCH" in p.stdout and "COMMIT" in p.stdout and not p.stderr, p.stderr
    support.until(lambda: counts(s)[1] == names[-1], "the counters say so")
    n, last, failed, last_failed, when, since = counts(s)
    assert n >= 3 and failed == 0 and last_failed is None and when >= since
    title = support.Path("/proc") / str(s.child("archiver")) / "cmdline"
    support.until(lambda: title.read_bytes().strip(b"\0").decode() == f"pinion: archiver last was {last}", "its title says so")
    # Nothing was written since: nothing to switch away from.
    at = s.sql("SELECT pg_switch_wal()")[0][0]
    assert s.sql("SELECT pg_switch_wal()")[0][0] == at
    assert ("archiver",) in s.sql("SELECT backend_type FROM pg_stat_activity")


def test_without_archive_mode_there_is_no_archiver_and_no_mark(server):
    switch(server)
    assert "archiver" not in server.children().values()
    assert not marks(server, "ready") and not marks(server, "done")
    assert server.sql("SELECT archived_count, last_archived_wal FROM pg_stat_archiver") == [(0, None)]


def test_counts_survive_a_clean_stop_and_are_forgotten_by_a_reset_and_a_crash(cluster):
    s = archiving(cluster, command="test -e %p && exit 1")
    a = archive_of(s)
    began = counts(s)[5]
    assert began is not None
    name = switch(s)[0]
    support.until(lambda: counts(s)[2] >= 3 and "failed too many times" in s.log(), "it has failed")
    s.configure(f"archive_command = 'cp %p {a}/%f'\n")
    s.ctl("reload", "-D", s.data)
    name = switch(s)[0]
    support.until(lambda: counts(s)[1] == name, "the counters say so")
    before = counts(s)
    s.configure(f"archive_command = 'until test -e {a}/go; do sleep 0.05; done; cp %p {a}/%f'\n")
    s.ctl("reload", "-D", s.data)
    s.sql("INSERT INTO t VALUES (1)")
    last = s.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
    os.kill(s.pid, signal.SIGINT)
    support.until(lambda: s.status().get("pmState") == "PM_SHUTDOWN_2", "the checkpoint is done, the archiver is waited for")
    assert not (a / last).exists()
    (a / "go").touch()
    s.wait_gone()
    assert (a / last).exists()
    s.start()
    n, file, failed, last_failed, when, since = counts(s)
    assert n > before[0] and file == last and when > before[4], "also what was archived while it stopped"
    assert (failed, last_failed, since) == (before[2], before[3], began)
    s.sql("SELECT pg_stat_reset_shared('archiver')")
    assert counts(s)[:5] == (0, None, 0, None, None) and counts(s)[5] > began
    name = switch(s)[0]
    support.until(lambda: counts(s)[:3] == (1, name, 0), "it counts from there")
    os.kill(s.child("archiver"), signal.SIGKILL)
    s.until_recovered()
    assert counts(s)[:5] == (0, None, 0, None, None) and counts(s)[5] > began


def test_histories_go_first_then_by_name(cluster):
    s = archiving(cluster, conf="", command="exit 1")
    a = archive_of(s)
    names = switch(s, 3)
    history = s.data / "pg_wal/00000001.history"
    history.write_text("")
    for p in (history, s.data / "pg_wal/archive_status/00000001.history.ready"):
        p.touch()
        os.chown(p, (s.data / "PG_VERSION").stat().st_uid, (s.data / "PG_VERSION").stat().st_gid)
    support.until(lambda: "failed too many times" in s.log(), "it gives up for now")
    order = s.dir / "archive/order"
    s.configure(f"archive_command = 'echo %f >> {order}; cp %p {a}/%f'\n")
    s.ctl("reload", "-D", s.data)
    switch(s)
    support.until(lambda: not marks(s, "ready"), "all is archived")
    lines = order.read_text().split()
    assert lines[0] == "00000001.history"
    assert lines[1:] == sorted(lines[1:]) and set(names) <= set(lines)


def test_a_failing_command_is_tried_three_times_and_nothing_unarchived_is_removed(cluster):
    s = archiving(cluster, command="exit 3", conf="max_wal_size = 2MB\nmin_wal_size = 2MB")
    names = switch(s, 6)
    support.until(lambda: "failed too many times, will try again later" in s.log(), "it gives up for now")
    tries, _, _ = s.log().partition("failed too many times")   # a switch behind them is another round
    assert tries.count("archive command failed with exit code 3") == 3
    assert "The failed archive command was: exit 3" in s.log()
    s.sql("CHECKPOINT")
    s.sql("CHECKPOINT")
    assert set(names) <= set(marks(s, "ready"))
    for name in names:   # AC134
        assert (s.data / "pg_wal" / name).exists()
    n, _, failed, last_failed, _, _ = counts(s)
    assert n == 0 and failed >= 3 and last_failed == marks(s, "ready")[0]
    a = archive_of(s)
    s.configure(f"archive_command = 'cp %p {a}/%f'\n")
    s.ctl("reload", "-D", s.data)
    switch(s)
    support.until(lambda: not marks(s, "ready"), "all is archived")
    s.sql("CHECKPOINT")
    support.until(lambda: not (s.data / "pg_wal" / names[0]).exists(), "archived segments go")
    assert names[0] not in marks(s, "done")
    p = support.run(support.PGBIN / "pg_archivecleanup", "-d", a, names[3])
    assert not (a / names[0]).exists() and (a / names[3]).exists(), p.stderr


def test_a_lost_mark_is_made_again(cluster):
    s = archiving(cluster, command="exit 1")
    names = switch(s, 2)
    for name in names:
        (s.data / f"pg_wal/archive_status/{name}.ready").unlink()
    s.sql("CHECKPOINT")
    assert set(names) <= set(marks(s, "ready"))
    s.kill9()
    (s.data / f"pg_wal/archive_status/{names[0]}.ready").unlink()
    s.start()
    support.until(lambda: names[0] in marks(s, "ready"), "the archiver looks for unmarked segments")


def test_a_mark_without_a_file_goes_with_a_warning(cluster):
    s = archiving(cluster)
    mark = s.data / "pg_wal/archive_status/0000000100000000000000FE.ready"
    mark.touch()
    switch(s)
    support.until(lambda: "removed orphan archive status file" in s.log(), "it is told")
    assert not mark.exists()


def test_a_mark_without_a_file_that_cannot_go_is_told_and_left(cluster):
    s = archiving(cluster)
    support.until(lambda: not marks(s, "ready"), "nothing is to be done")
    status = s.data / "pg_wal/archive_status"
    (status / "00000001000000000000000A.ready").touch()
    status.chmod(0o500)
    try:
        said = 'could not remove orphan archive status file "pg_wal/archive_status/00000001000000000000000A.ready"'
        for i in range(1, 4):
            switch(s)   # wakes it: a round
            support.until(lambda: s.log().count(said) >= i, "it tells it")
        assert s.log().count(said) < 10, "once a round"
    finally:
        status.chmod(0o700)


def test_archive_timeout_switches_once_and_an_idle_server_stays_idle(cluster):
    s = archiving(cluster, conf="archive_timeout = 1s")
    switch(s)
    s.sql("INSERT INTO t VALUES (1)")
    before = s.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    name = s.sql(f"SELECT pg_walfile_name('{before}')")[0][0]
    support.until(lambda: name in marks(s, "done"), "archive_timeout archives it")
    at = s.sql("SELECT pg_current_wal_insert_lsn()")[0][0]
    s.sql("SELECT pg_sleep(3)")
    assert s.sql("SELECT pg_current_wal_insert_lsn()")[0][0] == at


def born(pid):
    """When a process was made, in seconds since the machine was; 0: it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return int(f.read().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0


@pytest.mark.parametrize("command,text", [("kill -9 $$", "archive command was terminated by signal 9: Killed"),
                                          ("no-such-command-here", "archive command failed with exit code 127"),
                                          ("exit 126", "archive command failed with exit code 126")])
def test_a_command_that_cannot_answer_ends_the_archiver_not_the_server(cluster, command, text):
    s = archiving(cluster, command=command)
    c = s.connect()
    pid = s.child("archiver")
    begun = born(pid)
    switch(s)
    support.until(lambda: text in s.log(), "it says why")
    support.until(lambda: pid not in s.children(), "it has left")
    again = s.child("archiver")
    assert again != pid   # AC037
    assert born(again) - begun < 50   # AC092: 0.1 to 10 s after the last one's end, not at a minute's turn
    if command == "exit 126":
        def ends():
            lines = re.findall(rf"^(\S+ \S+) UTC .*{text}", s.log(), re.M)
            at = [datetime.datetime.fromisoformat(x).timestamp() for x in lines]
            return [b - a for a, b in zip(at, at[1:])]

        gaps = support.until(lambda: len(x := ends()) >= 5 and x, "it ends again and again")
        assert all(g >= 0.1 * 2 ** i - 0.002 for i, g in enumerate(gaps[:5])), gaps   # later and later; the log shows milliseconds
    cur = c.cursor()
    cur.execute("SELECT 1")
    assert cur.fetchone() == (1,)   # nobody else was touched
    assert "terminating any other active server processes" not in s.log() and s.status()["crashRestarts"] == 0


def test_a_killed_archiver_is_a_crash_and_its_successor_goes_on(cluster):
    s = archiving(cluster)
    os.kill(s.child("archiver"), signal.SIGKILL)   # AC025
    support.until(lambda: "all server processes terminated; reinitializing" in s.log(), "crash cycle")
    support.until(lambda: s.status().get("state") == "ready", "ready again")
    names = switch(s, 2)
    support.until(lambda: set(names) <= set(marks(s, "done")), "archived")


def test_a_fast_stop_archives_everything_first(cluster):
    s = archiving(cluster, command="exit 1")
    a = archive_of(s)
    switch(s, 10)
    s.sql("INSERT INTO t VALUES (99)")
    last = s.sql("SELECT pg_walfile_name(pg_current_wal_insert_lsn())")[0][0]
    s.configure(f"archive_command = 'cp %p {a}/%f && echo 100%% %x > {a}/percent'\n")
    s.ctl("reload", "-D", s.data)
    s.stop("fast")   # AC072
    assert (a / "percent").read_text() == "100% %x\n"
    assert not marks(s, "ready")
    assert last in marks(s, "done") and (a / last).exists()
    control = support.run(support.PGBIN / "pg_controldata", s.data).stdout
    assert "shut down\n" in control and re.search(r"wal_level setting:\s+replica", control)
    s.start()
    assert s.sql("SELECT count(*) FROM t")[0][0] == 11


def test_a_fast_stop_with_a_failing_command_ends_and_keeps_the_marks(cluster):
    s = archiving(cluster, command="until test -e go; do sleep 0.05; done; exit 1")
    names = switch(s, 2)
    (s.data / "go").touch()   # both are there: no switch is behind the first round, which would be asked for by it
    support.until(lambda: "failed too many times" in s.log(), "it gives up for now")
    at = len(s.log())
    s.stop("fast")   # AC073
    assert set(names) <= set(marks(s, "ready"))
    said = s.log()[at:]
    assert 1 <= said.count("archive command failed with exit code 1") <= 3 and said.rstrip().endswith("database system is shut down"), said
    assert "abnormal" not in said and "shut down\n" in support.run(support.PGBIN / "pg_controldata", s.data).stdout


def test_a_hanging_command_ends_with_an_immediate_stop(cluster):
    s = archiving(cluster, command="sleep 1000")
    archiver = s.child("archiver")
    switch(s)
    sleeping = support.until(lambda: support.running(s, "sleep"),
                             "the command runs")
    assert os.getpgid(sleeping[0]) == os.getpgid(archiver)
    os.kill(s.pid, signal.SIGINT)   # a fast stop waits for it, as PostgreSQL's does; people can see for whom, and go on
    support.until(lambda: s.status().get("pmState") == "PM_SHUTDOWN_2", "the checkpoint is done, the archiver is waited for")
    assert "archiver" in s.children().values() and "shut down" in support.run(support.PGBIN / "pg_controldata", s.data).stdout
    s.stop("immediate", check=False)
    s.wait_gone()


def test_switching_under_load_loses_nothing(cluster):
    """WAL-2: a switch skips what others were promised; all of them still find their room."""
    s = archiving(cluster, conf="shared_buffers = 8MB\nmax_wal_size = 8MB\nmin_wal_size = 2MB")
    a = archive_of(s)   # the kill may come between a command's end and its mark: then it runs again
    s.configure(f"archive_command = 'cp %p {a}/%f.new && mv {a}/%f.new {a}/%f'\n")
    s.ctl("reload", "-D", s.data)
    s.sql("CREATE TABLE w (id integer, n integer, pad text, PRIMARY KEY (id, n))")
    stop, acked, wrong = threading.Event(), [0] * 4, []

    def write(i):
        try:
            c = s.connect()
            cur = c.cursor()
            while not stop.is_set():
                cur.execute(f"INSERT INTO w VALUES ({i}, {acked[i] + 1}, hex(randomblob({(acked[i] * 7919) % 40000 + 1})))")
                acked[i] += 1
            c.close()
        except Exception as e:  # pylint: disable=broad-except
            wrong.append(repr(e))

    threads = [threading.Thread(target=write, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    try:
        for _ in range(40):
            before = list(acked)
            s.sql("SELECT pg_switch_wal()")
            support.until(lambda b=before: wrong or sum(acked) > sum(b) and min(acked) > 0, "somebody has written since, and everybody has begun")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert not wrong and min(acked) > 0
    s.kill9()
    s.start()
    assert s.sql("SELECT id, count(*), max(n) FROM w GROUP BY id ORDER BY id") == [(i, n, n) for i, n in enumerate(acked)]
    support.until(lambda: not marks(s, "ready"), "all is archived")
    names = sorted(p.name for p in a.iterdir() if SEGMENT.match(p.name))
    numbers = [int(n[16:], 16) for n in names]
    assert numbers == list(range(numbers[0], numbers[-1] + 1))   # no hole
    assert len(names) >= 20   # some found nothing to switch away from


def test_term_to_the_archiver_means_no_further_command(cluster):
    s = archiving(cluster)
    names = switch(s)
    support.until(lambda: set(names) <= set(marks(s, "done")), "archived")
    pid = s.child("archiver")
    os.kill(pid, signal.SIGTERM)
    support.until(lambda: not [1 for line in (support.Path("/proc") / str(pid) / "status").read_text().splitlines()
                               if line.startswith("ShdPnd") and int(line.split()[1], 16) & 1 << signal.SIGTERM - 1], "TERM was taken")
    names = switch(s)
    assert pid in s.children()   # it waits a minute, should the server stop as well
    s.stop("fast")
    assert set(names) <= set(marks(s, "ready"))


def test_a_restore_point_is_a_record_that_stock_tools_show(cluster):
    s = archiving(cluster)
    at = s.sql("SELECT pg_create_restore_point('before the flood')")[0][0]
    p = support.run(support.PGBIN / "pg_waldump", "-p", s.data / "pg_wal", "-r", "XLOG", "-s", "0/100028", check=False)
    assert "RESTORE_POINT before the flood" in p.stdout, p.stdout + p.stderr
    assert at
    p = s.psql(f"SELECT pg_create_restore_point('{'x' * 64}')", check=False)
    assert "value too long for restore point (maximum 63 characters)" in p.stderr

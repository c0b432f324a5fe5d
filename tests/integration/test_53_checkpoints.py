"""Checkpoints as asked for: many requests are one, who waits hears the outcome, an idle server makes none, a spread one is spread (AC017, AC124–AC129, AC136)."""
import os
import re
import signal
import subprocess
import time

import pytest
import server as support
from failing import Failing
from load import Load, check_content, more_commits, prepare
from wire import connect, cstr, message

LONG = bool(os.environ.get("PINION_LONG"))
FILL = "INSERT INTO t WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {n}) SELECT hex(randomblob(2000)) FROM c"


def ask(w):
    w.send(message("Q", cstr("CHECKPOINT")))


def all_wait(s, sessions):
    pids = ", ".join(str(w.key[0]) for w in sessions)
    support.until(lambda: s.sql(f"SELECT count(*) FROM pg_stat_activity WHERE pid IN ({pids}) AND wait_event LIKE 'Checkpoint%'")[0][0] == len(sessions),
                  "all of them wait for a checkpoint")


def made(s, since=0):
    """The lines of checkpoints: ("starting", flags) and ("complete", seconds of writing)."""
    return re.findall(r"checkpoint (starting|complete)(?::(?: wrote .*? write=)?\s*([\d.]+|[a-z -]*))", s.log()[since:])


def requested(s):
    return s.sql("SELECT checkpoints_req FROM pg_stat_bgwriter")[0][0]


def sessions(s, n):
    return [connect(s) for _ in range(n)]


def test_twenty_requests_are_answered_by_one_checkpoint_or_two(server):
    """AC124."""
    server.sql("CREATE TABLE t (a text)")
    before, at = requested(server), len(server.log())
    who = sessions(server, 20)
    checkpointer = server.child("checkpointer")
    assert support.freeze(checkpointer)
    for w in who:
        ask(w)
    all_wait(server, who)
    os.kill(checkpointer, signal.SIGCONT)
    for w in who:
        assert w.read_to("Z").tags == ["CHECKPOINT"]
        w.close()
    lines = made(server, at)
    assert 1 <= requested(server) - before <= 2 and ("starting", "immediate force wait") in lines, lines


def test_a_request_while_one_is_made_waits_for_a_later_one_and_hurries_the_first(cluster):
    """AC125, P09: the first would have lasted most of an hour."""
    s = cluster(conf="checkpoint_timeout = 1h\nbgwriter_lru_maxpages = 0\n")
    s.start()
    s.sql("CREATE TABLE t (a text)")
    s.sql(FILL.format(n=1000))
    at = len(s.log())
    s.ctl("checkpoint", "-D", s.data, "--spread", "--no-wait")
    support.until(lambda: made(s, at), "one is being made")
    with connect(s) as w:
        assert w.ok("INSERT INTO t VALUES ('behind its redo point')")
        begun = w.ok("SELECT pg_current_wal_insert_lsn()").rows[0][0]
        assert [x for x, _ in made(s, at)] == ["starting"]
        ask(w)
        assert w.read_to("Z").tags == ["CHECKPOINT"]
        assert [x for x, _ in made(s, at)] == ["starting", "complete"] * 2, made(s, at)
        redo = support.run(support.PGBIN / "pg_controldata", s.data).stdout
        redo = re.search(r"REDO location: +(\S+)", redo)[1]
        assert w.ok(f"SELECT pg_wal_lsn_diff('{redo}', '{begun}') >= 0").rows[0][0] in ("1", "t")


def test_an_error_is_told_to_all_who_wait_and_the_next_one_works(cluster):
    """AC126: sessions and pinionctl."""
    f = Failing(cluster)
    s = f.server
    s.sql("CREATE TABLE t (a text)")
    checkpointer, bgwriter = s.child("checkpointer"), s.child("bgwriter")
    assert support.freeze(checkpointer) and support.freeze(bgwriter)   # who writes the pages is the one
    s.sql(FILL.format(n=50))
    who = sessions(s, 5)
    for w in who:
        ask(w)
    ctl = subprocess.Popen(support.as_user(support.PINIONCTL, "checkpoint", "-D", s.data), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    all_wait(s, who)
    support.until(lambda: "control call Checkpoint by" in s.log() and s.status(), "pinionctl has asked: the postmaster does something else by now")
    f.next("pwrite", "/base/5/5")
    os.kill(checkpointer, signal.SIGCONT)
    _, said = ctl.communicate(timeout=support.DEADLINE)
    assert ctl.returncode == 1 and "checkpoint request failed" in said and "Consult recent messages in the server log" in said, (ctl.returncode, said)
    for w in who:
        r = w.read_to("Z")
        assert r.code == "58030" and r.error == "checkpoint request failed" and r.status == "I", r
        assert 'base/5/5"' in r.errors[0]["D"] and r.errors[0]["H"] == "Consult recent messages in the server log for details.", r
    assert f.has_fired() and s.log().count("ERROR:  could not write") == 1, s.log()
    for w in who:
        assert w.ok("CHECKPOINT").tags == ["CHECKPOINT"]
        w.close()
    os.kill(bgwriter, signal.SIGCONT)
    assert s.status()["crashRestarts"] == 0 and s.child("checkpointer") == checkpointer
    s.kill9()
    s.start()
    assert s.sql("SELECT count(*) FROM t") == [(50,)]


def test_a_checkpointer_that_ends_in_the_middle_of_a_checkpoint_costs_nothing(cluster):
    """AC017: before its pages are synced, between its record and the control file, between the two copies of that. Redo begins where the control file says."""
    f = Failing(cluster, conf="shared_buffers = 2MB\n", init_args=("--wal-segsize=1",))
    s = f.server
    s.stop()
    prepare(s, env=f.env)
    with Load(s, writers=3, readers=1) as load:
        for n, (call, part) in enumerate((("fsync", "/base/5/5"), ("pwrite", "/global/pg_control"), ("fsync", "/global/pg_control")), 1):
            more_commits(load, 30)
            at = len(s.log())
            f.next(call, part, -1)
            p = s.ctl("checkpoint", "-D", s.data, check=False)
            assert p.returncode == 1 and f.has_fired(), (p.returncode, p.stderr)
            s.until_recovered(n)
            starts = re.findall(r"checkpoint starting", s.log()[at:])
            assert starts and re.search(r"checkpointer process \(PID \d+\) exited with exit code 0", s.log()[at:]) and "redo starts at" in s.log()[at:]
            more_commits(load, 10)
            check_content(s, load)
    assert not load.wrong, load.wrong
    s.stop()


def test_log_volume_asks_for_checkpoints_and_too_many_of_them_are_told(cluster):
    """AC129: with `max_wal_size` in the hint; not with checkpoint_warning = 0."""
    s = cluster(conf="max_wal_size = 2MB\nmin_wal_size = 2MB\n", init_args=("--wal-segsize=1",))
    s.start()
    s.sql("CREATE TABLE t (a text)")

    def volume(n):
        """Until n checkpoints for their volume have begun."""
        at = len(s.log())
        with connect(s) as w:
            def more():
                w.ok(FILL.format(n=100))
                return made(s, at).count(("starting", "wal")) >= n
            support.until(more, f"{n} checkpoints for log volume")
        return s.log()[at:]

    said = volume(3)
    assert re.search(r"LOG:  checkpoints are occurring too frequently \(\d+ seconds apart\)\n.*HINT:  Consider increasing .*\"max_wal_size\"\.", said), said
    s.configure("checkpoint_warning = 0\n")
    s.ctl("reload", "-D", s.data)
    support.until(lambda: s.sql("SHOW checkpoint_warning") == [("0",)], "it is taken")
    volume(1)
    assert "too frequently" not in volume(2)


def test_a_spread_checkpoint_takes_its_share_of_the_time_and_writes_all_the_while(cluster):
    """AC128: a tenth of the least checkpoint_timeout; a whole one, by time and under load, when long."""
    s = cluster(conf="checkpoint_timeout = 30s\ncheckpoint_completion_target = 0.1\nbgwriter_lru_maxpages = 0\n")
    s.start()
    s.sql("CREATE TABLE t (a text)")
    s.sql(FILL.format(n=2000))
    at, seen = len(s.log()), set()
    s.ctl("checkpoint", "-D", s.data, "--spread", "--no-wait")

    def is_made():
        seen.add(s.sql("SELECT buffers_checkpoint FROM pg_stat_bgwriter")[0][0])
        return len(made(s, at)) >= 2

    support.until(is_made, "it is made")
    written = float(dict(made(s, at))["complete"])
    assert 1.5 <= written <= 30 and len(seen) >= 4, (written, sorted(seen))
    print(f"{written} s of 3, {len(seen)} steps seen")


@pytest.mark.skipif(not LONG, reason="SKIP: two minutes; PINION_LONG=1")
def test_time_asks_for_checkpoints_unless_nothing_happened(cluster):
    """AC127, AC128 with the shortest checkpoint_timeout there is."""
    s = cluster(conf="checkpoint_timeout = 30s\nmax_wal_size = 64MB\nmin_wal_size = 2MB\nbgwriter_lru_maxpages = 0\n", init_args=("--wal-segsize=1",))
    prepare(s)
    s.sql("CREATE TABLE t (a text)")
    s.sql("CHECKPOINT")
    lsn, at, begun = s.sql("SELECT pg_current_wal_insert_lsn()")[0][0], len(s.log()), time.monotonic()
    support.until(lambda: time.monotonic() - begun > 35, "more than checkpoint_timeout is over", deadline=120)
    assert not made(s, at) and s.sql("SELECT pg_current_wal_insert_lsn()")[0][0] == lsn   # skipped
    s.sql("CHECKPOINT")
    assert [x for x, _ in made(s, at)] == ["starting", "complete"]   # FORCE is not
    at = len(s.log())
    with Load(s, writers=2) as load:
        s.sql(FILL.format(n=2000))   # a sleep of 0.1 s for each page at most, as PostgreSQL: there must be many
        support.until(lambda: load.wrong or len(made(s, at)) >= 2, "one for time", deadline=200)
        more_commits(load, 100)
    check_content(s, load)
    (begun, why), (done, spread) = made(s, at)[:2]
    assert s.sql("SELECT checkpoints_timed FROM pg_stat_bgwriter")[0][0] >= 1
    assert (begun, why, done) == ("starting", "time", "complete") and 0.5 * 27 <= float(spread) <= 30, made(s, at)
    assert sum(p.stat().st_size for p in (s.data / "pg_wal").iterdir() if p.is_file()) <= 66 << 20


def test_an_asynchronous_commit_is_durable_soon_without_anybody_waiting_for_it(cluster):
    """AC136: within 3 × wal_writer_delay, by the WAL writer; a server that is killed then has it."""
    server = cluster(conf="bgwriter_lru_maxpages = 0\nautovacuum = off\n")   # who writes a page makes its log durable first
    server.start()
    walwriter = server.child("walwriter")
    with connect(server) as w, connect(server) as reader:
        w.ok("CREATE TABLE t (a integer)")
        assert w.ok("SHOW wal_writer_delay").rows == [("200ms",)]
        w.ok("SET synchronous_commit = off")
        begun = time.monotonic()
        w.ok("INSERT INTO t VALUES (1)")
        lsn = reader.ok("SELECT pg_current_wal_insert_lsn()").rows[0][0]
        support.until(lambda: reader.ok(f"SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '{lsn}') >= 0").rows[0][0] in ("1", "t"), "it is durable")
        took = time.monotonic() - begun
        assert support.freeze(walwriter)
        w.ok("INSERT INTO t VALUES (2)")
        lsn = reader.ok("SELECT pg_current_wal_insert_lsn()").rows[0][0]
        stood = time.monotonic()
        support.until(lambda: time.monotonic() - stood > 0.7, "3 × its delay are over")
        assert reader.ok(f"SELECT pg_wal_lsn_diff(pg_current_wal_flush_lsn(), '{lsn}') < 0").rows[0][0] in ("1", "t"), "nobody else does it"
    server.kill_all()
    server.start()
    assert 1 in [int(a) for a, in server.sql("SELECT a FROM t")]
    print(f"durable after {took * 1000:.0f} ms")
    assert took < 10 * 0.6

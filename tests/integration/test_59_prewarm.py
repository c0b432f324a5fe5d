"""The cache stays warm over restarts (autoprewarm), and the life of the background worker that does it."""
import datetime
import os
import re
import signal
import time

import pytest
import server as support
from wire import connect, cstr, message

ROLE = "background worker"
READ_BACK = re.compile(r"autoprewarm: (\d+) of (\d+) pages read back in")


def make(cluster, conf=""):
    s = cluster(conf=f"shared_buffers = 32MB\nautoprewarm = on\n{conf}")
    s.start()
    s.sql("CREATE TABLE t (a integer PRIMARY KEY, b text)")
    s.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 20000) INSERT INTO t SELECT x, hex(randomblob(100)) FROM c")
    return s   # about 600 pages


def worker(s):
    return s.child(ROLE)


def is_there(s):
    return ROLE in s.children().values()


def read_back(s, n=1):
    """(pages read, pages of the list) of the n-th time."""
    found = support.until(lambda: (m := READ_BACK.findall(s.log())) and len(m) >= n and m, f"it has read back {n} times")
    return tuple(map(int, found[n - 1]))


def disk_reads(s):
    """Pages that a look at the whole table reads from disk."""
    def n():
        return int(s.sql("SELECT blks_read FROM pg_stat_database WHERE datname = 'postgres'")[0][0])
    before = n()
    assert s.sql("SELECT count(b) FROM t") == [(20000,)]
    return n() - before


def test_after_a_restart_nothing_is_read_again(cluster):
    s = make(cluster)
    s.stop()
    s.start()
    n, listed = read_back(s)
    assert n > 500 and listed > 500
    assert disk_reads(s) < 20
    s.stop()
    s.configure("autoprewarm = off\n")
    s.start()
    assert disk_reads(s) > 500 and not is_there(s)


def test_after_a_crash_too_and_the_list_is_written_while_it_runs(cluster):
    """AC030: a killed worker is a crash of all, and the next one comes at once."""
    s = make(cluster, conf="autoprewarm_interval = 1s\n")
    listed = s.data / "pinion_prewarm"
    support.until(lambda: listed.exists() and listed.stat().st_size > 30, "a list")
    since = time.time()
    support.until(lambda: listed.stat().st_mtime > since, "the next one")
    s.sql("CHECKPOINT")   # redo would warm the cache as well
    before = worker(s)
    with connect(s) as w:
        os.kill(before, signal.SIGKILL)
        assert [n["C"] for n in w.read_end().notices] == ["57P02"]
    assert read_back(s)[0] > 500
    assert worker(s) != before and f"background worker process (PID {before}) was terminated by signal 9" in s.log()
    support.until(lambda: s.status().get("state") == "ready", "it serves")
    assert disk_reads(s) < 20


def test_it_never_takes_more_than_is_free(cluster):
    s = make(cluster)
    s.stop()
    s.configure("shared_buffers = 2MB\n")
    s.start()
    n, listed = read_back(s)
    assert n < 256 < listed and "the cache is full" in s.log()
    assert s.sql("SELECT count(b) FROM t") == [(20000,)]


def test_who_left_with_0_is_not_replaced_before_it_is_asked_for(cluster):
    s = make(cluster)
    pid = worker(s)
    support.until(lambda: (pid, ROLE) in s.sql("SELECT pid, backend_type FROM pg_stat_activity"), "everybody sees it")
    os.kill(pid, signal.SIGTERM)
    support.until(lambda: not support.state_of(pid), "it has left")
    for _ in range(20):   # the postmaster has something to do meanwhile
        s.sql("SELECT 1")
    assert not is_there(s) and s.status()["crashRestarts"] == 0
    s.ctl("reload", "-D", s.data)
    pid = worker(s)
    s.configure("autoprewarm = off\n")
    s.ctl("reload", "-D", s.data)
    support.until(lambda: not support.state_of(pid), "it leaves when it is turned off")
    s.configure("autoprewarm = on\n")
    s.ctl("reload", "-D", s.data)
    worker(s)


def test_who_left_with_1_comes_again_by_its_back_off(cluster):
    s = make(cluster)
    s.stop()
    listed = s.data / "pinion_prewarm"
    text = listed.read_bytes()
    listed.unlink()
    listed.mkdir()   # it can not begin
    s.start()
    said = "background worker process (PID "
    support.until(lambda: s.log().count(said) >= 4, "it has tried four times")
    times = [datetime.datetime.fromisoformat(x[:23]) for x in s.log().splitlines() if said in x]
    assert times[3] - times[0] >= datetime.timedelta(seconds=0.7), times   # 0.1, 0.2, 0.4 s
    assert s.status()["crashRestarts"] == 0 and s.sql("SELECT 1") == [(1,)]
    listed.rmdir()
    listed.write_bytes(text)
    support.run("chown", "--reference", s.data / "pinion.conf", listed, user=False)
    assert read_back(s)[0] > 500


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_list_is_a_warning(cluster, damage):
    s = make(cluster)
    s.stop()
    listed = s.data / "pinion_prewarm"
    listed.write_bytes(listed.read_bytes()[:-3] + b"0\n" if damage is None else damage)
    s.start()
    support.until(lambda: "could not use the list of pages in" in s.log(), "the warning")
    assert disk_reads(s) > 0
    s.stop()
    s.start()
    read_back(s)   # of the list that was written anew


def catch(s, dbname):
    """The worker, standing, while it reads this database; None if it was too quick."""
    pid = support.until(lambda: next((p for p in s.processes() if name_of(p) == ROLE[:15]), None), "it is there")
    while support.freeze(pid):
        if s.sql(f"SELECT 1 FROM pg_stat_activity WHERE pid = {pid} AND datname = '{dbname}' AND state = 'active'"):
            return pid
        os.kill(pid, signal.SIGCONT)
        if READ_BACK.search(s.log().rpartition("ready to accept connections")[2]):
            return None
    return None


def name_of(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="ascii") as f:
            return f.read().strip()
    except OSError:
        return ""


def test_it_gives_way_to_drop_database(cluster):
    s = make(cluster)
    s.sql("CREATE DATABASE other")
    s.sql("CREATE TABLE u (b text)", dbname="other")
    s.sql("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 5000) INSERT INTO u SELECT hex(randomblob(2000)) FROM c", dbname="other")

    def caught():
        s.stop()
        s.start()
        return catch(s, "other")

    pid = support.until(caught, "it is met")
    with connect(s) as w:
        w.send(message("Q", cstr("DROP DATABASE other")))
        support.until(lambda: s.sql("SELECT 1 FROM pg_stat_activity WHERE query = 'DROP DATABASE other' AND wait_event IS NOT NULL"), "it is waited for")
        os.kill(pid, signal.SIGCONT)
        assert not w.read_to("Z").errors
    assert support.state_of(pid) and s.status()["crashRestarts"] == 0   # it goes on with the others
    s.stop()
    assert s.control_state() == "shut down"

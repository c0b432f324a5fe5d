"""The startup process in passes: redo, resolve, settle, verify; startup_verify; pg_stat_progress_recovery and _checkpoint (AC141, AC142, AC143)."""
import os
import signal
import threading

import psycopg2
import pytest
import server as support
from failing import Failing
from wire import connect

PAGE = 8192
# What the startup process does only in that pass; the file system is made to stand there.
STANDS = {"redo": ("fsync", "/pg_wal/0"), "resolve": ("pwrite", "/pg_wal/0"), "settle": ("fsync", "/data/base"), "verify": ("pread", "/base/5/5")}


def fill(w, n=300):
    w.ok("CREATE TABLE t (id integer PRIMARY KEY, pad text)")
    w.ok(f"WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < {n}) INSERT INTO t SELECT x, hex(randomblob(1500)) FROM c")


def make(cluster, names=(), conf="startup_verify = touched\n"):
    """A running server; postgres and each named database have the table t and are on disk."""
    s = cluster(conf=conf, init_args=("--wal-segsize=1",))
    s.start()
    with connect(s) as w:
        fill(w)
        for name in names:
            w.ok(f"CREATE DATABASE {name}")
            with connect(s, database=name) as x:
                fill(x)
        w.ok("CHECKPOINT")
    return s


def change(s, name="postgres"):
    with connect(s, database=name) as w:
        w.ok("UPDATE t SET pad = 'changed' WHERE id = 1")


def rows(s, name="postgres"):
    return s.sql("SELECT count(*), max(pad = 'changed') FROM t", dbname=name)[0]


def path_of(s, name):
    oid = s.sql(f"SELECT datid FROM pg_stat_database WHERE datname = '{name}'")[0][0]
    return s.data / f"base/{oid}/{oid}"


def damage(path, page=None):
    """Some bytes in the middle of the file, far from what the tests change; returns (page, how to put it back)."""
    page = page or path.stat().st_size // PAGE // 2
    with open(path, "r+b") as f:
        f.seek((page - 1) * PAGE + 5000)
        old = f.read(8)
        f.seek((page - 1) * PAGE + 5000)
        f.write(bytes(b ^ 0x55 for b in old))

    def mend():
        with open(path, "r+b") as f:
            f.seek((page - 1) * PAGE + 5000)
            f.write(old)
    return page, mend


def recovery(s):
    """The row of pg_stat_progress_recovery."""
    c = s.connect()
    cur = c.cursor()
    cur.execute("SELECT * FROM pg_stat_progress_recovery")
    row = dict(zip([x[0] for x in cur.description], cur.fetchall()[0]))
    c.close()
    return row


def until_in(s, name):
    """The startup process is in that pass, as everybody is told; its pid."""
    def progress():
        return s.status().get("progress", {})
    support.until(lambda: progress().get("phase") == name, f"pass {name}")
    pid = s.child("startup")
    title = support.Path(f"/proc/{pid}/cmdline")
    support.until(lambda: title.read_bytes().split(b"\0")[0].decode().rstrip() == f"pinion: startup {name}", "its title says it")
    support.until(lambda: name in progress().get("message", ""), "the status line says it")
    return pid


def refusal(s, name):
    with pytest.raises(psycopg2.OperationalError) as e:
        s.connect(name)
    return str(e.value)


class Standing:
    """A start that stands still in a pass, until the with ends."""

    def __init__(self, s, name):
        self.s, self.name, self.f = s, name, Failing(server=s)
        self.hold = self.f.held(*STANDS["settle" if name == "verify" else name])

    def __enter__(self):
        self.hold.__enter__()   # pylint: disable=unnecessary-dunder-call
        try:
            self.p = self.s.foreground(env=self.f.env)
            self.pid = until_in(self.s, "settle" if self.name == "verify" else self.name)
            self.f.until_met()
            if self.name == "verify":   # the same file is read in settle as well, before
                self.f.hold_next(*STANDS["verify"])
                self.pid = until_in(self.s, "verify")
        except BaseException:
            self.hold.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *_):
        self.hold.__exit__(None, None, None)


@pytest.mark.parametrize("name", STANDS)
def test_a_start_that_is_killed_in_a_pass_is_made_good_by_the_next(cluster, name):
    """AC141: the startup process alone, which ends the server; then everything at once. What redo touched is verified in the end."""
    s = make(cluster, ("other",))
    change(s)
    change(s, "other")
    s.kill9()
    with Standing(s, name) as x:
        os.kill(x.pid, signal.SIGKILL)
    assert x.p.wait(support.DEADLINE) == 1 and "startup process failure" in s.log()
    with Standing(s, name) as x:
        s.kill_all()
    x.p.wait(support.DEADLINE)
    assert "startup verification" not in s.log()
    s.start()
    assert rows(s) == rows(s, "other") == (300, 1)
    assert "startup verification: 2 databases" in s.log() and not (s.data / "pinion_verify").exists()
    got = recovery(s)
    assert (got["phase"], got["pid"], got["databases_refused"]) == ("done", None, 0)
    assert got["blocks_done"] == got["blocks_total"] > 200
    assert got["start_lsn"] is not None and got["verify_time"] > 0 and got["settle_time"] > 0


def test_a_clean_start_has_little_to_do(cluster):
    """AC142: nothing is redone or resolved, and nothing was touched."""
    s = make(cluster)
    s.stop()
    at = len(s.log())
    s.start()
    got = recovery(s)
    assert (got["phase"], got["start_lsn"], got["resolve_time"], got["blocks_total"]) == ("done", None, None, 0)
    assert got["redo_time"] >= 0 and got["settle_time"] > 0 and got["verify_time"] >= 0
    assert "redo" not in s.log()[at:] and "verification" not in s.log()[at:]
    s.configure("startup_verify = off\n")
    s.stop()
    s.start()
    assert recovery(s)["verify_time"] is None
    s.configure("startup_verify = full\n")
    s.stop()
    s.start()
    assert "startup verification: 2 databases" in s.log()[at:]   # the catalogue is one
    assert recovery(s)["blocks_done"] > 100


def test_damage_that_redo_has_come_near_costs_its_database_only(cluster):
    s = make(cluster, ("one", "two", "three"))
    for name in ("one", "two", "postgres"):
        change(s, name)
    paths = {name: path_of(s, name) for name in ("one", "two", "three")}
    s.kill9()
    page, mend = damage(paths["one"])
    with open(paths["two"], "r+b") as f:   # zeros pass for a page that was never written: only the tree misses it
        f.seek(paths["two"].stat().st_size // PAGE // 2 * PAGE)
        zeroed = f.tell()
        old = f.read(PAGE)
        f.seek(zeroed)
        f.write(bytes(PAGE))
    damage(paths["three"])   # nobody came near
    s.start()

    def check():
        name = paths["one"].relative_to(s.data)
        said = refusal(s, "one")
        assert 'database "one" was found damaged at the start' in said and f"DETAIL:  {name}, page {page}: checksum" in said and "HINT" in said
        assert "structure: " in refusal(s, "two")
        assert rows(s) == (300, 1)
        assert s.status()["refusedDatabases"] == 2 == recovery(s)["databases_refused"]
        assert "Damaged    2 databases refused" in s.ctl("status", "-D", s.data).stdout
        log = s.log()
        assert f'database "one", {name}, page {page}: checksum' in log and 'database "one" is damaged and takes no connections' in log
        assert 'database "three"' not in log

    check()
    assert s.sql("SELECT length(pad) FROM t WHERE id = 1", dbname="three") == [(3000,)]
    s.stop()
    s.start()   # a clean start does not forget
    check()
    s.drop_database("two")
    assert s.status()["refusedDatabases"] == 1
    s.configure("startup_verify = off\n")
    s.stop()
    s.start()   # to save what can be read
    assert s.sql("SELECT pad FROM t WHERE id = 1", dbname="one") == [("changed",)] and "refusedDatabases" not in s.status()
    s.stop()
    mend()
    s.configure("startup_verify = touched\n")
    s.start()
    assert rows(s, "one") == (300, 1) and not (s.data / "pinion_verify").exists()
    s.configure("startup_verify = full\n")
    s.stop()
    s.start()
    assert "page" in refusal(s, "three")


def test_a_damaged_catalogue_ends_the_start(cluster):
    s = make(cluster, conf="startup_verify = full\n")
    s.stop()
    _, mend = damage(s.data / "base/1/1")
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 65 and "the cluster catalogue is damaged" in p.stderr and "HINT" in p.stderr
    s.configure("startup_verify = touched\n")   # which does not forget it
    assert support.run(support.PINIOND, "-D", s.data, check=False).returncode == 65
    mend()
    s.start()
    assert not (s.data / "pinion_verify").exists()
    assert rows(s) == (300, 0)


def test_a_stop_ends_a_verification(cluster):
    s = make(cluster)
    change(s)
    s.kill9()
    with Standing(s, "verify") as x:
        os.kill(x.p.pid, signal.SIGINT)
        support.until(lambda: s.status().get("state") == "stopping", "it is stopping")
    assert x.p.wait(support.DEADLINE) == 0
    assert "startup verification" not in s.log() and "damaged" not in s.log()
    s.start()
    assert rows(s) == (300, 1) and "startup verification: 1 database" in s.log()


def test_a_crash_inside_is_verified_as_well(cluster):
    s = make(cluster)
    change(s)
    os.kill(s.child("bgwriter"), signal.SIGKILL)
    support.until(lambda: "startup verification: 1 database" in s.log(), "the second start verifies")
    s.until_ready()
    assert rows(s) == (300, 1)


# ---- checkpoints

def checkpoints(w):
    names = "pid phase flags start_lsn start_time buffers_total buffers_processed buffers_written files_total files_synced".split()
    return [dict(zip(names, row)) for row in w.ok(f"SELECT {', '.join(names)} FROM pg_stat_progress_checkpoint").rows]


def test_a_checkpoint_shows_what_it_does_while_it_runs(cluster):
    s = cluster(conf="bgwriter_lru_maxpages = 0\n")   # else it may have written most before
    f = Failing(server=s)
    s.start(env=f.env)
    with connect(s) as w, connect(s) as asker:
        fill(w)
        assert checkpoints(w) == []
        t = threading.Thread(target=asker.ok, args=("CHECKPOINT",))
        with f.held("pwrite", "/base/5/5"):
            t.start()
            c = support.until(lambda: checkpoints(w), "a checkpoint")[0]
            c = support.until(lambda: (x := checkpoints(w)[0])["phase"] == "writing buffers" and x, "it writes")
            assert int(c["pid"]) == s.child("checkpointer") and "immediate force" in c["flags"]
            assert int(c["buffers_total"]) > 100 and int(c["buffers_written"]) < int(c["buffers_total"])
            assert c["start_lsn"] and c["start_time"]
            p = s.status()["progress"]
            assert (p["phase"], p["unit"], p["total"]) == ("checkpoint", "buffers", int(c["buffers_total"])) and p["message"].startswith("Checkpoint: ")
            assert s.status()["state"] == "ready" and "(primary)" in s.ctl("status", "-D", s.data).stdout
            f.hold_next("fsync", "/base/5/5")
            c = support.until(lambda: (x := checkpoints(w)[0])["phase"] == "syncing files" and x, "it syncs")
            assert c["buffers_processed"] == c["buffers_total"] and int(c["files_total"]) >= 1
            assert int(c["files_synced"]) < int(c["files_total"])
            assert s.status()["progress"]["unit"] == "files"
        t.join(support.DEADLINE)
        support.until(lambda: not checkpoints(w), "it is over")
        assert "progress" not in s.status()
        asker.ok("UPDATE t SET pad = 'x'")
    with f.held("fsync", "/base/5/5"):
        s.ctl("stop", "-D", s.data, "--no-wait")
        p = support.until(lambda: (x := s.status().get("progress", {})).get("phase") == "shutdown_checkpoint" and x.get("unit") == "files" and x, "the last one syncs")
        assert p["done"] < p["total"]
    s.wait_gone()

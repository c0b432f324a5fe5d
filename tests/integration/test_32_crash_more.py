"""Kills at awkward moments: databases made and dropped, transactions larger than the cache, asynchronous commits, recovery itself."""
import os
import random
import select
import signal
import threading
import time

import pytest
import server as support
from load import Load, check_content, more_commits, prepare
from wire import Closed, Wire, connect, startup_packet

SEED = int(os.environ.get("PINION_SEED", "0")) or random.randrange(1, 2**31)
LONG = bool(os.environ.get("PINION_LONG"))
ROUNDS = 60 if LONG else 8


def session(server, stop=None, **params):
    """A logged-in Wire; waits while the server recovers. None if told to stop."""
    def attempt():
        if stop and stop.is_set():
            return stop
        try:
            return connect(server, **params)
        except (OSError, Closed) as e:
            if isinstance(e, Closed) and e.reply.code not in (None, "57P03", "53300"):
                raise
            return None

    got = support.until(attempt, "a session")
    return None if got is stop else got


class Maker:
    """Makes, fills and drops databases; knows what was acknowledged."""

    def __init__(self, server, idx, stop, wrong):
        self.server, self.idx, self.stop, self.wrong = server, idx, stop, wrong
        self.rng = random.Random(SEED * 10 + idx)
        self.must, self.may, self.n = {}, {}, 0   # name → rows that must be there; name → rows, or gone
        self.gone = set()
        self.steps = 0

    def run(self):
        try:
            while not self.stop.is_set():
                self.step()
                self.steps += 1
        except Exception as e:  # pylint: disable=broad-except
            self.wrong.append(f"maker {self.idx}: {type(e).__name__}: {e}")

    def step(self):
        w = session(self.server, self.stop)
        if w is None:
            return
        try:
            with w:
                if self.must and (len(self.must) > 4 or self.rng.random() < 0.4):
                    self.drop(w, self.rng.choice(sorted(self.must)))
                else:
                    self.make(w)
        except (Closed, OSError):
            pass

    def make(self, w):
        self.n += 1
        name = f"d{self.idx}_{self.n}"
        self.may[name] = 0
        r = w.query(f"CREATE DATABASE {name}")
        if r.errors:
            raise AssertionError(f"CREATE DATABASE {name}: {r.errors[0]}")
        self.must[name] = 0
        del self.may[name]
        with connect(self.server, database=name) as db:
            db.ok("CREATE TABLE t (a integer, pad text)")
            for i in range(self.rng.randrange(4)):
                db.ok(f"INSERT INTO t VALUES ({i}, hex(randomblob(3000)))")
                self.must[name] = i + 1

    def drop(self, w, name):
        rows = self.must.pop(name)
        self.may[name] = rows
        end = time.monotonic() + support.DEADLINE
        while (r := w.query(f"DROP DATABASE {name}")).code == "55006" and time.monotonic() < end:
            pass   # the session that filled it may be leaving still
        if r.errors:
            raise AssertionError(f"DROP DATABASE {name}: {r.errors[0]}")
        del self.may[name]
        self.gone.add(name)

    def check(self, there):
        for name, rows in self.must.items():
            assert name in there, f"{name} was made, acknowledged, and is gone"
            with session(self.server, database=name) as w:
                r = w.query("SELECT count(*) FROM t")
                n = int(r.rows[0][0]) if r.rows else 0
                assert n >= rows, f"{name} has {n} rows of {rows}"
                assert w.ok("PRAGMA integrity_check").rows == [("ok",)]
        assert not self.gone & there, f"dropped, acknowledged, and there: {self.gone & there}"
        for name in list(self.may):   # settled now
            if name in there:
                self.must[name] = self.may[name]
            else:
                self.gone.add(name)
            del self.may[name]


def names(server):
    """What the catalogue names: by trying, since a session does not read another database's file."""
    return {p.name for p in (server.data / "base").iterdir() if p.name.isdigit()}


def test_databases_made_and_dropped_under_kills(cluster):
    print(f"PINION_SEED={SEED}")
    rng = random.Random(SEED)
    server = cluster(conf="shared_buffers = 1MB\nmax_wal_size = 8MB\n", init_args=("--wal-segsize=1",))
    server.start()
    makers, total = [Maker(server, i, None, []) for i in range(3)], 0
    for _ in range(ROUNDS):
        stop, wrong = threading.Event(), []
        threads = []
        for m in makers:
            m.stop, m.wrong = stop, wrong
            threads.append(threading.Thread(target=m.run))
        for t in threads:
            t.start()
        goal = sum(m.steps for m in makers) + rng.randrange(1, 20)
        support.until(lambda wrong=wrong, goal=goal: wrong or sum(m.steps for m in makers) >= goal, "databases come and go")
        server.kill_all()
        stop.set()
        for t in threads:
            t.join(support.DEADLINE)
        assert not wrong, wrong
        server.start()
        there = {n for m in makers for n in (*m.must, *m.may, *m.gone) if exists(server, n)}
        for m in makers:
            m.check(there)
        total = sum(len(m.gone) + len(m.must) for m in makers)
        named = 2 + sum(len(m.must) for m in makers)
        dump = server.waldump()   # over the ends of all crashes
        assert dump.returncode == 0, dump.stderr
        support.until(lambda: len(names(server)) == named, f"exactly {named} directories in base: {sorted(names(server))}")
    server.stop()
    print(f"{total} databases")


def exists(server, name):
    try:
        connect(server, database=name).close()
        return True
    except Closed as e:
        if e.reply.code != "3D000":
            raise
        return False


def test_a_transaction_larger_than_the_cache_is_all_or_nothing(cluster):
    server = cluster(conf="shared_buffers = 1MB\nmax_wal_size = 8MB\ncache_overflow_limit = 256MB\n", init_args=("--wal-segsize=1",))
    server.start()
    with connect(server) as w:
        w.ok("CREATE TABLE t (id integer PRIMARY KEY, gen integer, pad text)")
        w.ok("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 20000) INSERT INTO t SELECT x, 0, hex(randomblob(300)) FROM c")
        for gen in range(1, 4):
            w.ok(f"UPDATE t SET gen = {gen}")
            w.ok("BEGIN")
            w.ok("UPDATE t SET gen = 99, pad = 'x'")
            w.ok("ROLLBACK")
            assert w.ok("SELECT min(gen), max(gen), count(*) FROM t").rows == [(str(gen), str(gen), "20000")]
    last = 3
    for gen in range(4, 7):
        with connect(server) as w:
            w.send(b"Q" + (4 + len(f"UPDATE t SET gen = {gen}") + 1).to_bytes(4, "big") + f"UPDATE t SET gen = {gen}".encode() + b"\0")
            support.until(lambda w=w, gen=gen: worked(w.key[0]) >= 0.1 * (gen - 3) or select.select([w.sock], [], [], 0)[0],
                          "the UPDATE is on its way or through")
            server.kill_all()
            try:
                acknowledged = w.read_to("Z").tags == ["UPDATE 20000"]
            except (Closed, OSError):
                acknowledged = False
        server.start()
        low, high, n = map(int, server.sql("SELECT min(gen), max(gen), count(*) FROM t")[0])
        assert low == high and n == 20000, f"half a transaction: {low}…{high}"
        assert high == gen if acknowledged else high in (gen, last)
        last = high
    assert server.sql("PRAGMA integrity_check") == [("ok",)]
    server.stop()


def test_asynchronous_commits_lose_only_their_end(cluster):
    """With synchronous_commit = off a kill may take the last commits of a session, never one in the middle, never one that another session saw."""
    print(f"PINION_SEED={SEED}")
    server = cluster(conf="shared_buffers = 1MB\nwal_writer_delay = 50ms\n", init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE t (s integer, n integer, PRIMARY KEY (s, n))")
    done = [0] * 4
    for _ in range(max(ROUNDS // 2, 4)):
        stop, wrong, seen, before = threading.Event(), [], {}, list(done)

        def write(s, stop=stop, wrong=wrong):
            try:
                with session(server) as w:
                    w.ok("SET synchronous_commit = off")
                    n = int(w.ok(f"SELECT coalesce(max(n), 0) FROM t WHERE s = {s}").rows[0][0])
                    while not stop.is_set():
                        n += 1
                        w.ok(f"INSERT INTO t VALUES ({s}, {n})")
                        done[s] = n
                        got = w.ok(f"SELECT max(n), count(*) FROM t WHERE s = {s}").rows[0]
                        if got != (str(n), str(n)):
                            wrong.append(f"session {s} wrote {n} and reads {got}")
            except (Closed, OSError):
                pass
            except AssertionError as e:
                wrong.append(str(e))

        def read(stop=stop, wrong=wrong, seen=seen):
            try:
                with session(server) as w:
                    while not stop.is_set():
                        for s, n, count in w.ok("SELECT s, max(n), count(*) FROM t GROUP BY s").rows:
                            if n != count or int(n) < seen.get(s, 0):
                                wrong.append(f"reader saw {n}, {count} of {s} after {seen.get(s)}")
                            seen[s] = int(n)
            except (Closed, OSError):
                pass
            except AssertionError as e:
                wrong.append(str(e))

        threads = [threading.Thread(target=write, args=(s,)) for s in range(4)] + [threading.Thread(target=read)]
        for t in threads:
            t.start()
        support.until(lambda wrong=wrong, seen=seen, before=before: wrong or len(seen) == 4 and
                      all(n > b + 10 for n, b in zip(done, before)), "all write and are seen")
        server.kill_all()
        stop.set()
        for t in threads:
            t.join(support.DEADLINE)
        assert not wrong, wrong[:3]
        server.start()
        for s, n, count in server.sql("SELECT s, max(n), count(*) FROM t GROUP BY s"):
            assert int(n) == int(count), f"a hole in what session {s} wrote"
            assert int(n) >= seen.get(str(s), 0), f"session {s}: {seen.get(str(s))} was shown, {n} is there"
    server.stop()


@pytest.mark.parametrize("what", ["startup", "everything"])
def test_a_kill_during_recovery_is_recovered_from(cluster, what):
    server = cluster(conf="max_wal_size = 1GB\ncheckpoint_timeout = 1h\n", init_args=("--wal-segsize=16",))
    server.start()
    with connect(server) as w:
        w.ok("CREATE TABLE t (id integer PRIMARY KEY, n integer, pad text)")
        w.ok("WITH RECURSIVE c(x) AS (VALUES (1) UNION ALL SELECT x + 1 FROM c WHERE x < 5000) INSERT INTO t SELECT x, 0, hex(randomblob(500)) FROM c")
    n, killed = 0, 0
    for times in (60, 200, 600):   # more to recover, until it is caught at it
        n = change(server, n, times)
        server.kill_all()
        killed = kill_in_recovery(server, what)
        if killed:
            break
    with session(server) as w:
        assert w.ok("SELECT min(n), max(n), count(*) FROM t").rows == [(str(n), str(n), "5000")]
        assert w.ok("PRAGMA integrity_check").rows == [("ok",)]
    assert killed
    server.stop()


def change(server, n, times):
    with connect(server) as w:
        for _ in range(times):
            n += 1
            w.ok(f"UPDATE t SET n = {n}")
    return n


def startup_of(server):
    return next((p for p in server.processes() if title(p) == "startup"), None)


def kill_in_recovery(server, what):
    """Start and kill after more and more work of the startup process, at most 5 times, then let it come up. How many kills met it at work."""
    killed = 0
    for delay in (0.0, 0.01, 0.03, 0.1, 0.2):
        server.start(check=False, wait=False)
        pid = support.until(lambda: startup_of(server) or (is_ready(server) and -1), "a startup process, or the end of its work")
        support.until(lambda pid=pid, delay=delay: is_ready(server) or support.state_of(pid) in ("", "Z", "X") or worked(pid) >= delay,
                      "recovery is on its way or through")
        if pid < 0 or not support.freeze(pid):   # while it stands the postmaster cannot become ready
            break
        killed += 1
        support.kill_each([pid] if what == "startup" else server.processes())
        server.wait_gone()   # a failed startup process ends the server
    support.until(lambda: is_ready(server) or not server.processes(), "it is up or gone")
    if not is_ready(server):
        server.start()
    return killed


def worked(pid):
    """Seconds of processor time; 0 if it is gone."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0


def is_ready(server):
    return server.status().get("state") == "ready"


def title(pid):
    try:
        with open(f"/proc/{pid}/comm", encoding="utf-8") as f:
            return f.read().strip()
    except OSError:
        return ""


def test_connections_that_come_and_go_under_kills_leave_nothing(cluster):
    server = cluster(conf="max_connections = 20\nsuperuser_reserved_connections = 0\n", init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE t (a integer)")
    stop, wrong, served = threading.Event(), [], [0]

    def come_and_go(idx):
        rng = random.Random(SEED + idx)
        while not stop.is_set():
            try:
                with Wire(server) as w:
                    what = rng.random()
                    if what < 0.2:
                        continue   # nothing said
                    w.login()
                    w.ok("INSERT INTO t VALUES (1)" if what < 0.4 else "SELECT count(*) FROM t")
                    served[0] += 1
                    if what > 0.8:
                        w.query("BEGIN; INSERT INTO t VALUES (2)")   # and away
            except (Closed, OSError) as e:
                if isinstance(e, Closed) and e.reply.code not in (None, "57P03", "53300", "57P01"):
                    wrong.append(repr(e.reply))
            except AssertionError as e:
                wrong.append(str(e))

    threads = [threading.Thread(target=come_and_go, args=(i,)) for i in range(12)]
    for t in threads:
        t.start()
    try:
        for _ in range(4):
            before = served[0]
            support.until(lambda: wrong or served[0] > before + 100, "clients are served")
            backends = [p for p, role in server.children().items() if role == "backend"]
            if backends:
                try:
                    os.kill(backends[0], signal.SIGKILL)
                except ProcessLookupError:
                    pass
    finally:
        stop.set()
        for t in threads:
            t.join(support.DEADLINE)
    assert not wrong, wrong[:3]
    support.until(lambda: "backend" not in server.children().values(), "all backends have left")
    with session(server) as w:
        assert w.ok("SELECT count(*) FROM t WHERE a = 2").rows == [("0",)]
    server.stop()


def test_clients_of_a_killed_postmaster_hear_the_end_and_lose_nothing(cluster):
    """It stands still first: its children serve on, and new clients wait in the queues of its sockets."""
    s = cluster(tcp=True)
    prepare(s)
    with Load(s, writers=3, readers=1) as load:
        more_commits(load, 20)
        with connect(s) as idle, connect(s) as busy:
            support.freeze(s.pid)
            waiting = [Wire(s, tcp=tcp) for tcp in (False, True) for _ in range(3)]
            for w in waiting[::3]:
                w.send(startup_packet({"user": "postgres", "database": "postgres"}))
            more_commits(load, 20)
            busy.ok("BEGIN; INSERT INTO acct VALUES (1000, 1000)")
            s.kill9()
            for w in [idle, busy, *waiting]:
                assert not w.read_end().messages, "the end, and no word of a server that was not there"
                w.close()
        s.start()
        more_commits(load, 20)
    assert not load.wrong, load.wrong
    check_content(s, load)
    s.stop()

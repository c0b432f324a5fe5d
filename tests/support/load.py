"""Load with a memory: writers that note what was acknowledged, readers that check what may never be false. What is there afterwards is compared."""
import os
import random
import threading

import psycopg2
import server as support

WRITERS, READERS, ACCOUNTS = 8, 2, 50
SEED = int(os.environ.get("PINION_SEED", "0")) or random.randrange(1, 2**31)


class Load:
    """Writers move money and note it; readers check what may never be false."""

    def __init__(self, server, writers=WRITERS, readers=READERS):
        self.server = server
        self.stop = threading.Event()
        self.acked = [set() for _ in range(WRITERS)]   # acknowledged n of each writer
        self.wrong = []
        self.threads = [threading.Thread(target=self.guard, args=(self.write, w)) for w in range(writers)]
        self.threads += [threading.Thread(target=self.guard, args=(self.read, r)) for r in range(readers)]

    @property
    def n_acked(self):
        return sum(map(len, self.acked))

    def __enter__(self):
        print(f"PINION_SEED={SEED}")
        for t in self.threads:
            t.start()
        return self

    def __exit__(self, *_):
        """Returns when all have ended; whoever is in the middle of something is told by the end of its connection or finishes."""
        self.stop.set()
        for t in self.threads:
            t.join(support.DEADLINE)
            if t.is_alive():
                self.wrong.append(f"{t.name} has not ended")

    def guard(self, work, arg):
        try:
            work(arg)
        except Exception as e:  # pylint: disable=broad-except
            self.wrong.append(f"{work.__name__} {arg}: {type(e).__name__}: {e}")

    def connect(self):
        while not self.stop.is_set():
            try:
                return self.server.connect(autocommit=True)
            except psycopg2.OperationalError:
                self.stop.wait(0.02)   # the server is being killed or recovers
        return None

    def write(self, w):
        rng = random.Random(SEED * 100 + w)
        conn, n = self.connect(), 0
        while conn and not self.stop.is_set():
            n += 1
            a, b, d = rng.randrange(ACCOUNTS), rng.randrange(ACCOUNTS), rng.randrange(1, 100)
            try:
                cur = conn.cursor()
                if rng.random() < 0.5:
                    cur.execute("BEGIN")
                    cur.execute(f"UPDATE acct SET v = v + {d} WHERE id = {a}")
                    cur.execute(f"UPDATE acct SET v = v - {d} WHERE id = {b}")
                    cur.execute(f"INSERT INTO hist VALUES ({w}, {n}, hex(randomblob({rng.randrange(1, 600)})))")
                    cur.execute("ROLLBACK" if rng.random() < 0.1 else "COMMIT")
                    committed = cur.statusmessage == "COMMIT"
                else:
                    cur.execute(f"UPDATE acct SET v = v + {d} WHERE id = {a}; UPDATE acct SET v = v - {d} WHERE id = {b};"
                                f"INSERT INTO hist VALUES ({w}, {n}, 'x')")
                    committed = True
                if committed:
                    self.acked[w].add(n)
            except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError) as e:
                if getattr(e, "pgcode", None) not in (None, "57P01", "57P02", "57P03", "57014"):
                    raise
                conn.close()
                conn = self.connect()

    def read(self, r):
        seen = {}
        conn = self.connect()
        while conn and not self.stop.is_set():
            try:
                cur = conn.cursor()
                cur.execute("SELECT sum(v) FROM acct")
                total = cur.fetchone()[0]
                if int(total) != 0:
                    raise AssertionError(f"reader {r} saw the sum {total}")
                cur.execute("SELECT w, max(n), count(*) FROM hist GROUP BY w")
                for w, n, count in cur.fetchall():
                    if (int(n), int(count)) < seen.get(w, (0, 0)):
                        raise AssertionError(f"reader {r} was shown {seen[w]} of writer {w}, now {(n, count)}")
                    seen[w] = (int(n), int(count))
            except (psycopg2.OperationalError, psycopg2.InterfaceError, psycopg2.DatabaseError) as e:
                if getattr(e, "pgcode", None) not in (None, "57P01", "57P02", "57P03", "72000"):
                    raise
                conn.close()
                conn = self.connect()


def prepare(server, **kw):
    """Start it (`kw` as start() takes it) and make what a Load works on."""
    server.start(**kw)
    server.sql("CREATE TABLE acct (id integer PRIMARY KEY, v integer NOT NULL)")
    server.sql("CREATE TABLE hist (w integer, n integer, pad text, PRIMARY KEY (w, n))")
    for i in range(ACCOUNTS):
        server.sql(f"INSERT INTO acct VALUES ({i}, 0)")


def more_commits(load, n):
    before = load.n_acked
    support.until(lambda: load.wrong or load.n_acked >= before + n, f"{n} more commits")
    assert not load.wrong, load.wrong


def check_content(server, load):
    """All that was acknowledged is there, nothing is half done, every page is sound. Also while the load goes on."""
    acked = [set(a) for a in load.acked]
    rows = server.sql("SELECT w, n FROM hist")
    there = [set() for _ in range(WRITERS)]
    for w, n in rows:
        there[int(w)].add(int(n))
    for w in range(WRITERS):
        assert not acked[w] - there[w], f"writer {w}: acknowledged, but lost: {sorted(acked[w] - there[w])[:5]}"
    assert int(server.sql("SELECT sum(v) FROM acct")[0][0]) == 0
    assert server.sql("PRAGMA integrity_check") == [("ok",)]

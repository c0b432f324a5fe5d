"""Many sessions append to and read a few keys at all isolation levels while processes are killed; a checker then looks for what no level may show.

Every append is a unique number at the end of a key's list, so each key's list is the order of its writes (Elle's list-append). The promises of a
server with one writer per database and snapshots that never lie behind an acknowledged commit make the checker simple and strict: each of

- a Repeatable Read or Serializable transaction,
- a statement of a Read Committed transaction before its first write,
- the rest of a Read Committed transaction from its first write on

is one atomic node; the graph of all nodes with write-write, write-read, read-write and real-time edges must have no cycle. What is found has its
usual name: G0, G1a, G1b, G1c, lost update, read skew, write skew. PINION_LONG=1 makes 200,000 transactions (PINION_TRANSACTIONS=N: N)."""
import bisect
import os
import random
import signal
import threading
import time

import psycopg2
import pytest
import server as support
from wire import Closed, Wire

SEED = int(os.environ.get("PINION_SEED", "0")) or random.randrange(1, 2**31)
LONG = bool(os.environ.get("PINION_LONG"))
SECONDS = 6   # of one history: a checker of long lists is slow, so many short ones
TRANSACTIONS = int(os.environ.get("PINION_TRANSACTIONS", "200000" if LONG else "0"))   # in all, of the long run
SESSIONS, KEYS = 10, 5
LEVELS = {"rc": "READ COMMITTED", "rr": "REPEATABLE READ", "ser": "SERIALIZABLE"}
EXPECTED = {"40001", "57014", "57P01", "57P02", "57P03", "25P02", "55P03", "72000"}


class Node:
    """One atomic piece of work: reads {key: list}, appends {key: [n…]}, when it began and when its end was known."""

    def __init__(self, label, began):
        self.label, self.began, self.ended = label, began, None
        self.reads, self.appends, self.fate = [], {}, "open"   # open, committed, aborted, unknown
        self.crashed = False   # its end was never answered: what it read after its first write is promised to nobody

    def __repr__(self):
        return f"<{self.label} {self.fate} {self.began:.4f}…{self.ended and round(self.ended, 4)} reads {[(k, seen[-8:], own) for k, seen, own in self.reads]} appends {self.appends}>"


class Recorder:
    def __init__(self):
        self.nodes, self.lock, self.next, self.wrong = [], threading.Lock(), 0, []
        self.count = {}   # (level, how it ended) → transactions

    def node(self, label):
        n = Node(label, time.monotonic())
        with self.lock:
            self.nodes.append(n)
        return n

    def number(self):
        with self.lock:
            self.next += 1
            return self.next

    def ended(self, level, how):
        with self.lock:
            self.count[level, how] = self.count.get((level, how), 0) + 1


class Client:
    """One session's transactions."""

    def __init__(self, server, recorder, idx, stop, levels, seed):
        self.server, self.recorder, self.idx, self.stop, self.levels = server, recorder, idx, stop, levels
        self.rng = random.Random(seed * 1000 + idx)
        self.wire = None

    def run(self):
        try:
            while not self.stop.is_set():
                if self.wire is None and not self.reconnect():
                    continue
                self.transaction()
        except Exception as e:  # pylint: disable=broad-except
            self.recorder.wrong.append(f"client {self.idx}: {type(e).__name__}: {e}")
        if self.wire:
            self.wire.close()

    def reconnect(self):
        try:
            self.wire = Wire(self.server, timeout=30)
            self.wire.login()
            return True
        except (OSError, Closed):
            self.lost()
            self.stop.wait(0.02)
            return False

    def lost(self):
        if self.wire:
            self.wire.close()
        self.wire = None

    def query(self, text):
        """The Reply, or None if the connection is gone."""
        try:
            return self.wire.query(text)
        except (Closed, OSError):
            self.lost()
            return None

    def check_error(self, reply, text):
        if reply.code not in EXPECTED:
            raise AssertionError(f"{text}: {reply.errors[0]}")

    def transaction(self):
        rng, level = self.rng, self.rng.choice(self.levels)
        if rng.random() < 0.25:
            self.single(level)
            return
        reply = self.query(f"BEGIN ISOLATION LEVEL {LEVELS[level]}")
        if reply is None or reply.errors:
            return
        node, writes, pending = None, False, []   # pending: nodes whose fate the end decides
        for _ in range(rng.randrange(1, 6)):
            key, is_append = rng.randrange(KEYS), rng.random() < 0.5
            if node is None or (level == "rc" and not writes):
                node = self.recorder.node(f"{level} client {self.idx}")
                pending.append(node)
            if is_append:
                n = self.recorder.number()
                node.appends.setdefault(key, []).append(n)
                writes = True
                text = f"UPDATE kv SET v = v || ' {n}' WHERE k = {key}"
            else:
                text = f"SELECT v FROM kv WHERE k = {key}"
            reply = self.query(text)
            now = time.monotonic()
            if reply is None:
                self.end(pending, "unknown-open", level)
                return
            if reply.errors:
                self.check_error(reply, text)
                self.query("ROLLBACK") if self.wire else None
                self.end(pending, "aborted", level)
                return
            if not is_append:
                own = node.appends.get(key, [])
                node.reads.append((key, [int(x) for x in reply.rows[0][0].split()], list(own)))
                if level == "rc" and not writes:
                    node.ended, node.fate = now, "committed"   # a snapshot of its own
        if rng.random() < 0.15:
            reply = self.query("ROLLBACK")
            self.end(pending, "unknown-open" if reply is None else "aborted", level)
            return
        reply = self.query("COMMIT")
        if reply is None:
            self.end(pending, "unknown", level)
        elif reply.errors:
            self.check_error(reply, "COMMIT")
            self.end(pending, "unknown", level)
        else:
            self.end(pending, "committed" if reply.tags == ["COMMIT"] else "aborted", level)

    def single(self, level):
        """One query with several statements: an implicit transaction that appends to two keys, or one autocommit read."""
        node = self.recorder.node(f"implicit client {self.idx}")
        if self.rng.random() < 0.5:
            key = self.rng.randrange(KEYS)
            reply = self.query(f"SELECT v FROM kv WHERE k = {key}")
            if reply is not None and not reply.errors:
                node.reads.append((key, [int(x) for x in reply.rows[0][0].split()], []))
                self.end([node], "committed", level)
            return
        keys = self.rng.sample(range(KEYS), 2)
        numbers = [self.recorder.number() for _ in keys]
        node.appends = {k: [n] for k, n in zip(keys, numbers)}
        reply = self.query(";".join(f"UPDATE kv SET v = v || ' {n}' WHERE k = {k}" for k, n in zip(keys, numbers)))
        if reply is None or reply.errors:
            if reply is not None:
                self.check_error(reply, "implicit")
            self.end([node], "unknown", level)
        else:
            self.end([node], "committed", level)

    def end(self, pending, fate, level):
        now = time.monotonic()
        self.recorder.ended(level, "unknown" if fate.startswith("unknown") else fate)
        for node in pending:
            if node.fate != "open":
                continue
            node.crashed = fate in ("unknown", "unknown-open")
            node.fate = "aborted" if fate == "unknown-open" else fate
            # What was read before the first write was read outside a write transaction: it counts, whatever the fate.
            if node.fate != "committed" and not node.appends and level != "rc":
                node.fate = "committed"
            node.ended = now if node.fate in ("committed", "aborted") and fate != "unknown" else None
            if node.fate == "committed" and node.ended is None:
                node.ended = now


def name_of(whys):
    """The usual name of a cycle with these edges."""
    edges = [w.replace(":", "").split() for w in whys]
    kinds, at = [e[0] for e in edges], " against real time" if "time" in [e[0] for e in edges] or "ended" in [e[0] for e in edges] else ""
    if kinds.count("rw") > 1:
        return "write skew (G2)" + at
    if "rw" in kinds:
        key = edges[kinds.index("rw")][1]
        same = [e for e in edges if e[0] == "ww" and e[1] == key]
        return ("lost update" if same and "wr" not in kinds else "read skew (G-single)" if "wr" in kinds or "ww" in kinds else "stale read") + at
    return ("G1c" if "wr" in kinds else "G0") + at


class Checker:
    """Finds in the nodes what must not be there; `final` = {key: list}."""

    def __init__(self, nodes, final):
        self.nodes, self.final, self.found = nodes, final, []
        self.writer = {n: node for node in nodes for numbers in node.appends.values() for n in numbers}

    def say(self, what, *nodes):
        self.found.append(what + "".join(f"\n  {n}" for n in nodes))

    def check(self):
        self.check_fates()
        for node in self.nodes:
            for key, seen, own in node.reads:
                self.check_read(node, key, seen, own)
        if not self.found:
            self.check_cycles()
        return self.found

    def check_fates(self):
        there = {n for numbers in self.final.values() for n in numbers}
        for numbers in self.final.values():
            if len(set(numbers)) != len(numbers):
                self.say(f"an append is there twice: {numbers}")
        for node in self.nodes:
            mine = [n for numbers in node.appends.values() for n in numbers]
            if node.fate == "committed" and set(mine) - there:
                self.say("an acknowledged commit is lost", node)
            if node.fate == "aborted" and set(mine) & there:
                self.say("an aborted transaction is there", node)
            if node.fate == "unknown":
                if mine and set(mine) <= there:
                    node.fate = "committed"
                elif set(mine) & there:
                    self.say("a transaction is half there", node)
                else:
                    node.fate = "aborted"

    def check_read(self, node, key, seen, own):
        if own and seen[-len(own):] != own:
            self.say(f"does not see its own appends to {key}", node)
            return
        foreign = seen[:len(seen) - len(own)]
        for n in foreign:
            writer = self.writer.get(n)
            if writer and writer.crashed and writer.fate == "aborted" and node.crashed and node.appends:
                return   # rows of an open write transaction may go out before they are durable (SNAP-5)
            if writer is None or writer.fate == "aborted":
                self.say(f"G1a: read {n} of {key}, which was never committed", node, *([writer] if writer else []))
                return
        if foreign and self.writer[foreign[-1]] is not node and self.writer[foreign[-1]].appends[key][-1] != foreign[-1]:
            self.say(f"G1b: read the middle of another transaction: {foreign[-1]} of {key}", node, self.writer[foreign[-1]])
        if node.fate == "committed" and foreign != self.final[key][:len(foreign)]:
            self.say(f"read {foreign} of {key}, which is no beginning of {self.final[key]}", node)

    def edges(self):
        """{node: {successor: why}} of what must come before what."""
        graph = {}

        def add(a, b, why):
            if a is not b:
                graph.setdefault(a, {}).setdefault(b, why)

        counted = [n for n in self.nodes if n.fate == "committed"]
        for key, numbers in self.final.items():
            for x, y in zip(numbers, numbers[1:]):
                add(self.writer[x], self.writer[y], f"ww {key}: {x} {y}")
        for node in counted:
            for key, seen, own in node.reads:
                m = len(seen) - len(own)
                if m:
                    add(self.writer[self.final[key][m - 1]], node, f"wr {key}: {self.final[key][m - 1]}")
                rest = [n for n in self.final[key][m:] if self.writer[n] is not node]
                if rest:
                    add(node, self.writer[rest[0]], f"rw {key}: {rest[0]}")
        # Real time through a chain of moments: end of A → moment → … → begin of B.
        moments = sorted({n.ended for n in counted if n.ended is not None})
        for a, b in zip(moments, moments[1:]):
            add(("at", a), ("at", b), "time")
        for node in counted:
            if node.ended is not None:
                graph.setdefault(node, {})[("at", node.ended)] = "ended"
            before = bisect.bisect_left(moments, node.began)
            if before:
                graph.setdefault(("at", moments[before - 1]), {})[node] = "began"
        return graph

    def check_cycles(self):
        graph, state = self.edges(), {}
        for root in list(graph):
            if root in state:
                continue
            path, stack = [root], [iter(graph[root].items())]
            state[root] = "open"
            while stack:
                step = next(stack[-1], None)
                if step is None:
                    state[path.pop()] = "done"
                    stack.pop()
                elif state.get(step[0]) == "open":
                    cycle = path[path.index(step[0]):]
                    whys = [graph[a][b] for a, b in zip(cycle, cycle[1:] + cycle[:1])]
                    self.say(f"{name_of(whys)}: a cycle: " + " → ".join(whys),
                             *[n for n in cycle if isinstance(n, Node)])
                    return
                elif step[0] not in state:
                    state[step[0]] = "open"
                    path.append(step[0])
                    stack.append(iter(graph.get(step[0], {}).items()))


def kill_one(server, rng, who):
    """SIGKILL to one process of that kind, or to everything."""
    try:
        children = server.children()
    except AssertionError:
        return
    pids = [p for p, role in children.items() if who in (role, "any") and role != "postmaster"]
    try:
        if who == "everything":
            server.kill9()
            server.start()
        elif pids:
            victim = rng.choice(pids)
            os.kill(victim, signal.SIGKILL)
            # Else what serves next may be the old life, and the next victim the startup process of the new one, without which there is no server.
            support.until(lambda: victim not in server.children(), "the postmaster knows it")
    except ProcessLookupError:
        pass


def serves(server):
    try:
        return server.sql("SELECT count(*) FROM kv") != []
    except Exception:  # pylint: disable=broad-except
        return False


def surely(server, text):
    """Rows, even if the last crash was not seen yet when we asked."""
    while True:
        try:
            return server.sql(text)
        except psycopg2.OperationalError:
            support.until(lambda: serves(server), "service again")


@pytest.mark.parametrize("kills", [False, True], ids=["quiet", "kills"])
def test_histories_show_no_anomaly(cluster, kills):
    print(f"PINION_SEED={SEED}")
    server = cluster(conf="shared_buffers = 1MB\nmax_wal_size = 8MB\nidle_in_write_transaction_timeout = 5s\n", init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE kv (k integer PRIMARY KEY, v text)")
    one_history(server, kills, tuple(LEVELS), SEED)


def long_history(cluster):
    """All levels mixed, then each alone, with kills in every second history, until there are enough transactions."""
    print(f"PINION_SEED={SEED}")
    server = cluster(conf="shared_buffers = 1MB\nmax_wal_size = 8MB\nidle_in_write_transaction_timeout = 5s\n", init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE kv (k integer PRIMARY KEY, v text)")
    total, rounds = {}, 0
    while sum(total.values()) < TRANSACTIONS:
        levels = (tuple(LEVELS), ("rc",), ("rr",), ("ser",))[rounds // 2 % 4]
        for what, n in one_history(server, rounds % 2 == 1, levels, SEED + rounds).items():
            total[what] = total.get(what, 0) + n
        rounds += 1
        if rounds % 10 == 0:
            print(f"{rounds} histories, {sum(total.values())} transactions", flush=True)
    for level in LEVELS:
        print(f"{LEVELS[level]}: " + ", ".join(f"{n} {how}" for (which, how), n in sorted(total.items()) if which == level))
    print(f"{rounds} histories, {sum(total.values())} transactions: no anomaly")


if TRANSACTIONS:
    test_a_long_history_shows_no_anomaly = long_history


def one_history(server, kills, levels, seed):
    """Transactions by level and end."""
    rng = random.Random(seed)
    surely(server, "INSERT OR REPLACE INTO kv VALUES " + ", ".join(f"({k}, '')" for k in range(KEYS)))
    recorder, stop = Recorder(), threading.Event()
    threads = [threading.Thread(target=Client(server, recorder, i, stop, levels, seed).run) for i in range(SESSIONS)]
    for t in threads:
        t.start()
    try:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end and not recorder.wrong:
            seen = len(recorder.nodes)
            support.until(lambda: recorder.wrong or len(recorder.nodes) > seen + 300, "the sessions go on")
            if kills:
                kill_one(server, rng, rng.choice(("backend", "backend", "everything", "checkpointer", "any")))
                support.until(lambda: serves(server), "service again")
    finally:
        stop.set()
        for t in threads:
            t.join(support.DEADLINE)
    assert not recorder.wrong, recorder.wrong
    final = {int(k): [int(x) for x in v.split()] for k, v in surely(server, "SELECT k, v FROM kv")}
    fates = {f: sum(n.fate == f for n in recorder.nodes) for f in ("committed", "aborted", "unknown", "open")}
    found = Checker([n for n in recorder.nodes if n.fate != "open"], final).check()
    assert not found, "\n".join(found[:3])
    print(f"{len(recorder.nodes)} nodes: {fates}; {sum(recorder.count.values())} transactions")
    return recorder.count


def made(label, began, ended, reads=(), appends=None, fate="committed"):
    n = Node(label, began)
    n.ended, n.reads, n.appends, n.fate = ended, list(reads), appends or {}, fate
    return n


@pytest.mark.parametrize("what,nodes,final", [
    ("lost", [made("a", 0, 1, appends={0: [1]})], {0: []}),
    ("aborted transaction is there", [made("a", 0, 1, appends={0: [1]}, fate="aborted")], {0: [1]}),
    ("half there", [made("a", 0, None, appends={0: [1], 1: [2]}, fate="unknown")], {0: [1], 1: []}),
    ("G1a: read 1 of 0, which was never committed", [made("a", 0, 1, appends={0: [1]}, fate="aborted"), made("b", 0, 1, [(0, [1], [])])], {0: []}),
    ("G1b: read the middle", [made("a", 0, 1, appends={0: [1, 2]}), made("b", 0, 1, [(0, [1], [])])], {0: [1, 2]}),
    ("own appends", [made("a", 0, 1, [(0, [], [1])], {0: [1]})], {0: [1]}),
    ("no beginning", [made("a", 0, 1, appends={0: [1]}), made("c", 0, 1, appends={0: [2]}), made("b", 0, 1, [(0, [2], [])])], {0: [1, 2]}),
    # a commit that was acknowledged before the reader began
    ("stale read", [made("a", 0, 1, appends={0: [1]}), made("b", 2, 3, [(0, [], [])])], {0: [1]}),
    # both read nothing, both append
    ("lost update", [made("a", 0, 5, [(0, [], [])], {0: [1]}), made("b", 0, 5, [(0, [], [])], {0: [2]})], {0: [1, 2]}),
    ("read skew", [made("a", 0, 5, appends={0: [1], 1: [2]}), made("b", 0, 5, [(0, [1], []), (1, [], [])])], {0: [1], 1: [2]}),
    ("write skew", [made("a", 0, 5, [(0, [], [])], {1: [1]}), made("b", 0, 5, [(1, [], [])], {0: [2]})], {0: [2], 1: [1]}),
    # two writers, each first in one key
    ("G0", [made("a", 0, 5, appends={0: [1], 1: [2]}), made("b", 0, 5, appends={0: [3], 1: [4]})], {0: [1, 3], 1: [4, 2]}),
    # each read what the other wrote
    ("G1c", [made("a", 0, 5, [(1, [2], [])], {0: [1]}), made("b", 0, 5, [(0, [1], [])], {1: [2]})], {0: [1], 1: [2]}),
    # long fork: two readers disagree about the order of two writers
    ("write skew", [made("a", 0, 5, appends={0: [1]}), made("b", 0, 5, appends={1: [2]}), made("c", 0, 5, [(0, [1], []), (1, [], [])]),
               made("d", 0, 5, [(0, [], []), (1, [2], [])])], {0: [1], 1: [2]}),
], ids=lambda x: x.replace(" ", "-") if isinstance(x, str) else "")
def test_the_checker_finds(what, nodes, final):
    found = Checker(nodes, final).check()
    assert found and what in found[0], found


def test_the_checker_accepts_what_is_right():
    nodes = [made("a", 0, 1, appends={0: [1], 1: [2]}), made("b", 2, 3, [(0, [1], []), (0, [1, 3], [3])], {0: [3]}),
             made("c", 0, 3, [(0, [], []), (1, [], [])]), made("d", 2, None, appends={0: [4]}, fate="unknown")]
    assert not Checker(nodes, {0: [1, 3], 1: [2]}).check()

"""Kill rounds: any one child, the postmaster, or everything dies by SIGKILL under 8 writers and 2 readers. Every acknowledged commit is there, no
transaction is half there, and nothing that a reader was shown is ever lost. 30 rounds in CI, 300 in the long suite."""
import os
import random
import signal
import time

import pytest
import server as support
from load import SEED, Load, check_content, more_commits, prepare

ROUNDS = 300 if os.environ.get("PINION_LONG") else 30


def kill_somebody(server, rng):
    """SIGKILL to one victim; returns its name."""
    # not the startup process: the crash before may not be over, or not even known, and its death would be the server's (test_32 kills it)
    children = {pid: role for pid, role in server.children().items() if role not in ("postmaster", "startup")}
    roles = sorted(set(children.values())) + ["postmaster", "everything"]
    who = rng.choice(roles)
    if who in ("postmaster", "everything"):
        support.kill_each([server.pid] if who == "postmaster" else server.processes())
        server.wait_gone()
        server.start()
    else:
        pid = rng.choice([p for p, role in children.items() if role == who])
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    return who


def test_kill_rounds_lose_nothing(cluster):
    rng = random.Random(SEED)
    server = cluster(conf="shared_buffers = 2MB\nmax_wal_size = 80MB\ncheckpoint_timeout = 30s\n",
                     init_args=("--wal-segsize=1",))
    prepare(server)
    load = Load(server)
    killed = {}
    with load:
        for _ in range(ROUNDS):
            more_commits(load, 20 + rng.randrange(60))
            who = kill_somebody(server, rng)
            killed[who] = killed.get(who, 0) + 1
        more_commits(load, 50)
    assert not load.wrong, load.wrong
    check_content(server, load)
    server.stop()
    print(f"rounds {killed}, {load.n_acked} acknowledged commits")


@pytest.mark.parametrize("mode", ["smart", "fast", "immediate"])
def test_each_stop_leaves_a_cluster_that_starts_with_all_commits(cluster, mode):
    server = cluster(init_args=("--wal-segsize=1",))
    server.start()
    server.sql("CREATE TABLE t (a integer)")
    for i in range(20):
        server.sql(f"INSERT INTO t VALUES ({i})")
    server.stop(mode)
    server.wait_gone()
    began = time.monotonic()
    server.start()
    assert server.sql("SELECT count(*), sum(a) FROM t") == [(20, 190)] or \
        [tuple(map(int, r)) for r in server.sql("SELECT count(*), sum(a) FROM t")] == [(20, 190)]
    print(f"started in {time.monotonic() - began:.3f} s after a {mode} stop")

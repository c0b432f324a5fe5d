"""What the kernel is told of each process: OOM scores (PostgreSQL's PG_OOM_ADJUST_FILE and …_VALUE), cgroups. Delegated groups, and the shipped
unit, are in tests/systemd/test_62_confined.py."""
import contextlib
import os
from pathlib import Path

import pytest
import server as support

FILE = "/proc/self/oom_score_adj"


def score(pid):
    return int(Path(f"/proc/{pid}/oom_score_adj").read_text())


@pytest.mark.parametrize("env,want", [({"PG_OOM_ADJUST_FILE": FILE, "PG_OOM_ADJUST_VALUE": "300"}, 300), ({"PG_OOM_ADJUST_FILE": ""}, None), ({}, None),
                                      ({"PG_OOM_ADJUST_FILE": "/nowhere/at/all"}, None)])
def test_each_child_has_the_score_that_was_asked_for(cluster, env, want):
    s = cluster(conf="logging_collector = on\narchive_mode = on\narchive_command = true\n")
    s.start(env=env)
    own = score(s.pid)
    want = own if want is None else want
    c = s.connect()
    c.cursor().execute("SELECT 1")

    def scores():
        """By role, when each child has run: it writes its own; until then it has the postmaster's."""
        found = {}
        for pid, role in s.children().items():
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):   # it has gone meanwhile
                found[role] = score(pid)
        return found if {v for role, v in found.items() if role != "postmaster"} == {want} else None
    found = support.until(scores, f"all children have {want}")
    assert found.pop("postmaster") == own == score(os.getpid())
    assert {"syslogger", "checkpointer", "walwriter", "archiver", "backend"} <= set(found)
    c.close()


def test_cgroups_that_were_not_delegated_are_refused(cluster):
    s = cluster(conf="child_cgroups = on\n")
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 78 and "could not make cgroup" in p.stderr and "Delegate=yes" in p.stderr, p.stderr
    s.configure("child_cgroups = off\nbackends_memory_max = 1GB\n")
    p = support.run(support.PINIOND, "-D", s.data, check=False)
    assert p.returncode == 78 and "backends_memory_max needs child_cgroups" in p.stderr, p.stderr

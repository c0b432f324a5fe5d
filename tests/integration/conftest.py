"""Fixtures of the whole-server tests: `server` is running, `cluster` makes as many as a test wants; a failed test shows the server's log."""
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
import server as support  # noqa: E402  (tests/support/server.py)


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    item.failed = getattr(item, "failed", False) or outcome.get_result().failed


@pytest.fixture
def cluster(request):
    """A factory: cluster(conf="…", tcp=True) → Server, initialised but not started."""
    made = []

    def make(**kw):
        made.append(support.Server(**kw))
        return made[-1]

    yield make
    for s in made:
        if getattr(request.node, "failed", False):
            print(f"---- {s.data}/server.log\n{s.log()[-6000:]}")
        s.done()


@pytest.fixture
def server(cluster):
    s = cluster()
    s.start()
    return s

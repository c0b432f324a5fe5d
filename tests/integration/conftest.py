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
def small_disk():
    """A factory: small_disk(mb) → Disk, a file system of its own. Use it before `cluster`: it goes last."""
    made = []

    def make(mb):
        try:
            made.append(support.Disk(mb))
        except AssertionError as e:
            pytest.skip(f"this machine mounts nothing: {e}")
        return made[-1]

    yield make
    for d in made:
        d.done()


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
            print(f"---- {s.log_path}\n{s.log()[-6000:]}")
        s.done()


@pytest.fixture(scope="module")
def shared(request):
    """One running server for the tests of a file that leave it as it was; `SHARED` of the file is what it is made with."""
    s = support.Server(**getattr(request.module, "SHARED", {}))
    try:
        s.start()
        yield s
    finally:
        s.done()


@pytest.fixture
def server(cluster):
    s = cluster()
    s.start()
    return s

"""A fast stop that has no checkpointer: it is forked once more for the shutdown checkpoint, and if it cannot be, the end says so."""
import os
import signal
import subprocess
from pathlib import Path

import server as support


def without_checkpointer(cluster):
    """A server that serves, and whose forks all fail but the first: nobody but the startup process ever was."""
    s = cluster()
    library, order = s.dir / "failing_fork.so", s.dir / "order"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, Path(support.__file__).parent / "failing_fork.c", "-ldl"], check=True)
    library.chmod(0o755)
    order.write_text("1")
    p = s.foreground(env={"LD_PRELOAD": str(library), "FAILING_FORK": str(order)})
    s.until_ready()
    assert "checkpointer" not in s.children().values() and "could not fork checkpointer process" in s.log()
    return s, p, order


def stop(s, p):
    os.kill(p.pid, signal.SIGINT)
    os.kill(p.pid, signal.SIGCONT)
    return p.wait(support.DEADLINE), s.log().partition("received fast shutdown request")[2]


def test_a_missing_checkpointer_is_forked_for_the_shutdown_checkpoint(cluster):
    """AC065."""
    s, p, order = without_checkpointer(cluster)
    assert support.freeze(p.pid)   # forks work again, and the stop comes before it can know
    order.unlink()
    code, said = stop(s, p)
    assert code == 0 and s.control_state() == "shut down", said
    assert "checkpoint complete" in said and "abnormal" not in said, said
    s.start()
    assert s.sql("SELECT 1") == [(1,)] and "automatic recovery" not in s.log()
    s.stop()


def test_a_checkpointer_that_cannot_be_forked_makes_an_abnormal_end(cluster):
    """AC066: said, exit code 1, and the next start recovers."""
    s, p, order = without_checkpointer(cluster)
    code, said = stop(s, p)
    assert code == 1 and "abnormal database system shutdown" in said, said
    assert s.control_state() == "in production" and not s.processes()
    order.unlink()
    s.start()
    assert s.sql("SELECT 1") == [(1,)] and "automatic recovery in progress" in s.log()
    s.stop()

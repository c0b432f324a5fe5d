"""A server whose disk fails once, or stands still, or whose processes end in the middle of a call (failing_io.c, preloaded)."""
import contextlib
import errno
import os
import subprocess
from pathlib import Path

import server as support


class Failing:
    """The next call of a kind on a file fails, once, or ends its process; or all calls of a kind wait."""

    def __init__(self, cluster=None, conf="shared_buffers = 1MB\nmax_wal_size = 64MB\n", server=None, **kw):
        """A server of its own, which runs; or a given one, to be started with `env`."""
        self.server = server or cluster(conf=conf, **kw)
        so, self.order = self.server.dir / "failing_io.so", self.server.dir / "order"
        source = Path(support.__file__).with_name("failing_io.c")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", so, source, "-ldl"], check=True)
        so.chmod(0o755)
        self.env = {"LD_PRELOAD": str(so), "FAILING_IO": str(self.order)}
        if server is None:
            self.server.start(env=self.env)

    def next(self, call, part, error=errno.EIO):
        """`error` < 0: the process that makes the call ends, with exit code 0, 1 … for -1, -2 …"""
        new = self.order.with_suffix(".new")
        new.write_text(f"{call} {part} {error}")
        os.replace(new, self.order)

    def has_fired(self):
        return not self.order.exists()

    @contextlib.contextmanager
    def held(self, call, part, in_kernel=False):
        """Inside the with every such call stands still; `in_kernel`: in state D, where no signal is taken."""
        gate = Path(f"{self.order}.gate")
        os.mkfifo(gate)
        gate.chmod(0o644)
        self.met(call).unlink(missing_ok=True)
        self.next(call, part, 1000 if in_kernel else 0)
        try:
            yield
        finally:
            self.order.unlink()
            self.end = os.open(gate, os.O_RDWR)   # lets through who stands there; stays open for who is on the way
            gate.unlink()

    def met(self, call):
        return Path(f"{self.order}.{call}")

    def until_met(self):
        """Inside held(): somebody stands there."""
        call = self.order.read_text().split()[0]
        support.until(self.met(call).exists, f"somebody stands in {call}")

    def hold_next(self, call, part):
        """Inside held(): who stands there goes on, and such calls (of another kind than before) stand still from now on."""
        gate, old = Path(f"{self.order}.gate"), Path(f"{self.order}.old")
        os.rename(gate, old)
        os.mkfifo(gate)
        gate.chmod(0o644)
        self.met(call).unlink(missing_ok=True)
        self.next(call, part, 0)
        os.close(os.open(old, os.O_RDWR))
        old.unlink()

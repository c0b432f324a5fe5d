"""One booted machine for all tests of this directory, and the instance "main" that `pinionctl create` made on it."""
import json
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(1, str(Path(__file__).resolve().parents[1] / "support"))
import machine as support  # noqa: E402
import trixie  # noqa: E402

UNITS = Path(__file__).resolve().parents[2] / "units"

PORT = 15454


def booted(**kw):
    """Generator of a booted machine; skips if there can be none."""
    why = support.why_not()
    if why:
        pytest.skip(f"SKIP: {why}")
    m = support.Machine(**kw)
    try:
        why = m.boot()
        if why:
            pytest.skip(f"SKIP: {why}")
        yield m
    finally:
        m.done()


@pytest.fixture(scope="session")
def machine():
    yield from booted()


def create_main(machine):
    machine.run("systemd-sysusers")
    machine.run("systemd-tmpfiles", "--create")
    machine.run("systemctl", "daemon-reload")
    # A kernel that refuses negative values (some sandboxes) would fail every start with 206/OOM_ADJUST.
    if machine.sh("echo -900 > /proc/self/oom_score_adj", check=False).returncode != 0:
        machine.write("/etc/systemd/system/pinion@.service.d/90-lab.conf", "[Service]\nOOMScoreAdjust=0\n")
        machine.run("systemctl", "daemon-reload")
    machine.run("pinionctl", "create", "main", "--port", PORT)
    return machine


@pytest.fixture(scope="session")
def created(machine):
    return create_main(machine)


class Instance:
    """pinion@main on the machine."""
    unit = "pinion@main.service"
    conf = "/etc/pinion/main/pinion.conf"

    def __init__(self, m):
        self.m = m
        self.conf_text = m.run("cat", self.conf).stdout

    def ctl(self, *argv, **kw):
        return self.m.run("pinionctl", "-i", "main", *argv, **kw)

    def systemctl(self, verb, **kw):
        return self.m.run("systemctl", verb, self.unit, **kw)

    def show(self, *properties):
        return self.m.show(self.unit, *properties)

    @property
    def pid(self):
        return int(self.show("MainPID")["MainPID"])

    def sql(self, text, check=True):
        return self.m.run("setpriv", "--reuid=pinion", "--regid=pinion", "--clear-groups", "psql", "-X", "-At", "-v", "ON_ERROR_STOP=1",
                          "-h", "/run/pinion/main", "-p", PORT, "-U", "pinion", "-d", "postgres", stdin=text, check=check)

    def status(self):
        """What pinionctl status --json says; {} if nobody answers."""
        p = self.ctl("status", "--json", check=False)
        return json.loads(p.stdout).get("status", {}) if p.stdout.startswith("{") else {}

    def until_recovered(self, n=1):
        """As Server.until_recovered() in support/server.py."""
        support.until(lambda: (s := self.status()).get("crashRestarts") == n and s.get("state") == "ready", f"it has recovered from crash {n}")

    def drop_in(self, text):
        """Replace the test's drop-in ("" = none)."""
        path = "/etc/systemd/system/pinion@main.service.d/50-test.conf"
        if text:
            self.m.write(path, "[Service]\n" + text)
        else:
            self.m.run("rm", "-f", path)
        self.m.run("systemctl", "daemon-reload")

    def journal(self):
        self.m.run("journalctl", "--sync")   # what was sent is in there
        return self.m.run("journalctl", "-o", "short-monotonic", "--no-pager", "-u", self.unit).stdout

    def restore(self):
        self.m.write(self.conf, self.conf_text)
        self.drop_in("")
        self.systemctl("reset-failed", check=False)


@pytest.fixture
def instance(created, request):
    i = Instance(created)
    i.systemctl("reset-failed", check=False)
    i.systemctl("start")
    yield i
    i.restore()
    if getattr(request.node, "failed", False):
        print(i.journal()[-8000:])


PSQL = "/usr/lib/postgresql/15/bin/psql"


@pytest.fixture(scope="module")
def newer():
    """pinion@main under systemd 257, with the drop-ins for it: a Debian 13 (support/trixie.py), this machine's libraries beside its own."""
    root, why = trixie.find()
    if why:
        pytest.skip(f"SKIP: {why}")
    for m in booted(root=root, programs=(support.ROOT / "usr/sbin/piniond", support.ROOT / "usr/bin/pinionctl", PSQL)):
        m.run("ln", "-sf", PSQL, "/usr/bin/psql")
        m.write("/etc/hosts", "127.0.0.1 localhost\n")
        for name in ("10-systemd-254.conf", "20-systemd-257.conf"):
            m.write(f"/etc/systemd/system/pinion@.service.d/{name}", (UNITS / "dropins" / name).read_text())
        i = Instance(create_main(m))
        if i.systemctl("start", check=False).returncode != 0:
            pytest.fail(i.journal()[-3000:])
        yield i


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    item.failed = getattr(item, "failed", False) or outcome.get_result().failed

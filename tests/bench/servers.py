"""The three that are measured: Pinion, PostgreSQL 15, and the ceiling that only answers. Each in a directory of its own, as an
unprivileged user, on Unix sockets, with the same settings; nothing is left behind after done()."""
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2
import server as support  # tests/support/server.py

# What both servers are told. Everything else is their default.
SETTINGS = {
    "shared_buffers": "256MB", "wal_buffers": "16MB", "max_connections": "100", "max_wal_size": "16GB", "min_wal_size": "80MB",
    "checkpoint_timeout": "1h", "checkpoint_completion_target": "0.9", "synchronous_commit": "on",
}
# What only PostgreSQL is told: Pinion always does both.
ONLY_POSTGRES = {"fsync": "on", "full_page_writes": "on", "wal_compression": "lz4", "listen_addresses": "''"}


def own(path):
    pw = pwd.getpwnam(support.USER)
    os.chown(path, pw.pw_uid, pw.pw_gid)


def conf_text(settings):
    return "".join(f"{k} = {v}\n" for k, v in settings.items())


class Target:
    """What a measurement needs to know of one of the three."""

    label = ""
    host = None
    port = 0

    def connect(self, dbname="postgres"):
        c = psycopg2.connect(host=str(self.host), port=self.port, user="postgres", dbname=dbname, connect_timeout=60)
        c.autocommit = True
        return c

    def sql(self, text):
        return support.rows_of(self.connect(), text)

    def value(self, text):
        return self.sql(text)[0][0]


class Pinion(Target, support.Server):
    label = "pinion"
    binary = "piniond"

    def __init__(self, settings):
        support.Server.__init__(self, conf=conf_text(settings))
        self.host = self.data
        self.wal_dir = self.data / "pg_wal"

    def version(self):
        return self.value("SELECT version()")


class Postgres(Target):
    """A cluster of its own initdb. pg_ctl start / stop."""

    label = "postgres"
    binary = "postgres"

    def __init__(self, settings):
        self.dir = Path(tempfile.mkdtemp(prefix="pinion-b-", dir=support.TMP))
        own(self.dir)
        self.data = self.dir / "data"
        self.host = self.dir
        self.wal_dir = self.data / "pg_wal"
        self.port = support.free_port()
        support.run(support.PGBIN / "initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C")
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as f:
            f.write(conf_text({**settings, **ONLY_POSTGRES}))
            f.write(f"port = {self.port}\nunix_socket_directories = '{self.dir}'\n")

    def configure(self, text):
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as f:
            f.write(text)

    def ctl(self, *argv):
        # Its server keeps what it inherits: no pipe of ours.
        with open(self.dir / "pg_ctl.log", "ab") as out:
            subprocess.run(support.as_user(support.PGBIN / "pg_ctl", "-D", self.data, *argv), check=True, stdin=subprocess.DEVNULL,
                           stdout=out, stderr=out, timeout=600, cwd=self.dir)

    def start(self, wait=True):
        self.ctl("start", "-w" if wait else "-W", "-t", "600", "-l", self.data / "server.log")

    def stop(self, mode="fast"):
        self.ctl("stop", "-w", "-t", "600", "-m", mode)

    def version(self):
        return self.value("SELECT version()")

    def log(self):
        return (self.data / "server.log").read_text(errors="replace")

    @property
    def pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def processes(self):
        return support.processes_below(self.data)

    def kill_all(self):
        support.kill_each(self.processes())
        support.until(lambda: not self.processes(), "all processes of PostgreSQL are gone")
        # Their PID may be a zombie's that nobody reaps, or somebody else's by now: it would pass for a running postmaster.
        for left in (self.data / "postmaster.pid", self.dir / f".s.PGSQL.{self.port}.lock"):
            left.unlink(missing_ok=True)

    def done(self):
        self.kill_all()
        shutil.rmtree(self.dir)


class Program(Target):
    """A sub-command of the ceiling program that listens on a socket below its own directory."""

    def __init__(self, exe, command, name, *args):
        self.dir = Path(tempfile.mkdtemp(prefix="pinion-c-", dir=support.TMP))
        own(self.dir)
        self.path = self.dir / name
        shutil.copy(exe, self.dir / "ceiling")
        os.chmod(self.dir / "ceiling", 0o755)
        self.child = subprocess.Popen(support.as_user(self.dir / "ceiling", command, self.path, *args),
                                      stdout=subprocess.PIPE, text=True)
        if self.child.stdout.readline().strip() != "listening":
            self.done()
            raise RuntimeError(f"ceiling {command} did not start")

    def done(self):
        self.child.kill()
        self.child.wait()
        self.child.stdout.close()
        shutil.rmtree(self.dir)


class Ceiling(Program):
    label = "ceiling"

    def __init__(self, exe):
        self.port = support.free_port()
        Program.__init__(self, exe, "serve", f".s.PGSQL.{self.port}")
        self.host = self.dir


class Echo(Program):
    label = "echo"

    def __init__(self, exe, n_bytes):
        Program.__init__(self, exe, "echo", "echo", str(n_bytes))


def syncs_per_second(exe, seconds):
    """How many 8 kB writes with fdatasync the disk of the data directories does."""
    work = Path(tempfile.mkdtemp(prefix="pinion-c-", dir=support.TMP))
    try:
        p = subprocess.run([str(exe), "sync", str(work / "file"), str(seconds)], capture_output=True, text=True, check=True)
        return float(p.stdout)
    finally:
        shutil.rmtree(work)


def wait_backends(pinion, n):
    """Until so many clients are connected; the pids of their processes."""
    def backends():
        return [pid for pid, role in pinion.children().items() if role == "backend"]
    support.until(lambda: len(backends()) >= n, f"{n} clients are connected")
    return backends()


def wait_ready(target, deadline=600):
    """Until a query is answered; the seconds it took."""
    begin = time.monotonic()
    while True:
        try:
            target.sql("SELECT 1")
            return time.monotonic() - begin
        except psycopg2.Error:
            if time.monotonic() - begin > deadline or (time.monotonic() - begin > 10 and not target.processes()):
                raise
            time.sleep(0.005)   # neither server says when it is ready; what is measured is that to 5 ms

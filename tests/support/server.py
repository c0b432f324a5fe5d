"""One server of a test's own: an unprivileged user, a directory below /tmp ($PINION_TEST_TMP), no fixed port. Everything is gone after done().

The build under test is installed below $PINION_TEST_ROOT (packaging/dev.sh test does that)."""
import errno
import fcntl
import json
import os
import pwd
import random
import re
import select
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg2

ROOT = Path(os.environ.get("PINION_TEST_ROOT", "/var/tmp/pinion-dev/test"))
USER = os.environ.get("PINION_TEST_USER", "pinion-dev")
TMP = os.environ.get("PINION_TEST_TMP", "/tmp")
PINIOND = ROOT / "usr/sbin/piniond"
PINIONCTL = ROOT / "usr/bin/pinionctl"
PGBIN = Path("/usr/lib/postgresql/15/bin")
DEADLINE = float(os.environ.get("PINION_TEST_DEADLINE", "60"))


def as_user(*argv):
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--", *map(str, argv)]


def run(*argv, check=True, timeout=DEADLINE, user=True, env=None, stdin=None):
    """Run a program as the test user (or as root); returns the CompletedProcess, with text output."""
    full = {**os.environ, "PINIOND": str(PINIOND), **(env or {})}
    p = subprocess.run(as_user(*argv) if user else [str(a) for a in argv], input=stdin, capture_output=True,
                       text=True, timeout=timeout, env=full, check=False)
    if check and p.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))} → {p.returncode}\n{p.stdout}\n{p.stderr}")
    return p


def until(condition, what, deadline=DEADLINE):
    """Poll a condition; its first true value. A test never sleeps for an amount of time."""
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        select.select([], [], [], 0.02)


def open_dir(path):
    """A directory of pytest's for the server's user: the way to it, and itself."""
    pw = pwd.getpwnam(USER)
    os.chown(path, pw.pw_uid, pw.pw_gid)
    for p in (path, *path.parents):
        if p.stat().st_uid == os.geteuid():
            p.chmod(p.stat().st_mode | 0o111)
    return path


def free_port():
    """A free port below those that the kernel gives to whoever connects: nobody takes it by accident before the server does."""
    while True:
        port = random.randrange(10000, 32000)
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def is_sanitized():
    """A sanitizer's build? Its processes keep what they free: how much memory they take says nothing."""
    return PINIOND.exists() and b"__asan_init" in PINIOND.read_bytes()


def state_of(pid):
    """The letter of a process in /proc (S sleeps, T is stopped, Z is dead); "" if there is none."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            return f.read().rpartition(")")[2].split()[0]
    except OSError:
        return ""


def processes_below(path):
    """Live processes that have this directory as their working directory."""
    found = []
    for p in Path("/proc").iterdir():
        if p.name.isdigit():
            try:
                if os.readlink(p / "cwd") == str(path) and "\nState:\tZ" not in (p / "status").read_text():
                    found.append(int(p.name))
            except OSError:
                pass
    return found


def kill_each(pids):
    """SIGKILL; who is gone already is not missed."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def running(server, program):
    """The pids of processes of this program that have the server's data directory as their own."""
    found = []
    for pid in server.processes():
        try:
            if (Path("/proc") / str(pid) / "cmdline").read_bytes().startswith(program.encode() + b"\0"):
                found.append(pid)
        except OSError:
            pass   # it has gone meanwhile
    return found


def freeze(pid):
    """SIGSTOP; returns when the process stands. False: it was gone before."""
    try:
        os.kill(pid, signal.SIGSTOP)
    except ProcessLookupError:
        return False
    return until(lambda: state_of(pid) in ("T", "Z", "X", ""), f"process {pid} stands") and state_of(pid) == "T"


def limit(pid, what):
    """The soft limit of a process, by its name in /proc."""
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        return next(line[len(what):].split()[0] for line in f if line.startswith(what))


def set_limit(pid, option, value):
    run("prlimit", f"--pid={pid}", f"--{option}={value}:")   # the soft one


def rows_of(connection, text):
    """Rows of one statement on a connection, which is closed."""
    try:
        cur = connection.cursor()
        cur.execute(text)
        return cur.fetchall() if cur.description else []
    finally:
        connection.close()


def one_row(cluster, conf=""):
    """A running server with segments of 1 MB and a table t (a integer) of one row, 1."""
    s = cluster(conf=conf, init_args=("--wal-segsize=1",))
    s.start()
    s.sql("CREATE TABLE t (a integer)")
    s.sql("INSERT INTO t VALUES (1)")
    return s


def numbers(server):
    """What is in that table."""
    return [int(r[0]) for r in server.sql("SELECT a FROM t ORDER BY a")]


class Disk:
    """A small file system of its own (tmpfs), and a file of somebody else's on it that takes what is left."""

    def __init__(self, mb):
        self.path = Path(tempfile.mkdtemp(prefix="pinion-disk-", dir=TMP))
        pw = pwd.getpwnam(USER)
        run("mount", "-t", "tmpfs", "-o", f"size={mb}m,mode=0700,uid={pw.pw_uid},gid={pw.pw_gid}", "pinion-test", self.path, user=False)
        self.filler = self.path / "of-somebody-else"

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def fill(self, leave=0):
        """Take all but `leave` bytes; what is given back meanwhile as well."""
        fd = os.open(self.filler, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            while self.free() > leave:
                size = os.fstat(fd).st_size
                try:
                    os.posix_fallocate(fd, size, max(4096, (self.free() - leave) // 4096 * 4096))
                except OSError as e:
                    if e.errno != errno.ENOSPC:
                        raise
        finally:
            os.close(fd)

    def empty(self):
        self.filler.unlink(missing_ok=True)

    def done(self):
        run("umount", "-l", self.path, user=False)
        self.path.rmdir()


class Server:
    """pinionctl init / start / stop of one cluster."""

    def __init__(self, conf="", init_args=(), tcp=False, data=None):
        """`data`: the data directory, if it shall be somewhere else (on a disk of its own); the server's log never is."""
        self.dir = Path(tempfile.mkdtemp(prefix="pinion-t-", dir=TMP))
        self.data = Path(data or self.dir / "data")
        self.log_path = (self.dir if data else self.data) / "server.log"
        self.port = free_port()
        pw = pwd.getpwnam(USER)
        os.chown(self.dir, pw.pw_uid, pw.pw_gid)
        try:
            self.ctl("init", "-D", self.data, "-U", "postgres", "--auth-local=trust", "--auth-host=trust",
                     *init_args)
        except BaseException:
            shutil.rmtree(self.dir)
            raise
        listen = "'localhost'" if tcp else "''"
        self.configure(f"port = {self.port}\nlisten_addresses = {listen}\n{conf}\n")

    def configure(self, text):
        with open(self.data / "pinion.conf", "a", encoding="utf-8") as f:
            f.write(text)

    def ctl(self, *argv, **kw):
        return run(PINIONCTL, *argv, **kw)

    def start(self, check=True, env=None, wait=True):
        args = ["start", "-D", self.data, "-l", self.log_path] + ([] if wait else ["--no-wait"])
        return self.ctl(*args, check=check, env=env)

    def foreground(self, env=None, passed=()):
        """piniond itself, as a child of the test whose wait() tells the exit code; its log goes where start() puts it.
        `passed`: (name, descriptor)s as a service manager hands them over ($LISTEN_FDS)."""
        argv = as_user("sh", "-c", 'LISTEN_PID=$$ exec "$0" "$@"', PINIOND, "-D", self.data)
        full = {**os.environ, **(env or {})}
        if passed:
            full |= {"LISTEN_FDS": str(len(passed)), "LISTEN_FDNAMES": ":".join(n for n, _ in passed)}
        away = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for _, fd in passed]

        def hand_over():
            for i, fd in enumerate(away):
                os.dup2(fd, 3 + i)

        with open(self.log_path, "ab") as log:
            os.chown(self.log_path, pwd.getpwnam(USER).pw_uid, -1)   # start() appends to it as well
            try:
                return subprocess.Popen(argv, stderr=log, env=full, preexec_fn=hand_over if passed else None,   # pylint: disable=subprocess-popen-preexec-fn
                                        pass_fds=range(3, 3 + len(passed)))
            finally:
                for fd in away:
                    os.close(fd)

    def until_ready(self):
        until(lambda: self.status().get("state") == "ready", "it is ready")

    def until_recovered(self, n=1):
        """The n-th crash is over: the memory was made anew n times, and it serves. Who only connects again may be let in by the life that is about to end:
        the postmaster has not heard yet that a child is dead."""
        until(lambda: (s := self.status()).get("crashRestarts") == n and s.get("state") == "ready", f"it has recovered from crash {n}")

    def control_state(self):
        """What pg_controldata says of the cluster: "shut down", "in production", …"""
        text = run(PGBIN / "pg_controldata", self.data).stdout
        return re.search(r"Database cluster state: +(.*)", text)[1]

    def waldump(self):
        """A stock pg_waldump of all the log that is there (segments of 1 MB), up to what is synced; again if a checkpoint has taken its beginning away."""
        end = self.sql("SELECT pg_current_wal_flush_lsn()")[0][0]
        while True:
            first = min(p for p in (self.data / "pg_wal").iterdir() if re.fullmatch("[0-9A-F]{24}", p.name))
            start = f"{int(first.name[8:16], 16):X}/{int(first.name[16:], 16) << 20:X}"
            p = run(PGBIN / "pg_waldump", "-p", first.parent, "--start", start, "--end", end, check=False)
            if p.returncode == 0 or first.exists():
                return p

    def stop(self, mode="fast", check=True):
        return self.ctl("stop", "-D", self.data, "-m", mode, check=check)

    def status(self):
        p = self.ctl("status", "-D", self.data, "--json", check=False)
        return json.loads(p.stdout).get("status", {}) if p.stdout.strip().startswith("{") else {}

    @property
    def pid(self):
        return int((self.data / "postmaster.pid").read_text().split()[0])

    def children(self):
        """{pid: role} of the server's processes, from the control socket."""
        p = json.loads(self.ctl("ps", "-D", self.data, "--json").stdout)
        return {x["pid"]: x["role"] if "role" in x else x.get("kind") for x in p["processes"]}

    def child(self, role):
        """The pid of a process by its role; waits until there is one."""
        return until(lambda: next((p for p, r in self.children().items() if r == role), None), f"a {role}")

    def kill9(self):
        """SIGKILL to the postmaster; returns when nothing of it is left."""
        pids = self.processes()
        os.kill(self.pid, signal.SIGKILL)
        self.wait_gone(pids)

    def is_locked(self):
        """Does anybody hold the lock on postmaster.pid?"""
        try:
            with open(self.data / "postmaster.pid", "rb") as f:
                flock = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
                return struct.unpack("hhqqi4x", fcntl.fcntl(f, fcntl.F_OFD_GETLK, flock))[0] != fcntl.F_UNLCK
        except FileNotFoundError:
            return False

    def wait_gone(self, pids=()):
        """Until no process of the server is left. Those in `pids` are dead: one that dies loses its working directory before it lets go of its locks."""
        until(lambda: not self.processes() and not self.is_locked() and all(state_of(p) in ("", "Z", "X") for p in pids),
              "all processes of the server are gone")

    def processes(self):
        return processes_below(self.data)

    def kill_all(self):
        """A power cut without the loss of what is in the page cache: SIGKILL to every process at once."""
        pids = self.processes()
        kill_each(pids)
        self.wait_gone(pids)

    def connect(self, dbname="postgres", autocommit=True, user="postgres", **kw):
        c = psycopg2.connect(host=str(self.data), port=self.port, user=user, dbname=dbname,
                             connect_timeout=int(DEADLINE), **kw)
        c.autocommit = autocommit
        return c

    def sql(self, text, dbname="postgres"):
        """Rows of one statement in a session of its own."""
        return rows_of(self.connect(dbname), text)

    def drop_database(self, name):
        """When its last session has left: one that has said good-bye may be in it for a moment more."""
        def attempt():
            try:
                self.sql(f'DROP DATABASE "{name}"')
                return True
            except psycopg2.errors.ObjectInUse:
                return False
        until(attempt, f"the last session has left {name}")

    def psql(self, text, dbname="postgres", check=True, args=()):
        return run("psql", "-X", "-v", "ON_ERROR_STOP=1", "-h", self.data, "-p", str(self.port), "-U", "postgres",
                   "-d", dbname, "-At", *args, stdin=text, check=check)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def done(self):
        self.kill_all()
        shutil.rmtree(self.dir)

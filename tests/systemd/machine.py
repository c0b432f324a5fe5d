"""A booted systemd: this machine's root file system (or another one) under an overlay, with the build under test on top, in systemd-nspawn.

Nothing is written to the machine itself: the overlay's upper layer is a tmpfs in a mount namespace of its own, and all
is gone with the container's first process. The build is $PINION_TEST_ROOT (packaging/dev.sh test installs it)."""
import os
import select
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

ROOT = Path(os.environ.get("PINION_TEST_ROOT", "/var/tmp/pinion-dev/test"))
DEADLINE = float(os.environ.get("PINION_TEST_DEADLINE", "60"))

# $1 build, $2 empty directory, $3 machine name, $4 root file system, $5… programs of this machine that it shall have with their libraries
BOOT = r"""
set -e
mount -t tmpfs -o size=3g,mode=755 tmpfs "$2"
cd "$2"
mkdir up work mnt build
cp -a "$1/." build
if [ -L /lib ] && [ -d build/lib ]; then  # merged /usr: a directory would hide the link
    cp -a build/lib/. build/usr/lib/
    rm -rf build/lib
fi
made=$1 base=$4 top=$2 name=$3
shift 4
for program; do
    case $program in "$made"/*) ;; *) cp -L --parents "$program" build ;; esac
    ldd "$program" | sed -n 's/.* => \(\/[^ ]*\) .*/\1/p' | while read -r lib; do
        [ -e "$base/usr/lib/x86_64-linux-gnu/${lib##*/}" ] || install -Dm 644 "$lib" "build/usr/lib/x86_64-linux-gnu/${lib##*/}"
    done
done
set -- "" "$top" "$name"
mount -t overlay overlay -o "lowerdir=$2/build:$base,upperdir=$2/up,workdir=$2/work" mnt
: > mnt/etc/machine-id
rm -f mnt/usr/sbin/policy-rc.d
rm -rf mnt/etc/pinion mnt/var/lib/pinion mnt/var/log/journal
mkdir -p mnt/etc/systemd/system
for unit in apt-daily.timer apt-daily-upgrade.timer man-db.timer e2scrub_all.timer; do
    ln -sf /dev/null "mnt/etc/systemd/system/$unit"
done
# Groups of its own: two machines at once would see each other's processes in theirs.
for groups in /sys/fs/cgroup /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
    if [ -w "$groups/cgroup.procs" ] && mkdir "$groups/$3"; then echo $$ > "$groups/$3/cgroup.procs"; fi
done
# basic.target: not the services that this machine happens to have enabled.
exec systemd-nspawn -q --register=no --keep-unit --private-network -D "$2/mnt" -M "$3" --boot -- --unit=basic.target </dev/null
"""


def why_not():
    """Why this machine cannot boot a container, or None."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("systemd-nspawn", "nsenter", "unshare"):
        if not shutil.which(program):
            return f"{program} is not installed"
    if not (ROOT / "usr/sbin/piniond").exists():
        return f"no build below {ROOT} (packaging/dev.sh test makes it)"
    return None


def until(condition, what, deadline=DEADLINE):
    end = time.monotonic() + deadline
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {deadline} s: {what}")
        select.select([], [], [], 0.05)


class Machine:
    def __init__(self, root="/", programs=()):
        self.top = tempfile.mkdtemp(prefix="pinion-systemd-", dir="/tmp")
        self.name = "pinion-" + os.path.basename(self.top)[-8:].replace("_", "x")
        self.log = open(f"{self.top}.log", "w+", encoding="utf-8", errors="replace")  # outside the mount
        self.proc = subprocess.Popen(
            ["unshare", "--mount", "--propagation", "private", "bash", "-c", BOOT, "boot", str(ROOT), self.top,
             self.name, str(root), *map(str, programs)], stdin=subprocess.DEVNULL, stdout=self.log, stderr=subprocess.STDOUT)
        self.leader = None

    def boot(self):
        """Returns None, or why it did not come up."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end and self.proc.poll() is None:
            self.leader = self._leader()
            if self.leader and self.sh("systemctl is-system-running", check=False).stdout.strip() in ("running", "degraded"):
                return None
            select.select([], [], [], 0.1)
        self.log.seek(0)
        return "systemd-nspawn did not boot: " + self.log.read()[-2000:].replace("\n", " | ")

    def _leader(self):
        try:
            children = Path(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children").read_text().split()
        except OSError:
            return None
        for pid in children:
            try:
                if Path(f"/proc/{pid}/comm").read_text().strip() == "systemd":
                    return int(pid)
            except OSError:
                pass
        return None

    def run(self, *argv, check=True, stdin=None, timeout=DEADLINE * 3):
        p = subprocess.run(["nsenter", "-t", str(self.leader), "-m", "-u", "-i", "-p", "-n", "-C", "-r", "-w", "--", *map(str, argv)],
                           input=stdin, capture_output=True, text=True, timeout=timeout, check=False)
        if check and p.returncode != 0:
            raise AssertionError(f"{' '.join(map(str, argv))} → {p.returncode}\n{p.stdout}\n{p.stderr}")
        return p

    def sh(self, command, **kw):
        return self.run("bash", "-c", command, **kw)

    def write(self, path, text):
        self.run("bash", "-c", f"mkdir -p '{os.path.dirname(path)}' && cat > '{path}'", stdin=text)

    def show(self, unit, *properties):
        out = self.run("systemctl", "show", "-p", ",".join(properties), unit).stdout
        return dict(line.split("=", 1) for line in out.splitlines() if "=" in line)

    def done(self):
        if self.leader:
            try:
                os.kill(self.leader, signal.SIGKILL)  # the first process: everything in there goes with it
            except OSError:
                pass
        try:
            self.proc.wait(20)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
        for top in "", "systemd", "unified":  # nspawn --keep-unit leaves its empty groups
            group = Path("/sys/fs/cgroup", top, self.name)
            if group.is_dir():
                subprocess.run(["find", group, "-depth", "-type", "d", "-exec", "rmdir", "--", "{}", ";"], capture_output=True, check=False)
        self.log.close()
        os.unlink(f"{self.top}.log")
        os.rmdir(self.top)

"""A Debian 13 with systemd 257 in a directory, for what this machine's own systemd does not have or know: $PINION_TRIXIE_ROOT, by default
/var/tmp/pinion-dev/trixie. The long suite makes it with mmdebstrap or debootstrap; it is kept. A chroot is enough, nothing is booted."""
import os
import shutil
import subprocess
from pathlib import Path

PLACE = Path(os.environ.get("PINION_TRIXIE_ROOT", "/var/tmp/pinion-dev/trixie"))


def make():
    """Why it could not be made, or None. One that was not finished is not there."""
    for maker in ("mmdebstrap", "debootstrap"):
        if shutil.which(maker):
            p = subprocess.run([maker, "--variant=minbase", "--include=systemd", "trixie", f"{PLACE}.part"], capture_output=True, text=True,
                               timeout=1800, check=False)
            if p.returncode == 0:
                os.rename(f"{PLACE}.part", PLACE)
                return None
            shutil.rmtree(f"{PLACE}.part", ignore_errors=True)
            return f"{maker}: {(p.stderr or p.stdout).strip()[-300:]}"
    return "neither mmdebstrap nor debootstrap is installed"


def find():
    """(its directory, None), or (None, why there is none)."""
    why = f"there is no Debian 13 at {PLACE} (PINION_TRIXIE_ROOT; the long suite makes one)"
    if not (PLACE / "usr/bin/varlinkctl").exists() and os.environ.get("PINION_LONG"):
        why = make()
    return (PLACE, None) if (PLACE / "usr/bin/varlinkctl").exists() else (None, why)


def inside(root, *argv, bind=None, timeout=60):
    """Run a program of that root, with /proc and, at /mnt, the directory `bind`; in mounts of its own."""
    into = f"mount -t proc proc {root}/proc && " + (f"mount --bind {bind} {root}/mnt && " if bind else "") + f'exec chroot {root} "$@"'
    return subprocess.run(["unshare", "--mount", "--propagation", "private", "bash", "-c", into, "sh", *argv], stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=timeout, check=False)

"""What the processors did meanwhile: worked here, or were taken away by the host of a virtual machine."""
import os
from pathlib import Path

TICK = os.sysconf("SC_CLK_TCK")


def seconds():
    """(at work, taken by the host, all), summed over all processors since boot; fields of /proc/stat as in proc(5)."""
    user, nice, system, idle, iowait, irq, softirq, steal = (int(v) / TICK for v in Path("/proc/stat").read_text().split()[1:9])
    busy = user + nice + system + irq + softirq
    return busy, steal, busy + steal + idle + iowait


class Watch:
    """with Watch() as w: …; then w.busy in seconds and w.stolen as a share of all."""

    def __enter__(self):
        self.begin = seconds()
        return self

    def __exit__(self, *_):
        busy, steal, total = (b - a for a, b in zip(self.begin, seconds()))
        self.busy, self.stolen = busy, steal / max(total, 1 / TICK)

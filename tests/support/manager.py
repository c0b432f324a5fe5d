"""A service manager as a server sees it: a socket of the test's own as $NOTIFY_SOCKET, and a store of descriptors that outlive it."""
import array
import os
import re
import socket
import struct
import threading
import time

import server as support

SO_TIMESTAMP = 29   # the kernel notes when each was sent


class Manager:
    """Collects datagrams; keeps descriptors as systemd does (a name may occur twice), closes others (the barrier waits for that)."""

    def __init__(self, server):
        self.path = str(server.dir / "notify")
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMP, 1)
        self.sock.bind(self.path)
        os.chmod(self.path, 0o666)
        self.sock.settimeout(0.05)
        self.got, self.when, self.store, self.over = [], [], [], False
        self.thread = threading.Thread(target=self.listen)
        self.thread.start()

    @property
    def env(self):
        return {"NOTIFY_SOCKET": self.path}

    def listen(self):
        while not self.over:
            try:
                data, anc, _, _ = self.sock.recvmsg(65536, socket.CMSG_SPACE(16) * 2)
            except socket.timeout:
                continue
            fds, age = array.array("i"), 0.0
            for level, kind, part in anc:
                if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                    fds.frombytes(part[:len(part) // 4 * 4])
                elif (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMP):
                    sec, usec = struct.unpack("ll", part)
                    age = time.time() - sec - usec / 1e6
            lines = data.decode().split("\n")
            name = next((x[7:] for x in lines if x.startswith("FDNAME=")), "stored")
            if "FDSTOREREMOVE=1" in lines:
                self.drop(name)
            if "FDSTORE=1" in lines:
                self.store += [(name, fd) for fd in fds]
            self.when.append(time.monotonic() - age)
            self.got.append(data.decode())
            if "FDSTORE=1" not in lines:   # only now: who has sent a barrier goes when it is closed
                for fd in fds:
                    os.close(fd)

    def drop(self, name=None):
        """Close what the store has of this name (None: all)."""
        for item in [x for x in self.store if name in (None, x[0])]:
            os.close(item[1])
            self.store.remove(item)

    def names(self):
        return sorted(n for n, _ in self.store)

    def done(self):
        self.over = True
        self.thread.join()
        self.sock.close()
        self.drop()

    def here(self):
        """Index behind all that was sent before this call."""
        mark = f"HERE={time.monotonic_ns()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.sendto(mark.encode(), self.path)
        return self.wait(f"^{mark}$")

    def quiet(self, seconds):
        """Wait until nothing but pings has come for so long; returns how many those are, and where they begin."""
        def find():
            last = max((i for i, x in enumerate(self.got) if x != "WATCHDOG=1"), default=-1)
            return last + 1 if time.monotonic() - self.when[last] >= seconds else 0
        begin = support.until(find, "nothing is said any more")
        return sum(x == "WATCHDOG=1" for x in self.got[begin:]), begin

    def wait(self, pattern, begin=0):
        """Index behind the first message from `begin` on that matches."""
        def find():
            return next((i + 1 for i, m in enumerate(self.got[begin:], begin) if re.search(pattern, m)), None)
        return support.until(find, f"{pattern} in {self.got[begin:]}")

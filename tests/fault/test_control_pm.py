#!/usr/bin/env python3
"""pinionctl, the control socket and the real postmaster over made-up children: states, positions, requests, the last words.

Usage: test_control_pm.py PINIONCTL BARE_PINIOND"""
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

CTL, BARE = sys.argv[1:3]


class ControlPm(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="pinion-cpm-")
        self.data = f"{self.dir}/data"
        self.env = {k: v for k, v in os.environ.items() if k not in ("RUNTIME_DIRECTORY", "NOTIFY_SOCKET")}
        self.env.update(PINIOND=BARE, LC_ALL="C")
        self.ctl("init")

    def tearDown(self):
        subprocess.run([CTL, "-D", self.data, "stop", "-m", "immediate"], env=self.env, capture_output=True, timeout=60, check=False)
        shutil.rmtree(self.dir)

    def ctl(self, verb, *args, code=0, env=None):
        p = subprocess.run([CTL, "-D", self.data, verb, *args], env={**self.env, **(env or {})}, capture_output=True, text=True, timeout=60, check=False)
        if code is not None and p.returncode != code:
            log = open(f"{self.dir}/log", encoding="utf-8").read() if os.path.exists(f"{self.dir}/log") else ""
            self.fail(f"{verb} → {p.returncode}, want {code}\n{p.stdout}{p.stderr}\n{log[-3000:]}")
        return p

    def start(self, code=0, wait=True, **env):
        return self.ctl("start", "-l", f"{self.dir}/log", *([] if wait else ["--no-wait"]), code=code, env=env)

    def status(self):
        p = self.ctl("status", "--json", code=None)
        return json.loads(p.stdout).get("status", {})

    def until(self, condition):
        end = time.monotonic() + 60
        while not condition():
            self.assertLess(time.monotonic(), end)

    def test_status_says_what_the_postmaster_is(self):
        self.start()
        s = self.status()
        self.assertEqual((s["state"], s["pmState"], s["role"], s["dataDirectory"]), ("ready", "PM_RUN", "primary", self.data))
        self.assertEqual((s["flushLsn"], s["timeline"], s["crashRestarts"], s["connections"]), ("0/3000000", 1, 0, 0))
        roles = [p["role"] for p in json.loads(self.ctl("ps", "--json").stdout)["processes"]]
        self.assertEqual(sorted(roles), ["autovacuum launcher", "bgwriter", "checkpointer", "postmaster", "walwriter"])
        self.assertIn("PM_RUN", self.ctl("status").stdout.splitlines()[0])

    def test_a_log_collector_that_cannot_be_forked_is_done_without_and_tried_again(self):
        """AC098."""
        with open(f"{self.data}/pinion.conf", "a", encoding="utf-8") as f:
            f.write("logging_collector = on\nlog_filename = 'x.log'\n")
        p = self.start(code=None, PINION_FAULT="PM_FORK:0:1:ENOMEM")

        def said():
            with open(f"{self.dir}/log", encoding="utf-8") as f:
                return f.read()

        if "has no fault points" in said():
            self.skipTest("this build has no fault points")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.until(lambda: "redirecting log output" in said())
        self.assertRegex(said(), r"could not fork system logger process(.|\n)*ready to accept connections(.|\n)*redirecting")
        self.ctl("stop")
        with open(f"{self.data}/log/x.log", encoding="utf-8") as f:
            self.assertRegex(f.read(), r"LOG:  database system is shut down\n$")

    def test_it_answers_during_recovery_with_progress(self):
        self.start(wait=False, BARE_RECOVER_MSEC="600000")
        self.until(lambda: (x := self.status()).get("progress") and x["state"] == "recovering")
        s = self.status()
        self.assertEqual((s["state"], s["pmState"], s["progress"]["phase"]), ("recovering", "PM_RECOVERY", "redo"))
        self.assertNotIn("flushLsn", s)
        self.ctl("status", code=5)
        self.ctl("checkpoint", code=1)

    def test_it_is_ready_when_recovery_is_through(self):
        self.start(wait=False, BARE_RECOVER_MSEC="200")
        self.until(lambda: self.status().get("state") == "ready")

    def test_a_stop_during_recovery_is_obeyed(self):
        self.start(wait=False, BARE_RECOVER_MSEC="60000")
        self.until(lambda: self.status().get("state") == "recovering")
        self.assertIn("stopped", self.ctl("stop").stdout)
        self.ctl("status", code=3)

    def test_a_checkpoint_is_awaited(self):
        self.start()
        self.assertEqual(json.loads(self.ctl("checkpoint", "--json").stdout.splitlines()[-1])["lsn"], "0/3000148")
        self.assertEqual(self.status()["lastCheckpoint"]["lsn"], "0/3000148")
        self.assertFalse(json.loads(self.ctl("checkpoint", "--no-wait", "--json").stdout)["completed"])

    def test_a_reload_is_all_or_nothing(self):
        self.start()
        before = self.status()
        with open(f"{self.data}/pinion.conf", "a", encoding="utf-8") as f:
            f.write("lock_timeout = 7s\nmax_connections = 50\n")
        changed = json.loads(self.ctl("reload", "--json").stdout)
        self.assertEqual(changed["generation"], before["configGeneration"] + 1)
        self.assertIn("lock_timeout", changed["changed"])
        self.assertIn("max_connections", changed["pendingRestart"])
        self.assertIn("max_connections", self.status()["pendingRestart"])
        with open(f"{self.data}/pinion.conf", "a", encoding="utf-8") as f:
            f.write("lock_timeout = nonsense\n")
        p = self.ctl("reload", code=78)
        self.assertIn(f"{self.data}/pinion.conf:3: ", p.stderr)
        self.assertEqual((self.status()["configGeneration"], self.status()["configValid"]), (changed["generation"], False))

    def test_a_crash_is_counted_and_service_returns(self):
        self.start()
        child = next(p["pid"] for p in json.loads(self.ctl("ps", "--json").stdout)["processes"] if p["role"] == "bgwriter")
        os.kill(child, signal.SIGKILL)
        self.until(lambda: self.status().get("crashRestarts") == 1 and self.status()["state"] == "ready")

    def test_each_stop_ends_with_last_words(self):
        for mode, clean in (("smart", True), ("fast", True), ("immediate", False)):
            with self.subTest(mode=mode):
                self.start()
                p = self.ctl("stop", "-m", mode, "--json")
                last = json.loads(p.stdout.splitlines()[-1])
                self.assertEqual((last["completed"], last["clean"]), (True, clean))
                self.assertFalse(os.path.exists(f"{self.data}/control"))
                self.assertFalse(os.path.exists(f"{self.data}/postmaster.pid"))

    def test_a_stop_is_logged_with_who_and_why_on_one_line(self):
        self.start()
        self.ctl("stop", "--reason=disk\nFATAL:  swap\t")
        with open(f"{self.dir}/log", encoding="utf-8") as f:
            log = f.read()
        self.assertRegex(log, r"LOG:  control call Stop by uid \d+, pid \d+ \(pinionctl\): accepted\n")
        self.assertRegex(log, r"LOG:  reason of the stop: disk FATAL:  swap\n")

    def test_a_control_socket_elsewhere_is_found_through_the_lock_file(self):
        with open(f"{self.data}/pinion.conf", "a", encoding="utf-8") as f:
            f.write(f"control_socket = '{self.dir}/ctl'\n")
        self.start()
        self.assertTrue(os.path.exists(f"{self.dir}/ctl"))
        self.assertEqual(self.status()["state"], "ready")
        self.assertIn("cleanly", self.ctl("stop").stdout)

    def test_a_server_without_its_socket_is_told_from_a_stopped_one(self):
        self.start()
        with open(f"{self.data}/postmaster.pid", encoding="utf-8") as f:
            pid = int(f.readline())
        os.unlink(f"{self.data}/control")
        self.assertIn("does not answer", self.ctl("status", code=69).stdout)
        os.kill(pid, signal.SIGKILL)
        self.until(lambda: self.ctl("status", code=None).returncode == 3)  # the lock file is still there
        self.assertTrue(os.path.exists(f"{self.data}/postmaster.pid"))
        self.start()

    def test_a_smart_stop_drains_and_a_fast_one_overtakes_it(self):
        self.start()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{self.data}/.s.PGSQL.5454")
            self.assertEqual(client.recv(1), b"!")  # it is a session
            self.until(lambda: self.status()["connections"] == 1)
            self.ctl("stop", "-m", "smart", "--timeout=2", code=75)
            self.until(lambda: self.status()["state"] == "draining")
            s = self.status()
            self.assertEqual((s["state"], s["pmState"], s["progress"]["phase"]), ("draining", "PM_RUN", "clients"))
            self.assertIn("cleanly", self.ctl("stop", "-m", "fast").stdout)

    def test_a_second_server_is_refused_and_the_first_goes_on(self):
        self.start()
        p = subprocess.run([BARE, "-D", self.data], env=self.env, capture_output=True, text=True, timeout=30, check=False)
        self.assertEqual(p.returncode, 75, p.stderr)
        self.assertEqual(self.status()["state"], "ready")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
"""pinionctl against the real control socket over a made-up server: texts, JSON, exit codes, waiting.

Usage: test_ctl.py PINIONCTL FAKE_PINIOND"""
import contextlib
import fcntl
import json
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import threading
import time
import unittest

CTL, FAKE = sys.argv[1:3]


class Ctl(unittest.TestCase):
    def setUp(self):
        self.top = tempfile.mkdtemp(prefix="pinion-ctl-")
        self.dir = os.path.join(self.top, "data")
        self.env = {k: v for k, v in os.environ.items() if not k.startswith(("FAKE_", "PINION_"))}
        self.env.update(PINIOND=FAKE, LC_ALL="C")

    def tearDown(self):
        for what in ("recovering", "stopping"):
            with contextlib.suppress(FileNotFoundError):
                self.let_go(what)
        subprocess.run([CTL, "stop", "-D", self.dir], env=self.env, capture_output=True, timeout=60, check=False)
        shutil.rmtree(self.top)

    def ctl(self, *args, code=0, **env):
        p = subprocess.run([CTL, *args], env={**self.env, **env}, capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(p.returncode, code, f"{args}: {p.stdout}{p.stderr}")
        return p

    def start(self, *args, code=0, **env):
        self.ctl("init", "-D", self.dir)
        return self.ctl("start", "-D", self.dir, "-l", f"{self.top}/log", *args, code=code, **env)

    def hold(self, what):
        """The made-up server does not end what it does ("recovering", "stopping") before let_go()."""
        os.makedirs(self.dir, exist_ok=True)
        open(f"{self.dir}/{what}", "w", encoding="utf-8").close()

    def let_go(self, what):
        os.unlink(f"{self.dir}/{what}")

    def until_state(self, state):
        end = time.monotonic() + 60
        while subprocess.run([CTL, "status", "-D", self.dir, "--field=state"], env=self.env, capture_output=True, text=True, timeout=60, check=False).stdout != state + "\n":
            self.assertLess(time.monotonic(), end, f"never {state}")

    def popen(self, *args):
        return subprocess.Popen([CTL, *args], env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def verify(self, script, *args, code=0):
        """pinionctl verify with a `piniond` that says what we like."""
        path = os.path.join(self.top, "piniond")
        os.makedirs(self.dir, exist_ok=True)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\n" + script)
        os.chmod(path, 0o755)
        return self.ctl("verify", "-D", self.dir, *args, code=code, PINIOND=path)

    def test_verify_shows_each_problem_below_its_part_and_passes_over_what_it_does_not_know(self):
        script = r"""printf 'cluster\tdirectory=/x\\ty\tserver=stopped\n'
            printf 'problem\tpart=database\tdatabase=b\tfile=base/2/2\tpage=7\tmessage=odd\tdetail=one\\ntwo\\\\n\n'
            printf 'news\tof=tomorrow\ndatabase\toid=1\tname=a\tfile=base/1/1\tpages=3\tdamaged=0\tstructure=ok\tmood=good\n'
            printf 'database\toid=2\tname=b\tfile=base/2/2\tpages=9\tdamaged=1\tstructure=ok\n'
            printf 'problem\tpart=database\tfile=base/3/3\tmessage=gone\nend\tresult=damaged\n'
            exit 1"""
        lines = self.verify(script, code=1).stdout.splitlines()
        self.assertEqual([line.split(":")[0].split()[:2] for line in lines],
                         [["a", "ok"], ["b", "DAMAGED"], ["database", '"b",'], ["one"], ["two\\n"], ["base/3/3"], ["2", "problems"]])
        reply = json.loads(self.verify(script, "--json", code=1).stdout)
        self.assertEqual((reply["directory"], reply["databases"][0]["mood"], reply["databases"][1]["oid"], reply["problemCount"]),
                         ("/x\ty", "good", 2, 2))
        self.assertEqual((reply["problems"][0]["page"], reply["problems"][0]["detail"]), (7, "one\ntwo\\n"))

    def test_a_verification_that_ends_early_is_a_failure(self):
        self.assertIn("ended with status 0 before it was done", self.verify("echo cluster\n", code=1).stderr)
        self.assertIn("ended with status 137 before", self.verify("kill -9 $$\n", code=1).stderr)
        error = json.loads(self.verify("printf 'error\\tmessage=no\\thint=Try.\\n'; exit 77\n", "--json", code=77).stdout)["error"]
        self.assertEqual((error["message"], error["hint"], error["exit"]), ("no", "Try.", 77))

    def test_usage_errors_exit_2_and_say_what_is_wrong(self):
        for args, what in [
            ((), "no command given"),
            (("dance",), 'unknown command "dance"'),
            (("status", "--mode=fast"), '"status" does not take option "--mode"'),
            (("stop", "-m", "slow"), 'unknown mode "slow"'),
            (("stop", "-m"), 'option "-m" needs an argument'),
            (("stop", "--strict=1"), 'option "--strict=1" takes no argument'),
            (("stop", "--timeout=soon"), '"soon" is not a number of seconds'),
            (("status", "-D", "/a", "-i", "b"), "only one of -D, -i and --socket"),
            (("status", "-i", "../x"), '"../x" is not a name for an instance'),
            (("call",), '"call" needs METHOD'),
            (("ps", "now"), 'unexpected argument "now"'),
            (("stop", "--drain=soon"), '"soon" is not a time'),
            (("stop", "--drain=5min", "-m", "fast"), "--drain goes with -m smart"),
            (("history", "-n", "-1"), '"-1" is not a number of lines'),
            (("create", "x", "-D", "/x"), '"create" does not take option "--datadir"'),
            (("list", "-i", "x"), '"list" does not take option "--instance"'),
            (("status", "--all", "-D", "/x"), "--all goes without -D, -i and --socket"),
            (("-i", "x", "init", "-D", "/x"), "init makes a data directory"),
            (("checkpoint", "--fast", "--spread"), "only one of --fast and --spread"),
            (("--what",), 'unknown option "--what"'),
        ]:
            with self.subTest(args=args):
                p = self.ctl(*args, code=2)
                self.assertTrue(p.stderr.startswith("pinionctl: error: "), p.stderr)
                self.assertIn(what, p.stderr)

    def test_help_and_version_need_no_server(self):
        self.assertIn("checkpoint", self.ctl("--help").stdout)
        self.assertIn("smart, fast or immediate", self.ctl("stop", "--help").stdout)
        self.assertRegex(self.ctl("--version").stdout, r"^pinionctl \(Pinion\) \d")
        verbs = re.findall(r"(?m)^  (\w[\w-]+)  ", self.ctl("--help").stdout)
        self.assertIn("completion", verbs)
        for args in [[]] + [[v] for v in verbs if v != "init"]:
            self.assertEqual([x for x in self.ctl(*args, "--help").stdout.splitlines() if len(x) > 80], [])

    def test_a_life_start_status_reload_checkpoint_stop(self):
        self.assertRegex(self.start().stdout, r"(?m)^data: ready after")
        p = self.ctl("status", "-D", self.dir)
        self.assertRegex(p.stdout.splitlines()[0], r"^● main  ready \(primary\)  PM_RUN +Pinion \d")
        self.assertIn("Sessions   3 of 100", p.stdout)
        status = json.loads(self.ctl("status", "-D", self.dir, "--json").stdout)["status"]
        self.assertEqual((status["state"], status["pmState"]), ("ready", "PM_RUN"))
        self.assertIn("configuration 8 active, 1 changed, 1 waits for a restart", self.ctl("reload", "-D", self.dir).stdout)
        self.assertIn("\n    Changed          log_min_messages\n    Needs a restart  shared_buffers\n", self.ctl("reload", "-D", self.dir).stdout)
        self.assertIn("fine\n    shared_buffers waits for a restart\n", self.ctl("check-config", "-D", self.dir).stdout)
        self.assertRegex(self.ctl("checkpoint", "-D", self.dir).stdout, r"^data: checkpoint complete after .*, at 0/3000148")
        self.assertEqual(json.loads(self.ctl("checkpoint", "-D", self.dir, "--json").stdout)["lsn"], "0/3000148")
        self.assertIn("checkpointer", self.ctl("ps", "-D", self.dir).stdout)
        self.assertEqual(len(json.loads(self.ctl("ps", "-D", self.dir, "--json").stdout)["processes"]), 3)
        p = self.ctl("stop", "-D", self.dir, "-m", "smart")
        self.assertIn("data: stopping: checkpoint 41 %\n", p.stdout)
        self.assertRegex(p.stdout, r"(?m)^data: stopped cleanly after")
        self.assertIn("data  stopped", self.ctl("status", "-D", self.dir, code=3).stdout)

    def test_settings_are_shown_with_where_they_come_from(self):
        self.start()
        p = self.ctl("show", "-D", self.dir)
        self.assertRegex(p.stdout, r"(?m)^control_socket +/run/x +/etc/pinion/main/pinion.conf:3$")
        self.assertRegex(p.stdout, r"(?m)^shared_buffers +128MB +default, waits for a restart$")
        self.assertRegex(self.ctl("show", "-D", self.dir, "shared_buffers").stdout, r"^shared_buffers = 128MB\n +Source +default\n(.|\n)*Pending +the files hold another")
        self.assertEqual(json.loads(self.ctl("show", "-D", self.dir, "--json", "control_socket").stdout)["settings"][0]["line"], 3)
        self.assertIn('unrecognized configuration parameter "x"', self.ctl("show", "-D", self.dir, "x", code=1).stderr)
        self.assertIn("not both", self.ctl("show", "-D", self.dir, "x", "--all", code=2).stderr)

    def test_sessions_are_told_to_cancel_or_end(self):
        self.start()
        self.assertEqual(self.ctl("cancel", "-D", self.dir, "102").stdout, "data: process 102 was told to cancel its statement\n")
        self.assertEqual(self.ctl("terminate", "-D", self.dir, "102").stdout, "data: process 102 was told to end its session\n")
        self.assertIn("the server's own: checkpointer", self.ctl("terminate", "-D", self.dir, "101", code=1).stderr)
        self.assertIn("has number 7", self.ctl("cancel", "-D", self.dir, "7", code=1).stderr)
        self.assertIn('"me" is not the number', self.ctl("cancel", "-D", self.dir, "me", code=2).stderr)

    def test_a_stop_can_be_taken_back_only_if_there_is_one(self):
        self.start()
        self.assertIn("no stop that could be canceled", self.ctl("cancel-stop", "-D", self.dir, code=1).stderr)

    def test_logs_become_journalctl_for_the_unit(self):
        with open(f"{self.top}/journalctl", "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\necho "$*"\n')
        os.chmod(f"{self.top}/journalctl", 0o755)
        path = f"{self.top}:{os.environ['PATH']}"
        unit = "_SYSTEMD_UNIT=pinion@shop.service + UNIT=pinion@shop.service _PID=1 + COREDUMP_UNIT=pinion@shop.service _UID=0"
        try:
            unit += f" + SYSLOG_IDENTIFIER=pinion@shop _UID={pwd.getpwnam('pinion').pw_uid}"
        except KeyError:
            pass   # without the user of instances there are no entries of his
        self.assertEqual(self.ctl("logs", "-i", "shop", "-f", PATH=path).stdout, f"-o short-iso -n all -f {unit}\n")
        self.assertEqual(self.ctl("logs", "-i", "shop", "--json", "-n", "5", PATH=path).stdout, f"-o json -n 5 {unit}\n")
        self.assertIn("could not find a log file", self.ctl("logs", "-D", self.top, code=1).stderr)

    def test_logs_of_a_data_directory_are_a_file(self):
        self.start()
        with open(f"{self.dir}/postmaster.pid", "w", encoding="utf-8") as f:   # the made-up server has none
            f.write("0\n")
        self.ctl("logs", "-D", self.dir, code=1)
        with open(f"{self.dir}/current_logfiles", "w", encoding="utf-8") as f:
            f.write(f"csvlog log/x.csv\nstderr log/x.log\njsonlog {self.top}/x.json\n")
        os.mkdir(f"{self.dir}/log")
        with open(f"{self.dir}/log/x.log", "w", encoding="utf-8") as f:
            f.write("one\ntwo\n")
        with open(f"{self.top}/x.json", "w", encoding="utf-8") as f:
            f.write("{}\n")
        self.assertEqual(self.ctl("logs", "-D", self.dir).stdout, "one\ntwo\n")
        self.assertEqual(self.ctl("logs", "-D", self.dir, "-n", "1").stdout, "two\n")
        self.assertEqual(self.ctl("logs", "-D", self.dir, "--json").stdout, "{}\n")
        os.unlink(f"{self.dir}/postmaster.pid")

    def test_a_server_that_hangs_is_not_waited_for_longer_than_was_said(self):
        self.start()
        pid = int(self.ctl("status", "-D", self.dir, "--field=mainPid").stdout)
        os.kill(pid, signal.SIGSTOP)
        try:
            since = time.monotonic()
            self.assertIn("unreachable", self.ctl("is-ready", "-D", self.dir, "--timeout=0.1", code=5).stdout)
            self.assertIn("not ready in time, but unreachable", self.ctl("wait", "-D", self.dir, "--timeout=0.1", code=75).stderr)
            self.assertLess(time.monotonic() - since, 8)   # twice a second; status gives it ten
        finally:
            os.kill(pid, signal.SIGCONT)

    def test_a_server_that_does_not_listen_is_not_one_that_does_not_run(self):
        self.ctl("init", "-D", self.dir)
        with open(f"{self.dir}/postmaster.pid", "w", encoding="utf-8") as f:
            fcntl.lockf(f, fcntl.LOCK_EX)
            for args in (("stop", "--timeout=0.1"), ("ps",), ("reload",), ("show",), ("checkpoint",), ("status",)):
                p = self.ctl(*args, "-D", self.dir, code=69)
                self.assertIn("socket does not answer" if args == ("status",) else "runs, but nothing listens", p.stdout + p.stderr)
            stop = subprocess.Popen([CTL, "stop", "-D", self.dir], env=self.env, stdout=subprocess.PIPE, text=True)
        self.assertIn("not running", stop.communicate(timeout=30)[0])
        os.unlink(f"{self.dir}/postmaster.pid")

    def test_a_copied_data_directory_is_not_the_server_that_it_was_copied_from(self):
        self.start()
        copy = f"{self.top}/copy"
        os.mkdir(copy)
        with open(f"{copy}/postmaster.pid", "w", encoding="utf-8") as f:
            f.write(f"{os.getpid()}\n" + "x\n" * 7 + f"5454\n{self.dir}/control\n")
            f.flush()
            for args, code, words in ((("stop",), 0, "not running"), (("is-active",), 3, "stopped"), (("checkpoint",), 3, "")):
                self.assertIn(words, self.ctl(*args, "-D", copy, code=code).stdout)
            self.ctl("is-active", "-D", self.dir)   # it was not the one that was stopped
            fcntl.lockf(f, fcntl.LOCK_EX)
            self.ctl("is-active", "-D", copy)   # held: it tells where its server listens
        self.ctl("is-active", "-D", copy, code=3)

    def test_a_cluster_that_never_ran_has_no_history(self):
        self.ctl("init", "-D", self.dir)
        self.assertIn("No such file", self.ctl("history", "-D", self.dir, code=4).stderr)
        with open(f"{self.dir}/PG_VERSION", "w", encoding="utf-8") as f:
            f.write("15\n")
        self.assertEqual(json.loads(self.ctl("history", "-D", self.dir, "--json").stdout), {"entries": []})

    def test_what_is_not_utf8_is_shown_as_far_as_it_can_be_and_not_sent(self):
        error = json.loads(self.ctl("status", "-D", "/x\udcffé", "--json", code=4).stdout)["error"]
        self.assertEqual((error["message"][:36], error["exit"]), ('there is no data directory "/x???": ', 4))
        os.mkdir(f"{self.top}/y\udcffz")
        with open(f"{self.top}/y\udcffz/pinion.conf", "w", encoding="utf-8"):
            pass
        status = json.loads(self.ctl("status", "-D", f"{self.top}/y\udcffz", "--json", code=3).stdout)["status"]
        self.assertEqual((status["instance"], status["state"]), ("y?z", "stopped"))
        self.start()
        for args in (("show", "x\udcff"), ("stop", "--reason=\udcff"), ("call", "GetStatus\udcff")):
            p = subprocess.run([CTL, *args, "-D", self.dir], env=self.env, capture_output=True, timeout=60, check=False)
            self.assertEqual((p.returncode, b"is not UTF-8" in p.stderr), (2, True))
        self.assertIn("no such interface", self.ctl("introspect", "-D", self.dir, "x.y", code=1).stderr)

    def test_the_history_is_shown_from_the_server_or_from_its_file(self):
        self.start()
        lines = self.ctl("history", "-D", self.dir).stdout.splitlines()
        self.assertEqual(lines[0].split(), ["TIME", "EVENT", "WHAT"])
        self.assertRegex(lines[3], r" stop           fast stop requested, by uid 0 \(pinionctl, pid 7\): up.grade$")
        self.assertEqual(len(self.ctl("history", "-D", self.dir, "-n", "1").stdout.splitlines()), 2)
        self.ctl("stop", "-D", self.dir)
        self.assertIn("pinion_history", self.ctl("history", "-D", self.dir, code=4).stderr)
        os.mkfifo(f"{self.dir}/pinion_history")   # nobody is at its other end
        self.assertIn("Invalid argument", self.ctl("history", "-D", self.dir, code=1).stderr)
        os.mkfifo(f"{self.dir}/postmaster.pid")
        self.ctl("is-active", "-D", self.dir, code=3)
        os.unlink(f"{self.dir}/postmaster.pid")
        os.unlink(f"{self.dir}/pinion_history")
        self.assertNotIn("Last word", self.ctl("status", "-D", self.dir, code=3).stdout)
        with open(f"{self.dir}/pinion_history", "w", encoding="utf-8") as f:
            f.write("rubbish\ntimeUSec=1700000000000000\tevent=stop\tnew=x\tby=me\tmessage=a\\tb\treason=why\n"
                    "timeUSec=1700000001000000\tevent=stopped\tmessage=stopped cleanly\n")
        entries = json.loads(self.ctl("history", "-D", self.dir, "--json").stdout)["entries"]
        self.assertEqual((len(entries), entries[0]["message"], entries[0]["new"], entries[1]["timeUSec"]), (2, "a\tb", "x", 1700000001000000))
        p = self.ctl("status", "-D", self.dir, code=3)
        self.assertRegex(p.stdout, r"^○ data  stopped since Tue 2023-11-14 .* ago\n    Last exit  a\?b, by me: why\n    Last word  stopped cleanly\n$")
        with open(f"{self.dir}/pinion_history", "a", encoding="utf-8") as f:
            f.write("timeUSec=1700000002000000\tevent=start\tmessage=x\n")
        self.assertIn("ended without a word", self.ctl("status", "-D", self.dir, code=3).stdout)

    def test_one_field_of_the_status_for_scripts(self):
        self.hold("recovering")
        self.start("--no-wait")
        self.until_state("recovering")
        self.assertEqual(self.ctl("status", "-D", self.dir, "--field=progress.percent", code=5).stdout, "36.0\n")
        self.assertEqual(self.ctl("status", "-D", self.dir, "--field=listen", code=5).stdout, '["127.0.0.1:5454"]\n')
        self.assertIn("the name of a field", self.ctl("status", "-D", self.dir, "--field=", code=2).stderr)
        self.assertIn('no field "a.b"', self.ctl("status", "-D", self.dir, "--field=a.b", code=1).stderr)
        self.let_go("recovering")
        self.ctl("wait", "-D", self.dir)
        self.ctl("is-active", "-D", self.dir)
        self.ctl("stop", "-D", self.dir)
        self.assertEqual(self.ctl("status", "-D", self.dir, "--field=state", code=3).stdout, "stopped\n")
        self.assertEqual(self.ctl("is-active", "-D", self.dir, code=3).stdout, "data: stopped\n")
        self.assertEqual(self.ctl("status", "-D", self.dir, "--field=pid", code=3).stdout, "")

    def test_versions_of_client_and_server(self):
        self.assertRegex(self.ctl("version", "-D", self.dir).stdout, r"^pinionctl \(Pinion\) \d\S+\n$")
        self.start()
        reply = json.loads(self.ctl("version", "-D", self.dir, "--json").stdout)
        self.assertEqual(reply["client"], reply["server"])

    def test_a_log_is_rotated_only_if_there_is_one(self):
        self.start()
        self.assertIn("no log file to rotate", self.ctl("rotate-log", "-D", self.dir, code=1).stderr)
        open(f"{self.dir}/logfiles", "w", encoding="utf-8").close()
        self.assertEqual(self.ctl("rotate-log", "-D", self.dir).stdout, "data: another log file is begun\n")

    def doctor(self, code=0):
        checks = json.loads(self.ctl("doctor", "-D", self.dir, "--json", code=code).stdout)["checks"]
        return {c["check"]: c for c in checks if c["level"] in ("warning", "bad")}

    def test_the_doctor_exits_by_the_worst_it_found_and_says_what_to_do(self):
        self.ctl("init", "-D", self.dir)
        self.assertNotIn("server", self.doctor())
        os.makedirs(f"{self.dir}/pg_wal/archive_status")
        os.makedirs(f"{self.dir}/global")
        os.chmod(self.dir, 0o755)
        self.assertEqual(list(self.doctor(code=1)), ["data directory"])
        os.chmod(self.dir, 0o700)
        with open(f"{self.dir}/pg_wal/000000010000000000000001", "w", encoding="utf-8") as f:
            f.truncate(3 << 30)
        found = self.doctor(code=5)
        self.assertEqual(list(found), ["log volume"])
        self.assertIn("3.0 GiB in 1 segments", found["log volume"]["finding"])
        os.unlink(f"{self.dir}/pg_wal/000000010000000000000001")
        now = int(time.time() * 1000000)
        with open(f"{self.dir}/pinion_history", "w", encoding="utf-8") as f:
            f.write(f"timeUSec={now - 90000 * 1000000}\tevent=crash\tmessage=long ago\n")
        self.assertEqual(self.doctor(), {})
        with open(f"{self.dir}/pinion_history", "a", encoding="utf-8") as f:
            f.write(f"timeUSec={now}\tevent=crash\tmessage=backend 7 was terminated\n")
        p = self.ctl("doctor", "-D", self.dir, code=1)
        self.assertRegex(p.stdout, r"(?m)^BAD   crashes        1 in 24 hours, the last: backend 7 was terminated\n      why: .+\n      do:  .+$")
        self.assertNotRegex(self.ctl("doctor", "-q", "-D", self.dir, code=1).stdout, r"(?m)^ok ")

    def test_the_doctor_asks_a_running_server(self):
        self.start()
        with open(f"{self.dir}/hba", "w", encoding="utf-8") as f:
            f.write("local all all trust\nhost all all 127.0.0.1/32 trust\nhost all all 0.0.0.0/0 reject\nhost all all samehost trust\n# host all all 0.0.0.0/0 trust\n"
                    "host all all 10.0.0.0 255.0.0.0 trust # open\n")
        found = self.doctor(code=5)
        self.assertEqual(sorted(found), ["access", "configuration"])
        self.assertIn("hba:6 trusts", found["access"]["finding"])
        self.assertIn("1 setting waits for a restart: shared_buffers", found["configuration"]["finding"])
        os.makedirs(f"{self.dir}/pg_wal/archive_status")
        path = f"{self.dir}/pg_wal/archive_status/000000010000000000000001.ready"
        open(path, "w", encoding="utf-8").close()
        open(f"{self.dir}/broken", "w", encoding="utf-8").close()
        self.ctl("reload", "-D", self.dir, code=78)
        self.assertEqual(self.doctor(code=1)["configuration"]["finding"], "1 error: /etc/pinion/main/pinion.conf:12: max_connections must be >= 1")
        os.unlink(f"{self.dir}/broken")
        self.ctl("reload", "-D", self.dir)
        self.assertRegex(self.ctl("doctor", "-D", self.dir, code=5).stdout, r"ok +archive +1 file waits, none for long\n")
        os.utime(path, (1, 1))
        self.assertIn("1 file waits for archive_command", self.doctor(code=1)["archive"]["finding"])

    def test_the_doctor_does_not_wait_for_a_metrics_page_for_ever(self):
        with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
            clients = [socket.socket() for _ in range(3)]
            for client in clients:  # nobody takes them: the next one's connect() hangs
                client.setblocking(False)
                client.connect_ex(full.getsockname())
            self.start(FAKE_METRICS=f"127.0.0.1:{full.getsockname()[1]}")
            self.assertIn("nobody answers at metrics_listen", self.doctor(code=1)["metrics"]["finding"])
            for client in clients:
                client.close()

    def test_a_report_has_all_but_secrets(self):
        self.start()
        with open(f"{self.top}/log", "a", encoding="utf-8") as f:
            f.write("2026-11-21 22:00:00 UTC [7] LOG:  checkpoint complete\n2026-11-21 22:00:00 UTC [7] LOG:  statement: SELECT 'hush'\n"
                    "\tFROM hush\n2026-11-21 22:00:00 UTC [7] ERROR:  invalid hush\n2026-11-21 22:00:00 UTC [7] STATEMENT:  hush\n"
                    "2026-11-21 22:00:00 UTC [7] WARNING:  a\n\tb\n")
        p = self.ctl("report", "-D", self.dir, "-o", f"{self.top}/r.tgz")
        self.assertRegex(p.stdout, r"^data: wrote \S+/r.tgz, 8 files; look through it")
        self.assertEqual(os.stat(f"{self.top}/r.tgz").st_mode & 0o777, 0o600)
        with tarfile.open(f"{self.top}/r.tgz") as tar:
            files = {os.path.basename(m.name): tar.extractfile(m).read().decode() for m in tar.getmembers() if m.isfile()}
            self.assertRegex(tar.getnames()[0], r"^pinion-report-data-\d{8}T\d{6}Z$")
        self.assertEqual(sorted(files), ["check-config.json", "doctor.json", "history.json", "machine.txt", "processes.json", "server.log",
                                         "settings.json", "status.json"])
        self.assertEqual(files["server.log"].replace("2026-11-21 22:00:00 UTC [7] ", ""), "LOG:  checkpoint complete\nWARNING:  a\n\tb\n")
        self.assertNotIn("hush", "".join(files.values()))
        self.assertIn("(set, not shown)", files["settings.json"])
        self.assertNotIn("postgres", files["processes.json"])
        self.assertEqual(os.listdir(self.top).count("r.tgz"), 1)
        self.assertNotIn("no log in it", p.stdout)
        self.assertIn("no log in it", self.ctl("report", "-D", self.top, "-o", f"{self.top}/s.tgz").stdout)
        self.ctl("report", "-D", self.dir, "-o", "/nowhere/r.tgz", code=1)
        os.symlink(f"{self.top}/elsewhere", f"{self.top}/link")
        self.assertIn("File exists", self.ctl("report", "-D", self.dir, "-o", f"{self.top}/link", code=1).stderr)
        self.assertFalse(os.path.exists(f"{self.top}/elsewhere"))

    def test_a_report_that_cannot_be_written_leaves_nothing(self):
        self.start()
        to = f"{self.top}/r.tgz"

        def report(before, code=1, **env):
            p = subprocess.run(["sh", "-c", f'{before} exec "$@"', "sh", CTL, "report", "-D", self.dir, "-o", to],
                               env={**self.env, "TMPDIR": self.top, **env}, capture_output=True, text=True, timeout=60, check=False)
            self.assertEqual((p.returncode, os.path.exists(to)), (code, code == 0), p.stderr)
            self.assertEqual([f for f in os.listdir(self.top) if f.startswith("pinion-report")], [])
            return p.stderr
        # No file may grow (SIGXFSZ ignored: EFBIG), what is collected first of all.
        error = report("trap '' XFSZ; ulimit -f 0;")
        self.assertRegex(error, rf"could not write the report's files in \"{self.top}/pinion-report-.*\": File too large\n  hint: Set TMPDIR ")
        os.mkdir(f"{self.top}/bin")
        with open(f"{self.top}/bin/tar", "w", encoding="utf-8") as f:
            f.write('#!/bin/sh\nwhile [ "$1" != -czf ]; do shift; done\necho half > "$2"\nexit 2\n')
        os.chmod(f"{self.top}/bin/tar", 0o755)
        self.assertIn("tar ended with status 2", report("", PATH=f"{self.top}/bin:{os.environ['PATH']}"))
        self.assertIn(f"could not create directory \"{self.top}/none/pinion-report-", report("", TMPDIR=f"{self.top}/none"))
        self.assertEqual(report("", code=0), "")

    def test_an_answer_that_cannot_be_written_is_a_failure(self):
        self.start()
        for args in (("status", "-D", self.dir), ("ps", "--json", "-D", self.dir), ("--help",), ("--version",)):
            with open("/dev/full", "w", encoding="utf-8") as full:
                p = subprocess.run([CTL, *args], env=self.env, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
            self.assertEqual((p.returncode, p.stderr), (1, "pinionctl: error: could not write to standard output\n"))

    def test_without_standard_descriptors_the_server_does_not_get_what_we_print(self):
        for closed in (">&-", "<&- >&-", "<&- >&- 2>&-"):
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(f"{self.top}/asked")
                s.listen(1)
                p = subprocess.Popen(["sh", "-c", f'exec "$@" {closed}', "sh", CTL, "checkpoint", "--socket", f"{self.top}/asked"], env=self.env)
                with s.accept()[0] as c:
                    c.settimeout(60)
                    said = c.recv(1000)
                    c.sendall(b'{"parameters": {"progress": {"phase": "a", "message": "going on"}}, "continues": true}\0{"parameters": {"completed": true}}\0')
                    while (more := c.recv(1000)):
                        said += more
            os.unlink(f"{self.top}/asked")
            self.assertEqual((p.wait(timeout=60), said.index(b"\0")), (0, len(said) - 1), said)

    def test_waiting_for_a_state(self):
        self.ctl("init", "-D", self.dir)
        self.ctl("is-ready", "-D", self.dir, code=3)
        self.assertIn("not ready in time, but stopped", self.ctl("wait", "-D", self.dir, "--timeout=0.2", code=75).stderr)
        self.ctl("wait", "-D", self.dir, "--for=stopped")
        waiter = subprocess.Popen([CTL, "wait", "-D", self.dir], env=self.env, stdout=subprocess.PIPE, text=True)
        self.start()
        self.assertRegex(waiter.communicate(timeout=60)[0], r"(?m)^data: ready after")
        self.assertEqual(self.ctl("is-ready", "-D", self.dir).stdout, "data: ready\n")
        self.assertIn('unknown for "dinner"', self.ctl("wait", "-D", self.dir, "--for=dinner", code=2).stderr)
        waiter = subprocess.Popen([CTL, "wait", "-D", self.dir, "--for=stopped"], env=self.env, stdout=subprocess.PIPE, text=True)
        self.ctl("stop", "-D", self.dir)
        self.assertRegex(waiter.communicate(timeout=60)[0], r"(?m)^data: stopped after")

    def test_the_interface_and_the_completion_are_printed(self):
        self.assertIn("complete -o default -F _pinionctl pinionctl", self.ctl("completion", "zsh").stdout)
        script = self.ctl("completion", "bash").stdout + 'COMP_WORDS=(pinionctl termi); COMP_CWORD=1; _pinionctl; echo "${COMPREPLY[*]}"'
        path = f"{os.path.dirname(CTL)}:{os.environ['PATH']}"
        p = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True, env={**self.env, "PATH": path})
        self.assertEqual(p.stdout, "terminate\n")
        self.ctl("completion", "fish", code=2)
        self.start()
        self.assertIn("\nmethod SignalProcess(pid: int, action: (cancel, terminate)) -> ()", self.ctl("introspect", "-D", self.dir).stdout)

    def test_what_could_stand_at_the_end_of_a_line(self):
        def offered(*words):
            return self.ctl("__complete", *words).stdout.split()
        self.assertEqual(offered("sto"), ["stop"])
        self.assertEqual(offered("stop", "--re"), ["--reason="])
        self.assertNotIn("--mode=", offered("status", "--"))
        self.assertEqual(offered("stop", "-m", "f"), ["fast"])
        self.assertEqual(offered("stop", "--mode=s"), ["--mode=smart"])
        self.assertEqual(offered("-D", "/x", "wait", "--for", ""), ["ready", "standby", "stopped"])
        self.assertEqual(offered("call", "GetS"), ["GetStatus"])
        self.assertEqual(offered("completion", ""), ["bash", "zsh"])
        self.assertEqual(offered("ps", "x"), [])
        self.assertEqual(offered("show", "-D", self.dir, "arch"), [])   # nobody answers
        self.start()
        self.assertEqual(offered("show", "-D", self.dir, "archive_"), ["archive_command", "archive_mode"])
        self.assertEqual(offered("show", f"--datadir={self.dir}", "port", ""), [])
        self.assertEqual(offered("cancel", "-D", self.dir, ""), ["102"])

    def test_what_is_so_already_is_fine_unless_strict(self):
        self.start()
        self.assertIn("already running", self.ctl("start", "-D", self.dir).stdout)
        self.ctl("start", "-D", self.dir, "--strict", code=2)
        self.ctl("stop", "-D", self.dir)
        p = self.ctl("stop", "-D", self.dir)
        self.assertIn("not running", p.stdout)
        self.assertEqual(p.stderr, "")
        self.ctl("stop", "-D", self.dir, "--strict", code=2)
        for verb in ("reload", "ps", "checkpoint", "watch"):
            self.ctl(verb, "-D", self.dir, code=3)

    def test_a_start_waits_for_the_end_of_who_was_there(self):
        self.ctl("init", "-D", self.dir)
        stopping = {"parameters": {"status": {"state": "stopping", "progress": {"message": "Stopping: checkpoint 41 %"}}}}

        def start(*args):
            return subprocess.Popen([CTL, "start", "-D", self.dir, "-l", f"{self.top}/log", *args], env=self.env, text=True,
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE)

        def answer_one(s, reply):
            with s.accept()[0] as c, contextlib.suppress(BrokenPipeError):   # it waits for a second at least, not for ever
                c.recv(1000)
                c.sendall(json.dumps(reply).encode() + b"\0")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(f"{self.dir}/control")
            s.listen(1)
            p = start("--timeout=1e-6")
            answer_one(s, stopping)
            self.assertIn("was not asked to start", p.communicate(timeout=60)[1])
            self.assertEqual(p.returncode, 75)
            p = start()
            answer_one(s, stopping)
            self.assertEqual(p.stdout.readline(), "data: stopping: checkpoint 41 %\n")
            os.unlink(f"{self.dir}/control")
        self.assertRegex(p.communicate(timeout=60)[0], r"data: ready after")
        self.ctl("stop", "-D", self.dir)
        # One that was killed: its socket takes another connection, its children hold the lock file.
        with open(f"{self.dir}/postmaster.pid", "w", encoding="utf-8") as held, socket.socket(socket.AF_UNIX) as s:
            fcntl.lockf(held, fcntl.LOCK_EX)
            s.bind(f"{self.dir}/control")
            s.listen(1)
            p = start()
            with s.accept()[0]:
                os.unlink(f"{self.dir}/control")
            self.assertEqual(p.stdout.readline(), "data: waiting for the end of the server that was there\n")
        self.assertRegex(p.communicate(timeout=60)[0], r"data: ready after")
        self.assertEqual(p.returncode, 0)

    def test_a_rejected_configuration_exits_78_and_names_the_line(self):
        self.start()
        with open(f"{self.dir}/broken", "w", encoding="utf-8"):
            pass
        p = self.ctl("reload", "-D", self.dir, code=78)
        self.assertIn("error: configuration rejected, generation 7 stays active\n", p.stderr)
        self.assertIn("check-config", p.stderr)
        self.assertIn("  /etc/pinion/main/pinion.conf:12: max_connections must be >= 1\n", p.stderr)
        error = json.loads(self.ctl("reload", "-D", self.dir, "--json", code=78).stdout)["error"]
        self.assertEqual((error["name"], error["exit"]), ("org.pinion.Control.ConfigInvalid", 78))
        p = self.ctl("check-config", "-D", self.dir, code=78)
        self.assertIn("error: 1 problem in the configuration files\n  /etc/pinion/main/pinion.conf:12: max_connections", p.stderr)
        reply = json.loads(self.ctl("check-config", "-D", self.dir, "--json", code=78).stdout)
        self.assertEqual((reply["valid"], reply["problems"][0]["line"]), (False, 12))

    def test_files_of_a_server_that_does_not_run_are_checked_by_piniond(self):
        path = os.path.join(self.top, "piniond")
        os.makedirs(self.dir)
        for script, code in [("echo /a/pinion.conf and /a/pg_hba.conf are fine", 0),
                             ("echo '/a b/x:c.conf:3: wrong: very'; echo '  hint: Do.'; echo 'command line: no'; echo /y: gone; exit 78", 78)]:
            with open(path, "w", encoding="utf-8") as f:
                f.write(f'#!/bin/sh\ntest "$*" = "-D {self.dir} --check" || exit 9\n{script}\n')
            os.chmod(path, 0o755)
            p = self.ctl("check-config", "-D", self.dir, code=code, PINIOND=path)
            reply = json.loads(self.ctl("check-config", "-D", self.dir, "--json", code=code, PINIOND=path).stdout)
            self.assertEqual(reply["valid"], code == 0)
            if code == 0:
                self.assertEqual((p.stdout, reply["problems"]), ("data: the configuration files are fine\n", []))
        self.assertEqual(p.stderr, "pinionctl: error: 3 problems in the configuration files\n  /a b/x:c.conf:3: wrong: very\n      hint: Do.\n"
                                   "  no\n  /y: gone\n")
        self.assertEqual(reply["problems"], [{"severity": "error", "message": "wrong: very", "file": "/a b/x:c.conf", "line": 3, "hint": "Do."},
                                             {"severity": "error", "message": "no"}, {"severity": "error", "message": "gone", "file": "/y"}])

    def test_a_start_waits_for_recovery_or_says_that_it_goes_on(self):
        self.hold("recovering")
        self.assertIn("the start goes on", self.start("--timeout=0.2", code=75).stderr)
        self.until_state("recovering")
        p = self.ctl("status", "-D", self.dir, code=5)
        self.assertRegex(p.stdout.splitlines()[0], r"^◐ main  recovering \(redo\)  PM_RECOVERY +not accepting connections")
        self.assertIn("[#######-------------]  36 %   Recovering: redo 36 %", p.stdout)
        p = self.ctl("checkpoint", "-D", self.dir, code=1)
        self.assertIn("cannot execute Checkpoint in state recovering (PM_RECOVERY)", p.stderr)
        w = self.popen("call", "-D", self.dir, "WatchStatus", '{"untilState":["ready"]}', "--more", "--json")
        self.assertEqual(json.loads(w.stdout.readline())["status"]["state"], "recovering")
        self.let_go("recovering")
        self.assertEqual(json.loads(w.communicate(timeout=60)[0].splitlines()[-1])["status"]["state"], "ready")
        self.ctl("stop", "-D", self.dir)
        self.hold("recovering")
        start = self.popen("start", "-D", self.dir, "-l", f"{self.top}/log")
        self.assertIn("data: recovering: redo 36 %\n", iter(start.stdout.readline, ""))
        self.let_go("recovering")
        self.assertRegex(start.communicate(timeout=60)[0], r"(?m)^data: ready after")
        self.assertEqual(start.returncode, 0)

    def test_a_server_that_ends_while_starting_is_reported_with_its_status(self):
        self.ctl("init", "-D", self.dir)
        with open(f"{self.dir}/exit78", "w", encoding="utf-8"):
            pass
        p = self.ctl("start", "-D", self.dir, "-l", f"{self.top}/log", code=78)
        self.assertIn("it ended with status 78", p.stderr)
        self.assertIn(f"hint: See {self.top}/log.", p.stderr)

    def test_status_of_nothing_exits_4(self):
        p = self.ctl("status", "-D", f"{self.top}/none", code=4)
        self.assertIn(f'there is no data directory "{self.top}/none": could not find "{self.top}/none/pinion.conf"\n'
                      f"  hint: Make one: pinionctl init -D {self.top}/none\n", p.stderr)
        for verb in ("status", "start", "stop", "reload", "ps", "checkpoint", "restart", "show"):
            self.assertIn('no instance "none"', self.ctl(verb, "-i", "none", code=4).stderr)
            self.assertIn("hint: Make it: sudo pinionctl create none\n", self.ctl(verb, "-i", "none", code=4).stderr)
            self.assertIn(f'no data directory "{self.top}/none"', self.ctl(verb, "-D", f"{self.top}/none//", code=4).stderr)
        self.assertIn("data directory's name is empty", self.ctl("status", "-D", "", code=2).stderr)
        self.assertIn("socket's path is empty", self.ctl("status", "--socket=", code=2).stderr)
        p = self.ctl("start", "-D", f"{self.top}/none", code=4)
        self.assertEqual(p.stderr, f'pinionctl: error: there is no data directory "{self.top}/none"\n  hint: Make one: pinionctl init -D {self.top}/none\n')
        self.assertIn("init needs -D DIR", self.ctl("init", "-U", "x", code=2).stderr)

    def test_a_failed_start_says_what_the_server_said_and_nothing_older(self):
        path = os.path.join(self.top, "piniond")
        os.makedirs(self.dir)
        with open(f"{self.top}/log", "w", encoding="utf-8") as f:
            f.write("x FATAL:  an old one\n")
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\necho '2026 [1] LOG:  hello' >&2; echo '2026 [1] FATAL:  port is taken' >&2; echo '2026 [1] HINT:  Move.' >&2; exit 69\n")
        os.chmod(path, 0o755)
        p = self.ctl("start", "-D", self.dir, "-l", f"{self.top}/log", code=1, PINIOND=path)
        self.assertEqual(p.stderr, "pinionctl: error: could not start the server: it ended with status 69\n  port is taken\n  HINT:  Move.\n"
                                   f"  hint: See {self.top}/log.\n")

    def test_a_start_that_is_not_waited_for_tells_what_is_refused_at_once(self):
        path = os.path.join(self.top, "piniond")
        os.makedirs(self.dir)
        with open(path, "w", encoding="utf-8") as f:
            f.write("#!/bin/sh\necho '2026 [1] FATAL:  port is taken' >&2; exit 69\n")
        os.chmod(path, 0o755)
        argv = [CTL, "start", "-D", self.dir, "--no-wait", "-l", f"{self.top}/log"]
        until = time.monotonic() + 60   # a machine that is slow enough makes "at once" later
        while (p := subprocess.run(argv, env={**self.env, "PINIOND": path}, capture_output=True, text=True, timeout=60, check=False)).returncode == 0:
            self.assertLess(time.monotonic(), until)
        self.assertEqual(p.returncode, 1)
        self.assertIn("it ended with status 69\n  port is taken\n", p.stderr)

    def test_a_restart_with_errors_in_the_files_does_nothing(self):
        self.start()
        open(f"{self.dir}/broken", "w", encoding="utf-8").close()
        self.ctl("reload", "-D", self.dir, code=78)
        p = self.ctl("restart", "-D", self.dir, code=78)
        self.assertIn("would not start again", p.stderr)
        self.assertIn("pinion.conf:12: max_connections must be >= 1", p.stderr)
        self.assertEqual(self.ctl("status", "-D", self.dir, "--field=state").stdout, "ready\n")

    def test_a_stop_that_takes_long_times_out_and_goes_on(self):
        self.start()
        self.hold("stopping")
        self.ctl("stop", "-D", self.dir, "--timeout=0.2", code=75)
        self.until_state("stopping")
        self.assertIn("stopping", self.ctl("status", "-D", self.dir, code=5).stdout)
        stop = self.popen("stop", "-D", self.dir)
        self.assertIn("checkpoint", stop.stdout.readline())
        self.let_go("stopping")
        self.assertIn("stopped cleanly", stop.communicate(timeout=60)[0])

    def test_no_wait_returns_at_once(self):
        self.start()
        self.hold("stopping")
        self.assertIn("stop requested", self.ctl("stop", "-D", self.dir, "--no-wait").stdout)
        self.until_state("stopping")
        self.ctl("status", "-D", self.dir, code=5)

    def test_a_watch_prints_a_line_per_change_and_ends_with_the_server(self):
        self.start()
        self.hold("stopping")
        w = self.popen("watch", "-D", self.dir, "--json")
        first = json.loads(w.stdout.readline())
        self.assertEqual((first["sequence"], first["status"]["state"]), (0, "ready"))
        self.ctl("stop", "-D", self.dir, "--no-wait")
        self.assertEqual(json.loads(w.stdout.readline())["status"]["state"], "stopping")
        self.let_go("stopping")
        rest, err = w.communicate(timeout=60)
        self.assertEqual((w.returncode, err, "error" in rest), (0, "", False))

    def test_an_interrupted_wait_exits_130(self):
        self.start()
        self.hold("stopping")
        p = self.popen("stop", "-D", self.dir)
        self.assertIn("checkpoint", p.stdout.readline())
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=30)
        self.assertEqual(p.returncode, 130)
        self.assertIn("goes on", err)

    def test_call_prints_the_reply_and_errors_in_words(self):
        self.start()
        self.assertIn("monotonicUSec", json.loads(self.ctl("call", "-D", self.dir, "Ping").stdout))
        p = self.ctl("call", "-D", self.dir, "org.varlink.service.GetInfo", "--json")
        self.assertEqual(json.loads(p.stdout)["vendor"], "Pinion")
        self.assertIn('no method "org.pinion.Control.Dance"', self.ctl("call", "-D", self.dir, "Dance", code=1).stderr)
        self.assertIn('parameter "mode"', self.ctl("call", "-D", self.dir, "Stop", '{"mode":"x"}', code=1).stderr)
        self.ctl("call", "-D", self.dir, "Stop", "[1]", code=2)

    def test_a_long_path_is_reached_too(self):
        self.dir = os.path.join(self.top, "x" * 200)
        self.start()
        self.ctl("status", "-D", self.dir)

    def test_a_server_that_talks_rubbish_is_a_protocol_error(self):
        path = f"{self.top}/rubbish"
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(1)

            def talk():
                c, _ = s.accept()
                with c:
                    c.recv(100)
                    c.sendall(b"hello\0")
            t = threading.Thread(target=talk)
            t.start()
            self.assertIn("not a Varlink reply", self.ctl("--socket", path, "ps", code=76).stderr)
            t.join()

    @unittest.skipUnless(os.geteuid() == 0, "SKIP: needs root")
    def test_what_the_service_manager_starts_logs_where_that_says(self):
        script = f"mount -t tmpfs none /run; mkdir -p /run/systemd/system; {CTL} -i main start -l x; echo $?; {CTL} -i main restart -l x; echo $?"
        p = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], env=self.env, capture_output=True, text=True, timeout=60, check=True)
        self.assertEqual((p.stdout, p.stderr.count("--log goes with -D")), ("2\n2\n", 2))

    @unittest.skipUnless(os.geteuid() == 0 and shutil.which("strace"), "SKIP: needs root and strace")
    def test_a_credential_that_cannot_be_taken_away_is_still_handed_over(self):
        """In a machine of its own, where systemctl is "true"; the directory of the credentials cannot be read."""
        script = f"""set -e
            mount -t tmpfs none /etc; mount -t tmpfs none /run; mkdir -p /etc/pinion/main /etc/systemd/system /run/systemd/system /run/bin
            ln -s {shutil.which("true")} /run/bin/systemctl; PATH=/run/bin:$PATH; touch /etc/pinion/main/pinion.conf
            ctl() {{ {CTL} -i main set-credential "$@" 2>&1; }}
            echo a | ctl pinion.conf; echo b | ctl pinion.command.b
            strace -qq -o /dev/null -P /etc/pinion/main/credentials -e inject=openat:error=EMFILE {CTL} -i main set-credential pinion.conf --remove 2>&1 || echo "exit $?"
            cat /etc/systemd/system/pinion@main.service.d/*; ls -A /etc/pinion/main/credentials
            ctl pinion.conf --remove; cat /etc/systemd/system/pinion@main.service.d/*; ctl pinion.command.b --remove
            ls -A /etc/pinion/main/credentials /etc/systemd/system/pinion@main.service.d
            echo a | {CTL} -i other set-credential pinion.conf 2>&1 || echo "exit $?" """
        p = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", script], env={**self.env, "ASAN_OPTIONS": "detect_leaks=0"},
                           capture_output=True, text=True, timeout=60, check=True)
        head = "# Written by pinionctl set-credential.\n[Service]\n"
        b, conf = (f"LoadCredential={x}:/etc/pinion/main/credentials/{x}\n" for x in ("pinion.command.b", "pinion.conf"))
        self.assertEqual(re.sub(r"(?m)^main: .*\n", "", p.stdout), "pinionctl: error: could not read directory \"/etc/pinion/main/credentials\": Too many open files\n"
                         f"exit 1\n{head}{b}{conf}pinion.command.b\npinion.conf\n{head}{b}"
                         "/etc/pinion/main/credentials:\n\n/etc/systemd/system/pinion@main.service.d:\n"
                         'pinionctl: error: there is no instance "other": could not find "/etc/pinion/other/pinion.conf"\n'
                         "  hint: Make it: sudo pinionctl create other\nexit 4\n")

    def asked(self, reply, *args, code=0):
        """pinionctl with a server that gives this reply, whatever it is asked."""
        path = f"{self.top}/asked"
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(1)

            def talk():
                with s.accept()[0] as c:
                    c.recv(1000)
                    c.sendall(json.dumps(reply).encode() + b"\0")
            t = threading.Thread(target=talk)
            t.start()
            p = self.ctl("--socket", path, *args, code=code)
            t.join()
        os.unlink(path)
        return p

    def test_a_name_does_not_command_the_terminal_nor_make_up_a_row(self):
        evil, tame = "a\x1b[2J\x9bé\x7f\r\n  1 idle\tb", "a?[2J??é???  1 idle?b"
        p = self.asked({"parameters": {"processes": [{"pid": 7, "role": "backend", "user": evil}]}}, "ps")
        self.assertEqual((len(p.stdout.splitlines()), p.stdout.count(tame)), (2, 1))
        status = {"parameters": {"status": {"state": "ready", "listen": [evil], "progress": {"message": evil}}}}
        self.assertIn(f"Listen     {tame}\n", self.asked(status, "status").stdout)
        self.assertEqual(self.asked(status, "status", "--field=progress.message").stdout, tame + "\n")
        setting = {"name": "a", "value": evil, "source": "file"}
        self.assertIn(f"a = {tame}\n", self.asked({"parameters": {"settings": [setting]}}, "show", "a").stdout)
        self.assertEqual(len(self.asked({"parameters": {"settings": [setting]}}, "show").stdout.splitlines()), 2)
        odd = {"processes": [evil + "\x80\u00a0¿"]}   # as JSON: the same for a program, nothing for a terminal
        for args, status in ((("ps", "--json"), None), (("call", "X"), None), (("status", "--field=progress"), {"state": "ready", "progress": odd})):
            p = self.asked({"parameters": {"status": status} if status else odd}, *args)
            self.assertNotRegex(p.stdout, "[\x00-\x09\x0b-\x1f\x7f-\x9f]")
            self.assertEqual(json.loads(p.stdout), odd)
        error = {"error": "org.pinion.Control.OperationFailed", "parameters": {"message": evil, "detail": evil, "hint": evil}}
        self.assertEqual(self.asked(error, "ps", code=1).stderr.count("a?[2J??é??\n"), 3)

    def test_a_server_that_has_no_room_for_us_is_asked_once(self):
        path = f"{self.top}/full"
        n = [0]
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(1)

            def refuse():
                try:
                    while n[0] < 1000:
                        s.accept()[0].close()
                        n[0] += 1
                except OSError:
                    pass   # shut down
            t = threading.Thread(target=refuse)
            t.start()
            p = self.ctl("--socket", path, "status", code=69)
            q = self.ctl("--socket", path, "stop", code=69)   # it was not asked: nothing to wait for
            s.shutdown(socket.SHUT_RDWR)
            t.join()
        self.assertRegex(p.stderr, "closed the connection|could not send")
        self.assertIn("was not asked to stop", q.stderr)
        self.assertLess(n[0], 20)


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1])

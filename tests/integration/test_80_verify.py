"""`pinionctl verify`: clean, damaged in each part, crashed, and running under load without a false alarm."""
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest
import server as support
from wire import connect

FILL = "WITH RECURSIVE c(x) AS (VALUES ({low}) UNION ALL SELECT x + 1 FROM c WHERE x < {high}) INSERT INTO t SELECT x, hex(randomblob(200)) FROM c"


def verify(server, *args, user=True):
    """(exit code, the reply) of verify --json."""
    p = server.ctl("verify", "-D", server.data, "-U", "postgres", "--json", *args, check=False, user=user)
    return p.returncode, json.loads(p.stdout)


def make(cluster, rows=3000, conf=""):
    server = cluster(conf=conf, init_args=("--wal-segsize=1",))
    server.start()
    with connect(server) as w:
        w.ok("CREATE TABLE t (id integer PRIMARY KEY, pad text CHECK (length(now()) > 0))")   # a function of the server's in a schema
        w.ok("CREATE INDEX i ON t (pad)")
        w.ok(FILL.format(low=1, high=rows))
        w.ok("CREATE DATABASE other")
    return server


def flip(path, at, size=1):
    with open(path, "r+b") as f:
        f.seek(at)
        old = f.read(size)
        f.seek(at)
        f.write(bytes(b ^ 0x55 for b in old))


def only_problem(reply):
    assert reply["result"] == "damaged" and reply["problemCount"] == len(reply["problems"])
    return reply["problems"]


def test_a_clean_cluster_is_fine_stopped_and_running(cluster):
    server = make(cluster)
    code, reply = verify(server)
    assert (code, reply["result"], reply["server"]) == (0, "ok", "running"), reply["problems"]
    assert [(d["name"], d["structure"], d["damaged"]) for d in reply["databases"]] == \
        [("pinion_catalog", "ok", 0), ("postgres", "ok", 0), ("other", "ok", 0)]
    server.stop()
    code, reply = verify(server)
    assert (code, reply["result"], reply["server"]) == (0, "ok", "stopped"), reply
    assert reply["control"] == {**reply["control"], "usableCopies": 2, "clusterState": "shut down"}
    sizes = {d["name"]: d["pages"] for d in reply["databases"]}
    assert sizes["postgres"] == (server.data / "base/5/5").stat().st_size / 8192 > 100
    assert reply["wal"]["records"] > 5 and reply["problems"] == [] and reply["unchecked"] == []
    text = server.ctl("verify", "-D", server.data).stdout
    assert "postgres         ok" in text and text.endswith("no problem found\n")
    assert server.ctl("verify", "-D", server.data, "-q").stdout == ""
    if os.geteuid() == 0:   # root becomes the owner
        assert verify(server, user=False)[0] == 0


def test_a_flipped_byte_in_a_page_is_named(cluster):
    server = make(cluster)
    server.stop()
    flip(server.data / "base/5/5", 40 * 8192 + 5000)
    code, reply = verify(server)
    assert code == 1
    p = only_problem(reply)[0]
    assert (p["part"], p["database"], p["file"], p["page"]) == ("database", "postgres", "base/5/5", 41)
    assert "checksum" in p["message"] and "The page has" in p["detail"]
    text = server.ctl("verify", "-D", server.data, check=False).stdout
    assert "DAMAGED" in text and 'database "postgres", base/5/5, page 41: checksum' in text
    server.start()   # the server does not mind until it reads the page; verify sees it there too
    code, reply = verify(server)
    assert code == 1 and only_problem(reply)[0]["page"] == 41


def test_a_page_in_the_wrong_place_and_a_broken_tree_are_found(cluster):
    server = make(cluster)
    server.stop()
    path = server.data / "base/5/5"
    good = path.read_bytes()
    path.write_bytes(good[:50 * 8192] + good[51 * 8192:52 * 8192] + good[51 * 8192:])   # page 52 twice
    code, reply = verify(server)
    assert code == 1 and only_problem(reply)[0]["page"] == 51
    path.write_bytes(good[:50 * 8192] + bytes(8192) + good[51 * 8192:])   # zeros pass for a page never written
    code, reply = verify(server)
    assert code == 1 and all("structure" in p["message"] for p in only_problem(reply)), reply
    assert [d["structure"] for d in reply["databases"]] == ["ok", "damaged", "ok"]


def test_a_truncated_and_a_missing_file_are_found(cluster):
    server = make(cluster)
    server.stop()
    path = server.data / "base/5/5"
    size = path.stat().st_size
    os.truncate(path, size - 3 * 8192 - 100)
    os.remove(server.data / "base/16384/16384")
    code, reply = verify(server)
    assert code == 1
    found = {(p["file"], p["message"]): p.get("detail", "") for p in only_problem(reply)}
    assert found[("base/5/5", "the file is too short")] == f"Expected {size} bytes, found {size - 3 * 8192 - 100}."
    assert ("base/16384/16384", "could not open the file") in found


def test_a_file_changed_while_stopped_is_found(cluster):
    server = make(cluster, rows=10)
    server.stop()
    path = server.data / "base/5/5"
    old = path.read_bytes()
    server.start()
    with connect(server) as w:
        w.ok(FILL.format(low=101, high=200))
    server.stop()
    path.write_bytes(old)   # each page is fine by itself
    code, reply = verify(server)
    p = only_problem(reply)[0]
    assert code == 1 and (p["database"], p["file"]) == ("postgres", "base/5/5") and "changed while the server was stopped" in p["message"]


@pytest.mark.parametrize("copy", [0, 1])
def test_a_flipped_byte_in_the_control_file_is_found(cluster, copy):
    server = make(cluster, rows=10)
    server.stop()
    flip(server.data / "global/pg_control", 4096 * copy + 50)
    code, reply = verify(server)
    p = only_problem(reply)[0]
    assert code == 1 and p["file"] == "global/pg_control" and ["first", "second"][copy] in p["message"]
    assert reply["control"]["usableCopies"] == 1 and len(reply["databases"]) == 3   # the rest was checked with the other copy
    flip(server.data / "global/pg_control", 4096 * (1 - copy) + 50)
    code, reply = verify(server)
    assert code == 1 and reply["control"]["usableCopies"] == 0 and reply["unchecked"]


def test_a_flipped_byte_in_a_segment_is_found(cluster):
    server = make(cluster)
    with connect(server) as w:
        w.ok("CHECKPOINT")
        w.ok(FILL.format(low=10001, high=10500))
    server.stop()
    code, reply = verify(server)
    assert code == 0
    first, end = (int(reply["wal"][k].split("/")[1], 16) for k in ("from", "to"))
    path = server.data / f"pg_wal/0000000100000000{first >> 20:08X}"
    flip(path, (end - first) // 2 % (1 << 20))
    code, reply = verify(server)
    p = only_problem(reply)[0]
    assert code == 1 and p["part"] == "wal" and p["file"] == f"pg_wal/{path.name}" and "must be whole to" in p["detail"]
    assert len(reply["problems"]) == 1 and reply["wal"]["records"] > 1   # it goes on behind the break
    os.remove(path)
    code, reply = verify(server)
    assert code == 1 and only_problem(reply)[0]["part"] == "wal"


def test_a_crashed_cluster_is_checked_as_far_as_it_can_be(cluster):
    server = make(cluster)
    with connect(server) as w:
        w.ok("CREATE TABLE u (x integer)")
        w.ok("CHECKPOINT")
        w.ok("INSERT INTO u VALUES (1)")   # changes its own page and page 1
    server.kill9()
    code, reply = verify(server)
    assert (code, reply["server"], reply["result"]) == (5, "crashed", "incomplete"), reply
    assert "needs recovery" in " ".join(reply["unchecked"]) and reply["problems"] == []
    assert {d["structure"] for d in reply["databases"]} == {"unchecked"}
    path = server.data / "base/5/5"
    flip(path, 5000)   # page 1 is in the log since the checkpoint: recovery replaces it
    assert verify(server)[0] == 5
    flip(path, 300 * 8192 + 5000)   # this one was not changed since
    code, reply = verify(server)
    assert code == 1 and [p["page"] for p in only_problem(reply)] == [301] and "no image" in reply["problems"][0]["message"]
    flip(path, 300 * 8192 + 5000)
    server.start()
    assert verify(server)[0] == 0


def test_what_cannot_be_checked_is_said(cluster):
    server = make(cluster, rows=10)
    p = server.ctl("verify", "-D", server.data, "-U", "nobody", "--json", check=False)
    reply = json.loads(p.stdout)
    assert (p.returncode, reply["result"]) == (5, "incomplete") and 'role "nobody" does not exist' in reply["unchecked"][0]
    server.sql("SELECT pinion_check_database(5)")
    with connect(server) as c:
        assert c.query("SELECT pinion_check_database(77)").code == "3D000"
    assert server.ctl("verify", "-D", server.dir / "nothing", check=False).returncode == 4
    assert server.ctl("verify", "-D", server.dir, check=False).returncode == 4
    assert server.ctl("verify", "--socket", server.data / "control", check=False).returncode == 2
    assert server.ctl("verify", "-D", server.data, "more", check=False).returncode == 2


def test_why_it_could_not_begin_is_said_in_json_too(cluster):
    server = make(cluster, rows=10)
    p = server.ctl("verify", "-D", server.dir, "--json", check=False)
    error = json.loads(p.stdout)["error"]
    assert (p.returncode, error["exit"]) == (4, 4) and "is not the data directory of a cluster" in error["message"]


def test_a_name_with_tab_new_line_and_backslash_arrives_as_it_is(cluster):
    server = make(cluster, rows=10)
    server.stop()
    path = server.dir / "a\tb\nc\\nd"
    support.run("cp", "-a", server.data, path)
    assert json.loads(server.ctl("verify", "-D", path, "--json").stdout)["directory"] == str(path)


def test_a_name_that_is_not_utf_8_is_shown_as_far_as_it_can_be(cluster):
    server = make(cluster, rows=10)
    server.stop()
    path = os.fsdecode(os.fsencode(server.dir) + b"/n\xe9")
    support.run("cp", "-a", server.data, path)
    assert json.loads(server.ctl("verify", "-D", path, "--json").stdout)["directory"] == f"{server.dir}/n?"


def test_an_interrupt_ends_the_question_at_the_server_too(cluster):
    server = make(cluster, rows=100000)   # long enough to be met in the middle
    with connect(server) as w:
        def asker(of="query LIKE '%check_database(5)%' AND state = 'active'"):
            rows = w.query(f"SELECT pid FROM pg_stat_activity WHERE application_name = 'pinionctl verify' AND {of}").rows
            return int(rows[0][0]) if rows else None

        def met():
            """pinionctl and the session that it asks, which stands still in the middle of the answer; None: that was through before."""
            ctl = subprocess.Popen(support.as_user(support.PINIONCTL, "verify", "-D", server.data, "-U", "postgres"),
                                   env={**os.environ, "PINIOND": str(support.PINIOND)}, stdout=subprocess.DEVNULL)
            pid = support.until(lambda: asker() or ctl.poll() is not None and -1, "it asks the server")
            if pid > 0 and support.freeze(pid):
                if asker() == pid:
                    return ctl, pid
                os.kill(pid, signal.SIGCONT)
            assert ctl.wait(support.DEADLINE) == 0
            return None

        ctl, pid = support.until(met, "it is met")   # now an answer takes as long as we like
        try:
            child = int(Path(f"/proc/{ctl.pid}/task/{ctl.pid}/children").read_text())
            support.until(lambda: "poll" in Path(f"/proc/{child}/wchan").read_text(), "it waits for an answer")
            ctl.send_signal(signal.SIGINT)
            assert ctl.wait(support.DEADLINE) == 130
        finally:
            os.kill(pid, signal.SIGCONT)
        support.until(lambda: asker("true") is None, "its session has ended")
    assert "canceling statement due to user request" in server.log()


def test_no_false_alarm_under_load(cluster):
    server = make(cluster, rows=2000, conf="shared_buffers = 1MB\nmax_wal_size = 4MB\nmin_wal_size = 2MB\ncheckpoint_timeout = 30s\n")
    stop = threading.Event()
    counts = [0, 0]

    def load(k):
        with connect(server) as w:
            while not stop.is_set():
                n = counts[k]
                if k == 0:
                    w.ok(f"UPDATE t SET pad = hex(randomblob(200)) WHERE id % 7 = {n % 7}")
                    if n % 10 == 0:
                        w.ok("DELETE FROM t WHERE id > 1000; PRAGMA incremental_vacuum")
                        w.ok(FILL.format(low=1001, high=2000))
                else:
                    w.ok(f"CREATE DATABASE d{n}")
                    w.ok("CHECKPOINT")
                    w.ok(f"DROP DATABASE d{n}")
                counts[k] += 1

    threads = [threading.Thread(target=load, args=(k,)) for k in range(2)]
    for t in threads:
        t.start()
    try:
        rounds = 40 if os.environ.get("PINION_LONG") else 8
        for _ in range(rounds):
            code, reply = verify(server)
            assert (code, reply["result"]) == (0, "ok"), reply
        support.until(lambda: min(counts) >= 3, "the load has done something")
    finally:
        stop.set()
        for t in threads:
            t.join()
    server.stop()
    assert verify(server)[0] == 0

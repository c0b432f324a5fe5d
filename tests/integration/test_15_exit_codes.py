"""The exit codes of piniond, one test for each (systemd-ops 3.9): what the service manager acts on, and people look up. Those that nothing
from outside can bring about (70) are in tests/unit/test_pm_child.c with all others."""
import os
import pwd
import re
import signal
import socket
from pathlib import Path

import pytest
import server as support
from wire import connect

IN_MOUNTS = ["unshare", "--mount", "--propagation", "private", "--", "bash", "-c"]


def outcome(argv, text=""):
    """Exit code of a piniond that is refused, having said `text`."""
    p = support.run(*argv, check=False, user=False)
    assert text in p.stderr, f"no {text!r} in\n{p.stderr}"
    return p.returncode


def serve(s, *args):
    return support.as_user(support.PINIOND, "-D", s.data, *args)


def behind_mounts(s, mounts):
    """The same where root has mounted something else first, in a namespace of its own; skips if that cannot be."""
    p = support.run(*IN_MOUNTS, mounts, check=False, user=False)
    if p.returncode != 0:
        pytest.skip(f"SKIP: this machine mounts nothing: {p.stderr}")
    return [*IN_MOUNTS, mounts + ' && exec "$@"', "sh", *serve(s)]


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGQUIT])
def test_0_for_each_stop_that_was_asked_for(cluster, sig):
    s = cluster()
    p = s.foreground()
    s.until_ready()
    p.send_signal(sig)
    assert p.wait(support.DEADLINE) == 0


def test_1_for_an_abnormal_end(cluster):
    s = cluster(conf="restart_after_crash = off\n")
    p = s.foreground()
    s.until_ready()
    os.kill(s.child("bgwriter"), signal.SIGKILL)
    assert p.wait(support.DEADLINE) == 1


def test_65_when_recovery_finds_that_a_database_is_gone(cluster):
    s = cluster()
    s.start()
    s.sql("CREATE TABLE t (a)")
    s.kill9()
    (s.data / "base/1").rename(s.data / "base/1.away")
    p = s.foreground()
    assert p.wait(support.DEADLINE) == 65
    (s.data / "base/1.away").rename(s.data / "base/1")
    s.start()


def test_64_for_a_wrong_command_line():
    for args in (["--nonsense"], ["-D"], [], ["-D", "/tmp", "more"], ["-D", "/tmp", "--instance", "x"], ["--instance", "a/b"], ["init"], ["verify"]):
        assert support.run(support.PINIOND, *args, check=False).returncode == 64, args
    p = support.run(support.PINIOND, "init", "-D", "/nowhere", "--wal-segsize=16x", check=False)
    assert p.returncode == 78 and 'segment size "16x" is not supported' in p.stderr
    p = support.run(support.PINIOND, "-D", "/x", "-c", check=False)   # said once, and what it is
    assert re.fullmatch(r"\S*piniond: option requires an argument -- 'c'\nTry .*\n", p.stderr), p.stderr


def test_65_for_data_that_are_not_ours(cluster):
    s = cluster()
    (s.data / "PG_VERSION").write_text("14\n")
    assert outcome(serve(s), "another version") == 65
    (s.data / "PG_VERSION").write_text("15\n")
    for p in (s.data / "global").glob("pg_control*"):
        p.write_bytes(b"")
    assert outcome(serve(s), "pg_control") == 65


def test_66_for_a_directory_that_is_not_there(cluster):
    s = cluster()
    s.data.rename(s.dir / "moved")
    assert outcome(serve(s), "does not exist") == 66
    s.data.write_text("a file")
    assert outcome(serve(s), "is not a directory") == 66
    s.data.unlink()


def test_69_for_an_address_in_use_or_of_another_machine(cluster):
    s = cluster(tcp=True)
    with socket.socket() as held:
        held.bind(("127.0.0.1", s.port))
        held.listen()
        assert outcome(serve(s), str(s.port)) == 69
    assert outcome(serve(s, "-c", "listen_addresses=192.0.2.1"), "192.0.2.1") == 69   # TEST-NET-1: nobody has it


def test_71_when_the_kernel_has_no_memory_or_descriptors(cluster):
    s = cluster(conf="shared_buffers = 2GB\n")
    if support.is_sanitized():
        pytest.skip("SKIP: a sanitizer takes terabytes of addresses")
    assert outcome(["prlimit", "--as=1000000000", "--", *serve(s)], "Cannot allocate memory") == 71
    assert outcome(["prlimit", "--nofile=8", "--", *serve(s)], "Too many open files") == 71


def test_72_when_the_system_lacks_what_a_server_needs(cluster):
    assert outcome(behind_mounts(cluster(), "mount -t tmpfs none /proc"), "/proc") == 72


def test_73_when_nothing_can_be_made(cluster):
    s = cluster()
    assert outcome(behind_mounts(s, f"mount --bind {s.data} {s.data} && mount -o remount,ro,bind {s.data}"), "Read-only file system") == 73
    assert outcome(serve(s, "-c", "unix_socket_directories=/nowhere"), "/nowhere") == 73
    assert outcome(serve(s, "-c", "control_socket=/nowhere/control"), "/nowhere") == 73
    assert outcome(support.as_user(support.PINIOND, "init", "-D", s.data)) == 73   # there is one
    s.start()


def test_74_for_a_full_disk(small_disk, cluster):
    disk = small_disk(40)
    s = cluster(conf="min_wal_size = 4MB\n", init_args=["--wal-segsize=1"], data=disk.path / "data")
    disk.fill()
    p = s.foreground()
    code = p.wait(support.DEADLINE)
    assert code == 74, s.log()[-2000:]
    disk.empty()
    s.start()


def test_75_for_a_directory_in_use(cluster):
    s = cluster()
    s.start()
    assert outcome(serve(s), str(s.pid)) == 75
    with connect(s) as w:
        assert w.ok("SELECT 1").rows == [("1",)]


def test_77_for_a_wrong_owner_mode_or_root(cluster):
    s = cluster()
    os.chmod(s.data, 0o755)
    assert outcome(serve(s), "permission") == 77
    os.chmod(s.data, 0o700)
    os.chown(s.data, pwd.getpwnam("nobody").pw_uid, -1)
    assert outcome(serve(s)) == 77
    os.chown(s.data, pwd.getpwnam(support.USER).pw_uid, -1)
    assert outcome([support.PINIOND, "-D", s.data], "root") == 77


def test_78_for_the_configuration(cluster):
    s = cluster()
    assert outcome(serve(s, "-c", "nonsense=1"), "nonsense") == 78
    (s.data / "pg_hba.conf").write_text("local all all maybe\n")
    assert outcome(serve(s), "maybe") == 78


def test_the_codes_are_those_of_the_unit_and_the_manual():
    """What a restart cannot cure is in RestartPreventExitStatus=, the rest is tried again; man page and help list all that there are."""
    top = Path(__file__).resolve().parents[2]
    unit = (top / "units/pinion@.service.in").read_text()
    prevented = re.search(r"^RestartPreventExitStatus=(.*)$", unit, re.M)[1].split()
    assert prevented == ["64", "65", "66", "72", "73", "77", "78"]
    every = ["0", "1", "64", "65", "66", "69", "70", "71", "72", "73", "74", "75", "77", "78"]
    man = (top / "packaging/man/piniond.8").read_text()
    assert re.findall(r"^(\d+)\t", man[man.index(".SH EXIT STATUS"):], re.M) == every
    said = support.run(support.PINIOND, "--help").stdout
    assert max(map(len, said.splitlines())) <= 80
    assert re.findall(r"\b(\d+) [a-zA-Z]", said[said.rindex("Exit codes"):]) == every
    source = (top / "src/pm/pm.c").read_text()
    assert set(re.findall(r"\{ -\w+, (\d+) \}", source)) | {"0", "1", "64"} == set(every)


def test_71_for_shared_memory_that_the_machine_does_not_have(cluster):
    s = cluster()
    assert outcome(serve(s, "-c", "shared_buffers=7TB"), "could not make shared memory of 7") == 71

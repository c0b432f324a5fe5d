"""Who may do what at the control socket: three levels × all methods, by uid and by group, in a machine that has the groups (systemd-ops 2.7;
part 7, point 8). Under PrivateUsers=identity it would be the same, but systemd 252 does not know that."""
import json

import pytest

LEVELS = {"org.varlink.service.GetInfo": "public", "org.varlink.service.GetInterfaceDescription": "public", "Ping": "public", "GetStatus": "public",
          "WatchStatus": "monitor", "ListProcesses": "monitor", "CheckConfig": "monitor", "ListSettings": "monitor",
          "ListHistory": "monitor", "ListReplication": "monitor", "RotateLog": "admin", "Promote": "admin", "Demote": "admin", "Switchover": "admin",
          "Reload": "admin", "Checkpoint": "admin", "Stop": "admin", "CancelStop": "admin", "SignalProcess": "admin"}
ORDER = ["public", "monitor", "admin"]
NOBODY = 65534
HIDDEN = {"dataDirectory", "listen", "systemIdentifier", "invocationId", "connections"}

# Runs in the machine: a connection for each identity, each method with a parameter that none has. The answer says who refuses: the
# permission comes before the parameters.
ASK = r"""
import grp, json, os, pwd, socket, sys
what = json.load(sys.stdin)
ids = {"service": pwd.getpwnam("pinion").pw_uid, "admin": grp.getgrnam("pinion-admin").gr_gid, "monitor": grp.getgrnam("pinion-monitor").gr_gid}
number = lambda x: ids.get(x, x)

def ask(calls):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect("/run/pinion/main/control")
    answers, rest = [], b""
    for call in calls:
        s.sendall(json.dumps(call).encode() + b"\0")
        while b"\0" not in rest:
            data = s.recv(65536)
            if not data:
                return answers
            rest += data
        one, rest = rest.split(b"\0", 1)
        answers.append(json.loads(one))
    return answers

for who in what["who"]:
    r, w = os.pipe()
    if os.fork() == 0:
        os.setgroups([number(g) for g in who["groups"]])
        os.setresgid(*[number(who["gid"])] * 3)
        os.setresuid(*[number(who["uid"])] * 3)
        with os.fdopen(w, "w") as f:
            json.dump(ask(what["calls"]), f)
        os._exit(0)
    os.close(w)
    with os.fdopen(r) as f:
        print(f.read() or "[]")
    os.wait()
"""

WHO = [
    ("anybody", "public", 12345, 12345, []),
    ("nobody", "public", NOBODY, NOBODY, []),
    ("nobody in all groups", "public", NOBODY, "admin", ["admin", "monitor"]),   # what a user namespace shows of users it does not know
    ("many other groups", "public", 12345, 12345, list(range(20000, 20040))),
    ("monitor, by its group", "monitor", 12345, "monitor", []),
    ("monitor, by another group", "monitor", 12345, 12345, [20001, "monitor", 20002]),
    ("admin, by its group", "admin", 12345, "admin", []),
    ("admin, by another group", "admin", 12345, 12345, [20001, "admin"]),
    ("in both groups", "admin", 12345, 12345, ["monitor", "admin"]),
    ("the server's user", "admin", "service", 12345, []),
    ("root", "admin", 0, 0, []),
    ("root without any group", "admin", 0, 12345, []),
]


def full(method):
    return method if "." in method else f"org.pinion.Control.{method}"


def ask(m, calls, who=WHO):
    given = {"who": [{"uid": u, "gid": g, "groups": gs} for _, _, u, g, gs in who], "calls": calls}
    out = m.run("python3", "-c", ASK, stdin=json.dumps(given)).stdout
    return [json.loads(line) for line in out.splitlines()]


@pytest.fixture(scope="module")
def answers(created):
    created.run("systemctl", "start", "pinion@main")
    calls = [{"method": full(m), "parameters": {"nonsense": 1}, **({"more": True} if m == "WatchStatus" else {})} for m in LEVELS]
    return ask(created, calls)


@pytest.mark.parametrize("n", range(len(WHO)), ids=[w[0] for w in WHO])
def test_each_method_is_for_its_level(answers, n):
    level = WHO[n][1]
    assert len(answers[n]) == len(LEVELS)
    for (method, least), answer in zip(LEVELS.items(), answers[n]):
        allowed = ORDER.index(level) >= ORDER.index(least)
        if allowed:
            assert answer == {"error": "org.varlink.service.InvalidParameter", "parameters": {"parameter": "nonsense"}}, (method, answer)
        else:
            assert answer == {"error": "org.varlink.service.PermissionDenied"}, (method, answer)


def test_the_table_has_all_methods_and_what_is_shown_depends_on_the_level(instance):
    calls = [{"method": "org.varlink.service.GetInterfaceDescription", "parameters": {"interface": "org.pinion.Control"}}, {"method": full("GetStatus")},
             {"method": full("ListSettings")}]
    for (name, level, *_), (idl, status, settings) in zip(WHO, ask(instance.m, calls)):
        methods = {line.split()[1].split("(")[0] for line in idl["parameters"]["description"].splitlines() if line.startswith("method ")}
        assert methods == {m for m in LEVELS if "." not in m}
        status = status["parameters"]["status"]
        assert status["pmState"] == "PM_RUN" and bool(HIDDEN & set(status)) == (level != "public"), (name, status)
        if level == "public":
            assert settings["error"] == "org.varlink.service.PermissionDenied"
            continue
        assert HIDDEN <= set(status), (name, status)
        private = {s["name"]: s.get("value") for s in settings["parameters"]["settings"]}
        assert (private["data_directory"] is not None) == (level == "admin"), name


def test_who_was_refused_stands_in_the_log(instance):
    ask(instance.m, [{"method": full("Stop")}], [("anybody", "public", 12345, 12345, [])])
    text = instance.journal()
    assert "control call Stop by uid 12345" in text and "permission denied" in text
    assert instance.show("ActiveState")["ActiveState"] == "active"

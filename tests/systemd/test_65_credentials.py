"""Credentials of the unit (systemd-ops 3.10): settings and what commands need are taken, what nothing can use yet is refused by name."""
import re

import pytest
from machine import until

SECRETS = "/etc/pinion/main/credentials"


@pytest.fixture
def secret(instance):
    """set(name, text): by pinionctl; all are gone afterwards."""
    def put(name, text, **kw):
        return instance.ctl("set-credential", name, stdin=text, **kw)
    yield put
    for name in instance.m.sh(f"ls {SECRETS}", check=False).stdout.split():
        instance.ctl("set-credential", name, "--remove")
    assert instance.m.sh("ls /etc/systemd/system/pinion@main.service.d").stdout.strip() in ("", "50-test.conf")


def test_settings_come_as_a_credential(instance, secret):
    m = instance.m
    secret("pinion.conf", "lock_timeout = 9s\n")
    assert m.run("stat", "-c", "%U %a", SECRETS, f"{SECRETS}/pinion.conf").stdout == "root 700\nroot 600\n"
    assert instance.sql("SHOW lock_timeout;").stdout == "0\n"
    instance.systemctl("restart")
    assert instance.sql("SHOW lock_timeout;").stdout == "9s\n"
    assert "/pinion.conf" in instance.sql("SELECT sourcefile FROM pg_settings WHERE name = 'lock_timeout';").stdout.replace(instance.conf, "")
    instance.systemctl("reload")
    assert instance.sql("SHOW lock_timeout;").stdout == "9s\n"
    instance.ctl("set-credential", "pinion.conf", "--remove")
    instance.systemctl("restart")
    assert instance.sql("SHOW lock_timeout;").stdout == "0\n"


def test_commands_of_the_settings_find_their_own(instance, secret):
    secret("pinion.command.key", "open sesame")
    instance.m.write(instance.conf, instance.conf_text + "\narchive_mode = on\narchive_command = "
                     "'test \"$(cat $CREDENTIALS_DIRECTORY/pinion.command.key)\" = \"open sesame\" && echo %f >> archived.names'\n")
    instance.systemctl("restart")
    instance.sql("CREATE TABLE IF NOT EXISTS secrets (a); INSERT INTO secrets VALUES (1); SELECT pg_switch_wal();")
    until(lambda: re.search("[0-9A-F]{24}", instance.m.sh("cat /var/lib/pinion/main/archived.names", check=False).stdout), "a segment was archived")
    p = instance.m.sh("cat /run/credentials/pinion@main.service/pinion.command.key || setpriv --reuid=12345 --clear-groups cat /run/credentials/pinion@main.service/*",
                      check=False)
    assert "Permission denied" in instance.m.sh("setpriv --reuid=12345 --clear-groups cat /run/credentials/pinion@main.service/pinion.command.key", check=False).stderr, p


@pytest.mark.parametrize("name,words", [("pinion.tls.key", "TLS is not supported"), ("pinion.superuser.password", "passwords are not supported"),
                                        ("pinion.replication.password", "replication is not supported"), ("pinion.typo", "nothing of that name")])
def test_what_would_not_be_in_force_is_refused(instance, secret, name, words):
    instance.systemctl("stop")
    instance.drop_in(f"SetCredential={name}:secret\n")
    assert instance.systemctl("start", check=False).returncode != 0
    until(lambda: instance.show("ActiveState")["ActiveState"] == "failed", "the unit has failed")
    shown = instance.show("ExecMainStatus", "NRestarts", "StatusText")
    assert (shown["ExecMainStatus"], shown["NRestarts"]) == ("78", "0") and f'credential "{name}" cannot be used: {words[:20]}' in shown["StatusText"], shown
    p = secret(name, "secret", check=False)
    assert p.returncode in (1, 2) and name in p.stderr


def test_other_credentials_are_nobodys_business_here(instance, secret):
    instance.systemctl("stop")
    instance.drop_in("SetCredential=other.name:secret\n")
    instance.systemctl("start")
    assert instance.sql("SELECT 1;").stdout == "1\n"
    p = instance.m.run("setpriv", "--reuid=12345", "--regid=12345", "--clear-groups", "pinionctl", "-i", "main", "set-credential", "pinion.conf", check=False, stdin="x")
    assert p.returncode == 77 and "root" in p.stderr
    assert secret("../x", "x", check=False).returncode == 2
    assert secret("pinion.conf", "", check=False).returncode == 2
    assert instance.ctl("set-credential", "pinion.conf", "--remove", check=False).returncode == 1

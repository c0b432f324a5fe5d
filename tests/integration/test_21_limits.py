"""Limits of sessions: of the cluster, of a database, of a role, and the places kept for superusers. A place is free again however its session ends."""
import contextlib
import os
import signal
import sqlite3
import struct

import server as support
from wire import Closed, Wire, connect

PAGE, LSN_AT = 8192, 8168   # store/store_page.h
CATALOGUE = "base/1/1"
TOO_MANY = "53300"
ALL_TAKEN = (TOO_MANY, "sorry, too many clients already")
KEPT = (TOO_MANY, "remaining connection slots are reserved for non-replication superuser connections")
DB_FULL = (TOO_MANY, 'too many connections for database "small"')
ROLE_FULL = (TOO_MANY, 'too many connections for role "few"')


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def stamped(page, block):
    """With the tail that the server wants, after somebody else has written to it."""
    body = bytes(page[:LSN_AT + 8])
    crc = crc32c(body + struct.pack("<I", block + 1))
    return body + struct.pack("<IIQ", crc, 1, 0)


def write_catalogue(server, *statements):
    """There is no SQL for limits yet: SQLite writes them while the server is down."""
    path = server.data / CATALOGUE
    old = path.read_bytes()
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        for text in statements:
            db.execute(text)
    new = path.read_bytes()
    assert len(new) == len(old) and new != old
    path.write_bytes(b"".join(new[at:at + PAGE] if new[at:at + PAGE] == old[at:at + PAGE] else stamped(new[at:at + PAGE], at // PAGE)
                              for at in range(0, len(new), PAGE)))


def limited(cluster, conf):
    """Roles guest (no limit) and few (2); database small (1)."""
    s = cluster(conf=conf)
    s.start()
    s.sql("CREATE DATABASE small")
    s.stop()
    write_catalogue(s, "INSERT INTO pg_authid(oid, rolname, rolconnlimit) VALUES (20001, 'guest', -1), (20002, 'few', 2)",
                    "UPDATE pg_database SET datconnlimit = 1 WHERE datname = 'small'")
    s.start()
    return s


def refused(s, says, **who):
    """A login must fail, with that SQLSTATE and message: at once, or when those have left who were refused or closed just before."""
    def attempt():
        try:
            connect(s, **who).close()
        except Closed as e:
            return (e.reply.code, e.reply.error) == says
        raise AssertionError(f"{who} was let in")
    support.until(attempt, f"{who} is refused with {says}")


def in_again(s, **who):
    """Sessions leave when they notice: the place comes a moment later."""
    def attempt():
        try:
            return connect(s, **who)
        except (Closed, OSError):
            return None
    return support.until(attempt, f"a place for {who}")


def end_by_client(_, w):
    w.close()


def end_by_terminate(s, w):
    s.sql(f"SELECT pg_terminate_backend({w.key[0]})")
    assert w.read_end().code == "57P01"


def end_by_signal(_, w):
    os.kill(w.key[0], signal.SIGTERM)
    assert w.read_end().code == "57P01"


ENDS = (end_by_client, end_by_terminate, end_by_signal)


def test_each_limit_refuses_and_gives_its_place_back(cluster):
    s = limited(cluster, "max_connections = 20\nsuperuser_reserved_connections = 2\n")
    for who, limit, says in (({"user": "few"}, 2, ROLE_FULL), ({"user": "guest", "database": "small"}, 1, DB_FULL)):
        held = [in_again(s, **who) for _ in range(limit)]
        for end in ENDS:
            refused(s, says, **who)
            in_again(s, user="guest").close()       # the others have theirs
            in_again(s, database="small").close()   # a superuser's limit is the cluster's
            end(s, held.pop(0))
            held.append(in_again(s, **who))
        refused(s, says, **who)   # one place came back each time, not two
        for w in held:
            w.close()


def test_the_last_places_are_kept_for_superusers(cluster):
    s = limited(cluster, "max_connections = 5\nsuperuser_reserved_connections = 2\n")
    guests = [in_again(s, user="guest") for _ in range(3)]
    for end in ENDS:
        refused(s, KEPT, user="guest")
        end(s, guests.pop())
        guests.append(in_again(s, user="guest"))
    supers = [in_again(s) for _ in range(2)]
    refused(s, ALL_TAKEN)
    refused(s, ALL_TAKEN, user="guest")
    supers.pop().close()
    supers.append(in_again(s))
    for w in (*guests, *supers):
        w.close()


def test_who_was_refused_or_is_not_logged_in_takes_no_place(cluster):
    s = limited(cluster, "max_connections = 3\nsuperuser_reserved_connections = 0\n")
    with Wire(s), Wire(s), Wire(s):   # silent
        held = [in_again(s, user="few") for _ in range(2)]
        for _ in range(5):
            refused(s, ROLE_FULL, user="few")
            refused(s, ('3D000', 'database "nowhere" does not exist'), database="nowhere")
        third = in_again(s)
        refused(s, ALL_TAKEN)
    for w in (*held, third):
        w.close()


def test_a_crash_gives_all_places_back(cluster):
    s = limited(cluster, "max_connections = 4\nsuperuser_reserved_connections = 1\n")
    for crashes in (1, 2):
        held = [in_again(s, user="few") for _ in range(2)] + [in_again(s, user="guest", database="small"), in_again(s)]
        refused(s, ALL_TAKEN)
        os.kill(held[crashes].key[0], signal.SIGKILL)
        s.until_recovered(crashes)
        for w in held:
            w.close()
    held = [in_again(s, user="few") for _ in range(2)] + [in_again(s, user="guest", database="small")]
    refused(s, KEPT, user="guest")
    for w in held:
        w.close()

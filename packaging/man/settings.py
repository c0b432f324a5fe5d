#!/usr/bin/env python3
"""pinion.conf(5) from src/tbl/settings.def and settings_elsewhere.def.

Usage: settings.py SETTINGS.DEF ELSEWHERE.DEF > pinion.conf.5"""
import collections
import re
import sys

HEAD = r"""'\" t
.TH PINION.CONF 5 "" "Pinion" "Pinion manual"
.SH NAME
pinion.conf \- settings of a Pinion server
.SH SYNOPSIS
.IR DATADIR /pinion.conf,
.IR DATADIR /postgresql.auto.conf
.br
/etc/pinion/\fIINSTANCE\fR/pinion.conf,
.RI /var/lib/pinion/ INSTANCE /postgresql.auto.conf
.SH DESCRIPTION
One setting per line,
.IR name " = " value ,
as in PostgreSQL's configuration files, with PostgreSQL's names wherever the meaning is the same. What follows a # is a comment.
A value with other characters than letters, digits and _ . / : + \- stands in single quotes; a quote in it is doubled. Of several lines
for one setting the last one counts.
.PP
Read in this order, a later one over an earlier: the defaults below,
.IR pinion.conf ,
the service manager's credential of that name
.RB ( piniond (8)),
.I postgresql.auto.conf
in the data directory (written by
.BR "ALTER SYSTEM" ),
.B \-c
options of
.BR piniond (8).
A session may set some for itself.
.SS Other files
.TP
.BI "include '" FILE '
reads that file here; relative names begin at the folder of the including file.
.TP
.BI "include_if_exists '" FILE '
the same, and a missing file is no error.
.TP
.BI "include_dir '" FOLDER '
reads the files of that folder whose names end in .conf and do not begin with a dot, in order of their bytes.
.PP
At most 10 files deep, 256 files of a folder, 1 MB each. Not in
.IR postgresql.auto.conf .
.SS Values
Booleans are on, off, true, false, yes, no, 1, 0. Numbers may have a unit: B, kB, MB, GB, TB (of 1024) or us, ms, s, min, h, d; without one they
count the unit that is named with the setting.
.SS Changing them
.B pinionctl check\-config
looks for errors,
.B pinionctl reload
applies the files, all or nothing: if anything is wrong every error is told with file and line, and nothing changes. A name that is not
below is an error.
.B ALTER SYSTEM SET
.I name
.B =
.I value
(or
.BR "TO DEFAULT" ),
.B ALTER SYSTEM RESET
.I name
or
.B ALL
write
.IR postgresql.auto.conf ;
the next reload applies it
.RB ( "SELECT pg_reload_conf()" ).
.B SHOW
.I name
says what is in force; the view
.B pg_settings
also from which file and line, and in
.B pending_restart
what the files change at the next start;
.B pg_file_settings
what the files say by now and what is wrong with it.
.PP
With each setting below: its type, who may change it when, its default and range.
.I restart
means that the server must be restarted,
.I reload
that a reload is enough,
.I superuser
and
.I session
that also
.B SET
changes it, for superusers or for all.
"""
TAIL = r""".SH SEE ALSO
.BR piniond (8),
.BR pinionctl (1)
"""
ABSENT = r""".SH "SETTINGS OF POSTGRESQL THAT DO NOT EXIST"
A setting that nothing would honour is an error. (* stands for all names that begin so.)
"""
STRING = r'"(?:[^"\\]|\\.)*"'
SETTING = re.compile(rf'^SETTING\((\w+), "([^"]+)", (\w+), (\w+), (\w+), ([^,]+), ({STRING}(?: PINION_VERSION "\)")?),'
                     r' ([^,]+), ([^,]+), "([^"]*)", "([^"]*)", "([^"]*)"\)', re.M)
ELSEWHERE = re.compile(rf'^ELSEWHERE\(({STRING}), ({STRING})\)', re.M)
Setting = collections.namedtuple("Setting", "field name type unit context flags default min max values group text")
TYPES = {"BOOL": "boolean", "INT": "integer", "REAL": "number", "STRING": "string", "ENUM": "one of a list"}
UNITS = {"B": ("B", 1), "KB": ("kB", 1 << 10), "BLOCKS": ("8kB", 8 << 10), "MB": ("MB", 1 << 20),
         "US": ("us", 1), "MS": ("ms", 1000), "S": ("s", 10 ** 6), "MIN": ("min", 6 * 10 ** 7)}
COUNTED = {"B": "bytes", "KB": "kB", "BLOCKS": "pages of 8 kB", "MB": "MB", "US": "us", "MS": "ms", "S": "seconds", "MIN": "minutes"}
SUFFIXES = {"B": (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("kB", 1 << 10), ("B", 1)),
            "S": (("d", 864 * 10 ** 8), ("h", 36 * 10 ** 8), ("min", 6 * 10 ** 7), ("s", 10 ** 6), ("ms", 1000), ("us", 1))}
CONTEXTS = {"POSTMASTER": "restart", "SIGHUP": "reload", "SUPERUSER": "superuser", "USER": "session"}


def rows(path, macro, pattern):
    with open(path, encoding="utf-8") as f:
        text = f.read()
    found = pattern.findall(text)
    if len(found) != len(re.findall(rf"^{macro}\(", text, re.M)):
        sys.exit(f"settings.py: a row of {path} was not understood")
    return found


def settings(path):
    return [Setting(*row) for row in rows(path, "SETTING", SETTING)]


def elsewhere(path):
    """(name or beginning with *, hint) of each row."""
    return [(name[1:-1], hint[1:-1]) for name, hint in rows(path, "ELSEWHERE", ELSEWHERE)]


def roff(text):
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")


def quantity(text, unit):
    """A limit of the table, which counts units, as SHOW would print it."""
    if unit not in UNITS or float(text) <= 0:
        return text
    total = int(text) * UNITS[unit][1]
    if int(text) >= 2 ** 30 - 1:   # no limit that anybody thinks of
        return f"{text} {COUNTED[unit]}"
    name, factor = next(s for s in SUFFIXES["B" if UNITS[unit][0].endswith("B") else "S"] if total % s[1] == 0)
    return f"{total // factor}{name}"


def facts(s):
    kind = TYPES[s.type] + (f" of {COUNTED[s.unit]}" if s.unit in COUNTED else "")
    default = s.default[1:-1].replace('\\"', '"')
    out = [kind]
    if s.context != "INTERNAL":
        out.append(CONTEXTS[s.context])
        out.append(f"default {default}" if default else "default empty")
        if "OCTAL" in s.flags:
            out.append(f"0 to {int(s.max):#05o}".replace("0o", "0"))
        elif s.type in ("INT", "REAL"):
            out.append(f"{quantity(s.min, s.unit)} to {quantity(s.max, s.unit)}")
    return ", ".join(out)


def entry(s):
    print(f".TP\n.BR {roff(s.name)} \" ({roff(facts(s))})\"")
    print(roff(s.text) + (f" Values: {roff(s.values.replace('|', ', '))}." if s.values else ""))


def section(title, chosen):
    print(f'.SH "{roff(title.upper())}"')
    for s in chosen:
        entry(s)


def main():
    table = settings(sys.argv[1])
    plain = [s for s in table if s.context != "INTERNAL" and "COMPAT" not in s.flags]
    print(HEAD, end="")
    for group in dict.fromkeys(s.group for s in plain):
        section(group, [s for s in plain if s.group == group])
    section("Accepted without effect", [s for s in table if "COMPAT" in s.flags])
    section("Shown only", [s for s in table if s.context == "INTERNAL"])
    print(ABSENT, end="")
    hints = collections.defaultdict(list)
    for name, hint in elsewhere(sys.argv[2]):
        hints[hint].append(name)
    for hint, names in hints.items():
        print(f".TP\n.B {roff(', '.join(names))}\n{roff(hint)}")
    print(TAIL, end="")


if __name__ == "__main__":
    main()

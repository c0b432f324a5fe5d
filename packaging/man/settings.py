#!/usr/bin/env python3
"""pinion.conf(5) from src/tbl/settings.def. Usage: settings.py SETTINGS.DEF > pinion.conf.5"""
import re
import sys

HEAD = r"""'\" t
.TH PINION.CONF 5 "" "Pinion" "Pinion manual"
.SH NAME
pinion.conf \- settings of a Pinion server
.SH DESCRIPTION
One setting per line,
.IR name " = " value ,
as in PostgreSQL's configuration files, with PostgreSQL's names wherever the meaning is the same.
.I postgresql.auto.conf
in the data directory is read last.
.B pinionctl reload
applies the files, all or nothing;
.B SHOW
.I name
says what is in force. Settings marked (restart) take effect at the next start.
"""
TAIL = r""".SH SEE ALSO
.BR piniond (8),
.BR pinionctl (1)
"""
UNITS = {"B": "bytes", "KB": "kB", "BLOCKS": "pages of 8 kB", "MB": "MB", "US": "us", "MS": "ms", "S": "s", "MIN": "min"}


def roff(text):
    return text.replace("\\", r"\e").replace("-", r"\-").replace("'", r"\(aq")


def main():
    string = r'"(?:[^"\\]|\\.)*"'
    row = re.compile(rf'^SETTING\(\w+, "([^"]+)", (\w+), (\w+), (\w+), ([^,]+), ({string}(?: PINION_VERSION "\)")?),'
                     r' [^,]+, [^,]+, "([^"]*)", "([^"]*)", "([^"]*)"\)', re.M)
    with open(sys.argv[1], encoding="utf-8") as f:
        text = f.read()
    rows = row.findall(text)
    if len(rows) != len(re.findall(r"^SETTING\(", text, re.M)):
        sys.exit("settings.py: a row of settings.def was not understood")
    print(HEAD, end="")
    group = None
    for name, kind, unit, context, flags, default, values, where, what in rows:
        if context == "INTERNAL" or "COMPAT" in flags:
            continue
        if where != group:
            group = where
            print(f'.SH "{roff(group.upper())}"')
        note = " (restart)" if context == "POSTMASTER" else ""
        print(f".TP\n.BR {roff(name)} \" ({kind.lower()}{', ' + UNITS[unit] if unit in UNITS else ''}){note}\"")
        print(roff(what) + (f" One of: {roff(values.replace('|', ', '))}." if values else "")
              + (f" Default: {roff(default[1:-1])}." if default != '""' else ""))
    print(TAIL, end="")


if __name__ == "__main__":
    main()

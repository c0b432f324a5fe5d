"""What is run: tables, pgbench scripts (the same text for both servers), and pgbench itself."""
import os
import re
import subprocess

import server as support

DDL = """
CREATE TABLE pgbench_branches (bid integer PRIMARY KEY, bbalance integer, filler char(88));
CREATE TABLE pgbench_tellers (tid integer PRIMARY KEY, bid integer, tbalance integer, filler char(84));
CREATE TABLE pgbench_accounts (aid integer PRIMARY KEY, bid integer, abalance integer, filler char(84));
CREATE TABLE pgbench_history (tid integer, bid integer, aid integer, delta integer, mtime timestamp, filler char(22));
"""
# pgbench's own fill: padded columns. SQLite does not pad, so the text is as long as PostgreSQL would make it.
FILL = """
WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {n})
INSERT INTO {table} SELECT {columns} FROM s
"""
SETS = r"""\set aid random(1, 100000 * {scale})
\set bid random(1, {scale})
\set tid random(1, 10 * {scale})
\set delta random(-5000, 5000)
"""
TPCB = [
    "BEGIN",
    "UPDATE pgbench_accounts SET abalance = abalance + :delta WHERE aid = :aid",
    "SELECT abalance FROM pgbench_accounts WHERE aid = :aid",
    "UPDATE pgbench_tellers SET tbalance = tbalance + :delta WHERE tid = :tid",
    "UPDATE pgbench_branches SET bbalance = bbalance + :delta WHERE bid = :bid",
    "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES (:tid, :bid, :aid, :delta, CURRENT_TIMESTAMP)",
    "END",
]
POINT = "SELECT abalance FROM pgbench_accounts WHERE aid = :aid"
SCRIPTS = {
    "tpcb": SETS + ";\n".join(TPCB) + ";\n",
    "tpcb_message": SETS + " \\; ".join(TPCB) + ";\n",
    "tpcb_pipeline": SETS + "\\startpipeline\n" + ";\n".join(TPCB) + ";\n\\endpipeline\n",
    "select": "\\set aid random(1, 100000 * {scale})\n" + POINT + ";\n",
    "one": "SELECT 1;\n",
}


def load(target, scale):
    """Fill the four tables, then a checkpoint and statistics."""
    c = target.connect()
    try:
        cur = c.cursor()
        for text in DDL.strip().split(";\n"):
            cur.execute(text)
        pad = " " * 84
        for table, n, columns in (("pgbench_branches", scale, f"i, 0, '{pad}    '"),
                                  ("pgbench_tellers", 10 * scale, f"i, (i - 1) / 10 + 1, 0, '{pad}'"),
                                  ("pgbench_accounts", 100000 * scale, f"i, (i - 1) / 100000 + 1, 0, '{pad}'")):
            cur.execute(FILL.format(table=table, n=n, columns=columns))
        cur.execute("ANALYZE")
        if target.label == "postgres":
            cur.execute("VACUUM")
        cur.execute("CHECKPOINT")
    finally:
        c.close()


class Failed(Exception):
    """pgbench could not run this; its words."""


def command(target, scripts, script, *, clients=1, seconds=None, transactions=None, protocol="simple", connect=False):
    """pgbench's command line. `scripts` is the directory they were written to."""
    argv = [support.PGBIN / "pgbench", "-n", "-h", target.host, "-p", target.port, "-U", "postgres", "-f", scripts / f"{script}.sql",
            "-c", clients, "-j", min(clients, 2), "-M", protocol]
    argv += ["-T", seconds] if seconds is not None else ["-t", transactions]
    argv += ["-C"] if connect else []
    return [str(a) for a in [*argv, "postgres"]]


def start(target, scripts, script, **kw):
    """pgbench beside what the caller does; its Popen."""
    return subprocess.Popen(command(target, scripts, script, **kw), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def pgbench(target, scripts, script, env=None, **kw):
    """Transactions per second of one run (see command())."""
    p = subprocess.run(command(target, scripts, script, **kw), capture_output=True, text=True, check=False,
                       timeout=(kw.get("seconds") or 3600) * 10 + 120, env={**os.environ, **(env or {})})
    tps = re.search(r"^tps = ([0-9.]+)", p.stdout, re.M)
    if p.returncode != 0 or not tps or not re.search(r"failed transactions: 0 ", p.stdout):
        raise Failed(f"{target.label}: {script} {kw.get('protocol', 'simple')}: {(p.stderr or p.stdout).strip()[-400:]}")
    return float(tps.group(1))


def write_scripts(directory, scale):
    for name, text in SCRIPTS.items():
        (directory / f"{name}.sql").write_text(text.replace("{scale}", str(scale)))

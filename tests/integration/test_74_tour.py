"""The operator's session in the README is what a terminal shows: each command is run, and says what stands there, but for times and numbers."""
import os
import re
import shutil
from pathlib import Path

import server as support

README = Path(__file__).resolve().parents[2] / "README.md"
MARK = "<!-- held true by tests/integration/test_74_tour.py -->"


def session():
    """[(command, what it shows)] of the block behind the mark."""
    block = README.read_text(encoding="utf-8").split(MARK)[1].split("```\n")[1]
    return [(part.partition("\n")[0], part.partition("\n")[2]) for part in re.split(r"^\$ ", block, flags=re.M)[1:]]


def plain(text):
    """Without what differs from run to run."""
    text = re.sub(r"\w{3} \d{4}-\d\d-\d\d \d\d:\d\d:\d\d \w+", "DATE", text)
    text = re.sub(r"\d+(\.\d+)? (ms|s|min|h|d)( \d+ (s|min|h))?\b", "TIME", text)
    text = re.sub(r"\d+(\.\d+)?", "N", text)
    lines = [re.sub(r"\s+", " ", line).strip() for line in text.splitlines()]
    # What the server has or has not measured by now; what is over before it is said.
    return [line for line in lines if line and not re.match(r"(Storage|Cache|Log) |shop: (starting|recovering|stopping)\b", line)]


def test_the_operators_session_of_the_readme(tmp_path):
    home = support.open_dir(tmp_path)
    port = str(support.free_port())
    env = {"PATH": f"{support.PINIONCTL.parent}:{os.environ['PATH']}", "PINIOND": str(support.PINIOND), "LC_ALL": "C.UTF-8"}
    seen = session()
    assert len(seen) > 10
    try:
        for command, shown in seen:
            p = support.run("bash", "-c", f"cd {home} && exec 2>&1\n" + command.replace("6454", port), check=False, env=env)
            got = p.stdout.replace(str(home), "/srv").replace(port, "6454").replace(support.USER, "ada")
            assert plain(got) == plain(shown), f"$ {command}\n{got}"
    finally:
        support.kill_each(support.processes_below(home / "shop"))
        shutil.rmtree(home / "shop", ignore_errors=True)

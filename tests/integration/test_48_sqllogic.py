"""Files in the public sqllogictest format (tests/slt): results over the wire, and the same results from SQLite without us."""
from pathlib import Path

import pytest
import slt
from wire import connect

FILES = sorted((Path(__file__).resolve().parents[1] / "slt").glob("*.test"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_of_cases(shared, path):
    plain = slt.Run(slt.Plain()).file(path.read_text())
    shared.sql(f"CREATE DATABASE slt_{path.stem}")
    with connect(shared, database=f"slt_{path.stem}") as w:
        ours = slt.Run(slt.Ours(w)).file(path.read_text())
        assert w.ok("PRAGMA integrity_check").rows == [("ok",)]
    assert ours["query"] >= plain["query"] > 0 or ours["statement"] > 0
    print(ours)


@pytest.mark.parametrize("text,words", [
    ("statement ok\nSELEC\n", "syntax error"),
    ("statement error\nSELECT 1\n", "no error"),
    ("query I\nSELECT 2\n----\n1\n", "got ['2'], want ['1']"),
    ("query I\nSELECT 2\n----\n", "got ['2'], want []"),
    ("query II\nSELECT 1\n----\n1\n", "1 columns"),
    ("query I nosort\nSELECT 1 UNION ALL SELECT 2\n----\n2 values hashing to 00000000000000000000000000000000\n", "hashing"),
    ("query I nosort l\nSELECT 1\n----\n1\n\nquery I nosort l\nSELECT 2\n----\n2\n", "label l"),
    ("query X\nSELECT 1\n----\n1\n", "no such query"),
    ("statement maybe\nSELECT 1\n", "no such statement"),
    ("frobnicate\n", "no such record"),
])
def test_the_runner_notices(text, words):
    with pytest.raises(slt.Failure) as e:
        slt.Run(slt.Plain()).file(text)
    assert words in str(e.value)


def test_the_runner_knows_the_format():
    text = "# words\nhash-threshold 2\n\nskipif sqlite\nstatement ok\nnonsense\n\nonlyif mysql\nquery I\nnonsense\n----\n1\n\n" \
           "query ITR rowsort\nSELECT 2, '', 1.5\nUNION ALL SELECT 1, 'a' || char(1), NULL\n----\nHASH\n\nhalt\n\nnonsense\n"
    want = slt.hashed(["1", "a@", "NULL", "2", "(empty)", "1.500"])
    text = text.replace("HASH", want)
    assert slt.Run(slt.Plain()).file(text) == {"statement": 0, "query": 1, "skipped": 2}
    assert slt.hashed(["a"]) == "1 values hashing to 60b725f10c9c85c70d97880dfe8191b3"

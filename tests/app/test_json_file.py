"""The file of `--json`: what cannot be written is told before anything is computed."""

import os
from pathlib import Path

import pytest

from embsweep.app.json_file import check_json_file, write_json_file
from embsweep.errors import EmbsweepError


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("", "is a folder"),
        ("no/x.json", "no such folder"),
        ("a" * 300 + ".json", "cannot be written: File name too long"),
        ("/proc/x.json", "cannot be written: No such file or directory"),
        ("~nobody-here/x.json", "no user"),
    ],
)
def test_a_file_that_cannot_be_written(tmp_path, name, problem):
    (fault,) = check_json_file(Path(name) if name.startswith("~") else tmp_path / name)
    assert fault.where == "--json"
    assert problem in str(fault)


def test_looking_changes_nothing(tmp_path):
    old, link = tmp_path / "old.json", tmp_path / "link.json"
    old.write_text("kept")
    link.symlink_to(tmp_path / "later.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("old.json", "link.json", "pipe.json", "new.json"):
        assert check_json_file(tmp_path / name) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "old.json", "pipe.json"]
    assert old.read_text() == "kept"


def test_one_that_is_gone_meanwhile_is_a_message(tmp_path):
    with pytest.raises(EmbsweepError, match="cannot be written: No such file or directory"):
        write_json_file(tmp_path / "gone" / "x.json", {})
    write_json_file(tmp_path / "x.json", {"ä": 1})
    assert (tmp_path / "x.json").read_text("utf-8") == '{\n  "ä": 1\n}\n'

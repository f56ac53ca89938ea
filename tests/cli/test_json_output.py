"""The file of `--json`: a path that cannot be written is reported before anything is computed."""

import errno
import os
from pathlib import Path

import pytest

from embsweep.cli.inputs import validate_json_file, write_json_file
from embsweep.core.errors import CodedError
from tests.refusals import raises_code


@pytest.mark.parametrize(
    ("name", "code", "reason"),
    [
        ("", "wrong-file-kind", ""),
        ("no/x.json", "missing-file", ""),
        ("a" * 300 + ".json", "not-writable", os.strerror(errno.ENAMETOOLONG)),
        ("/proc/x.json", "missing-file", os.strerror(errno.ENOENT)),
        ("~no-such-user/x.json", "unknown-user", ""),
    ],
)
def test_a_file_that_cannot_be_written(tmp_path, name, code, reason):
    (diagnostic,) = validate_json_file(Path(name) if name.startswith("~") else tmp_path / name)
    assert (diagnostic.code, diagnostic.location) == (code, "--json")
    assert reason in str(diagnostic)


def test_the_check_changes_no_file(tmp_path):
    old, link = tmp_path / "old.json", tmp_path / "link.json"
    old.write_text("kept")
    link.symlink_to(tmp_path / "later.json")
    os.mkfifo(tmp_path / "pipe.json")
    for name in ("old.json", "link.json", "pipe.json", "new.json"):
        assert validate_json_file(tmp_path / name) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.json", "old.json", "pipe.json"]
    assert old.read_text() == "kept"


def test_a_folder_deleted_since_the_check_is_a_message(tmp_path):
    with raises_code(CodedError, "not-writable") as caught:
        write_json_file(tmp_path / "gone" / "x.json", {})
    assert os.strerror(errno.ENOENT) in str(caught.value)
    write_json_file(tmp_path / "x.json", {"ä": 1})
    assert (tmp_path / "x.json").read_text("utf-8") == '{\n  "ä": 1\n}\n'

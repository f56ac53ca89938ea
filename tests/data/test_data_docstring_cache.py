"""A cache that is whole by its hash and holds no pairs all the same is built again, with a word about it."""

import hashlib
import logging

import pytest

from embsweep.data.collection import Pair
from embsweep.data.sources import docstrings
from embsweep.data.sources.docstrings import Package

PACKAGES = (Package("toy", "toy==1", ()),)
PAIRS = [Pair("What is read", "What was written", place="toy/a.py:1")]


def plant(folder, body):
    path = docstrings.find_cache(folder, PACKAGES)
    path.write_bytes(hashlib.sha256(body).hexdigest().encode() + b"\n" + body)
    return path


@pytest.mark.parametrize(
    "body",
    [b"no json\n", b"[1, 2]\n", b"7\n", b"null\n", b"\xff\xfe\x00\n", b"[" * 100_000, b'["a", "b", "c", "d"]\n'],
)
def test_no_pairs(tmp_path, caplog, body):
    path = plant(tmp_path, body)
    with caplog.at_level(logging.WARNING):
        assert docstrings.read_cache(tmp_path, PACKAGES) is None
    assert [record.args for record in caplog.records] == [(path,)], "nothing failed but what it holds"


def test_what_was_written_is_read(tmp_path, caplog):
    docstrings.write_cache(tmp_path, PACKAGES, PAIRS)
    assert docstrings.read_cache(tmp_path, PACKAGES) == PAIRS
    assert caplog.text == ""


def test_a_folder_in_its_place_is_passed_over(tmp_path, caplog):
    path = docstrings.find_cache(tmp_path, PACKAGES)
    path.mkdir()
    assert docstrings.read_cache(tmp_path, PACKAGES) is None
    docstrings.write_cache(tmp_path, PACKAGES, PAIRS)
    reading, writing = caplog.records
    assert reading.args[0] == writing.args[0] == path
    assert reading.msg != writing.msg

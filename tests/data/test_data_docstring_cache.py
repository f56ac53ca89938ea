"""A docstring cache with invalid contents is rebuilt and reported in the log."""

import logging

import pytest

from embsweep.data.collection import Pair
from embsweep.data.sources import docstrings
from embsweep.data.sources.docstrings import Package

PACKAGES = (Package("toy", "toy==1", ()),)
PAIRS = [Pair("A summary", "A longer description", place="toy/a.py:1")]


def write_body(folder, body):
    path = docstrings.find_cache(folder, PACKAGES)
    path.write_bytes(body)
    return path


@pytest.mark.parametrize(
    "body",
    [b"no json", b"[1, 2]", b"7", b"null", b"\xff\xfe\x00", b"[" * 100_000, b'[["a", "b", "c", "d"]]'],
)
def test_contents_that_are_not_pairs(tmp_path, caplog, body):
    path = write_body(tmp_path, body)
    with caplog.at_level(logging.WARNING):
        assert docstrings.read_cache(tmp_path, PACKAGES) is None
    assert [record.args[0] for record in caplog.records] == [path], "one record, for the invalid contents"


def test_a_written_cache_is_read(tmp_path, caplog):
    docstrings.write_cache(tmp_path, PACKAGES, PAIRS)
    assert docstrings.read_cache(tmp_path, PACKAGES) == PAIRS
    assert caplog.text == ""


def test_a_folder_at_the_path_of_the_cache_is_ignored_with_warnings(tmp_path, caplog):
    path = docstrings.find_cache(tmp_path, PACKAGES)
    path.mkdir()
    assert docstrings.read_cache(tmp_path, PACKAGES) is None
    docstrings.write_cache(tmp_path, PACKAGES, PAIRS)
    read_warning, write_warning = caplog.records
    assert read_warning.args[0] == write_warning.args[0] == path
    assert read_warning.msg != write_warning.msg

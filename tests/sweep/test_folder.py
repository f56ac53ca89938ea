"""Only one process at a time may run a sweep."""

import os

import pytest

from embsweep.core.errors import SweepRefused
from embsweep.sweep.folder import SweepFolder
from tests.refusals import raises_code


def test_a_second_process_of_a_running_sweep_is_refused_with_the_first_ones_id(tmp_path):
    folder = SweepFolder(tmp_path, "legal")
    with folder.hold():
        with raises_code(SweepRefused, "already-running") as caught, folder.hold():
            pytest.fail("two processes hold the folder at once")
        assert f"process {os.getpid()}" in str(caught.value)
        with SweepFolder(tmp_path, "tax").hold():
            pass
    with folder.hold():
        pass


def test_a_killed_process_releases_the_lock(tmp_path):
    child = os.fork()
    if not child:
        with SweepFolder(tmp_path, "legal").hold():
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with SweepFolder(tmp_path, "legal").hold():
        assert (tmp_path / "sweeps" / ".legal.lock").read_text() == str(os.getpid())

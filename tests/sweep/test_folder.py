"""One process a sweep."""

import os

import pytest

from embsweep.core.errors import SweepRefused
from embsweep.sweep.folder import SweepFolder
from tests.refusals import raises_code


def test_a_sweep_that_is_running_is_refused_to_a_second_process_and_named(tmp_path):
    folder = SweepFolder(tmp_path, "legal")
    with folder.hold():
        with raises_code(SweepRefused, "already-running") as caught, folder.hold():
            pytest.fail("two at once")
        assert f"process {os.getpid()}" in str(caught.value)
        with SweepFolder(tmp_path, "tax").hold():
            pass
    with folder.hold():
        pass


def test_a_killed_process_lets_go(tmp_path):
    child = os.fork()
    if not child:
        with SweepFolder(tmp_path, "legal").hold():
            os.kill(os.getpid(), 9)
    os.waitpid(child, 0)
    with SweepFolder(tmp_path, "legal").hold():
        assert (tmp_path / "sweeps" / ".legal.lock").read_text() == str(os.getpid())

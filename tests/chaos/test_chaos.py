"""A short chaos run for every day; `make chaos` is the long one."""

import pytest

from .chaos import run_chaos

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SEED, TRIALS, LIVES = 1, 8, 6


def test_faults_at_random_change_nothing(nursery, tmp_path):
    problems, events = run_chaos(tmp_path, nursery, seed=SEED, trials=TRIALS, lives=LIVES)
    assert not problems, "\n".join([*events, *problems])

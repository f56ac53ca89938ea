"""Short chaos runs with a seed of their own each time; `make chaos` is the long one, `test_kills` the day's."""

import pytest

from tests.chaos.chaos import run_chaos

pytestmark = pytest.mark.slow


@pytest.mark.nightly
def test_a_fault_at_random_changes_nothing(fork_server, make_seeded, tmp_path, new_seed):
    """Without a confirmation, which is most of so small a sweep."""
    more = ("confirm=none", "eval.fractions=[0.25,1.0]")
    problems, events = run_chaos(tmp_path, fork_server, *more, seed=new_seed, trials=2, runs=1, make=make_seeded)
    assert not problems, "\n".join([f"seed {new_seed}", *events, *problems])


@pytest.mark.nightly
@pytest.mark.parametrize(("trials", "runs"), [(8, 6), (30, 15)])
def test_faults_at_random_change_nothing(fork_server, tmp_path, new_seed, trials, runs):
    problems, events = run_chaos(tmp_path, fork_server, seed=new_seed, trials=trials, runs=runs)
    assert not problems, "\n".join([f"seed {new_seed}", *events, *problems])

"""Short chaos runs with a new seed each time; `make chaos` is the long run, `test_kills` runs daily."""

import pytest

from tests.chaos.chaos import run_chaos

pytestmark = pytest.mark.slow


@pytest.mark.nightly
def test_one_random_fault_changes_no_result(fork_server, make_seeded_sandbox, tmp_path, new_seed):
    """Without a confirmation, which would take most of the time of such a small sweep."""
    more = ("confirm=none", "eval.fractions=[0.25,1.0]")
    problems, events = run_chaos(
        tmp_path, fork_server, *more, seed=new_seed, trials=2, runs=1, make=make_seeded_sandbox
    )
    assert not problems, "\n".join([f"seed {new_seed}", *events, *problems])


@pytest.mark.nightly
@pytest.mark.parametrize(("trials", "runs"), [(8, 6), (30, 15)])
def test_random_faults_change_no_result(fork_server, tmp_path, new_seed, trials, runs):
    problems, events = run_chaos(tmp_path, fork_server, seed=new_seed, trials=trials, runs=runs)
    assert not problems, "\n".join([f"seed {new_seed}", *events, *problems])

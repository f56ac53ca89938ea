"""Short chaos runs with a seed of their own each time; `make chaos` is the long one, `test_kills` the day's."""

import pytest

from tests.chaos.chaos import run_chaos

pytestmark = pytest.mark.slow


@pytest.mark.nightly
def test_a_fault_at_random_changes_nothing(nursery, make_seeded, tmp_path, new_seed):
    """Without a confirmation, which is most of so small a sweep."""
    more = ("confirm=none", "eval.fractions=[0.25,1.0]")
    problems, events = run_chaos(tmp_path, nursery, *more, seed=new_seed, trials=2, lives=1, make=make_seeded)
    assert not problems, "\n".join([f"seed {new_seed}", *events, *problems])


@pytest.mark.nightly
@pytest.mark.parametrize(("trials", "lives"), [(8, 6), (30, 15)])
def test_faults_at_random_change_nothing(nursery, tmp_path, new_seed, trials, lives):
    problems, events = run_chaos(tmp_path, nursery, seed=new_seed, trials=trials, lives=lives)
    assert not problems, "\n".join([f"seed {new_seed}", *events, *problems])

"""Samplers: what they learn from, and that they draw as one process would that was never interrupted."""

import pytest
from tests.ledgers import Memory

from embsweep.config.search_space import FloatRange
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.search.samplers import sampling_threads


def draw(sampler, count, *, startup=3, seed=3):
    """The points of a search for a small x."""
    search = SearchConfig(sampler=sampler, trials=count, seed=seed, recipe_first=False, startup_trials=startup)
    pruner = build_pruner(StoppingConfig(kind="none"), 0.25)
    ledger = Ledger.over(Memory().open(), space=(FloatRange("x", 0.0, 1.0),), search=search, pruner=pruner)
    found = []
    while (record := ledger.ask()) is not None:
        found.append(record.params["x"])
        ledger.complete(record.number, 1.0 - record.params["x"])
    return found


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("startup", [2, 4])
def test_a_sampler_that_learns_draws_at_random_until_it_has_something_to_learn_from(sampler, startup):
    learned, at_random = draw(sampler, 6, startup=startup), draw("random", 6)
    assert learned[:startup] == at_random[:startup]
    assert not set(learned[startup:]) & set(at_random)


def test_what_is_learned_is_where_the_objective_is_high():
    assert sum(draw("tpe", 30)[10:]) < 0.5 * sum(draw("random", 30)[10:])


@pytest.mark.slow
def test_quasi_random_points_are_one_sequence_over_all_trials():
    """Eight of a sequence lie one in each eighth; the first trial is drawn before the sampler knows the space."""
    points = draw("qmc", 9)[1:]
    assert sorted(int(8 * x) for x in points) == list(range(8))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_another_seed_is_another_search(sampler):
    assert draw(sampler, 3) == draw(sampler, 3)
    assert not set(draw(sampler, 3)) & set(draw(sampler, 3, seed=30))


@pytest.mark.slow
def test_threads_are_given_back_also_where_sampling_fails():
    import torch

    search = SearchConfig(sampler="gp", trials=1, seed=0, recipe_first=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(RuntimeError), sampling_threads(search):
            assert torch.get_num_threads() == 1
            raise RuntimeError
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)

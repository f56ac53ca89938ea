"""Samplers: what they learn from, and that their draws do not depend on interruptions."""

import pytest
from optuna.distributions import FloatDistribution
from optuna.storages import InMemoryStorage
from optuna.trial import TrialState, create_trial
from tests.ledgers import open_search

from embsweep.config.search_space import FloatRange
from embsweep.config.sweep import SearchConfig
from embsweep.search.samplers import sampler_view, sampling_threads


def draw(sampler, count, *, startup=3, seed=3, best=0.0):
    """Return the points of a search for an x near `best`."""
    search = {"sampler": sampler, "trials": count, "seed": seed, "startup_trials": startup}
    ledger = open_search(InMemoryStorage(), (FloatRange("x", 0.0, 1.0),), **search)
    points = []
    while (record := ledger.ask()) is not None:
        points.append(record.params["x"])
        ledger.complete(record.number, 1.0 - abs(record.params["x"] - best))
    return points


@pytest.mark.parametrize("sampler", ["tpe", pytest.param("gp", marks=pytest.mark.slow)])
@pytest.mark.parametrize("startup", [2, 4])
def test_a_model_based_sampler_draws_at_random_during_startup(sampler, startup):
    """A Gaussian process draws every third trial at random after it, too."""
    learned, at_random = draw(sampler, 6, startup=startup, best=0.4), draw("random", 6)
    same = {number for number in range(6) if learned[number] == at_random[number]}
    assert same == {*range(startup), *({4} if sampler == "gp" else ())}


def test_tpe_draws_more_points_with_a_high_objective():
    assert sum(draw("tpe", 30)[10:]) < 0.5 * sum(draw("random", 30)[10:])


@pytest.mark.slow
def test_quasi_random_points_are_one_sequence_over_all_trials():
    """Each eighth has one of eight points; the first trial is drawn before the sampler knows the space."""
    points = draw("qmc", 9)[1:]
    assert sorted(int(8 * x) for x in points) == list(range(8))


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_another_seed_draws_other_points(sampler):
    assert draw(sampler, 3) == draw(sampler, 3)
    assert not set(draw(sampler, 6)) & set(draw(sampler, 6, seed=4)), "the next seed, one trial later"


@pytest.mark.slow
def test_the_number_of_threads_is_restored_even_if_sampling_fails():
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


# -- what a sampler sees ------------------------------------------------------------------------------------------


X = FloatDistribution(0.0, 1.0)


def seen(*trials, sampler="gp", startup=8):
    """Return the points that a sampler sees as complete, with their values."""
    made = [
        create_trial(state=state, params={"x": x}, distributions={"x": X}, intermediate_values=curve, value=value)
        for state, x, curve, value in trials
    ]
    config = SearchConfig(sampler=sampler, trials=1, seed=0, startup_trials=startup, recipe_first=False)
    view = sampler_view(made, config, (250, 1000), {})
    return {trial.params["x"]: trial.value for trial in view if trial.state == TrialState.COMPLETE}


DONE = (TrialState.COMPLETE, 0.1, {250: 0.4, 1000: 0.7}, 0.7)
PAUSED = (TrialState.RUNNING, 0.2, {250: 0.5}, None)
STOPPED = (TrialState.PRUNED, 0.3, {250: 0.1}, None)
FAILED = (TrialState.FAIL, 0.4, {250: 0.9}, None)
SILENT = (TrialState.RUNNING, 0.5, {}, None)


@pytest.mark.parametrize("sampler", ["gp", "tpe"])
def test_a_sampler_sees_all_trials_with_values_carried_to_the_end(sampler):
    """One without a report counts with the median, so that its point is not drawn again; a failed one as the worst."""
    found = seen(DONE, PAUSED, STOPPED, FAILED, SILENT, sampler=sampler)
    expected = {0.1: 0.7, 0.2: 0.8, 0.3: 0.4, 0.4: 0.4, 0.5: 0.7}
    assert found == pytest.approx(expected)


def test_a_sampler_that_looks_at_no_values_sees_the_trials_as_they_are():
    assert seen(DONE, PAUSED, STOPPED, sampler="random") == {0.1: 0.7}


def test_trials_without_any_report_stay_as_they_are():
    assert seen(SILENT) == {}


def test_of_many_trials_a_gaussian_process_sees_the_best_and_the_latest():
    many = [(TrialState.PRUNED, n / 1000, {250: 1.0 - n / 1000}, None) for n in range(300)]
    found = [round(1000 * x) for x in seen(*many)]
    assert found == [*range(50), *range(250, 300)]
    assert len(seen(*many, sampler="tpe")) == 300
    assert len(seen(*many, startup=120)) == 120, "else it would draw at random for ever"

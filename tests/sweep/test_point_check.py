"""Points of a space are checked like configurations, and identified by what their trials train."""

import pytest

from embsweep.cli.composition.request import read_request
from embsweep.config.rehearsal import Rehearsal
from embsweep.sweep.checks.points import PointCheck
from embsweep.sweep.checks.search_space import validate_space
from tests.refusals import codes_and_locations, raises_diagnostics

BASE = ("+sweep=quickstart", "matryoshka=from_384_coarse", "train.learning_rate=1e-2", "train.warmup=0.1")
WEIGHTS = ("matryoshka.weights=null,[1,2]", "matryoshka.weight_power=0,-1")


def request_of(loader, *arguments):
    return read_request(loader, [*BASE, "train.batch_size=8", *arguments], "")


def check_of(request, *, rehearsal=False, passages=1000):
    return PointCheck(request, Rehearsal(rehearsal), (passages,))


def require_possible(request, **options):
    check_of(request, **options).require_possible(is_grid=False, seed=0)


def test_a_point_is_impossible_if_its_values_cannot_be_combined(loader):
    identify = check_of(request_of(loader, *WEIGHTS)).identify
    values = [(w, p) for w in ("null", "[1,2]") for p in ("0", "-1")]
    found = [identify({"matryoshka.weights": w, "matryoshka.weight_power": p}) for w, p in values]
    assert [text is None for text in found] == [False, False, False, True]
    assert len({*found}) == 4


def test_an_interval_of_an_integer_names_its_range(loader):
    found = validate_space(request_of(loader, "train.accumulation=interval(1,4)"), ())
    assert {diagnostic.hint for diagnostic in found} == {"for whole numbers: train.accumulation=range(1,5)"}


@pytest.mark.slow
def test_a_point_is_impossible_if_a_trial_could_not_train(loader):
    """A static model has nothing to cache; a batch must fit into the training data."""
    request = request_of(loader, "model=minilm,static", "loss=mnrl,cached_mnrl", "train.batch_size=8,64")
    identify = check_of(request, passages=32).identify
    assert identify({"model": "static", "loss": "mnrl", "train.batch_size": "8"})
    assert identify({"model": "minilm", "loss": "cached_mnrl", "train.batch_size": "8"})
    assert identify({"model": "static", "loss": "cached_mnrl", "train.batch_size": "8"}) is None
    assert identify({"model": "static", "loss": "mnrl", "train.batch_size": "64"}) is None


def test_equal_trials_are_one_point(loader):
    """By a key that the option does not use, and by the limits of a rehearsal."""
    request = request_of(loader, "model=minilm", "loss=mnrl,cached_mnrl", "loss.mini_batch_size=8,16")
    identify = check_of(request).identify
    texts = [
        identify({"loss": loss, "loss.mini_batch_size": size})
        for loss in ("mnrl", "cached_mnrl")
        for size in ("8", "16")
    ]
    assert texts[0] == texts[1]
    assert len({*texts}) == 3
    batches = request_of(loader, "train.batch_size=512,1024")
    points = [{"train.batch_size": size} for size in ("512", "1024")]
    assert len({check_of(batches, passages=9999).identify(point) for point in points}) == 2
    assert len({check_of(batches, passages=9999, rehearsal=True).identify(point) for point in points}) == 1


def test_the_seed_makes_another_point(loader):
    identify = check_of(request_of(loader, "train.seed=1,2")).identify
    assert identify({"train.seed": "1"}) != identify({"train.seed": "2"})


@pytest.mark.slow
def test_a_value_that_is_possible_beside_another_than_the_recipes_is_accepted(loader):
    power = "matryoshka.weight_power=-1"  # the recipe: weights exclude it
    assert validate_space(request_of(loader, "matryoshka.weights=null,[1,2]", "matryoshka.weight_power=-1,0"), []) == []
    never = request_of(loader, "matryoshka.weights=null,[1,2]", power)
    assert codes_and_locations(validate_space(never, [])) == [("conflict", "matryoshka.weights")]


def test_a_space_with_a_possible_point_is_accepted(loader):
    require_possible(request_of(loader, *WEIGHTS))
    require_possible(request_of(loader, "train.warmup=interval(0.0,0.2)"))


@pytest.mark.slow
@pytest.mark.parametrize("argument", ["train.warmup=0.1,0.2", "train.warmup=interval(0.0,0.2)"])
def test_a_space_without_a_possible_point_is_an_error_with_the_reason(loader, argument):
    request = request_of(loader, "matryoshka.weight_power=0", argument)
    with raises_diagnostics(("conflict", "train.warmup")) as caught:
        require_possible(request, passages=4)
    assert "4 training passages" in str(caught.value)

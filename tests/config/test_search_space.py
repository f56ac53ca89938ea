"""A point of a search space is configured without Hydra, and equals what Hydra composes for the same overrides."""

import itertools
import json
import pickle
from dataclasses import asdict

import pytest
from tests.refusals import codes_and_locations, raises_diagnostics

from embsweep.cli.composition.compose import compose, to_values
from embsweep.cli.composition.request import parse_request, read_request
from embsweep.cli.paths import conf_dir
from embsweep.config import build_config
from embsweep.config.search_space import Choice, SearchSpace, boundary_values
from embsweep.core.errors import InputError

GROUPS = {name: sorted(path.stem for path in (conf_dir() / name).glob("*.yaml")) for name in ("model", "loss", "train")}
GROUPS |= {name: sorted(path.stem for path in (conf_dir() / name).glob("*.yaml")) for name in ("matryoshka", "eval")}


def to_override(key, value):
    return f"{key}={value if isinstance(value, str) else repr(value)}"


def assert_as_hydra(loader, request, point, fixed):
    """Compare with Hydra, also the diagnostics if the values cannot be combined."""
    values = to_values(compose(loader, [*fixed, *itertools.starmap(to_override, point.items())]))
    results = []
    for configure in (lambda: build_config(values), lambda: request.configure(point)):
        try:
            results.append(configure())
        except InputError as error:
            results.append([str(diagnostic) for diagnostic in error.diagnostics])
    assert results[0] == results[1], point


OVERLAYING = [("loss", "train"), ("loss", "matryoshka")]
PAIRS = [
    pytest.param(pair, marks=pytest.mark.slow if pair in OVERLAYING else pytest.mark.nightly)
    for pair in itertools.combinations(GROUPS, 2)
]
"""A normal run tests the pair whose options set the same keys, nightly runs test every pair: 0.2 s for each point."""


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_every_pair_of_options_is_configured_as_hydra_composes_it(loader, pair):
    """Options overlay each other (`train=cached_256` sets the loss), and the command line wins over both."""
    fixed = ["+sweep=de_tax", "train.batch_size=24", "loss.scale=11.0", "data.pairs=x"]
    swept = [f"{group}={','.join(GROUPS[group])}" for group in pair]
    keys = ["train.learning_rate=interval(1e-6,1e-4)", "matryoshka.weight_power=interval(-1.0,1.0)"]
    request = read_request(loader, [*fixed, *swept, *keys], "")
    numbers = itertools.cycle([{}, {"train.learning_rate": 1.2345678901234567e-05, "matryoshka.weight_power": 0.5}])
    for options in itertools.product(*(GROUPS[group] for group in pair)):
        assert_as_hydra(loader, request, dict(zip(pair, options, strict=True)) | next(numbers), fixed)


@pytest.mark.slow
@pytest.mark.parametrize("sweep", ["bgem3", pytest.param("ca_procedures", marks=pytest.mark.nightly)])
def test_the_ends_of_every_dimension_are_configured_as_hydra_composes_them(loader, sweep):
    request = read_request(loader, [f"+sweep={sweep}"], "")
    points = [{d.key: value} for d in request.space for value in boundary_values(d)]
    ends = [{d.key: boundary_values(d)[side] for d in request.space} for side in (0, -1)]
    for point in [{}, request.recipe, *points, *ends]:
        assert_as_hydra(loader, request, point, [f"+sweep={sweep}"])


INTERPOLATIONS = [
    ("train.epochs=${train.batch_size}", {"train.batch_size": ["8", "32"]}),
    ("model.source='local-${train.batch_size}-${loss.name}'", {"train.batch_size": ["8"], "loss": ["cached_mnrl"]}),
    ("eval.dims=${matryoshka.dims}", {"matryoshka.dims": ["[1024,512]", "[768,64]"]}),
    ("eval.dims=${matryoshka.dims}", {"matryoshka": ["coarse", "from_768"]}),
    ("sweep.name=${hydra.runtime.choices.model}", {"train.batch_size": ["8"]}),
    ("loss.scale=${oc.select:train.warmup,3}", {"train.warmup": ["0.25"], "train": ["cached_256"]}),
    ("scale.rehearsal.model=${model}", {"model.max_seq_length": ["64"]}),
    ("train.warmup=0.25", {"loss.scale": ["${train.warmup}"], "train.weight_decay": ["${loss.scale}"]}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("fixed", "points"), INTERPOLATIONS)
def test_a_value_that_interpolates_a_swept_key_follows_it(loader, fixed, points):
    others = {"loss": "mnrl", "train": "published", "matryoshka": "halving"}
    swept = [f"{key}=choice({others.get(key, '1024')},{','.join(texts)})" for key, texts in points.items()]
    request, diagnostics = parse_request(loader, [fixed, *swept], "")
    assert diagnostics == ()
    found = {d.key: d.options[1:] for d in request.space}
    for texts in itertools.product(*found.values()):
        point = dict(zip(found, texts, strict=True))
        assert_as_hydra(loader, request, point, [fixed])
        assert_as_hydra(loader, request, dict(itertools.islice(point.items(), 1)), [fixed])


@pytest.mark.slow
def test_an_interpolation_of_a_part_of_a_swept_list_is_refused(loader):
    with raises_diagnostics(("unresolved", "train.epochs")):
        read_request(loader, ["train.epochs=${matryoshka.dims.0}", "matryoshka.dims=[64],[32]"], "")


def test_a_request_is_a_plain_value(loader):
    request = read_request(loader, ["+sweep=bgem3"], "")
    assert pickle.loads(pickle.dumps(request)) == request == read_request(loader, ["+sweep=bgem3"], "")
    assert json.loads(json.dumps(asdict(request.space)))["groups"] == {"matryoshka": "halving", "loss": "mnrl"}
    assert request != read_request(loader, ["+sweep=bgem3", "train.weight_decay=0.1"], "")


def test_a_space_of_nothing_is_the_recipe(loader):
    request = read_request(loader, ["+sweep=bgem3"], "")
    assert SearchSpace().apply(request.values, {}) == build_config(request.values)
    assert not SearchSpace()


def test_invalid_values_are_refused_with_their_keys(loader):
    request = read_request(loader, ["+sweep=bgem3"], "")
    with raises_diagnostics(("out-of-range", "train.epochs"), ("out-of-range", "train.warmup")):
        request.configure({"train.epochs": -1, "train.warmup": 7.0})


@pytest.mark.slow
def test_too_many_combinations_of_groups_are_refused(loader):
    swept = [f"{name}={','.join(options)}" for name, options in GROUPS.items()]
    request, diagnostics = parse_request(loader, swept, "")
    assert codes_and_locations(diagnostics) == [("too-many", "model, loss, train, matryoshka, eval")]
    assert not request.space


@pytest.mark.slow
def test_an_option_that_does_not_exist_is_refused_before_anything_starts(loader):
    lines = ["++hydra.sweeper.params={matryoshka: 'choice(halving,halve)'}"]
    with raises_diagnostics(("unknown-option", "matryoshka")):
        read_request(loader, lines, "")


def test_the_recipes_value_of_a_choice_is_its_text(loader):
    request = read_request(loader, ["+sweep=bgem3", "train.optimizer='adamw_torch_fused',adamw_torch"], "")
    (optimizer,) = [d for d in request.space if d.key == "train.optimizer"]
    assert isinstance(optimizer, Choice)
    assert request.recipe["train.optimizer"] == optimizer.options[0]

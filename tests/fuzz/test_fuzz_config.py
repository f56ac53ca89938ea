"""Configurations with arbitrary values: refused with diagnostics under dotted keys, or valid."""

import copy
import math

import pytest
from bad_input import ODD_NUMBERS, ODD_TEXTS, nest, texts, trees
from budget import FACTOR, budget, check_message, collect_diagnostics, huge
from hypothesis import given
from hypothesis import strategies as st

from embsweep.cli.composition.compose import compose, to_values
from embsweep.config import Config, build_config, check_trainable


@pytest.fixture(scope="module")
def configurations(loader):
    lines = [
        ["+sweep=quickstart"],
        ["+sweep=bgem3"],
        ["data=files", "data.pairs=x.csv"],
        ["data=beir", "data.path=x"],
        ["runner=cluster"],
    ]
    return [to_values(compose(loader, line)) for line in lines]


def paths_in(node, prefix=()):
    """Yield every path in a tree of mappings and lists."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*prefix, key)
        yield from paths_in(child, (*prefix, key))


def set_value(tree, path, value):
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value


def check(values):
    """Build a configuration and check it if valid; return the diagnostics."""
    config = None
    with collect_diagnostics() as diagnostics:
        config = build_config(values)
    assert (config is None) == bool(diagnostics)
    if config is not None:
        for diagnostic in check_trainable(config):
            check_message(str(diagnostic))
        fractions = (1.0,) if check_trainable(config) else config.eval.schedule(config.train.epochs)
        assert fractions[-1] == 1.0
        assert all(0 < fraction <= 1 for fraction in fractions)
        assert Config.model_validate_json(config.model_dump_json(), strict=False) == config
    return diagnostics


def with_value(node, path, value):
    """Return a copy of the tree with `value` at `path`; it shares the unchanged parts."""
    if not path:
        return value
    fresh = copy.copy(node)
    fresh[path[0]] = with_value(node[path[0]], path[1:], value)
    return fresh


def delete_key(tree, path):
    node = tree
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]


@pytest.mark.slow
@given(data=st.data())
@budget(300)
def test_values_of_the_wrong_kind(configurations, data):
    values = copy.deepcopy(data.draw(st.sampled_from(configurations)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(paths_in(values), key=repr)))
        if data.draw(st.booleans()) or isinstance(path[-1], int):
            set_value(values, path, data.draw(trees))
        else:
            set_value(values, (*path[:-1], data.draw(st.one_of(texts, st.integers(), st.none()))), data.draw(trees))
    check(values)


@given(data=st.data())
@budget(100)
def test_missing_keys(configurations, data):
    values = copy.deepcopy(data.draw(st.sampled_from(configurations)))
    path = data.draw(st.sampled_from([p for p in paths_in(values) if isinstance(p[-1], str)]))
    delete_key(values, path)
    check(values)


@pytest.mark.slow
@given(trees)
@budget(200)
def test_trees_that_are_not_a_configuration(tree):
    assert check(tree if isinstance(tree, dict) else {"model": tree})


ODD = (*ODD_NUMBERS, *ODD_TEXTS[::4], [], {}, [math.nan], {"_target_": "os.system"}, b"x", nest(200))


@pytest.mark.slow
def test_every_key_with_every_odd_number_and_text(configurations):
    """A normal run tests every key with some values, and every value with some keys."""
    cases = [
        (configuration, path, value)
        for configuration in configurations[:2]
        for path in paths_in(configuration)
        for value in ODD
    ]
    assert len(cases) > 5000
    for configuration, path, value in cases if FACTOR else cases[::13]:
        check(with_value(configuration, path, value))


@pytest.mark.parametrize("kind", [["files"], {"a": 1}, 3, None, True, "FILES", "\x1b[2J", "Files", "part", ""])
def test_invalid_kinds_of_data(configurations, kind):
    values = copy.deepcopy(configurations[2])
    values["data"] = {**values["data"], "kind": kind, "surprise": 1}
    assert check(values)


@pytest.mark.parametrize(
    "path",
    [("data", "split", "surprise"), ("scale", "rehearsal", "model", "surprise"), ("data", "hub"), ("data", "beir")],
)
def test_unknown_keys_at_any_depth(configurations, path):
    for configuration in configurations:
        values = copy.deepcopy(configuration)
        set_value(values, path, 1)
        assert check(values)[0].location == ".".join(path)


HUGE = {
    "a hundred thousand wrong numbers": lambda: (("matryoshka", "dims"), ["x"] * 100_000),
    "a text of 8 MB": lambda: (("sweep", "name"), "x" * 8_000_000),
    "a kind of 8 MB": lambda: (("data", "kind"), "x" * 8_000_000),
    "a key of 8 MB": lambda: (("train", "x" * 8_000_000), 1),
    "100,000 dimensions": lambda: (("matryoshka", "dims"), list(range(100_000, 0, -1))),
    "100,000 unknown keys": lambda: (("train",), {f"k{i}": i for i in range(100_000)}),
    "10^9 evaluations per epoch": lambda: (("eval",), {"fractions": None, "per_epoch": 10**9, "batch_size": 32}),
    "10^300 epochs": lambda: (("train", "epochs"), 1e300),
}


@pytest.mark.parametrize("case", huge(HUGE, nightly=("a kind of 8 MB", "a key of 8 MB")))
def test_huge_invalid_configurations_are_refused_in_seconds(configurations, case):
    values = copy.deepcopy(configurations[1])
    set_value(values, *HUGE[case]())
    with collect_diagnostics() as diagnostics:
        config = build_config(values)
        diagnostics.extend(check_trainable(config))
    assert diagnostics


@pytest.mark.parametrize("name", ["a/b", "models:/x", "..", ".", "../x", " ", "x\x1b[2J", "x\ny", "x" * 300])
def test_a_model_name_that_the_registry_refuses_is_refused_before_the_sweep(configurations, name):
    values = copy.deepcopy(configurations[0])
    values["tracking"]["registered_model"] = name
    assert check(values)[0].location == "tracking.registered_model"


@pytest.mark.parametrize("key", [("train", "seed"), ("search", "seed"), ("data", "split", "seed")])
@pytest.mark.parametrize("seed", [2**31, 2**32, 10**30, -1, 1.0, "1"])
def test_seeds_that_numpy_refuses_are_refused_before_the_sweep(configurations, key, seed):
    values = copy.deepcopy(configurations[0])
    set_value(values, key, seed)
    assert check(values)[0].location == ".".join(key)


@pytest.mark.parametrize("text", ["a\0.csv", "\ud800.csv", "\udcff.csv"])
@pytest.mark.parametrize(
    "key", [("data", "pairs"), ("data", "anchor"), ("tracking", "uri"), ("storage", "path"), ("model", "name")]
)
def test_a_text_that_cannot_be_encoded_is_refused(configurations, key, text):
    values = copy.deepcopy(configurations[2])
    set_value(values, key, text)
    assert check(values)[0].location == ".".join(key)

"""Configurations with wild values in them: refused with faults under dotted keys, or a configuration."""

import copy
import math

import pytest
from budget import TIMES, budget, check_message, huge, refused_well
from hypothesis import given
from hypothesis import strategies as st
from wild import ODD_NUMBERS, ODD_TEXTS, nest, texts, trees

from embsweep.cli.composition.compose import compose, to_values
from embsweep.config import Config, build_config, check_trainable


@pytest.fixture(scope="module")
def recipes(loader):
    lines = [
        ["+sweep=quickstart"],
        ["+sweep=bgem3"],
        ["data=files", "data.pairs=x.csv"],
        ["data=beir", "data.path=x"],
        ["runner=cluster"],
    ]
    return [to_values(compose(loader, line)) for line in lines]


def places(node, prefix=()):
    """Every path into a tree of mappings and lists."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*prefix, key)
        yield from places(child, (*prefix, key))


def put(tree, path, value):
    node = tree
    for step in path[:-1]:
        node = node[step]
    node[path[-1]] = value


def check(values):
    """Build it, and check what is only asked of what can be built; the faults."""
    found = None
    with refused_well() as diagnostics:
        found = build_config(values)
    assert (found is None) == bool(diagnostics)
    if found is not None:
        for diagnostic in check_trainable(found):
            check_message(str(diagnostic))
        fractions = (1.0,) if check_trainable(found) else found.eval.schedule(found.train.epochs)
        assert fractions[-1] == 1.0
        assert all(0 < fraction <= 1 for fraction in fractions)
        assert Config.model_validate_json(found.model_dump_json(), strict=False) == found
    return diagnostics


def with_value(node, path, value):
    """A copy of the tree with `value` there; what does not change is shared."""
    if not path:
        return value
    fresh = copy.copy(node)
    fresh[path[0]] = with_value(node[path[0]], path[1:], value)
    return fresh


def cut(tree, path):
    node = tree
    for step in path[:-1]:
        node = node[step]
    del node[path[-1]]


@pytest.mark.slow
@given(data=st.data())
@budget(300)
def test_values_of_the_wrong_kind(recipes, data):
    values = copy.deepcopy(data.draw(st.sampled_from(recipes)))
    for _ in range(data.draw(st.integers(1, 3))):
        path = data.draw(st.sampled_from(sorted(places(values), key=repr)))
        if data.draw(st.booleans()) or isinstance(path[-1], int):
            put(values, path, data.draw(trees))
        else:
            put(values, (*path[:-1], data.draw(st.one_of(texts, st.integers(), st.none()))), data.draw(trees))
    check(values)


@given(data=st.data())
@budget(100)
def test_keys_that_are_missing(recipes, data):
    values = copy.deepcopy(data.draw(st.sampled_from(recipes)))
    path = data.draw(st.sampled_from([p for p in places(values) if isinstance(p[-1], str)]))
    cut(values, path)
    check(values)


@pytest.mark.slow
@given(trees)
@budget(200)
def test_trees_that_are_no_configuration(tree):
    assert check(tree if isinstance(tree, dict) else {"model": tree})


ODD = (*ODD_NUMBERS, *ODD_TEXTS[::4], [], {}, [math.nan], {"_target_": "os.system"}, b"x", nest(200))


@pytest.mark.slow
def test_every_key_with_every_odd_number_and_text(recipes):
    """By day every key with a few of them, and every one of them with a few keys."""
    cases = [(recipe, path, value) for recipe in recipes[:2] for path in places(recipe) for value in ODD]
    assert len(cases) > 5000
    for recipe, path, value in cases if TIMES else cases[::13]:
        check(with_value(recipe, path, value))


@pytest.mark.parametrize("kind", [["files"], {"a": 1}, 3, None, True, "FILES", "\x1b[2J", "Files", "part", ""])
def test_kinds_of_data_that_are_none(recipes, kind):
    values = copy.deepcopy(recipes[2])
    values["data"] = {**values["data"], "kind": kind, "surprise": 1}
    assert check(values)


@pytest.mark.parametrize(
    "path",
    [("data", "split", "surprise"), ("scale", "rehearsal", "model", "surprise"), ("data", "hub"), ("data", "beir")],
)
def test_unknown_keys_at_any_depth(recipes, path):
    for recipe in recipes:
        values = copy.deepcopy(recipe)
        put(values, path, 1)
        assert check(values)[0].location == ".".join(path)


HUGE = {
    "a hundred thousand wrong numbers": lambda: (("matryoshka", "dims"), ["x"] * 100_000),
    "a text of 8 MB": lambda: (("sweep", "name"), "x" * 8_000_000),
    "a kind of 8 MB": lambda: (("data", "kind"), "x" * 8_000_000),
    "a key of 8 MB": lambda: (("train", "x" * 8_000_000), 1),
    "100,000 dimensions": lambda: (("matryoshka", "dims"), list(range(100_000, 0, -1))),
    "100,000 unknown keys": lambda: (("train",), {f"k{i}": i for i in range(100_000)}),
    "a thousand million evaluations": lambda: (("eval",), {"fractions": None, "per_epoch": 10**9, "batch_size": 32}),
    "epochs without end": lambda: (("train", "epochs"), 1e300),
}


@pytest.mark.parametrize("case", huge(HUGE, at_night=("a kind of 8 MB", "a key of 8 MB")))
def test_huge_and_wrong_is_refused_in_seconds(recipes, case):
    values = copy.deepcopy(recipes[1])
    put(values, *HUGE[case]())
    with refused_well() as diagnostics:
        config = build_config(values)
        diagnostics.extend(check_trainable(config))
    assert diagnostics


@pytest.mark.parametrize("name", ["a/b", "models:/x", "..", ".", "../x", " ", "x\x1b[2J", "x\ny", "x" * 300])
def test_a_name_that_the_registry_would_refuse_after_days_is_refused_before(recipes, name):
    values = copy.deepcopy(recipes[0])
    values["tracking"]["registered_model"] = name
    assert check(values)[0].location == "tracking.registered_model"


@pytest.mark.parametrize("key", [("train", "seed"), ("search", "seed"), ("data", "split", "seed")])
@pytest.mark.parametrize("seed", [2**31, 2**32, 10**30, -1, 1.0, "1"])
def test_seeds_that_numpy_would_refuse_in_every_trial(recipes, key, seed):
    values = copy.deepcopy(recipes[0])
    put(values, key, seed)
    assert check(values)[0].location == ".".join(key)


@pytest.mark.parametrize("text", ["a\0.csv", "\ud800.csv", "\udcff.csv"])
@pytest.mark.parametrize(
    "key", [("data", "pairs"), ("data", "anchor"), ("tracking", "uri"), ("storage", "path"), ("model", "name")]
)
def test_a_text_that_cannot_be_written_is_refused(recipes, key, text):
    values = copy.deepcopy(recipes[2])
    put(values, key, text)
    assert check(values)[0].location == ".".join(key)

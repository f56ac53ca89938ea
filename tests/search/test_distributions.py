"""Conversion between Hydra's grammar and Optuna's distributions: exact, both ends included."""

import optuna
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given
from hypothesis import strategies as st

from embsweep.cli.composition.compose import compose
from embsweep.cli.composition.search_space import parse_dimension
from embsweep.cli.paths import conf_dir
from embsweep.config.search_space import Choice, FloatRange, IntRange, boundary_values, contains, grid_values
from embsweep.search.search import to_distribution

parser = OverridesParser.create()


def dimension(text):
    return parse_dimension(parser.parse_override(f"key={text}"))


@pytest.mark.slow
@given(st.integers(-1000, 1000), st.integers(1, 60), st.integers(1, 9))
def test_range_has_exactly_hydras_values(start, count, step):
    text = f"range({start},{start + count * step + 1},{step})"
    expected = tuple(range(start, start + count * step + 1, step))
    converted = dimension(text)
    assert grid_values(converted) == expected
    distribution = to_distribution(converted)
    assert (distribution.low, distribution.high) == (expected[0], expected[-1])
    assert all(distribution._contains(value) for value in boundary_values(converted))


@pytest.mark.slow
@given(st.floats(-1e6, 1e6), st.floats(1e-9, 1e6), st.booleans())
def test_interval_includes_both_ends(start, width, log):
    low, high = (abs(start) + 1e-9, abs(start) + 1e-9 + width) if log else (start, start + width)
    if not low < high:
        return
    inner = f"interval({low!r},{high!r})"
    converted = dimension(f"tag(log,{inner})" if log else inner)
    assert converted == FloatRange("key", low, high, log=log)
    distribution = to_distribution(converted)
    assert distribution._contains(low)
    assert distribution._contains(high)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("int(interval(1,5))", IntRange("key", 1, 5)),
        ("tag(log,int(interval(1,64)))", IntRange("key", 1, 64, log=True)),
        ("range(0.0,1.0,0.25)", FloatRange("key", 0.0, 0.75, 0.25)),
        ("range(5,1,-1)", IntRange("key", 2, 5)),
        ("choice(a,b)", Choice("key", ("a", "b"))),
        ("16,32", Choice("key", ("16", "32"))),
        ("[1,2],[3]", Choice("key", ("[1,2]", "[3]"))),
        ("null,1.5,true", Choice("key", ("null", "1.5", "True"))),
        ("'a b','c,d'", Choice("key", ("'a b'", "'c,d'"))),
    ],
)
def test_grammar(text, expected):
    assert dimension(text) == expected


@pytest.mark.parametrize("path", sorted((conf_dir() / "sweep").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_space_includes_its_ends(loader, path):
    params = compose(loader, [f"+sweep={path.stem}"]).hydra.sweeper.params
    for key, text in params.items():
        converted = parse_dimension(parser.parse_override(f"{key}={text}"))
        distribution = to_distribution(converted)
        for value in boundary_values(converted):
            fixed = optuna.trial.FixedTrial({key: value})
            assert fixed._suggest(key, distribution) == value


@given(st.integers(0, 100), st.integers(1, 30), st.integers(1, 5), st.integers(-5, 200))
def test_contains_agrees_with_the_grid(low, count, step, value):
    converted = IntRange("key", low, low + count * step, step)
    assert contains(converted, value) == (value in grid_values(converted))


@pytest.mark.parametrize(
    ("converted", "value", "inside"),
    [
        (FloatRange("k", 0.0, 1.0), 1.0, True),
        (FloatRange("k", 0.0, 1.0), 1.0000001, False),
        (FloatRange("k", 0.0, 0.3, 0.1), 0.3, True),
        (FloatRange("k", 0.0, 0.3, 0.1), 0.25, False),
        (FloatRange("k", 0.0, 1.0), "0.5", False),
        (Choice("k", ("a",)), "a", True),
        (Choice("k", ("a",)), "b", False),
        (IntRange("k", 1, 5), 2.5, False),
    ],
)
def test_contains(converted, value, inside):
    assert contains(converted, value) is inside

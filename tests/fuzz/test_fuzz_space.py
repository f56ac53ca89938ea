"""Search spaces from a grammar with mistakes: refused with diagnostics, or spaces that satisfy every invariant."""

import math

import pytest
from bad_input import texts
from budget import budget, collect_diagnostics
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hypothesis import example, given
from hypothesis import strategies as st

from embsweep.cli.composition.request import parse_request
from embsweep.cli.composition.search_space import parse_dimension
from embsweep.config.search_space import (
    Choice,
    boundary_values,
    contains,
    count_values,
    describe,
    grid_values,
)
from embsweep.core.errors import InputError
from embsweep.search.search import to_distribution

PARSER = OverridesParser.create()

numbers = st.one_of(
    st.integers(-5, 20).map(str),
    st.sampled_from([
        "0", "-1", "0.1", "1e-6", "1e-4", "1e308", "-1e308", "1e400", "inf", "-inf", "nan", "1e-320",
        "0.30000000000000004", "1000000000000", "9" * 30, "-" + "9" * 400, "9" * 5000, "true", "null", "1_000",
        "1e16", "9007199254740993", "0.1e-15",
        "1.2345678901234567", "2**3", "''", "x", "0x10", "1.", ".5",
    ]),
    st.floats(0, 10).map(repr),
)  # fmt: skip
elements = st.one_of(
    numbers,
    texts,
    st.sampled_from(
        ["a", "'a'", '"a"', "[1,2]", "{a:1}", "[[[]]]", "a b", "a\\,b", "halving", "${x}", "???", "null", "é", "*"]
    ),
)
arguments = st.one_of(
    st.lists(elements, max_size=4).map(",".join),
    st.lists(
        st.tuples(st.sampled_from(["start", "stop", "step", "end", "foo"]), numbers).map("=".join), max_size=4
    ).map(",".join),
    st.tuples(numbers, numbers, numbers).map(lambda three: "{},{},step={}".format(*three)),
    st.tuples(numbers, numbers).map(",".join),
)
calls = st.tuples(st.sampled_from(["interval", "range", "choice", "glob", "interval", "range"]), arguments).map(
    lambda c: f"{c[0]}({c[1]})"
)
wrappings = st.sampled_from([
    "tag(log,{})", "tag(lg,{})", "tag({})", "int({})", "float({})", "str({})", "bool({})", "shuffle({})", "sort({})",
    "sort({},reverse=true)", "choice({},1)", "[{}]", "{}{}", "({})", "{},{}", "tag(log,lg,{})",
])  # fmt: skip
spaces = st.recursive(
    st.one_of(calls, arguments),
    lambda inner: st.tuples(wrappings, inner).map(lambda both: both[0].replace("{}", both[1])),
    max_leaves=3,
)


def parse(text):
    """Return the dimension, or None if it is refused; text that Hydra's grammar refuses does not reach our parser."""
    try:
        override = PARSER.parse_override(f"train.learning_rate={text}")
    except (HydraException, ValueError, ArithmeticError, RecursionError, TypeError, AttributeError):
        return None
    with collect_diagnostics() as diagnostics:
        return parse_dimension(override)
    assert diagnostics
    return None


@pytest.mark.slow
@given(spaces)
@example("range(0,1000000000000)")
@example("range(0,1,1e-12)")
@example("range(0.0,inf)")
@example("interval(0," + "9" * 400 + ")")
@example("interval(-1e308,1e308)")
@example("choice(interval(0,1),2)")
@example("shuffle(choice(a,b))")
@example("[interval(0,0)],[interval(0,0)]")
@example("{a:range(1,2)},{a:1}")
@example("range(1.2345678901234567,2.2345678901234567,0.1)")
@example("range(10000000000000000.0,10000000000000010.0,1.0)")
@budget(1500)
def test_a_space_is_refused_or_satisfies_the_invariants(text):
    dimension = parse(text)
    if dimension is not None:
        check_invariants(dimension)


def check_invariants(dimension):
    assert describe(dimension).isprintable() or isinstance(dimension, Choice)
    assert all(contains(dimension, end) for end in boundary_values(dimension))
    to_distribution(dimension)
    if isinstance(dimension, Choice):
        assert 0 < len(set(dimension.options)) == len(dimension.options)
        return
    assert -math.inf < dimension.low < dimension.high < math.inf
    if (count_values(dimension) or 3000) < 3000:
        values = grid_values(dimension)
        assert all(contains(dimension, value) for value in values)
        assert len(set(values)) == len(values) == count_values(dimension) >= 2


@given(st.lists(st.one_of(numbers, st.sampled_from(["a", "b", "[1]"])), min_size=2, max_size=5))
@budget(200)
def test_a_choice_has_every_option_or_is_refused(options):
    dimension = parse(f"choice({','.join(options)})")
    if dimension is not None:
        assert len(dimension.options) == len(options)


@pytest.fixture(scope="module")
def request_with_space(loader):
    def parse_entry(key, text):
        with collect_diagnostics() as diagnostics:
            request, raised = parse_request(loader, [f"++hydra.sweeper.params={{{key}: {text}}}"], "")
            if raised:
                raise InputError(raised)
            return request, diagnostics
        return None, diagnostics

    return parse_entry


def quote(text):
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


@pytest.mark.slow
@given(
    key=st.sampled_from(["train.learning_rate", "matryoshka", "train", "model.dim", "x", "hydra.mode", "eval"]),
    text=spaces,
)
@example("train.learning_rate", "${nothing}")
@example("train.learning_rate", "${hydra.sweeper.params}")
@example("train.learning_rate", "9" * 5000)
@budget(60)
def test_the_space_of_a_preset_is_refused_or_searched(request_with_space, key, text):
    try:
        PARSER.parse_override(f"key={quote(text)}")
    except HydraException:
        return
    request, diagnostics = request_with_space(key, quote(text))
    assert diagnostics or request.space


@pytest.mark.slow
@pytest.mark.parametrize("text", ["null", "{a: 1}", "'${oc.env:NOPE}'", "'${hydra.sweeper.params}'", "''", "[]", "3"])
def test_an_entry_of_another_type_in_a_preset_is_refused(request_with_space, text):
    assert request_with_space("train.epochs", text)[1]


@pytest.mark.slow
def test_a_glob_in_a_preset_selects_the_options_of_its_group(request_with_space):
    request, diagnostics = request_with_space("matryoshka", "'glob(from_*)'")
    assert not diagnostics
    options = {dimension.key: dimension.options for dimension in request.space}["matryoshka"]
    assert options == ("from_384", "from_384_coarse", "from_768")

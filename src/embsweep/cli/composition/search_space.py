"""Parse Hydra's sweep overrides into a search space."""

from __future__ import annotations

import math
from collections.abc import Sequence

from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep, Transformer
from hydra.errors import HydraException

from embsweep.cli.composition.validation import refuse
from embsweep.config.base import LARGEST_INTEGER
from embsweep.config.search_space import Choice, Dimension, FloatRange, IntRange
from embsweep.core.errors import Diagnostic, InputError

_MOST_VALUES = 100_000
"""Maximum number of values in a range of floats, which Hydra generates one by one."""

_MOST_OPTIONS = 200
_SHUFFLE = "shuffle has no effect: the sampler chooses the order"

GRAMMAR = "choice(a, b), range(1, 5), interval(0.0, 0.2), tag(log, interval(1e-6, 1e-4))"
"""Functions of a search space."""


def parse_dimension(override: Override) -> Dimension:
    """Parse a sweep override.

    Raises:
        InputError: If it is not a valid search space.
    """
    key, value = override.get_key_element().lstrip("+"), override.value()
    text = str(override.input_line).partition("=")[2]
    is_space, shown = override.is_sweep_override(), None if override.is_delete() else text
    options = value if isinstance(value, list) and not _holds_space(value) else []
    hint = f"choice({', '.join(map(Transformer.str, options))})" if options else None
    refuse((not is_space, Diagnostic("bad-space", key, "is not a search space", shown, GRAMMAR, hint)))
    if isinstance(value, IntervalSweep):
        return _parse_interval(key, value)
    if isinstance(value, RangeSweep):
        return _parse_range(key, value)
    if isinstance(value, ChoiceSweep):
        problem = "an option is itself a search space"
        refuse((_holds_space(value.list), Diagnostic("bad-space", key, problem, text, GRAMMAR)))
        hint = f"write {key}={','.join(map(Transformer.str, value.list))}"
        refuse(
            (value.shuffle, Diagnostic("no-effect", key, _SHUFFLE, text, "without shuffle", hint)),
            (value.tags, Diagnostic("no-effect", key, "a tag has no effect on a choice", text, "without tag", hint)),
        )
    return _parse_choice(key, override)


def _holds_space(value: object) -> bool:
    """Return whether a search space is nested in the value, so that nothing would search it."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return isinstance(value, Sweep) or any(map(_holds_space, inner))


def _parse_choice(key: str, override: Override) -> Choice:
    try:
        options = tuple(override.sweep_string_iterator())
    except HydraException as error:
        raise InputError(Diagnostic("bad-space", key, str(error), expected=GRAMMAR)) from None
    count = len(options)
    refuse(
        (count == 0, Diagnostic("empty", key, "this choice has no options", override.get_value_string())),
        (
            count > _MOST_OPTIONS,
            Diagnostic(
                "too-many",
                key,
                f"this choice has {count:,} options, and each is composed and checked before anything starts",
                expected=f"at most {_MOST_OPTIONS}",
                hint="or range(…) for numbers",
            ),
        ),
        (
            len(set(options)) < count,
            Diagnostic("duplicate-value", key, "an option is repeated", list(options), "each option once"),
        ),
    )
    return Choice(key, options)


def _parse_interval(key: str, sweep: IntervalSweep) -> Dimension:
    low, high = sweep.start, sweep.end
    text = f"interval({low}, {high})"
    _check_ends(key, low, high)
    if low is None or high is None or low >= high or not math.isfinite(high - low):
        hint = (
            f"write {key}=interval({high!r},{low!r})" if low is not None and high is not None and low > high else None
        )
        raise InputError(Diagnostic("impossible-range", key, "impossible interval", text, "finite start < end", hint))
    log = _is_log(key, sweep.tags)
    refuse(
        (log and low <= 0, Diagnostic("impossible-range", key, "a log interval must start above 0", text, "start > 0"))
    )
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(key, low, high, log=log)
    return FloatRange(key, float(low), float(high), log=log)


def _parse_range(key: str, sweep: RangeSweep) -> Dimension:
    _check_ends(key, sweep.start, sweep.stop, sweep.step)
    text = f"range({sweep.start}, {sweep.stop}, step={sweep.step})"
    hint = f"write {key}={text.replace(' ', '')}"
    refuse((sweep.shuffle, Diagnostic("no-effect", key, _SHUFFLE, text, "without shuffle", hint)))
    low, high = _find_ends(key, sweep, text)
    log, step = _is_log(key, sweep.tags), abs(sweep.step)
    refuse(
        (
            log and (low <= 0 or step != 1 or not isinstance(low, int)),
            Diagnostic(
                "impossible-range",
                key,
                "a log range needs integers above 0, step 1",
                text,
                "tag(log, interval(1e-6, 1e-4)), or the values: choice(1e-6, 1e-5, 1e-4)",
            ),
        )
    )
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(key, low, high, int(step), log)
    return FloatRange(key, low, high, float(step))


def _find_ends(key: str, sweep: RangeSweep, text: str) -> tuple[float, float]:
    """Return smallest and largest value; Hydra's stop is exclusive. Integers are not listed: there may be billions."""
    start, stop, step = sweep.start, sweep.stop, sweep.step
    if start is None or stop is None or not step or (stop - start) / step <= 0:
        values: Sequence[float] = ()
    elif isinstance(start, int) and isinstance(stop, int) and isinstance(step, int):
        values = range(start, stop, step)
    elif (stop - start) / step > _MOST_VALUES or start + step == start:
        problem = f"this range has more than {_MOST_VALUES:,} values"
        raise InputError(Diagnostic("too-many", key, problem, text, "a larger step, or interval(start, end)"))
    else:
        values = list(sweep.range())
    problem = "this range has fewer than two values"
    hint = f"write {key}={values[0]:g}" if len(values) == 1 else None
    refuse((len(values) < 2, Diagnostic("too-few", key, problem, text, "start, stop (exclusive), step", hint)))
    return min(values[0], values[-1]), max(values[0], values[-1])


def _check_ends(key: str, *ends: float | None) -> None:
    """Raise InputError if a number is infinite, NaN, or an integer that floats do not represent exactly."""
    for end in ends:
        refuse(
            (
                isinstance(end, int) and abs(end) > LARGEST_INTEGER,
                Diagnostic(
                    "out-of-range", key, "a number of this space is too large", end, f"up to {LARGEST_INTEGER:,}"
                ),
            ),
            (
                isinstance(end, float) and not math.isfinite(end),
                Diagnostic(
                    "impossible-range", key, "impossible interval: an end is not finite", end, "finite start < end"
                ),
            ),
        )


def _is_log(key: str, tags: set[str]) -> bool:
    unknown = sorted(tags - {"log"})
    refuse((unknown, Diagnostic("unknown-option", key, "unknown tag", ", ".join(unknown), "log")))
    return "log" in tags

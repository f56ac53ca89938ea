"""From Hydra's sweep overrides to a search space."""

from __future__ import annotations

import math
from collections.abc import Iterable

from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException

from embsweep.errors import Fault, InputError
from embsweep.space import Choice, Dimension, FloatRange, IntRange, Space

_GRAMMAR = "choice(a, b), range(1, 5), interval(0.0, 0.2), tag(log, interval(1e-6, 1e-4))"


def parse_space(overrides: Iterable[Override]) -> Space:
    """One dimension for each sweep override. Raises InputError with the faults of all of them."""
    dimensions: list[Dimension] = []
    faults: list[Fault] = []
    for override in overrides:
        try:
            dimensions.append(_parse_dimension(override))
        except InputError as error:
            faults.extend(error.faults)
    if faults:
        raise InputError(faults)
    return tuple(dimensions)


def _parse_dimension(override: Override) -> Dimension:
    key = override.get_key_element()
    value = override.value()
    if isinstance(value, IntervalSweep):
        return _parse_interval(key, value)
    if isinstance(value, RangeSweep):
        return _parse_range(key, value)
    if not override.is_sweep_override():
        raise InputError(Fault(key, "is no search space", override.get_value_string(), _GRAMMAR))
    return _parse_choice(key, override)


def _parse_choice(key: str, override: Override) -> Choice:
    try:
        options = tuple(override.sweep_string_iterator())
    except HydraException as error:
        raise InputError(Fault(key, str(error), accepted=_GRAMMAR)) from None
    if not options:
        raise InputError(Fault(key, "this choice has no options", override.get_value_string()))
    if len(set(options)) < len(options):
        raise InputError(Fault(key, "an option is repeated", list(options), "each option once"))
    return Choice(key, options)


def _parse_interval(key: str, sweep: IntervalSweep) -> Dimension:
    low, high = sweep.start, sweep.end
    if low is None or high is None or not (math.isfinite(low) and math.isfinite(high)) or low >= high:
        raise InputError(Fault(key, "impossible interval", f"interval({low}, {high})", "finite start < end"))
    log = _is_log(key, sweep.tags)
    if log and low <= 0:
        raise InputError(Fault(key, "a log interval begins at 0 or below", f"interval({low}, {high})", "start > 0"))
    if isinstance(low, int) and isinstance(high, int):
        return IntRange(key, low, high, log=log)
    return FloatRange(key, float(low), float(high), log=log)


def _parse_range(key: str, sweep: RangeSweep) -> Dimension:
    text = f"range({sweep.start}, {sweep.stop}, step={sweep.step})"
    if sweep.shuffle:
        raise InputError(Fault(key, "shuffle has no effect: the sampler chooses the order", text, "without shuffle"))
    values = sorted(sweep.range()) if sweep.step else []  # Hydra's stop is exclusive: the last value is the end
    if len(values) < 2:
        raise InputError(Fault(key, "this range has fewer than two values", text, "start, stop (exclusive), step"))
    log = _is_log(key, sweep.tags)
    step = abs(sweep.step)
    if log and (values[0] <= 0 or step != 1 or not isinstance(values[0], int)):
        raise InputError(Fault(key, "a log range needs integers above 0, step 1", text))
    if isinstance(values[0], int):
        return IntRange(key, values[0], values[-1], int(step), log)
    return FloatRange(key, values[0], values[-1], float(step))


def _is_log(key: str, tags: set[str]) -> bool:
    unknown = tags - {"log"}
    if unknown:
        raise InputError(Fault(key, "unknown tag", ", ".join(sorted(unknown)), "log"))
    return "log" in tags

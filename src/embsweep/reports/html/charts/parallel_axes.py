"""Axes of parallel coordinates: where a value is on its axis, and the labels of the axis."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embsweep.config.search_space import Choice, Dimension, Value
from embsweep.reports.html.search_history import find_scale

_ABSENT_ROOM = 0.14
"""Share of an axis below its values if some trials have none."""

_SPREAD, _EDGE, _GOLDEN_RATIO = 0.05, 0.03, 0.618
_MOST_LABELS = 8


@dataclass(frozen=True)
class Axis:
    """One axis. Places are from 0, the lower end, to 1; `absent` labels the place 0 of trials without a value.

    Numbers are between `low` and `high`; options have their places in `options`, from the lowest one.
    """

    key: str
    title: str
    ticks: tuple[tuple[float, str], ...]
    low: float = 0.0
    high: float = 1.0
    is_log: bool = False
    options: tuple[str, ...] = ()
    absent: str = ""

    def place(self, value: Value | None, number: int | None = None) -> float:
        """Return the place of a value, of None the lower end.

        Lines through the same option are a little apart, by the `number` of their trials.
        """
        aside = 0.0 if number is None else _SPREAD * ((number * _GOLDEN_RATIO) % 1 - 0.5)
        if value is None:
            return _EDGE + aside
        if self.options:
            return lift(_share_of_option(self.options, str(value)), has_absent=bool(self.absent)) + aside
        share = _share_of_number(float(value), self.low, self.high, is_log=self.is_log)
        return lift(share, has_absent=bool(self.absent))


def lift(share: float, *, has_absent: bool) -> float:
    """Return the place on the axis of a share of its values' range, which is above that of absent values."""
    return _ABSENT_ROOM + share * (1 - _ABSENT_ROOM) if has_absent else share


def build_axis(dimension: Dimension, title: str, *, absent: str = "") -> Axis:
    """Return the axis of a swept key.

    Args:
        dimension: Its dimension.
        title: The text above the axis.
        absent: Label of trials without a value, empty if there are none.
    """
    if isinstance(dimension, Choice):
        is_ordinal = find_scale(dimension) == "ordinal"
        options = tuple(sorted(dimension.options, key=float) if is_ordinal else reversed(dimension.options))
        shares = [(_share_of_option(options, option), option) for option in options]
        return Axis(dimension.key, title, _thin(_lift(shares, absent)), options=options, absent=absent)
    low, high = float(dimension.low), float(dimension.high)
    return build_number_axis(dimension.key, title, (low, high), is_log=dimension.log, absent=absent)


def build_number_axis(
    key: str, title: str, ends: tuple[float, float], *, is_log: bool = False, absent: str = ""
) -> Axis:
    """Return an axis of numbers.

    Args:
        key: The key or name of what it shows.
        title: The text above the axis.
        ends: Lowest and highest number.
        is_log: Whether equal ratios have equal distances.
        absent: Label of trials without a value, empty if there are none.
    """
    low, high = ends
    values = list_log_ticks(low, high) if is_log else list_ticks(low, high)
    shares = [(_share_of_number(value, low, high, is_log=is_log), label_number(value)) for value in values]
    return Axis(key, title, _lift(shares, absent), low, high, is_log, absent=absent)


def list_ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return round numbers from `low` to `high`, at most `most`; both ends if there is only one."""
    if high <= low:
        return [low]
    raw = (high - low) / (most - 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= raw * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    values = [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]
    return values if len(values) > 1 else [low, high]


def list_log_ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten from `low` to `high`, over more than two decades the powers alone."""
    if high <= low:
        return [low]
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1,) if high / low > 100 else (1, 2, 5)
    values = [float(f"{factor}e{power}") for power in decades for factor in factors]
    found = [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
    return found if len(found) > 1 else [low, high]


def label_number(value: float) -> str:
    """Return a number in a few characters: `0.05`, `2e-5`."""
    text = f"{value:.2e}" if 0 < abs(value) < 1e-3 else f"{value:.4g}"
    mantissa, exponent, power = text.partition("e")
    mantissa = mantissa.rstrip("0").rstrip(".") if exponent else mantissa
    return f"{mantissa}e{int(power)}" if exponent else text


def shorten_keys(keys: Sequence[str]) -> list[str]:
    """Return the shortest end of each dotted key that no other key has: `learning_rate`."""
    return [_shorten(key, [other for other in keys if other != key]) for key in keys]


def _shorten(key: str, others: Iterable[str]) -> str:
    parts = key.split(".")
    ends = [".".join(parts[start:]) for start in reversed(range(len(parts)))]
    return next((end for end in ends if not any(f".{other}".endswith(f".{end}") for other in others)), key)


def _share_of_option(options: Sequence[str], option: str) -> float:
    """Return the place of an option; half the spread of its lines is left free at both ends."""
    if len(options) == 1 or option not in options:
        return 0.5
    return _EDGE + (1 - 2 * _EDGE) * options.index(option) / (len(options) - 1)


def _share_of_number(value: float, low: float, high: float, *, is_log: bool) -> float:
    if high <= low:
        return 0.5
    if is_log:
        value, low, high = math.log(value), math.log(low), math.log(high)
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _lift(shares: Iterable[tuple[float, str]], absent: str) -> tuple[tuple[float, str], ...]:
    places = [(lift(share, has_absent=bool(absent)), label) for share, label in shares]
    return (*([(_EDGE, absent)] if absent else []), *places)


def _thin(ticks: tuple[tuple[float, str], ...]) -> tuple[tuple[float, str], ...]:
    """Leave out labels of many options."""
    return ticks[:: math.ceil(len(ticks) / _MOST_LABELS)]

"""Numbers of the report: each is shown rounded, and is in the page with all of its digits."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from embsweep.reports import text
from embsweep.selection.evidence import Comparison


@dataclass(frozen=True)
class Number:
    """A value, and how it is shown."""

    value: float
    shown: str

    def __str__(self) -> str:
        return self.shown


Sentence = tuple[str | Number, ...]
"""Words and numbers of a sentence, in order, with their spaces."""


def score(value: float) -> Number:
    """Show a score: `.4568`."""
    return Number(value, text.score(value))


def gain(value: float) -> Number:
    """Show a difference of scores with its sign: `+.0123`."""
    return Number(value, text.gain(value))


def percent(value: float) -> Number:
    """Show a share: `97 %`."""
    return Number(value, f"{100 * value:.0f} %")


def probability(value: float) -> Number:
    """Show a p-value: `.0123`, and `4e-05` if four decimals would hide it."""
    return Number(value, text.score(value) if value == 0 or value >= 1e-4 else f"{value:.0e}")


def whole(value: int) -> Number:
    """Show an integer: `2,373`."""
    return Number(value, f"{value:,}")


def difference_cells(comparison: Comparison) -> tuple[Number, ...]:
    """Return a difference, the bounds of its interval, and its adjusted p, as cells of a table."""
    bounds = (comparison.difference, comparison.low, comparison.high)
    return (*map(gain, bounds), probability(comparison.adjusted_p))


def plain(sentence: Sentence) -> str:
    """Return the text of a sentence."""
    return "".join(map(str, sentence))


_SHARES = {
    Fraction(1, 2): "half the",
    Fraction(1, 3): "a third of the",
    Fraction(2, 3): "two thirds of the",
    Fraction(1, 4): "a quarter of the",
    Fraction(3, 4): "three quarters of the",
    Fraction(1, 6): "a sixth of the",
    Fraction(1, 8): "an eighth of the",
}


def share_of(part: int, whole_amount: int) -> str:
    """Return a share in words: `a quarter of the`, `17 % of the`.

    Args:
        part: The part.
        whole_amount: Of what.
    """
    share = Fraction(part, whole_amount)
    return _SHARES.get(share, f"{share} of the" if share.numerator == 1 else f"{100 * float(share):.0f} % of the")

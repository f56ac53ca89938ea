"""How the model card calls the models that it compares, and which way a comparison went."""

from __future__ import annotations

from collections.abc import Iterable
from enum import Enum

from embsweep.decide.comparison import Comparison
from embsweep.decide.evidence import BASE, BM25, RECIPE, RUNNER_UP, WINNER, Evidence
from embsweep.report.card_text import code, plain

_ORDER = (WINNER, BASE, BM25, RECIPE, RUNNER_UP)
_COLUMNS = {WINNER: "This model", BASE: "Base", BM25: "BM25", RECIPE: "Recipe", RUNNER_UP: "Runner-up"}
_WORDS = {BM25: "BM25", RECIPE: "the recipe", RUNNER_UP: "the runner-up"}


class Way(Enum):
    """Which way a difference goes, once the correction for all comparisons is made."""

    BETTER = "significantly better"
    WORSE = "significantly worse"
    UNCLEAR = "no significant difference"


def judge(comparison: Comparison, evidence: Evidence) -> Way:
    """Significant where the adjusted p is below the gate's alpha."""
    if comparison.adjusted_p >= evidence.gate.alpha or comparison.difference == 0:
        return Way.UNCLEAR
    return Way.BETTER if comparison.difference > 0 else Way.WORSE


def in_order(names: Iterable[str]) -> list[str]:
    """The winner first, then base, BM25, recipe and runner-up, then whatever else was read."""
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def column(name: str) -> str:
    """The heading of a model's column."""
    return _COLUMNS.get(name, name)


def rival_name(name: str, evidence: Evidence) -> str:
    """A model within a sentence, with its trial where its name does not say it."""
    if name == BASE:
        return f"the base model {code(evidence.base_model)}"
    words = _WORDS.get(name, plain(name))
    trial = evidence.test[name].trial if name in evidence.test else None
    return words if trial is None or name not in _WORDS else f"{words} (trial {trial})"


def in_groups(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Comparisons by rival: the objective first, then from the largest dimension to the smallest."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in sorted(comparisons, key=lambda c: (c.dim is not None, -(c.dim or 0))):
        groups.setdefault(comparison.rival, []).append(comparison)
    return {name: groups[name] for name in in_order(groups)}


def on_objective(evidence: Evidence, rival: str) -> Comparison | None:
    """The comparison with `rival` over all dimensions on the test split, where it was made."""
    return next((c for c in evidence.comparisons if c.rival == rival and c.dim is None), None)

"""Comparison of the gate's rules with the standard ones: which of them are looser."""

from __future__ import annotations

from collections.abc import Iterator

from embsweep.config.sweep import GateConfig

_STRICTNESS = {"not_worse": 0, "higher": 1, "significant": 2}


def find_looser_keys(gate: GateConfig, standard: GateConfig, dims: tuple[int, ...]) -> tuple[str, ...]:
    """Return the keys of `gate` with which a model passes that would not pass with `standard`.

    Args:
        gate: Rules to compare.
        standard: Rules to compare with.
        dims: Dimensions that the sweep evaluated, which are required if a rule names none.
    """
    return tuple(_find_looser_keys(gate, standard, dims))


def _find_looser_keys(gate: GateConfig, standard: GateConfig, dims: tuple[int, ...]) -> Iterator[str]:
    if gate.dims is not None and set(standard.dims or dims) - set(gate.dims):
        yield "dims"
    for key in ("against_base", "against_champion"):
        if _STRICTNESS[getattr(gate, key)] < _STRICTNESS[getattr(standard, key)]:
            yield key
    rules = {gate.against_base, gate.against_champion}
    may_be_lower = "not_worse" in rules and gate.margin > standard.margin
    if may_be_lower or (rules != {"not_worse"} and gate.margin < standard.margin):
        yield "margin"
    if "significant" in rules and gate.alpha > standard.alpha:
        yield "alpha"

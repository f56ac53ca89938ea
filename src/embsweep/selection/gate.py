"""The promotion gate: checks every condition under which a challenger may replace the champion.

This is a pure function from `GateInput` to `GateResult`.
"""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.selection.evidence import Comparison
from embsweep.selection.gate_conditions import (
    Condition,
    check_audit,
    check_champion,
    check_complete,
    check_data,
    check_floors,
    check_name,
    check_reference,
    check_verification,
)
from embsweep.selection.gate_input import GateInput
from embsweep.selection.statistics.significance import compare_models

_SEED = 0  # of the resampling: the same numbers must give the same verdict


@dataclass(frozen=True)
class GateResult:
    """The verdict: every condition, and the comparisons that it is based on."""

    conditions: tuple[Condition, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def passed(self) -> bool:
        """True if the challenger may become champion."""
        return all(condition.passed for condition in self.conditions)

    @property
    def failed(self) -> tuple[Condition, ...]:
        """Conditions that are not met or could not be checked."""
        return tuple(condition for condition in self.conditions if not condition.passed)


def evaluate_gate(case: GateInput) -> GateResult:
    """Check every condition, even if an earlier one is not met."""
    comparisons = _compare(case)
    base = check_reference("beats base", case, case.base, case.gate.against_base, comparisons)
    return GateResult(
        (
            check_complete(case.evidence),
            check_data(case),
            check_verification(case),
            base,
            check_champion(case, comparisons),
            check_audit(case.evidence),
            check_name(case),
            check_floors(case),
        ),
        comparisons,
    )


def _compare(case: GateInput) -> tuple[Comparison, ...]:
    """Compare the challenger with each reference that was evaluated; p-values are corrected for all comparisons.

    If the rule requires a significant difference, the test's null hypothesis is a difference of the rule's margin.
    """
    if case.challenger.reason_missing:
        return ()
    ours = {dim: case.challenger.values[dim] for dim in case.dims if dim in case.challenger.values}
    rules = ((case.base, case.gate.against_base), (case.champion, case.gate.against_champion))
    evaluated = [
        (reference, rule)
        for reference, rule in rules
        if reference is not None
        and not reference.evaluation.reason_missing
        and set(ours) & set(reference.evaluation.values)
    ]
    return compare_models(
        ours,
        {reference.label: reference.evaluation.values for reference, _ in evaluated},
        case.groups,
        config=case.evidence.test_objective,
        seed=_SEED,
        margins={reference.label: case.gate.margin for reference, rule in evaluated if rule == "significant"},
    )

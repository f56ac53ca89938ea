"""The promotion gate: checks every condition under which a challenger may replace the champion.

This is a pure function from `GateInput` to `GateResult`. Each condition is checked on its own and reports the numbers
that decided it.
"""

from __future__ import annotations

from dataclasses import dataclass

from embsweep.config.sweep import GateConfig, GateRule
from embsweep.core.names import REHEARSAL_SUFFIX
from embsweep.selection.evidence import WINNER, Comparison, Evidence
from embsweep.selection.gate_input import GateInput, Reference
from embsweep.selection.objective import describe_violations
from embsweep.selection.scores import find_largest_difference
from embsweep.selection.statistics.significance import compare_models


@dataclass(frozen=True)
class DimCheck:
    """Result of the comparison with one reference at one dimension."""

    dim: int
    passed: bool
    text: str


@dataclass(frozen=True)
class Condition:
    """Result of one condition. `passed` None means that it could not be checked, which counts as not passed."""

    name: str
    passed: bool | None
    text: str
    dims: tuple[DimCheck, ...] = ()


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
    return GateResult(
        (
            check_complete(case.evidence),
            check_data(case),
            check_verification(case),
            check_reference("beats base", case, case.base, case.gate.against_base, comparisons),
            check_reference("beats champion", case, case.champion, case.gate.against_champion, comparisons),
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
        seed=0,  # the same numbers must give the same verdict
        margins={reference.label: case.gate.margin for reference, rule in evaluated if rule == "significant"},
    )


def check_comparison(found: Comparison, rule: GateRule, gate: GateConfig) -> tuple[bool, str]:
    """Check whether a difference satisfies `rule`.

    Args:
        found: Difference to the reference. For the rule `significant`, its p-value must be that of the null hypothesis
            that the difference is `gate.margin`.
        rule: One of `significant`, `higher` and `not_worse`.
        gate: Margin and alpha of the rule.

    Returns:
        Whether it passed, and the numbers that decided it.
    """
    interval = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    if rule == "not_worse":
        short = -gate.margin - found.low
        if found.low > -gate.margin:
            return True, interval
        return False, f"{interval}: low end must be above {-gate.margin:+.4f}, short by {short:.4f}"
    if not found.difference > gate.margin:
        short = gate.margin - found.difference
        return False, f"{interval}: must be above {gate.margin:+.4f}, short by {short:.4f}"
    if rule == "higher":
        return True, interval
    p = f"p {found.adjusted_p:.4f}"
    if found.adjusted_p < gate.alpha:
        return True, f"{interval}, {p}"
    detectable = found.margin + found.detectable
    return False, f"{interval}: {p} must be below {gate.alpha:g}, detectable in pairs from {detectable:.4f}"


def describe_rule(rule: GateRule, gate: GateConfig) -> str:
    """Describe a rule: `significantly higher (p < 0.05)`, `higher by more than 0.01`, `not worse by more than 0.01`."""
    above = f" by more than {gate.margin:g}" if gate.margin else ""
    if rule == "significant":
        return f"significantly higher{above} (p < {gate.alpha:g})"
    return f"higher{above}" if rule == "higher" else f"not worse{above}"


def check_complete(evidence: Evidence) -> Condition:
    """Check that the sweep was finished."""
    done = f"{sum(evidence.counts.values())} of {evidence.budget} trials"
    text = done if evidence.complete else f"{done}: run the sweep's command again to finish it"
    return Condition("complete", evidence.complete, text)


def check_data(case: GateInput) -> Condition:
    """Check that the test set is the one that the sweep used."""
    then, found = case.evidence.data.fingerprint, case.found_fingerprint
    if then == found:
        return Condition("same test set", True, f"fingerprint {then[:12]}")
    return Condition("same test set", False, f"fingerprint {found[:12]} now, {then[:12]} when the sweep read it")


def check_verification(case: GateInput) -> Condition:
    """Check that the stored weights reproduce every score that was recorded for them."""
    name, evaluation = "verification", case.challenger
    if evaluation.reason_missing:
        same_data = case.evidence.data.fingerprint == case.found_fingerprint
        return Condition(name, False if same_data else None, evaluation.reason_missing)
    recorded = case.evidence.test[WINNER].scores
    missing = sorted(set(recorded) - set(evaluation.scores), reverse=True)
    if missing:
        return Condition(name, False, f"the stored model has no dimension {missing[0]}")
    largest, dim, metric = find_largest_difference(recorded, evaluation.scores)
    limit = f"tolerance {evaluation.tolerance:g} on {evaluation.device}"
    if largest <= evaluation.tolerance:
        return Condition(name, True, f"reproduced within {largest:.1e} ({limit})")
    was, now = recorded[dim][metric], evaluation.scores[dim][metric]
    return Condition(
        name, False, f"{metric} at {dim} is {now:.6f}, {was:.6f} was recorded: off by {largest:.1e}, {limit}"
    )


def check_reference(
    name: str, case: GateInput, reference: Reference | None, rule: GateRule, comparisons: tuple[Comparison, ...]
) -> Condition:
    """Check that the challenger satisfies `rule` against a reference at every required dimension.

    Args:
        name: Name of the condition.
        case: Input of the gate.
        reference: Model to beat; without one, which only a champion can lack, the condition is met.
        rule: Rule that each difference must satisfy.
        comparisons: Comparisons of the challenger, those with `reference` among them.
    """
    if reference is None:
        return Condition(name, True, "there is no champion yet")
    reason = case.challenger.reason_missing or reference.evaluation.reason_missing
    if reason:
        return Condition(name, None, reason)
    found = {c.dim: c for c in comparisons if c.reference == reference.label}
    checks = tuple(_check_dim(dim, case, reference, rule, found.get(dim)) for dim in case.dims)
    held = sum(check.passed for check in checks)
    text = f"{reference.label}: {describe_rule(rule, case.gate)} at {held} of {len(checks)} dimensions"
    return Condition(name, held == len(checks), f"{text}; {reference.note}" if reference.note else text, checks)


def check_audit(evidence: Evidence) -> Condition:
    """Check that every error of the data audit was waived."""
    errors = [finding.name for finding in evidence.audit if finding.severity == "error" and not finding.waived]
    waived = [finding.name for finding in evidence.audit if finding.severity == "error" and finding.waived]
    if errors:
        return Condition("audit", False, f"{len(errors)} unwaived: {', '.join(errors)}")
    return Condition("audit", True, f"waived: {', '.join(waived)}" if waived else "no error in the data")


def check_name(case: GateInput) -> Condition:
    """Check that rehearsal models, and only they, use a name that ends in `-rehearsal`."""
    rehearsal, suffixed = case.evidence.rehearsal, case.name.endswith(REHEARSAL_SUFFIX)
    if rehearsal != case.rehearsal_tag:
        return Condition("name", False, f"evidence has rehearsal={rehearsal}, the version's tag {case.rehearsal_tag}")
    if rehearsal and not suffixed:
        return Condition("name", False, f"a rehearsal is promoted under '{case.name}{REHEARSAL_SUFFIX}' only")
    if suffixed and not rehearsal:
        return Condition("name", False, f"'{case.name}' is for rehearsals only; this is not one")
    return Condition("name", True, "a rehearsal under a rehearsal's name" if rehearsal else "no rehearsal")


def check_floors(case: GateInput) -> Condition:
    """Check that the objective's floors and retention are met on the test set."""
    dims, recorded = case.evidence.dims, case.evidence.test[WINNER].scores
    found = case.challenger.scores if set(dims) <= set(case.challenger.scores) else recorded
    scores = {dim: found[dim] for dim in dims}
    shortfalls = describe_violations(scores, case.evidence.test_objective)
    is_constrained = case.evidence.objective.floors or case.evidence.objective.min_retention
    fine = "all floors hold on test" if is_constrained else "no constraint is set"
    return Condition("floors", not shortfalls, "; ".join(shortfalls) or fine)


def _check_dim(dim: int, case: GateInput, reference: Reference, rule: GateRule, found: Comparison | None) -> DimCheck:
    for model, evaluation in (("the challenger", case.challenger), (f"the {reference.label}", reference.evaluation)):
        if dim > evaluation.dim:
            return DimCheck(dim, False, f"{model} has only {evaluation.dim} dimensions")
    if found is None:
        return DimCheck(dim, False, "not evaluated; evaluated: " + ", ".join(map(str, case.evidence.dims)))
    passed, text = check_comparison(found, rule, case.gate)
    return DimCheck(dim, passed, text)

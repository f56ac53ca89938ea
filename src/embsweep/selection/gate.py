"""The gate between challenger and champion: every condition judged, each with the numbers that decided it.

Pure: what was measured comes in as a `Case`, what follows from it goes out as a `Judgement`.

One comparison against one rule of the gate: passed or not, and by how much.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from embsweep.config.sweep import GateConfig, GateRule
from embsweep.core.names import REHEARSAL_SUFFIX
from embsweep.selection.evidence import WINNER, Comparison, Evidence
from embsweep.selection.objective import describe_violations
from embsweep.selection.scores import PerQuery, Scores
from embsweep.selection.statistics.significance import compare_models


def check_comparison(found: Comparison, rule: GateRule, config: GateConfig) -> tuple[bool, str]:
    """Whether a difference satisfies `rule` at `config`'s margin and alpha, and the numbers that say so.

    For `significant` its p-value must be that of a difference of the margin.
    """
    interval = f"{found.difference:+.4f} [{found.low:+.4f}, {found.high:+.4f}]"
    if rule == "not_worse":
        short = -config.margin - found.low
        if found.low > -config.margin:
            return True, interval
        return False, f"{interval}: low end must be above {-config.margin:+.4f}, short by {short:.4f}"
    if not found.difference > config.margin:
        short = config.margin - found.difference
        return False, f"{interval}: must be above {config.margin:+.4f}, short by {short:.4f}"
    if rule == "higher":
        return True, interval
    p = f"p {found.adjusted_p:.4f}"
    if found.adjusted_p < config.alpha:
        return True, f"{interval}, {p}"
    detectable = found.margin + found.detectable
    return False, f"{interval}: {p} must be below {config.alpha:g}, detectable from {detectable:.4f}"


def describe_rule(rule: GateRule, config: GateConfig) -> str:
    """`significantly higher (p < 0.05)`, `higher by 0.01`, `not worse by 0.01`."""
    above = f" by more than {config.margin:g}" if config.margin else ""
    if rule == "significant":
        return f"significantly higher{above} (p < {config.alpha:g})"
    return f"higher{above}" if rule == "higher" else f"not worse{above}"


_SEED = 0  # of the resampling: the same numbers must give the same verdict


@dataclass(frozen=True)
class ModelEvaluation:
    """A model read on the test set just now, in a fresh process; `fault` says why there is none.

    `values` holds the objective's metric of each query at every dimension that the model has, at most `dim`.
    `tolerance` is how far a repeated measurement may be off on `device`.
    """

    scores: Scores = field(default_factory=dict)
    values: PerQuery = field(default_factory=dict)
    dim: int = 0
    device: str = ""
    tolerance: float = 0.0
    diagnostic: str | None = None


@dataclass(frozen=True)
class Reference:
    """Whom the challenger must beat. `serves` are dimensions that are in use and must not be lost."""

    label: str
    reading: ModelEvaluation
    dims_in_use: tuple[int, ...] = ()
    note: str = ""


@dataclass(frozen=True)
class GateInput:
    """All that is judged.

    `rehearsal_tag` is what the version says of itself, `found_fingerprint` that of the data now, `groups` the passage
    group of each query in the order of the readings.
    """

    name: str
    rehearsal_tag: bool
    evidence: Evidence
    rule: GateConfig
    found_fingerprint: str
    groups: tuple[int, ...]
    challenger: ModelEvaluation
    base: Reference
    champion: Reference | None


@dataclass(frozen=True)
class DimCheck:
    """One rival at one dimension."""

    dim: int
    passed: bool
    text: str


@dataclass(frozen=True)
class Condition:
    """One condition. `passed` None means that it could not be judged, and that counts as not passed."""

    name: str
    passed: bool | None
    text: str
    dims: tuple[DimCheck, ...] = ()


@dataclass(frozen=True)
class GateResult:
    """The verdict: every condition, and the comparisons behind them."""

    conditions: tuple[Condition, ...]
    comparisons: tuple[Comparison, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the challenger may become champion."""
        return all(condition.passed for condition in self.conditions)

    @property
    def failed(self) -> tuple[Condition, ...]:
        """Conditions that do not hold or could not be judged."""
        return tuple(condition for condition in self.conditions if not condition.passed)


def evaluate_gate(case: GateInput) -> GateResult:
    """Judge every condition, whatever the others say."""
    comparisons = _compare(case)
    base = check_reference("beats base", case, case.base, case.rule.against_base, comparisons)
    return GateResult(
        (
            check_complete(case.evidence),
            check_data(case),
            check_proof(case),
            base,
            _check_champion(case, comparisons),
            check_audit(case.evidence),
            check_name(case),
            check_floors(case),
        ),
        comparisons,
    )


def check_complete(evidence: Evidence) -> Condition:
    """Whether the sweep ran to its end."""
    done = f"{sum(evidence.counts.values())} of {evidence.budget} trials"
    text = done if evidence.complete else f"{done}: run the sweep's command again to finish it"
    return Condition("complete", evidence.complete, text)


def check_data(case: GateInput) -> Condition:
    """Whether the test set is the one that the sweep read."""
    then, found = case.evidence.data.fingerprint, case.found_fingerprint
    if then == found:
        return Condition("same test set", True, f"fingerprint {then[:12]}")
    return Condition("same test set", False, f"fingerprint {found[:12]} now, {then[:12]} when the sweep read it")


def check_proof(case: GateInput) -> Condition:
    """Whether the stored weights still give every score that was recorded of them."""
    name, reading = "proof", case.challenger
    if reading.diagnostic:
        return Condition(name, None if _has_moved(case) else False, reading.diagnostic)
    recorded = case.evidence.test[WINNER].scores
    missing = sorted(set(recorded) - set(reading.scores), reverse=True)
    if missing:
        return Condition(name, False, f"the stored model has no dimension {missing[0]}")
    gaps = {
        (dim, metric): _abs_diff(reading.scores[dim][metric], value)
        for dim, by_metric in recorded.items()
        for metric, value in by_metric.items()
    }
    (dim, metric), largest = max(gaps.items(), key=lambda item: item[1])
    held = largest <= reading.tolerance
    limit = f"tolerance {reading.tolerance:g} on {reading.device}"
    if held:
        return Condition(name, True, f"reproduced within {largest:.1e} ({limit})")
    was, now = recorded[dim][metric], reading.scores[dim][metric]
    return Condition(
        name, False, f"{metric} at {dim} is {now:.6f}, {was:.6f} was recorded: off by {largest:.1e}, {limit}"
    )


def check_reference(
    name: str, case: GateInput, reference: Reference, rule: GateRule, comparisons: tuple[Comparison, ...]
) -> Condition:
    """Whether the challenger stands up to a rival at every required dimension."""
    diagnostic = case.challenger.diagnostic or reference.reading.diagnostic
    if diagnostic:
        return Condition(name, None, diagnostic)
    found = {c.dim: c for c in comparisons if c.reference == reference.label}
    checks = tuple(_check_dim(dim, case, reference, rule, found.get(dim)) for dim in _dims(case))
    held = sum(check.passed for check in checks)
    text = f"{reference.label}: {describe_rule(rule, case.rule)} at {held} of {len(checks)} dimensions"
    return Condition(name, held == len(checks), f"{text}; {reference.note}" if reference.note else text, checks)


def check_audit(evidence: Evidence) -> Condition:
    """Whether the data have no error that nobody has waived."""
    errors = [finding.name for finding in evidence.audit if finding.severity == "error" and not finding.waived]
    waived = [finding.name for finding in evidence.audit if finding.severity == "error" and finding.waived]
    if errors:
        return Condition("audit", False, f"{len(errors)} unwaived: {', '.join(errors)}")
    return Condition("audit", True, f"waived: {', '.join(waived)}" if waived else "no error in the data")


def check_name(case: GateInput) -> Condition:
    """Whether a rehearsal stays among rehearsals, and the real thing out of them."""
    rehearsal, suffixed = case.evidence.rehearsal, case.name.endswith(REHEARSAL_SUFFIX)
    if rehearsal != case.rehearsal_tag:
        return Condition("name", False, f"evidence says rehearsal={rehearsal}, the version's tag {case.rehearsal_tag}")
    if rehearsal and not suffixed:
        return Condition("name", False, f"a rehearsal is promoted under '{case.name}{REHEARSAL_SUFFIX}' only")
    if suffixed and not rehearsal:
        return Condition("name", False, f"'{case.name}' is for rehearsals only, and this is none")
    return Condition("name", True, "a rehearsal under a rehearsal's name" if rehearsal else "no rehearsal")


def check_floors(case: GateInput) -> Condition:
    """Whether the deployment profile's floors and retention hold on the test set."""
    dims, recorded = case.evidence.dims, case.evidence.test[WINNER].scores
    found = case.challenger.scores if set(dims) <= set(case.challenger.scores) else recorded
    scores = {dim: found[dim] for dim in dims}
    shortfalls = describe_violations(scores, case.evidence.test_objective)
    asked = case.evidence.objective.floors or case.evidence.objective.min_retention
    fine = "all floors hold on test" if asked else "the objective sets none"
    return Condition("floors", not shortfalls, "; ".join(shortfalls) or fine)


def required_dims(rule: GateConfig, evidence: Evidence, served: tuple[int, ...]) -> tuple[int, ...]:
    """`gate.dims`, or every dimension that was evaluated and every one that the champion serves; large to small."""
    return tuple(sorted(set(rule.dims or (*evidence.dims, *served)), reverse=True))


def _dims(case: GateInput) -> tuple[int, ...]:
    return required_dims(case.rule, case.evidence, case.champion.dims_in_use if case.champion else ())


def _check_champion(case: GateInput, comparisons: tuple[Comparison, ...]) -> Condition:
    name = "beats champion"
    if case.champion is None:
        return Condition(name, True, "there is no champion yet")
    return check_reference(name, case, case.champion, case.rule.against_champion, comparisons)


def _check_dim(dim: int, case: GateInput, reference: Reference, rule: GateRule, found: Comparison | None) -> DimCheck:
    for who, reading in (("the challenger", case.challenger), (f"the {reference.label}", reference.reading)):
        if dim > reading.dim:
            return DimCheck(dim, False, f"{who} has only {reading.dim} dimensions")
    if found is None:
        return DimCheck(dim, False, "not measured; evaluated are " + ", ".join(map(str, case.evidence.dims)))
    passed, text = check_comparison(found, rule, case.rule)
    return DimCheck(dim, passed, text)


def _compare(case: GateInput) -> tuple[Comparison, ...]:
    """The challenger against everyone that was read, corrected for all comparisons that are asked for.

    Where it must be significantly higher by more than a margin, that is what is tested.
    """
    if case.challenger.diagnostic:
        return ()
    ours = {dim: case.challenger.values[dim] for dim in _dims(case) if dim in case.challenger.values}
    rules = ((case.base, case.rule.against_base), (case.champion, case.rule.against_champion))
    read = [
        (reference, rule)
        for reference, rule in rules
        if reference is not None and not reference.reading.diagnostic and set(ours) & set(reference.reading.values)
    ]
    return compare_models(
        ours,
        {reference.label: reference.reading.values for reference, _ in read},
        case.groups,
        config=case.evidence.test_objective,
        seed=_SEED,
        margins={reference.label: case.rule.margin for reference, rule in read if rule == "significant"},
    )


def _abs_diff(found: float, recorded: float) -> float:
    """The difference of two scores; NaN counts as infinitely far, for it would get past every comparison."""
    gap = abs(found - recorded)
    return gap if math.isfinite(gap) else math.inf


def _has_moved(case: GateInput) -> bool:
    return case.evidence.data.fingerprint != case.found_fingerprint

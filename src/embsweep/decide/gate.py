"""The gate between challenger and champion: conditions on numbers, each of which says by how much it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.config.base import Part
from embsweep.config.machinery import GateConfig, GateRule
from embsweep.decide.comparison import Comparison
from embsweep.decide.evidence import Evidence
from embsweep.decide.objective import describe_shortfalls
from embsweep.decide.scores import PerQuery, Scores
from embsweep.names import REHEARSAL_SUFFIX


class Condition(Part):
    """One thing that must hold for a promotion; `detail` says by how much it does, or does not."""

    name: str
    holds: bool
    detail: str


def required_dims(evidence: Evidence, gate: GateConfig) -> tuple[int, ...]:
    """The dimensions at which the gate looks, from large to small."""
    return gate.dims or tuple(sorted(evidence.dims, reverse=True))


def cut_dims(values: PerQuery, dims: Sequence[int]) -> PerQuery:
    """`values` at `dims` alone, where they have them: comparisons are corrected for what the gate asks."""
    return {dim: values[dim] for dim in dims if dim in values}


def check_name(evidence: Evidence, name: str) -> Condition:
    """A rehearsal is promoted under its own name only, and nothing else under such a name."""
    is_named_so = name.endswith(REHEARSAL_SUFFIX)
    kind = "a rehearsal" if evidence.rehearsal else "no rehearsal"
    fits = evidence.rehearsal == is_named_so
    wanted = f"names that end in {REHEARSAL_SUFFIX} are for rehearsals, and for them alone"
    return Condition(
        name="name", holds=fits, detail=f"{kind}" if fits else f"{kind}, but registered as {name}: {wanted}"
    )


def check_complete(evidence: Evidence) -> Condition:
    """Every trial of the budget has ended."""
    ended = sum(evidence.counts.values())
    detail = f"{ended} of {evidence.budget} trials ended"
    return Condition(name="complete", holds=evidence.complete and ended >= evidence.budget, detail=detail)


def check_audit(evidence: Evidence) -> Condition:
    """The data audit found no error, or each was waived by name."""
    errors = [finding for finding in evidence.audit if finding.severity == "error"]
    open_ones = [finding.name for finding in errors if not finding.waived]
    if open_ones:
        return Condition(name="audit", holds=False, detail=f"errors that nobody waived: {', '.join(open_ones)}")
    waived = ", ".join(finding.name for finding in errors)
    return Condition(name="audit", holds=True, detail=f"waived: {waived}" if waived else "no error")


def check_profile(evidence: Evidence, scores: Scores) -> Condition:
    """The floors and the retention of the objective hold on the test split too."""
    broken = describe_shortfalls(scores, evidence.objective)
    has_some = evidence.objective.floors or evidence.objective.min_retention is not None
    met = "floors and retention hold on test" if has_some else "the objective sets no floors"
    return Condition(name="profile", holds=not broken, detail="; ".join(broken) or met)


def check_rival(
    label: str, rule: GateRule, comparisons: Mapping[int, Comparison], dims: Sequence[int], gate: GateConfig
) -> Condition:
    """Whether the challenger does what `rule` asks against one rival, at every one of `dims`.

    `comparisons` holds the challenger minus the rival by dimension; one that is missing fails.
    """
    lacking = [f"{dim}: {label} has no such dimension" for dim in dims if dim not in comparisons]
    failed = [
        _describe(dim, comparisons[dim])
        for dim in dims
        if dim in comparisons and not _holds(rule, comparisons[dim], gate)
    ]
    asked = _RULES[rule].format(margin=gate.margin, alpha=gate.alpha)
    if lacking or failed:
        return Condition(
            name=f"beats {label}", holds=False, detail=f"{asked}, but not at {'; '.join([*lacking, *failed])}"
        )
    least = min(dims, key=lambda dim: comparisons[dim].difference)
    detail = f"{asked} at all of {', '.join(map(str, dims))}; least at {_describe(least, comparisons[least])}"
    return Condition(name=f"beats {label}", holds=True, detail=detail)


_RULES: Mapping[str, str] = {
    "significant": "higher by more than {margin:g} with adjusted p below {alpha:g}",
    "higher": "higher by more than {margin:g}",
    "not_worse": "interval above -{margin:g}",
}


def _holds(rule: GateRule, comparison: Comparison, gate: GateConfig) -> bool:
    match rule:
        case "significant":
            return comparison.difference > gate.margin and comparison.adjusted_p < gate.alpha
        case "higher":
            return comparison.difference > gate.margin
        case "not_worse":
            return comparison.low > -gate.margin


def _describe(dim: int, comparison: Comparison) -> str:
    return (
        f"{dim}: {comparison.difference:+.4f} ({comparison.low:+.4f} to {comparison.high:+.4f}, "
        f"adjusted p {comparison.adjusted_p:.3g})"
    )


def grounds_of(gate: GateConfig, conditions: Sequence[Condition], comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """All that a decision rests on, as plain JSON."""
    return {
        "rule": gate.model_dump(mode="json"),
        "conditions": [condition.model_dump() for condition in conditions],
        "comparisons": [comparison.model_dump() for comparison in comparisons],
    }

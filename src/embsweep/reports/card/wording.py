"""Sentences of the model card: warnings, results and comparisons, and the names of the models compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import Enum

from embsweep.reports.card.markdown import code, count, listing, number, plain, probability, shown, signed, span
from embsweep.selection.evidence import BASE, BM25, RECIPE, RUNNER_UP, WINNER, Comparison, Evidence
from embsweep.selection.objective import describe_violations

_ORDER = (WINNER, BASE, BM25, RECIPE, RUNNER_UP)
_COLUMNS = {WINNER: "This model", BASE: "Base", BM25: "BM25", RECIPE: "Recipe", RUNNER_UP: "Runner-up"}
_WORDS = {BM25: "BM25", RECIPE: "the recipe", RUNNER_UP: "the runner-up"}


class Direction(Enum):
    """Direction of a difference after the correction for all comparisons."""

    BETTER = "significantly better"
    WORSE = "significantly worse"
    UNCLEAR = "no significant difference"


def classify(comparison: Comparison, evidence: Evidence) -> Direction:
    """Classify a comparison; it is significant if its adjusted p is below the gate's alpha."""
    if comparison.adjusted_p >= evidence.gate.alpha or comparison.difference == 0:
        return Direction.UNCLEAR
    return Direction.BETTER if comparison.difference > 0 else Direction.WORSE


def order_models(names: Iterable[str]) -> list[str]:
    """Sort model names: the winner, base, BM25, recipe and runner-up, then all others by name."""
    return sorted(names, key=lambda name: (_ORDER.index(name) if name in _ORDER else len(_ORDER), name))


def column(name: str) -> str:
    """Return the heading of a model's column."""
    return _COLUMNS.get(name, name)


def reference_name(name: str, evidence: Evidence) -> str:
    """Return the name of a reference for use in a sentence, with its trial if the name does not contain it."""
    if name == BASE:
        return f"the base model {code(evidence.base_model)}"
    words = _WORDS.get(name, plain(name))
    trial = evidence.test[name].trial if name in evidence.test else None
    return words if trial is None or name not in _WORDS else f"{words} (trial {trial})"


def group_by_model(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Group comparisons by reference: the objective first, then from the largest dimension to the smallest."""
    groups: dict[str, list[Comparison]] = {}
    for comparison in sorted(comparisons, key=lambda c: (c.dim is not None, -(c.dim or 0))):
        groups.setdefault(comparison.reference, []).append(comparison)
    return {name: groups[name] for name in order_models(groups)}


def on_objective(evidence: Evidence, reference: str) -> Comparison | None:
    """Return the comparison with `reference` on the objective on the test split, or None if there is none."""
    return next((c for c in evidence.comparisons if c.reference == reference and c.dim is None), None)


def describe_notices(evidence: Evidence) -> str:
    """Return the notices that precede all numbers, as Markdown quotes; empty if there are none."""
    notices = [
        *_notice_rehearsal(evidence),
        *_notice_standing(evidence),
        *(f"**Constraint missed on the test split.** {plain(line)}." for line in _shortfalls(evidence)),
        *([] if evidence.complete else ["**Incomplete.** The sweep had not finished when this model was chosen."]),
        *(
            f"**Waived audit error.** {code(finding.name)}: {plain(finding.message)}"
            for finding in evidence.audit
            if finding.waived
        ),
        *(
            f"**Audit error.** {code(finding.name)}: {plain(finding.message)}"
            for finding in evidence.audit
            if finding.severity == "error" and not finding.waived
        ),
        *([describe_holdout(evidence)] if evidence.holdout_evaluations > 1 else []),
    ]
    return "\n>\n".join(f"> {notice}" for notice in notices)


def _notice_rehearsal(evidence: Evidence) -> list[str]:
    if not evidence.rehearsal:
        return []
    real = code(evidence.rehearses or "the real model")
    return [
        f"**Rehearsal.** A small run on {code(evidence.base_model)} to try the way from sweep to registry. "
        f"Its numbers say nothing about {real}; this model is not meant to be served."
    ]


def _notice_standing(evidence: Evidence) -> list[str]:
    """Return a notice if the model is not significantly better than its base."""
    found = on_objective(evidence, BASE)
    if found is None or classify(found, evidence) is Direction.BETTER:
        return []
    base = reference_name(BASE, evidence)
    if found.difference < 0:
        how = "significantly" if classify(found, evidence) is Direction.WORSE else "though not significantly"
        return [f"**Below its base.** On the test split it scores lower than {base}, {how}. Serve {base}."]
    return [
        f"**No significant gain.** On the test split it cannot be told apart from {base}: "
        f"{signed(found.difference)} on {count(found.queries, 'query')} in {count(found.groups, 'passage group')} "
        "may be chance."
    ]


def _shortfalls(evidence: Evidence) -> tuple[str, ...]:
    return describe_violations(evidence.test[WINNER].scores, evidence.test_objective)


def describe_holdout(evidence: Evidence) -> str:
    """Describe how often the test split has been evaluated."""
    if evidence.holdout_evaluations == 1:
        return "It was read once, after the choice."
    ordinal = {2: "second", 3: "third"}.get(evidence.holdout_evaluations, f"{evidence.holdout_evaluations}th")
    return (
        f"**The test split was read before: this is its {ordinal} evaluation.** "
        "Choices made after an earlier one may have been fitted to it."
    )


def describe_result(evidence: Evidence) -> str:
    """Summarise the results in a few lines for the top of the card."""
    ours = evidence.objectives[WINNER]
    others = [name for name in (BASE, BM25) if name in evidence.objectives]
    beside = listing(f"{number(evidence.objectives[name])} for {reference_name(name, evidence)}" for name in others)
    lines = [
        f"**{number(ours)}** on {count(_queries(evidence), 'test query')} ({evidence.objective.aggregate} "
        f"{evidence.metric} over the dimensions)" + (f", against {beside}." if others else "."),
        *(describe_comparison(c, evidence) for c in _headlines(evidence)),
        describe_outcome(evidence),
        _cut(evidence),
    ]
    return "\n".join(f"- {line}" for line in lines)


def _headlines(evidence: Evidence) -> list[Comparison]:
    """Return the comparison with the base model, and those with others that this model does not beat."""
    found = [c for reference in (BASE, BM25, RECIPE) if (c := on_objective(evidence, reference)) is not None]
    return [c for c in found if c.reference == BASE or classify(c, evidence) is not Direction.BETTER]


def _queries(evidence: Evidence) -> int:
    return len(next(iter(evidence.test[WINNER].values.values())))


def describe_comparison(comparison: Comparison, evidence: Evidence) -> str:
    """Describe a difference with its direction, interval and corrected p."""
    way = classify(comparison, evidence)
    strong = f"**{way.value}**" if way is not Direction.BETTER else way.value
    numbers = (
        f"{signed(comparison.difference)}, 95 % interval {span(comparison.low, comparison.high)}, "
        f"adjusted p {probability(comparison.adjusted_p)}"
    )
    return f"Against {reference_name(comparison.reference, evidence)}: {strong} ({numbers})."


def describe_outcome(evidence: Evidence) -> str:
    """Describe how certain the choice among the finalists was."""
    verdict = evidence.verdict
    if verdict.outcome == "unconfirmed":
        return (
            f"**Unconfirmed:** nothing was run again. Trial {verdict.winner} had the best score of the search, "
            "which may be seed variance."
        )
    if verdict.outcome == "named":
        return f"Trial {verdict.winner} was named. {plain(verdict.rule)}."
    others = [trial for trial in verdict.tied_with if trial != verdict.winner]
    return (
        f"**Tied:** trial {verdict.winner} could not be told apart from trial{'s' if len(others) > 1 else ''} "
        f"{listing(others)} when all were run again. It was taken as the cheapest of them, not because it is better."
    )


def _cut(evidence: Evidence) -> str:
    if evidence.smallest_dim == max(evidence.dims):
        return f"Every smaller dimension is significantly below {max(evidence.dims)}: do not shorten its embeddings."
    return (
        f"Embeddings can be cut to {evidence.smallest_dim} dimensions without a significant loss of {evidence.metric} "
        f"on these {count(_queries(evidence), 'query')}."
    )


def describe_smallest(evidence: Evidence) -> str:
    """Describe how far embeddings can be shortened, with the scores that support it."""
    largest, smallest = max(evidence.dims), evidence.smallest_dim
    if smallest == largest:
        return f"On the test split every smaller dimension is significantly below {largest} in {evidence.metric}."
    scores = evidence.test[WINNER].scores
    ours = f"{number(scores[smallest][evidence.metric])} against {number(scores[largest][evidence.metric])}"
    return (
        f"{smallest} is the smallest whose {evidence.metric} on the test split is not significantly below that of "
        f"{largest} ({ours}). Not significant does not mean equal: {count(_queries(evidence), 'query')} cannot show a "
        "small loss."
    )


def describe_comparisons(evidence: Evidence) -> str:
    """Describe the comparison with each reference: on the objective, then by dimension."""
    lines = []
    for reference, found in group_by_model(evidence.comparisons).items():
        whole = [c for c in found if c.dim is None]
        head = describe_comparison(whole[0], evidence) if whole else f"Against {reference_name(reference, evidence)}:"
        lines.append(f"- {head} {_by_dimension([c for c in found if c.dim is not None], evidence)}".rstrip())
    return "\n".join([*lines, "", _describe_power(evidence.comparisons, evidence)])


def _by_dimension(comparisons: Sequence[Comparison], evidence: Evidence) -> str:
    parts = []
    for way in Direction:
        dims = [c.dim for c in comparisons if classify(c, evidence) is way]
        if dims:
            where = "at every dimension" if len(dims) == len(comparisons) > 1 else f"at {listing(dims)}"
            parts.append(f"{way.value} {where}")
    text = "; ".join(parts)
    return f"By dimension: {text}." if text else ""


def _describe_power(comparisons: Iterable[Comparison], evidence: Evidence) -> str:
    found = list(comparisons)
    if not found:
        return "No comparison was made."
    least, most = min(c.detectable for c in found), max(c.detectable for c in found)
    return (
        f"Significant means an adjusted p below {shown(evidence.gate.alpha)}: a two-sided randomisation test over the "
        f"passage groups, with Holm's correction for all {len(found)} comparisons. The smallest difference that so "
        f"many queries show in 80 of 100 samples, before that correction, is {number(least)} to {number(most)}, "
        "depending on the comparison."
    )

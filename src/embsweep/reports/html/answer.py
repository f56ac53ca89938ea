"""The answer of the report: which model and how sure, which dimension to serve, and what to do next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from embsweep.reports.html.charts.storage_charts import describe_smallest
from embsweep.reports.html.figures import Figures, find_comparison
from embsweep.reports.html.numbers import Sentence, gain, percent, probability, score, share_of, whole
from embsweep.selection.evidence import BASE, BM25, RECIPE, WINNER, Comparison, Evidence, Interval
from embsweep.selection.objective import describe_objective
from embsweep.selection.slices import SliceResult, worst_slice


@dataclass(frozen=True)
class Answer:
    """Sentences about the model, the dimension and the stored bytes (if they were measured), and what limits them."""

    model: Sentence
    dimension: Sentence
    storage: Sentence
    cautions: tuple[Sentence, ...]


def answer(evidence: Evidence, figures: Figures) -> Answer:
    """Return the answer that the evidence gives.

    Args:
        evidence: The evidence.
        figures: What follows from it.
    """
    dimension = _describe_dimension(evidence, figures.retention.get(WINNER, {}))
    cautions = tuple(_list_cautions(evidence, figures.slices))
    return Answer(_describe_model(evidence), dimension, describe_smallest(evidence), cautions)


def _describe_model(evidence: Evidence) -> Sentence:
    return (
        *_describe_choice(evidence),
        ": on test its objective (",
        describe_objective(evidence.objective),
        ") is ",
        score(evidence.objectives[WINNER]),
        *_describe_gains(evidence),
        ".",
    )


def _describe_choice(evidence: Evidence) -> Sentence:
    verdict = evidence.verdict
    seeds = max((len(facts.confirmed) for facts in verdict.confirmed), default=0)
    trial = f"Trial {verdict.winner}"
    if verdict.outcome == "named":
        rivals = len(verdict.confirmed) > 1
        sure = "better than every other finalist beyond chance with" if rivals else "trained again with"
        return (f"{trial} is the winner, {sure} ", whole(seeds), " fresh seeds")
    if verdict.outcome == "tied":
        others = [f"{number}" for number in verdict.tied_with if number != verdict.winner]
        names = f"trial{'s' * (len(others) > 1)} {' and '.join(others)}"
        return (f"{trial} is tied with {names} after ", whole(seeds), " fresh seeds; the rule for ties chose it")
    if not evidence.space:
        return (f"{trial} is the only configuration, trained once",)
    return (f"{trial} leads the search but was not run again, so part of its lead may be chance",)


def _describe_gains(evidence: Evidence) -> Sentence:
    base = find_comparison(evidence, BASE, None)
    parts: Sentence = ()
    if base is not None:
        parts = (", ", *_describe_gain(base, evidence.gate.alpha), " the base model ", evidence.base_model)
    recipe = find_comparison(evidence, RECIPE, None)
    if recipe is not None:
        return (*parts, " and ", *_describe_gain(recipe, evidence.gate.alpha), " the recipe")
    is_recipe = any(facts.is_recipe and facts.trial == evidence.verdict.winner for facts in evidence.verdict.confirmed)
    return (*parts, "; it is the recipe itself") if is_recipe else parts


def _describe_gain(comparison: Comparison, alpha: float) -> Sentence:
    difference = comparison.difference
    interval = (" (95 % interval ", gain(comparison.low), " to ", gain(comparison.high), ")")
    if comparison.adjusted_p >= alpha or difference == 0:
        return (gain(difference), *interval, ", no significant difference, from")
    return (gain(difference), *interval, " above" if difference > 0 else " below")


def _describe_dimension(evidence: Evidence, kept: Mapping[int, Interval]) -> Sentence:
    largest, chosen = max(evidence.dims), evidence.smallest_dim
    metric = evidence.metric.upper()
    if len(evidence.dims) == 1:
        return ("Serve ", whole(largest), " dimensions, the only ones evaluated.")
    if chosen == largest:
        below = max(dim for dim in evidence.dims if dim != largest)
        share: Sentence = (
            (" keep ", percent(kept[below].mean), " of the ", metric) if below in kept else (" are worse",)
        )
        saved = f" at {share_of(below, largest)} bytes, a significant loss."
        return ("Serve all ", whole(largest), " dimensions: ", whole(below), *share, saved)
    if chosen not in kept:
        return ("No dimension can be recommended: the winner's ", metric, " is 0.")
    found = kept[chosen]
    return (
        *("Serve ", whole(chosen), " dimensions: they keep ", percent(found.mean), " (95 % interval "),
        *(percent(found.low), " to ", percent(found.high), ") of ", whole(largest), f"'s {metric} at "),
        *(share_of(chosen, largest), " bytes, no significant loss found."),
    )


def _list_cautions(evidence: Evidence, slices: Sequence[SliceResult]) -> list[Sentence]:
    """Return what limits the answer: a rehearsal, the slice that lost most, repeated tests, warnings of the verdict."""
    found: list[Sentence] = []
    if evidence.rehearsal:
        rehearsed = f" of {evidence.rehearses}" if evidence.rehearses else ""
        found.append((f"This is a rehearsal{rehearsed} with a small model and little data: it proves the settings run, "
                      "not which are best.",))  # fmt: skip
    lexical = find_comparison(evidence, BM25, None)
    if lexical is not None and lexical.difference < 0:
        sure = "significantly above" if lexical.adjusted_p < evidence.gate.alpha else "above"
        found.append(
            (
                "BM25, which needs no model, has ",
                score(evidence.objectives[BM25]),
                f", {sure} the winner: find out why first.",
            )
        )
    served = find_comparison(evidence, BASE, evidence.smallest_dim)
    if len(evidence.dims) > 1 and served is not None and served.adjusted_p >= evidence.gate.alpha:
        found.append(
            ("At ", whole(evidence.smallest_dim), " dimensions alone the gain over the base model, ",
             gain(served.difference), ", is not significant (adjusted p ", probability(served.adjusted_p), ").")
        )  # fmt: skip
    worst = worst_slice(slices)
    if worst is not None and worst.difference is not None:
        interval = (gain(worst.difference.mean), " (", gain(worst.difference.low), " to ")
        sure = " a significant loss." if worst.is_significant_loss else " not a significant loss."
        found.append(
            ("The slice “", worst.name, "” lost most against the base model: ", *interval,
             gain(worst.difference.high), "),", sure)
        )  # fmt: skip
    overall = find_comparison(evidence, BASE, None)
    if overall is not None and overall.adjusted_p >= evidence.gate.alpha and overall.detectable > 0:
        found.append(
            ("With ", whole(overall.queries), " test queries, a difference from the base model below ",
             score(overall.detectable), " is likely to be missed (adjusted p ", probability(overall.adjusted_p), ").")
        )  # fmt: skip
    if evidence.holdout_evaluations > 1:
        times = whole(evidence.holdout_evaluations)
        found.append(("The test split was evaluated ", times, " times, so its scores may be optimistic."))
    if not evidence.complete:
        found.append(("Not all trials that were asked for have run.",))
    return [*found, *((f"{warning}.",) for warning in evidence.verdict.warnings)]

"""The choice of the winner among configurations that were run again with fresh seeds: named, tied or unconfirmed.

A verdict comes with warnings: failed runs, seeds without variance, differences that were too small to detect.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.candidate import Candidate, PairedComparison
from embsweep.selection.evidence import Comparison, VerdictRecord
from embsweep.selection.objective import describe_violations
from embsweep.selection.statistics.intervals import adjust_holm
from embsweep.selection.statistics.resampling import RESAMPLES, index_groups
from embsweep.selection.statistics.seed_variance import estimate_seed_variance
from embsweep.selection.statistics.significance import Groups

_SEARCH_ALONE = "Highest objective of the search, ties to the lower trial; nothing was run again"
_CHEAPEST = (
    "Cheapest of the tied: the smaller model dimension, then the shorter maximum sequence length, then fewer epochs, "
    "then the recipe, then the lower trial number"
)
_BETTER = "Highest objective over the fresh seeds, and better than every other beyond query and seed variance"
_ALONE = "The only finalist whose fresh runs all finished"


def select_winner(  # noqa: PLR0913 - all but two are keyword-only
    candidates: Sequence[Candidate],
    groups: Groups,
    *,
    objective: ObjectiveConfig,
    alpha: float,
    seed: int,
    resamples: int = RESAMPLES,
    searched: Sequence[float] = (),
) -> VerdictRecord:
    """Select the winner; a difference counts only if it exceeds the query and the seed variance together.

    The leader has the highest objective of the seed-averaged values. Those that are not significantly worse (Holm over
    all others) are tied with it, and the cheapest of them that meets the constraints wins. A candidate with a failed
    run cannot win and is not compared: its finished runs are a biased sample. Without any run, the search alone
    decides.

    Args:
        candidates: Finalists of the search with their fresh runs.
        groups: Label of each query's passage group.
        objective: Objective, with resolved floors.
        alpha: Significance level after Holm's correction.
        seed: Seed of the bootstrap, the sign flips and the seed noise.
        resamples: Number of bootstrap samples, and of random sign patterns.
        searched: Objectives of all trials of the search. The verdict warns if the smallest detectable difference is
            larger than their spread.

    Raises:
        ValueError: If every candidate has a failed run or, without any run, none has a finite objective.
    """
    able = [candidate for candidate in candidates if not candidate.failures]
    if not able:
        raise ValueError("every finalist had a run that failed: none can be chosen")
    if not any(candidate.runs for candidate in able):
        return _choose_unconfirmed(able, candidates, objective)
    noise = estimate_seed_variance([candidate.runs for candidate in candidates], objective)
    paired = PairedComparison(index_groups(groups), objective, noise, seed, resamples, tuple(searched))
    return _choose(paired, [candidate for candidate in able if candidate.runs], candidates, alpha)


def _choose_unconfirmed(
    able: Sequence[Candidate], candidates: Sequence[Candidate], objective: ObjectiveConfig
) -> VerdictRecord:
    found = [c for c in able if c.searched is not None and math.isfinite(c.searched)]
    if not found:
        raise ValueError("no finalist has a finite objective: none can be chosen")
    return VerdictRecord(
        outcome="unconfirmed",
        winner=min(found, key=lambda c: (-(c.searched or 0.0), c.trial)).trial,
        tied_with=(),
        rule=_SEARCH_ALONE,
        comparisons=(),
        confirmed=tuple(c.to_record(objective) for c in candidates),
        warnings=tuple(warn_ineligible(candidates, any_runs=False)),
    )


def _choose(
    paired: PairedComparison, able: Sequence[Candidate], candidates: Sequence[Candidate], alpha: float
) -> VerdictRecord:
    leader = min(able, key=lambda c: (-paired.score(c), c.trial))
    equals = _not_significantly_worse(paired, leader, [c for c in able if c is not leader], alpha)
    winner = _pick_cheapest(paired, leader, equals)
    comparisons = paired.compare_all(winner, [c for c in able if c is not winner])
    return VerdictRecord(
        outcome="tied" if equals else "named",
        winner=winner.trial,
        tied_with=tuple(sorted(c.trial for c in (leader, *equals))) if equals else (),
        rule=_CHEAPEST if equals else f"{_BETTER} (alpha {alpha:g}, Holm)" if len(able) > 1 else _ALONE,
        comparisons=comparisons,
        confirmed=tuple(c.to_record(paired.objective) for c in candidates),
        warnings=_list_warnings(paired, winner, candidates, comparisons, alpha),
    )


def _not_significantly_worse(
    paired: PairedComparison, leader: Candidate, others: Sequence[Candidate], alpha: float
) -> list[Candidate]:
    """Return the candidates that are not significantly worse than the leader on the objective."""
    found = [paired.compare(leader, other) for other in others]
    # Without a common objective (other dimensions) there is no test: such candidates count as tied.
    p_values = [float(bounds.p_values[-1]) if d.columns[-1:] == (None,) else 1.0 for d, bounds in found]
    adjusted = adjust_holm(p_values)
    is_worse = [p < alpha and d.observed[-1] > 0 for p, (d, _) in zip(adjusted, found, strict=True)]
    return [other for other, worse in zip(others, is_worse, strict=True) if not worse]


def _pick_cheapest(paired: PairedComparison, leader: Candidate, equals: Sequence[Candidate]) -> Candidate:
    """Return the cheapest of the leader and its equals; if the leader meets the constraints, the winner must, too."""
    must_meet = paired.score(leader) >= 0
    eligible = [c for c in (leader, *equals) if not (must_meet and paired.score(c) < 0)]
    return min(eligible, key=lambda c: (c.cost, not c.is_recipe, c.trial))


def _list_warnings(
    paired: PairedComparison,
    winner: Candidate,
    candidates: Sequence[Candidate],
    comparisons: Sequence[Comparison],
    alpha: float,
) -> tuple[str, ...]:
    judged = [candidate for candidate in candidates if candidate.runs]
    return (
        *warn_ineligible(candidates, any_runs=True),
        *warn_failed_but_better(paired, winner, candidates),
        *warn_constraints(paired, winner),
        *warn_seeds(paired, judged),
        *warn_too_few_groups(paired, judged, alpha),
        *warn_undetectable(paired, comparisons, candidates),
    )


_ROUNDING = 1e-9


def warn_ineligible(candidates: Sequence[Candidate], *, any_runs: bool) -> Iterator[str]:
    """Warn of candidates that cannot win because a run failed or none was made."""
    for candidate in candidates:
        if candidate.failures:
            failed = f"{candidate.failures} of its {candidate.failures + len(candidate.runs)} fresh runs failed"
            yield f"{candidate.name} cannot win: {failed}"
        elif any_runs and not candidate.runs:
            yield f"{candidate.name} cannot win: it was not run again"


def warn_failed_but_better(
    paired: PairedComparison, winner: Candidate, candidates: Sequence[Candidate]
) -> Iterator[str]:
    """Warn of a candidate with failed runs whose finished runs score higher than the winner's.

    Args:
        paired: Settings of the comparison.
        winner: Candidate that was selected.
        candidates: All candidates, those with failed runs included.
    """
    best = paired.score(winner)
    for candidate in candidates:
        if candidate.failures and candidate.runs and paired.score(candidate) > best:
            scores = f"{paired.score(candidate):.4f} against {best:.4f}"
            yield f"{candidate.name} beats the winner in its finished runs ({scores}), but has failed runs"


def warn_seeds(paired: PairedComparison, judged: Sequence[Candidate]) -> Iterator[str]:
    """Warn if the fresh runs give no estimate of the seed variance."""
    if paired.noise.df == 0:
        yield "no candidate has two runs: the seed variance is unknown, so no difference is called significant"
    elif len(judged) > 1 and not any(paired.noise.deviations.values()):
        yield "every candidate's runs are identical: seeds changed nothing, so the seed variance is unknown"


def warn_too_few_groups(paired: PairedComparison, judged: Sequence[Candidate], alpha: float) -> Iterator[str]:
    """Warn if there are so few passage groups that no randomisation test can be significant.

    Args:
        paired: Settings of the comparison.
        judged: Candidates with at least one finished run.
        alpha: Significance level.
    """
    groups = paired.grouping.count
    least = 2.0 ** (1 - groups)
    if len(judged) > 1 and least >= alpha:
        many = "passage group" if groups == 1 else "passage groups"
        yield f"{groups} {many}: no difference can be significant, the smallest possible p is {least:.3g}"


def warn_undetectable(
    paired: PairedComparison, comparisons: Sequence[Comparison], candidates: Sequence[Candidate]
) -> Iterator[str]:
    """Warn if the smallest detectable difference is larger than the spread of the search's objectives.

    Args:
        paired: Settings of the comparison.
        comparisons: Comparisons of the winner with the other candidates.
        candidates: All candidates; the spread is theirs if `paired` has no objectives of the search.
    """
    searched = paired.searched or [candidate.searched for candidate in candidates if candidate.searched is not None]
    spread = max(searched) - min(searched) if len(searched) > 1 else math.inf
    detectable = max((c.detectable for c in comparisons if c.dim is None), default=0.0)
    if detectable > spread + _ROUNDING:
        yield (
            f"the smallest paired difference that would be found in 80 of 100 repetitions is {detectable:.4f}, more "
            f"than the whole spread between the trials ({spread:.4f})"
        )


def warn_constraints(paired: PairedComparison, winner: Candidate) -> Iterator[str]:
    """Warn of each constraint of the objective that the winner violates."""
    config = paired.objective
    scores = {dim: {config.metric: float(values.mean())} for dim, values in winner.mean_run.items()}
    for line in describe_violations(scores, config):
        yield f"{winner.name} wins though it violates a constraint: {line}"

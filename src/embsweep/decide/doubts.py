"""What must be said beside a verdict: failed runs, seeds that tell nothing, differences that could not have shown."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from embsweep.decide.candidate import Candidate, Contest
from embsweep.decide.comparison import Comparison
from embsweep.decide.objective import describe_shortfalls

_ROUNDING = 1e-9


def warn_unable(candidates: Sequence[Candidate], *, any_runs: bool) -> Iterator[str]:
    """Candidates that cannot win, whatever they scored."""
    for candidate in candidates:
        if candidate.failures:
            failed = f"{candidate.failures} of its {candidate.failures + len(candidate.runs)} fresh runs failed"
            yield f"{candidate.name} cannot win: {failed}"
        elif any_runs and not candidate.runs:
            yield f"{candidate.name} cannot win: it was not run again"


def warn_better_looking(contest: Contest, winner: Candidate, candidates: Sequence[Candidate]) -> Iterator[str]:
    """A candidate whose remaining runs score higher than the winner's, though one of its runs failed."""
    best = contest.score(winner)
    for candidate in candidates:
        if candidate.failures and candidate.runs and contest.score(candidate) > best:
            scores = f"{contest.score(candidate):.4f} against {best:.4f}"
            yield f"{candidate.name} looks better than the winner in the runs that ended ({scores}), but failed"


def warn_seeds(contest: Contest, judged: Sequence[Candidate]) -> Iterator[str]:
    """Seeds that tell nothing about their luck."""
    if contest.noise.df == 0:
        yield "no candidate has two runs: the luck of the seed is not known, so no difference is called real"
    elif len(judged) > 1 and not any(contest.noise.deviations.values()):
        yield "every candidate's runs are identical: other seeds changed nothing, so their luck was not measured"


def warn_small(contest: Contest, judged: Sequence[Candidate], alpha: float) -> Iterator[str]:
    """So few passage groups that no randomisation test can be significant."""
    groups = contest.grouping.count
    least = 2.0 ** (1 - groups)
    if len(judged) > 1 and least >= alpha:
        many = "passage group" if groups == 1 else "passage groups"
        yield f"{groups} {many}: no difference can be significant, the smallest possible p is {least:.3g}"


def warn_undetectable(
    contest: Contest, comparisons: Sequence[Comparison], candidates: Sequence[Candidate]
) -> Iterator[str]:
    """What the search tells apart is less than what these queries and seeds could show."""
    searched = contest.searched or [candidate.searched for candidate in candidates if candidate.searched is not None]
    spread = max(searched) - min(searched) if len(searched) > 1 else math.inf
    detectable = max((c.detectable for c in comparisons if c.dim is None), default=0.0)
    if detectable > spread + _ROUNDING:
        yield (
            f"the smallest difference that would be found in 80 of 100 repetitions is {detectable:.4f}, more than "
            f"the whole spread between the trials ({spread:.4f})"
        )


def warn_constraints(contest: Contest, winner: Candidate) -> Iterator[str]:
    """The winner misses what the profile demands."""
    config = contest.objective
    scores = {dim: {config.metric: float(values.mean())} for dim, values in winner.mean_run.items()}
    for line in describe_shortfalls(scores, config):
        yield f"{winner.name} wins though it violates a constraint: {line}"

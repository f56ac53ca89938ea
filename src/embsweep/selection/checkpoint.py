"""Choice of the checkpoint: the evaluation of a training run whose weights are kept."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.objective import compute_objective, is_better
from embsweep.selection.scores import Scores


def choose_checkpoint(log: Sequence[Scores], config: ObjectiveConfig) -> int | None:
    """Return the index of the evaluation whose weights are kept: the highest objective, the earliest of equals.

    None if no objective is finite.
    """
    return _choose(compute_objective(scores, config) for scores in log)


def best_epoch_per_dim(log: Sequence[Scores], metric: str) -> dict[int, int]:
    """Map each dimension to the index of the evaluation that a deployment of this dimension alone would have kept.

    A dimension without a finite score is left out.
    """
    dims = sorted({dim for scores in log for dim in scores}, reverse=True)
    wanted = {dim: _choose(scores[dim][metric] if dim in scores else float("nan") for scores in log) for dim in dims}
    return {dim: index for dim, index in wanted.items() if index is not None}


def _choose(objectives: Iterable[float]) -> int | None:
    best: tuple[int, float] | None = None
    for index, value in enumerate(objectives):
        if is_better(value, best and best[1]):
            best = (index, value)
    return best and best[0]

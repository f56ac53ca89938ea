"""Open the ledger of a search with the sampler and the stopping of its configuration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from optuna.storages import BaseStorage

from embsweep.config.search_space import SearchSpace, Value
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.points import Identify, Points
from embsweep.search.promotion import plan_promotion
from embsweep.search.promotion_ledger import PromotionLedger
from embsweep.search.pruners import build_pruner, fraction_to_step
from embsweep.search.search import SearchLedger, count_points


def open_search_ledger(  # noqa: PLR0913 - all but one are keyword-only
    storage: BaseStorage,
    *,
    space: SearchSpace,
    search: SearchConfig,
    stopping: StoppingConfig,
    evaluations: Sequence[float],
    finalists: int,
    recipe: Mapping[str, Value] | None = None,
    identify: Identify | None = None,
) -> SearchLedger:
    """Open the ledger of a search in a storage; it is created if it does not exist.

    Args:
        storage: Storage of Optuna's.
        space: Dimensions to search.
        search: Sampler, budget and seed.
        stopping: Whether trials pause, are stopped or run to their end.
        evaluations: Fractions of the recipe's schedule at which it is evaluated, the last one 1.0.
        finalists: Number of trials that must finish their schedules, for the confirmation.
        recipe: Values of trial 0, without those that are outside their dimension.
        identify: Identifies the configuration of a point; None if every point is possible and another configuration.

    Raises:
        SweepRefused: If the study has another format.
    """
    points = Points(space, identify, is_grid=search.sampler == "grid")
    if stopping.kind == "promotion":
        whole = recipe is not None and {dimension.key for dimension in space} == recipe.keys()
        has_recipe = search.recipe_first and whole
        budget = search.model_copy(update={"trials": min(search.trials, count_points(points, search.trials))})
        plan = plan_promotion(stopping, budget, evaluations, finalists=finalists, has_recipe=has_recipe)
        return PromotionLedger(storage, points=points, search=search, plan=plan, recipe=recipe)
    rungs = [fraction_to_step(fraction) for fraction in evaluations]
    pruner = build_pruner(stopping, evaluations[0])
    return SearchLedger(storage, points=points, search=search, pruner=pruner, rungs=rungs, recipe=recipe)

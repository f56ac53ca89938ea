"""Candidates for the winner: configurations that were run again with fresh seeds, and their paired comparison."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.evidence import Comparison, ConfirmedRecord
from embsweep.selection.scores import PerQuery
from embsweep.selection.statistics.resampling import Grouping
from embsweep.selection.statistics.seed_variance import SeedVariance, add_seed_noise, score_run
from embsweep.selection.statistics.significance import (
    Bounds,
    Difference,
    adjust_comparisons,
    compute_difference,
    to_comparisons,
)


@dataclass(frozen=True)
class Candidate:
    """A configuration and its runs with fresh seeds: one `PerQuery` per seed, all on the same queries.

    `cost` orders candidates that are equally good, cheapest first: dimension of the model, maximum sequence length,
    epochs. `searched` is the objective in the search; `failures` counts the runs that failed.
    """

    trial: int
    params: Mapping[str, str | int | float]
    is_recipe: bool
    cost: tuple[float, ...]
    searched: float | None
    runs: tuple[PerQuery, ...]
    failures: int

    @property
    def name(self) -> str:
        """Name in comparisons and warnings."""
        return "recipe" if self.is_recipe else f"trial {self.trial}"

    @property
    def mean_run(self) -> PerQuery:
        """Each query's value, averaged over the seeds."""
        return {dim: np.mean([run[dim] for run in self.runs], axis=0) for dim in self.runs[0]}

    def to_record(self, objective: ObjectiveConfig) -> ConfirmedRecord:
        """Convert the candidate to its record in the evidence."""
        return ConfirmedRecord(
            trial=self.trial,
            params=dict(self.params),
            is_recipe=self.is_recipe,
            searched=self.searched,
            confirmed=tuple(score_run(run, objective)[None] for run in self.runs),
            failures=self.failures,
        )


@dataclass(frozen=True)
class PairedComparison:
    """Settings of a paired comparison of two candidates: query groups, objective, seed variance, bootstrap."""

    grouping: Grouping
    objective: ObjectiveConfig
    noise: SeedVariance
    seed: int
    resamples: int
    searched: tuple[float, ...] = ()

    def score(self, candidate: Candidate) -> float:
        """Compute the objective of the candidate's seed-averaged means."""
        return score_run(candidate.mean_run, self.objective)[None]

    def compare(self, one: Candidate, other: Candidate) -> tuple[Difference, Bounds]:
        """Compute the difference of `one` minus `other`, and its bounds from query and seed variance."""
        difference = compute_difference(
            one.mean_run,
            other.mean_run,
            self.grouping,
            config=self.objective,
            seed=self.seed,
            resamples=self.resamples,
        )
        runs = (len(one.runs), len(other.runs))
        return difference, add_seed_noise(difference, self.noise, self.grouping, runs=runs, seed=self.seed)

    def compare_all(self, one: Candidate, others: Sequence[Candidate]) -> tuple[Comparison, ...]:
        """Compare one candidate with each of the others, at every common dimension and on the objective.

        Holm's correction is applied to two families separately: the objectives, which decide, and all dimensions.
        """
        found = [
            comparison
            for other in others
            for comparison in to_comparisons(other.name, *self.compare(one, other), self.grouping)
        ]
        families = ([c for c in found if (c.dim is None) is whole] for whole in (True, False))
        adjusted = {(c.reference, c.dim): c for family in families for c in adjust_comparisons(family)}
        return tuple(adjusted[c.reference, c.dim] for c in found)

"""Check points of a search space as a trial would run them, and identify their configurations."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from embsweep.config import Config, check_trainable
from embsweep.config.rehearsal import Rehearsal
from embsweep.config.search_space import Value
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Splits
from embsweep.sweep.request import SweepRequest


@dataclass(frozen=True)
class PointCheck:
    """Checks points of the space of `request`, as they run at `scale`.

    `passages` has the number of distinct training passages, of the sweep's split and of each fold.
    """

    request: SweepRequest
    scale: Rehearsal
    passages: tuple[int, ...]

    def identify(self, point: Mapping[str, Value]) -> str | None:
        """Return what a trial at a point trains, as JSON; None if it is impossible. Equal trials have equal texts."""
        try:
            config = self.request.configure(point)
        except InputError:
            return None
        scaled = self.scale.apply(config)
        return None if check_trainable(config) or any(self._check_batches(scaled)) else scaled.trial.model_dump_json()

    def find_batch_errors(self, point: Mapping[str, Value]) -> list[Diagnostic]:
        """Return diagnostics of batches that the data cannot fill; none if the point is impossible anyway."""
        with suppress(InputError):
            return list(self._check_batches(self.scale.apply(self.request.configure(point))))
        return []

    def require_possible(self, *, is_grid: bool, seed: int) -> None:
        """Check that the space has a point that is possible: any one if it can be listed, else of random ones.

        Args:
            is_grid: Whether the search visits the cells of a grid.
            seed: Seed of the random points.

        Raises:
            InputError: If no point is, with the most frequent reason.
        """
        from embsweep.search.points import Points
        from embsweep.search.samplers import random_points
        from embsweep.search.search import RANDOM_DRAWS, to_distribution

        space = self.request.space
        points = Points(space, self.identify, is_grid=is_grid)
        if points.can_be_listed:
            drawn, tried = points.in_order(), f"{points.cells:,} combinations"
        else:
            distributions = {dimension.key: to_distribution(dimension) for dimension in space}
            drawn = itertools.islice(random_points(distributions, (seed,)), RANDOM_DRAWS)
            tried = f"{RANDOM_DRAWS:,} random points"
        reasons = Counter[str]()
        for point in drawn:
            if points.identity(point) is not None:
                return
            reasons[self._find_reason(point)] += 1
        raise InputError(
            Diagnostic(
                "conflict",
                ", ".join(dimension.key for dimension in space),
                f"none of {tried} of the space is possible",
                expected="values that can be combined",
                hint=f"most often: {reasons.most_common(1)[0][0]}",
            )
        )

    def _find_reason(self, point: Mapping[str, Value]) -> str:
        try:
            config = self.request.configure(point)
        except InputError as error:
            return str(error.diagnostics[0])
        return str([*check_trainable(config), *self._check_batches(self.scale.apply(config))][0])

    def _check_batches(self, config: Config) -> Iterator[Diagnostic]:
        return itertools.chain.from_iterable(check_batch(config, count) for count in self.passages)


def count_passages(splits: Splits) -> int:
    """Return the number of distinct training passages."""
    return len({pair.positive for pair in splits.train})


def check_batch(config: Config, passages: int) -> Iterator[Diagnostic]:
    """Check that the workers can share a batch evenly, and that the training data can fill a batch.

    If several queries have the same passage, a batch without duplicates has at most one row per passage. The trainer
    would nevertheless count an epoch as rows / batch_size steps, and most rows would not be used.

    Args:
        config: The configuration as it runs.
        passages: Number of distinct training passages.
    """
    train, workers = config.train, config.runner.workers_per_trial
    if train.batch_size % workers:
        problem = f"is not divisible by the {workers} workers of a trial"
        yield Diagnostic("not-divisible", "train.batch_size", problem, train.batch_size, f"a multiple of {workers}")
    if train.batch_sampler != "batch_sampler" and train.batch_size > passages:
        problem = f"no batch without duplicates can be larger than the {passages} training passages"
        yield Diagnostic(
            "out-of-range",
            "train.batch_size",
            problem,
            train.batch_size,
            f"2 to {passages}, or another train.batch_sampler",
        )

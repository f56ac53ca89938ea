"""What happened in a search, as values for its charts: built from a ledger by `sweep`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from embsweep.config.search_space import Choice, Dimension, Value

Scale = Literal["linear", "log", "categorical", "ordinal"]


@dataclass(frozen=True)
class HistoryReport:
    """One evaluation of a trial. `objective` is the best one until then, `at` in seconds since the epoch."""

    fraction: float
    objective: float
    at: float


@dataclass(frozen=True)
class Attempt:
    """Time during which a run was training, in seconds since the epoch.

    A run has one for each start: it starts again after a pause and after its process died. The ledger knows when a run
    ended; an earlier attempt lasted at least until its last report, which is its `end` then. `is_open`: the run has not
    ended, and `end` is the last event of the whole ledger. `device` is `cpu`, `cuda:0`, …, empty if it is unknown.
    """

    start: float
    end: float
    device: str = ""
    is_open: bool = False


@dataclass(frozen=True)
class HistoryTrial:
    """One trial of the search.

    `state` is running, paused, complete, stopped or failed. `params` are those that it uses: a swept key that its group
    options do not use is absent. `objective` is its best one, None before its first report, and `scores` are the
    objective's metric by dimension of the same weights. `fraction` is the share of its schedule that it has trained.
    `at_rungs` has its objective at each rung that it has reached, by the rung's index, as promotion compares it; failed
    trials are not compared.
    """

    number: int
    state: str
    params: Mapping[str, Value]
    objective: float | None
    fraction: float
    scores: Mapping[int, float] = field(default_factory=dict)
    reports: tuple[HistoryReport, ...] = ()
    attempts: tuple[Attempt, ...] = ()
    at_rungs: Mapping[int, float] = field(default_factory=dict)
    is_recipe: bool = False
    is_winner: bool = False
    is_finalist: bool = False

    @property
    def can_win(self) -> bool:
        """True if it has an objective and has not failed."""
        return self.objective is not None and self.state != "failed"


@dataclass(frozen=True)
class ConfirmationRun:
    """One run of the confirmation: a finalist with a fresh seed, and on one fold if there are any."""

    trial: int
    seed: int
    fold: int | None
    state: str
    objective: float | None
    attempts: tuple[Attempt, ...] = ()


@dataclass(frozen=True)
class HistoryShare:
    """Share of a parameter in what distinguishes the best trials, in [0, 1], and its 90 % interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class TargetShares:
    """What mattered for one target: `objective`, or a metric at a dimension (`map@100/256`).

    `shares` is empty if nothing can be said; `reason` then says why. `trials` is the number of trials that count.
    """

    name: str
    trials: int
    shares: Mapping[str, HistoryShare] = field(default_factory=dict)
    reason: str = ""


@dataclass(frozen=True)
class SearchHistory:
    """A search and its confirmation, of a running, failed or finished sweep.

    `status` is that of the sweep's MLflow run (RUNNING, FINISHED, KILLED, FAILED). `objective` describes the objective,
    `metric` is its metric, and `baseline` the objective of the untrained base model. `rungs` are fractions of the
    schedule, the last one 1.0; empty if trials do not pause. `slots` is the number of trials that run at the same time.
    The winner is known once the sweep has finished.
    """

    name: str
    status: str
    objective: str
    metric: str
    requested_trials: int
    slots: int
    space: tuple[Dimension, ...]
    trials: tuple[HistoryTrial, ...]
    baseline: float | None = None
    rungs: tuple[float, ...] = ()
    confirmation: tuple[ConfirmationRun, ...] = ()
    importance: tuple[TargetShares, ...] = ()

    @cached_property
    def leader(self) -> HistoryTrial | None:
        """The winner; before there is one, the trial with the best objective, of equals the first one."""
        winner = next((trial for trial in self.trials if trial.is_winner), None)
        return winner or self.best

    @cached_property
    def best(self) -> HistoryTrial | None:
        """The trial with the best objective in the search, of equals the first one; failed trials do not count."""
        able = [trial for trial in self.trials if trial.can_win]
        return max(able, key=lambda trial: (trial.objective or 0.0, -trial.number), default=None)

    @cached_property
    def recipe(self) -> HistoryTrial | None:
        """The recipe, if the search has tried it."""
        return next((trial for trial in self.trials if trial.is_recipe), None)

    @property
    def schedules(self) -> float:
        """Full schedules that the search has trained; what was trained again after a fault counts once."""
        return sum(trial.fraction for trial in self.trials)


def find_scale(dimension: Dimension) -> Scale:
    """Return the kind of axis on which the values of a dimension are shown; numbers as options are in their order."""
    if isinstance(dimension, Choice):
        return "ordinal" if all(_is_number(option) for option in dimension.options) else "categorical"
    return "log" if dimension.log else "linear"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

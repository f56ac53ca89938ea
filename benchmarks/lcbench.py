"""Searches on LCBench: the product's ledger with a simulated clock and YAHPO Gym's surrogate of the learning curves.

The surrogate has curves of 52 epochs and 7 hyperparameters. Sampler, promotion and ledger are those of the
product; the ledger's storage is in memory.
"""

from __future__ import annotations

import hashlib
import heapq
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import onnxruntime
import yaml
from optuna.storages import InMemoryStorage

from embsweep.config.search_space import FloatRange, IntRange, SearchSpace, Value
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.factory import open_search_ledger
from embsweep.search.record import TrialRecord
from embsweep.search.search import SearchLedger
from embsweep.training.messages import TrialReport

_CONF = Path(__file__).resolve().parents[1] / "conf"

EPOCHS = 52
FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
EVALUATIONS = tuple(max(1, round(fraction * EPOCHS)) for fraction in FRACTIONS)
"""Epochs after which a trial is evaluated."""

SPACE = SearchSpace(
    (
        IntRange("bs", 16, 512, log=True),
        FloatRange("lr", 1e-4, 0.1, log=True),
        FloatRange("mom", 0.1, 0.99),
        FloatRange("wd", 1e-5, 0.1),
        IntRange("nl", 1, 5),
        IntRange("mu", 64, 1024, log=True),
        FloatRange("dr", 0.0, 1.0),
    )
)
DEFAULT = "gp-promotion"
"""What `default` stands for: conf/config.yaml."""

MANY = 10_000
"""Trials of a search that only full schedules limit."""

LONGEST = 40
"""Full schedules after which a search for a target is given up."""

TARGET = 0.99
"""Quantile of random configurations' final values at which a search for a target ends; lower targets are on its way."""

_DEVELOPMENT_TASKS = ("3945", "7593", "126026", "167149", "189905", "168335")

Step = tuple[int, float]
"""Epochs that were spent until an evaluation, and the best value until then."""


@dataclass(frozen=True)
class Surrogate:
    """LCBench's surrogate in a folder: `model.onnx` and `encoding.json`."""

    folder: Path

    @cached_property
    def tasks(self) -> Mapping[str, int]:
        """The code of each task."""
        found = json.loads((self.folder / "encoding.json").read_text())
        codes: Mapping[str, int] = found.get("OpenML_task_id", found)
        return {task: code for task, code in codes.items() if task != "#na#"}

    def curves(self, points: Sequence[Mapping[str, Value]], task: str) -> np.ndarray:
        """Return the validation accuracy after each epoch, of shape (points, 52)."""
        x = np.zeros((len(points), EPOCHS, 8), np.float32)
        x[:, :, 0] = np.arange(1, EPOCHS + 1)
        for number, point in enumerate(points):
            x[number, :, 1:] = [point[dimension.key] for dimension in SPACE]
        code = np.full((len(points) * EPOCHS, 1), self.tasks[task], np.int32)
        found = self._session.run(None, {"x_cat": code, "x_cont": x.reshape(-1, 8)})[0]
        return np.asarray(found[:, 1].reshape(-1, EPOCHS), float)

    @cache  # noqa: B019 - one surrogate a process
    def random_curves(self, task: str) -> np.ndarray:
        """Return the curves of 1,000 random configurations, the same in every process."""
        rng = np.random.RandomState(7)
        return self.curves([_draw(rng) for _ in range(1000)], task)

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(str(self.folder / "model.onnx"), options)


def _draw(rng: np.random.RandomState) -> dict[str, Value]:
    def log(low: float, high: float) -> float:
        return float(np.exp(rng.uniform(np.log(low), np.log(high))))

    return {
        "bs": round(log(16, 512)),
        "lr": log(1e-4, 0.1),
        "mom": rng.uniform(0.1, 0.99),
        "wd": rng.uniform(1e-5, 0.1),
        "nl": rng.randint(1, 6),
        "mu": round(log(64, 1024)),
        "dr": rng.uniform(),
    }


@dataclass(frozen=True)
class Search:
    """One search: a method on a task. `trials` and `schedules` are the product's limits of the same names.

    A method is `default`, or a sampler and a kind of stopping, with its reduction factor if it is not the usual one.
    With `to_target` the search ends as soon as a value reaches the quantile `TARGET`.
    """

    method: str
    task: str
    seed: int
    workers: int
    trials: int = MANY
    schedules: float | None = LONGEST
    to_target: bool = False

    @property
    def key(self) -> str:
        """Name of the search in the file of results."""
        schedules = LONGEST if self.to_target else self.schedules and float(self.schedules)
        return (
            f"{self.method} task={self.task} seed={self.seed} workers={self.workers} trials={self.trials} "
            f"schedules={schedules}"
        )

    def open_ledger(self) -> SearchLedger:
        """Open the product's ledger of this search, in memory."""
        sampler, kind, factor = parse_method(self.method)
        preset = yaml.safe_load((_CONF / f"search/{sampler}.yaml").read_text())
        limits = {"trials": self.trials, "schedules": self.schedules}
        search = SearchConfig(**{**preset, **limits, "seed": self.seed * 100_003, "recipe_first": False})
        stopping = StoppingConfig(kind=kind, reduction_factor=factor)
        return open_search_ledger(
            InMemoryStorage(), space=SPACE, search=search, stopping=stopping, evaluations=FRACTIONS, finalists=1
        )

    def run(self, surrogate: Surrogate) -> list[Step]:
        """Return the steps at which the best value improved, and the last one."""
        enough = np.quantile(surrogate.random_curves(self.task)[:, -1], TARGET) if self.to_target else np.inf
        steps: list[Step] = []
        last: Step | None = None
        for last in simulate(self.open_ledger(), lambda r: surrogate.curves([r.params], self.task)[0], self.workers):
            if not steps or last[1] > steps[-1][1]:
                steps.append(last)
            if last[1] >= enough or (self.to_target and last[0] >= LONGEST * EPOCHS):
                break
        return [*steps, last] if last is not None else steps


def parse_method(method: str) -> tuple[str, str, int]:
    """Return the sampler, the kind of stopping and the reduction factor of a method such as `gp-promotion8`.

    Raises:
        ValueError: If it is none.
    """
    found = re.fullmatch(r"([a-z]+)-([a-z_]+)(\d*)", DEFAULT if method == "default" else method)
    if found is None:
        raise ValueError(f"unknown method '{method}': accepted are default, or a sampler and a kind of stopping")
    sampler, kind, factor = found.groups()
    return sampler, kind, int(factor or (8 if kind == "promotion" else 2))


@dataclass(frozen=True)
class _Running:
    """A trial of a simulated search: its whole curve, and the number of evaluations that it has reported."""

    curve: np.ndarray
    done: int = 0

    @property
    def cost(self) -> int:
        """Epochs until its next evaluation."""
        return EVALUATIONS[self.done] - (EVALUATIONS[self.done - 1] if self.done else 0)

    def next_report(self) -> TrialReport:
        """Return the report of its next evaluation."""
        seen = [float(self.curve[epochs - 1]) for epochs in EVALUATIONS[: self.done + 1]]
        best = max(range(len(seen)), key=seen.__getitem__)
        step, scores = EVALUATIONS[self.done], {64: {"map@100": seen[-1]}}
        fraction, best_fraction = FRACTIONS[self.done], FRACTIONS[best]
        return TrialReport(fraction, step, float(step), seen[-1], seen[best], best_fraction, scores, None, None, 0.0)


def simulate(ledger: SearchLedger, curve_of: Callable[[TrialRecord], np.ndarray], workers: int) -> Iterator[Step]:
    """Run a search on a simulated clock, one unit an epoch, and yield the best value at each evaluation.

    Args:
        ledger: The ledger, which decides what a free worker does.
        curve_of: Returns the value of a trial after each epoch.
        workers: Number of trials that run at once.
    """
    trials: dict[int, _Running] = {}
    queue: list[tuple[int, int, int]] = []  # time of the next evaluation, order of entry, trial
    now = spent = entered = 0
    best = -math.inf

    def go_on(number: int) -> None:
        nonlocal entered
        heapq.heappush(queue, (now + trials[number].cost, entered, number))
        entered += 1

    while True:
        while len(queue) < workers and (record := ledger.ask()) is not None:
            if record.number not in trials:
                trials[record.number] = _Running(curve_of(record))
            go_on(record.number)
        if not queue:
            return
        now, _, number = heapq.heappop(queue)
        trial = trials[number]
        report = trial.next_report()
        spent, best = spent + trial.cost, max(best, report.best_objective)
        trials[number] = replace(trial, done=trial.done + 1)
        should_stop = ledger.report(number, report)
        if report.fraction == 1.0:
            ledger.complete(number, report.best_objective)
        elif should_stop:
            ledger.stop(number)
        else:
            go_on(number)
        yield spent, best


def choose_tasks(surrogate: Surrogate, given: str) -> list[str]:
    """Return the tasks of an option: ids, or the number of tasks, of which the first six were used in development.

    Raises:
        ValueError: If there is no such task.
    """
    if given.isdigit() and given not in surrogate.tasks and int(given) <= len(surrogate.tasks):
        others = sorted(set(surrogate.tasks) - {*_DEVELOPMENT_TASKS}, key=lambda t: hashlib.sha256(t.encode()).digest())
        return [*_DEVELOPMENT_TASKS, *others][: int(given)]
    tasks = given.split(",")
    if unknown := [task for task in tasks if task not in surrogate.tasks]:
        raise ValueError(f"unknown tasks {', '.join(unknown)}: accepted are {', '.join(sorted(surrogate.tasks))}")
    return tasks

"""Benchmark samplers and stopping on LCBench: epochs spent until a target, or regret when a budget is spent.

    OMP_NUM_THREADS=1 python benchmarks/search.py --data DIR --tasks 6 --seeds 4 --workers 2 --quantile 0.99 \
        --methods random-none,random-promotion,default --json search.json
    OMP_NUM_THREADS=1 python benchmarks/search.py --data DIR --budgets 5,10,20 --methods default,tpe-successive_halving

DIR holds YAHPO Gym's surrogate of LCBench (`model.onnx`, `encoding.json`): learning curves of 52 epochs, 7
hyperparameters, 34 tasks. The ledger, its samplers and its promotions are the product's; clock and storage are
simulated. A method is `default`, or a sampler and a kind of stopping, with its reduction factor if it is not the usual
one: `gp-promotion8`. Speed-ups are over random search without stopping, in geometric mean over tasks and seeds, with a 90 % bootstrap
interval over both. Regret: 0 is the best of 1,000 random configurations, 1 their median. Each run is appended to
`FILE.jsonl` and not repeated. Needs `pip install onnxruntime`.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import json
import re
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from optuna.storages import InMemoryStorage

from embsweep.config.search_space import FloatRange, IntRange, SearchSpace
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.factory import open_search_ledger
from embsweep.search.record import TrialRecord
from embsweep.search.search import SearchLedger
from embsweep.training.messages import TrialReport

EPOCHS = 52
FRACTIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)
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
BASELINE = "random-none"
DEFAULT = "gp-promotion"
DEVELOPMENT_TASKS = ("3945", "7593", "126026", "167149", "189905", "168335")
LONGEST = 40
"""Full schedules after which a search for a target is given up."""


@dataclass(frozen=True)
class Surrogate:
    """LCBench's surrogate in a folder."""

    folder: Path

    @cached_property
    def session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        return onnxruntime.InferenceSession(str(self.folder / "model.onnx"), options)

    @cached_property
    def codes(self) -> Mapping[str, int]:
        found = json.loads((self.folder / "encoding.json").read_text())
        codes: Mapping[str, int] = found.get("OpenML_task_id", found)
        return codes

    def curves(self, points: Sequence[Mapping[str, Any]], task: str) -> np.ndarray:
        """Return the validation accuracy after each epoch, of shape (points, 52)."""
        x = np.zeros((len(points), EPOCHS, 8), np.float32)
        x[:, :, 0] = np.arange(1, EPOCHS + 1)
        for number, point in enumerate(points):
            x[number, :, 1:] = [point[dimension.key] for dimension in SPACE]
        code = np.full((len(points) * EPOCHS, 1), self.codes[task], np.int32)
        found = self.session.run(None, {"x_cat": code, "x_cont": x.reshape(-1, 8)})[0]
        return np.asarray(found[:, 1].reshape(-1, EPOCHS), float)

    @cache  # noqa: B019 -- one surrogate a process
    def reference(self, task: str) -> np.ndarray:
        """Return the curves of 1,000 random configurations."""
        rng = np.random.RandomState(7)
        return self.curves([_draw(rng) for _ in range(1000)], task)


def _draw(rng: np.random.RandomState) -> dict[str, float]:
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


def open_ledger(method: str, seed: int, *, trials: int, schedules: float | None) -> SearchLedger:
    """Open a ledger of the product in memory."""
    found = re.fullmatch(r"([a-z]+)-([a-z_]+?)(\d*)", DEFAULT if method == "default" else method)
    if found is None:
        raise SystemExit(f"unknown method {method}: accepted are default, or a sampler and a kind of stopping")
    sampler, kind, factor = found.groups()
    search = SearchConfig(sampler=sampler, trials=trials, schedules=schedules, seed=seed * 100_003, recipe_first=False)
    usual = 4 if kind == "promotion" else 2
    stopping = StoppingConfig(kind=kind, reduction_factor=int(factor or usual))
    return open_search_ledger(
        InMemoryStorage(), space=SPACE, search=search, stopping=stopping, evaluations=FRACTIONS, finalists=1
    )


Step = tuple[int, float]
"""Epochs that were spent until an evaluation, and the best value until then."""


def simulate(ledger: SearchLedger, curve_of: Callable[[TrialRecord], np.ndarray], workers: int) -> Iterator[Step]:
    """Run a search on a simulated clock, one epoch a unit, and yield the best value at each evaluation."""
    stops = [max(1, round(fraction * EPOCHS)) for fraction in FRACTIONS]
    queue: list[tuple[float, int, int, int]] = []
    curves: dict[int, np.ndarray] = {}
    at: dict[int, int] = {}
    now, spent, best, pushed = 0.0, 0, -np.inf, 0

    def go_on(number: int) -> None:
        nonlocal pushed
        previous = stops[at[number] - 1] if at[number] else 0
        heapq.heappush(queue, (now + stops[at[number]] - previous, pushed, number, at[number]))
        pushed += 1

    while True:
        while len(queue) < workers and (record := ledger.ask()) is not None:
            if record.number not in curves:
                curves[record.number], at[record.number] = curve_of(record), 0
            go_on(record.number)
        if not queue:
            return
        now, _, number, index = heapq.heappop(queue)
        spent += stops[index] - (stops[index - 1] if index else 0)
        at[number] = index + 1
        seen = [float(curves[number][stop - 1]) for stop in stops[: index + 1]]
        top = max(seen)
        best = max(best, top)
        report = _to_report(FRACTIONS[index], stops[index], seen[-1], top, FRACTIONS[int(np.argmax(seen))])
        stopped = ledger.report(number, report)
        if index == len(stops) - 1:
            ledger.complete(number, top)
        elif stopped:
            ledger.stop(number)
        else:
            go_on(number)
        yield spent, best


def _to_report(fraction: float, step: int, value: float, best: float, best_fraction: float) -> TrialReport:
    scores = {64: {"map@100": value}}
    return TrialReport(fraction, step, float(step), value, best, best_fraction, scores, None, None, 0.0)


@dataclass
class Runs:
    """Results of single runs, which are kept in a file and not repeated."""

    path: Path | None
    surrogate: Surrogate

    def __post_init__(self) -> None:
        lines = self.path.read_text().splitlines() if self.path and self.path.exists() else []
        self._known = {row["key"]: row["steps"] for row in map(json.loads, lines)}

    def run(
        self, method: str, task: str, seed: int, *, workers: int, trials: int = 10_000, schedules: float | None
    ) -> list[Step]:
        """Return the improvements of one run, and its last step."""
        key = f"{method} task={task} seed={seed} workers={workers} trials={trials} schedules={schedules}"
        if key not in self._known:
            self._known[key] = self._simulate(method, task, seed, workers, trials, schedules)
            if self.path:
                with self.path.open("a") as file:
                    file.write(json.dumps({"key": key, "steps": self._known[key]}) + "\n")
        return self._known[key]

    def _simulate(
        self, method: str, task: str, seed: int, workers: int, trials: int, schedules: float | None
    ) -> list[Step]:
        ledger = open_ledger(method, seed, trials=trials, schedules=schedules)
        enough = (
            float(np.quantile(self.surrogate.reference(task)[:, -1], 0.99))
            if trials == 10_000 and schedules == LONGEST
            else np.inf
        )
        steps: list[Step] = []
        last: Step | None = None
        for last in simulate(ledger, lambda record: self.surrogate.curves([record.params], task)[0], workers):
            if not steps or last[1] > steps[-1][1]:
                steps.append(last)
            if last[1] >= enough or last[0] >= LONGEST * EPOCHS:
                break
        return [*steps, last] if last is not None else steps


def epochs_to(steps: Sequence[Step], target: float) -> int:
    """Return the epochs until the target, the longest search's if it was not reached."""
    return next((spent for spent, best in steps if best >= target), LONGEST * EPOCHS)


def compare_speed(runs: Runs, options: argparse.Namespace, tasks: Sequence[str]) -> dict[str, Any]:
    """Return each method's speed-up over random search without stopping, until the target."""
    found: dict[str, np.ndarray] = {}
    methods = list(dict.fromkeys([BASELINE, *options.methods]))
    for method in methods:
        began = time.time()
        rows = [
            [
                epochs_to(
                    runs.run(method, task, seed, workers=options.workers, schedules=LONGEST),
                    float(np.quantile(runs.surrogate.reference(task)[:, -1], options.quantile)),
                )
                for seed in range(options.first_seed, options.first_seed + options.seeds)
            ]
            for task in tasks
        ]
        found[method] = np.log(np.array(rows, float))
        gain = found[BASELINE] - found[method]
        by_task = {task: round(float(np.exp(row.mean())), 3) for task, row in zip(tasks, gain, strict=True)}
        print_line(
            f"{method:28s} {np.exp(found[method].mean()):6.0f} epochs, speed-up {np.exp(gain.mean()):5.2f} "
            f"{_interval(gain, np.exp)}, by task {list(by_task.values())}, {time.time() - began:.0f} s"
        )
    first = found[BASELINE]
    return {
        method: {
            "speedup": float(np.exp((first - values).mean())),
            "by_task": {t: float(np.exp(row.mean())) for t, row in zip(tasks, first - values, strict=True)},
            "interval": _interval(first - values, np.exp),
        }
        for method, values in found.items()
    }


def compare_regret(runs: Runs, options: argparse.Namespace, tasks: Sequence[str]) -> dict[str, Any]:
    """Return each method's regret at the end of a search with each budget."""
    result: dict[str, Any] = {}
    for method in options.methods:
        result[method] = {}
        for trials, schedules in options.budgets:
            rows = []
            for task in tasks:
                ends = runs.surrogate.reference(task)[:, [max(1, round(f * EPOCHS)) - 1 for f in FRACTIONS]].max(1)
                top, middle = ends.max(), np.median(ends)
                seeds = range(options.first_seed, options.first_seed + options.seeds)
                own = [
                    runs.run(method, task, s, workers=options.workers, trials=trials, schedules=schedules)
                    for s in seeds
                ]
                rows.append([((top - steps[-1][1]) / (top - middle), steps[-1][0] / EPOCHS) for steps in own])
            both = np.array(rows)
            regret, spent = both[..., 0], both[..., 1]
            name = f"{schedules:g}" if trials == 10_000 else f"{trials} trials, {schedules:g}"
            result[method][name] = {
                "regret": float(regret.mean()),
                "interval": _interval(regret),
                "spent": float(spent.mean()),
            }
            print_line(
                f"{method:28s} at {name:18s} regret {regret.mean():6.3f} {_interval(regret)}, spent {spent.mean():.1f}"
            )
    return result


def _interval(values: np.ndarray, convert: Callable[[float], float] = float) -> list[float]:
    """Return the 90 % bootstrap interval of the mean over tasks and seeds; both are drawn."""
    rng = np.random.default_rng(0)
    tasks, seeds = values.shape
    means = [
        values[rng.integers(tasks, size=tasks)[:, None], rng.integers(seeds, size=(tasks, seeds))].mean()
        for _ in range(2000)
    ]
    return [round(float(convert(np.quantile(means, q))), 3) for q in (0.05, 0.95)]


def print_line(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def choose_tasks(surrogate: Surrogate, given: str) -> list[str]:
    """Return the named tasks, or as many as wanted: first those of the development, then others in a fixed order."""
    if not given.isdigit() or int(given) > 100 or given in surrogate.codes:
        return given.split(",")
    others = sorted(
        set(surrogate.codes) - {"#na#", *DEVELOPMENT_TASKS}, key=lambda t: hashlib.sha256(t.encode()).hexdigest()
    )
    return [*DEVELOPMENT_TASKS, *others][: int(given)]


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with model.onnx and encoding.json")
    parser.add_argument("--tasks", default="6", help="number of tasks, or their ids")
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--quantile", type=float, default=0.99, help="target, of 1,000 random configurations")
    parser.add_argument("--methods", type=lambda text: text.split(","), default=[BASELINE, "default"])
    parser.add_argument(
        "--budgets", type=lambda text: [(10_000, float(b)) for b in text.split(",")], help="full schedules: 5,10,20"
    )
    parser.add_argument("--json", type=Path, help="file for the result; its runs are kept beside it")
    options = parser.parse_args()
    surrogate = Surrogate(options.data)
    runs = Runs(options.json and options.json.with_suffix(".jsonl"), surrogate)
    compare = compare_regret if options.budgets else compare_speed
    result = compare(runs, options, choose_tasks(surrogate, options.tasks))
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

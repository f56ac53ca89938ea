"""Benchmark samplers and stopping on LCBench: epochs until a target, or regret when a budget is spent.

    export OMP_NUM_THREADS=1
    python benchmarks/search.py --data DIR --tasks 6 --seeds 4 --workers 2 --quantile 0.99 \
        --methods default,random-promotion,random-none --json search.json
    python benchmarks/search.py --data DIR --budgets 5,10,20 --methods default,tpe-successive_halving
    python benchmarks/search.py --data DIR --trials 12,30 --methods default,random-promotion

DIR holds YAHPO Gym's surrogate of LCBench (`model.onnx`, `encoding.json`). A method is `default`, or a sampler and a
kind of stopping, with its reduction factor if it is not the usual one: `gp-promotion8`.

Speed-ups are over random search without stopping, in geometric mean over tasks and seeds. Regret: 0 is the best of
1,000 random configurations, 1 their median. A budget is in full schedules, with the end of the search included. With
--trials, `default` runs so many trials, and every other method gets as many trials and the epochs that `default` has
spent on the same task and seed. Intervals are 90 % bootstrap intervals over tasks and seeds.

Every single search is appended to search.jsonl beside search.json and not repeated: delete it if the code of the search
has changed. Needs `pip install -c constraints.txt "embsweep[bench]"`.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lcbench import EPOCHS, EVALUATIONS, LONGEST, TARGET, Search, Step, Surrogate, choose_tasks, parse_method
from measuring import emit

BASELINE = "random-none"


class Runs:
    """Searches on a surrogate, whose results are kept in a file and not repeated."""

    def __init__(self, surrogate: Surrogate, path: Path | None) -> None:
        self.surrogate = surrogate
        self._path = path
        lines = path.read_text().splitlines() if path and path.exists() else []
        self._known: dict[str, list[Step]] = {row["key"]: row["steps"] for row in map(json.loads, lines)}

    def run(self, search: Search) -> list[Step]:
        """Return the steps at which the best value of a search improved, and the last one."""
        if search.key not in self._known:
            self._known[search.key] = search.run(self.surrogate)
            if self._path:
                with self._path.open("a") as file:
                    file.write(json.dumps({"key": search.key, "steps": self._known[search.key]}) + "\n")
        return self._known[search.key]


def compare_speed(runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """Return each method's speed-up over random search without stopping, until the target."""

    def log_epochs(method: str) -> np.ndarray:
        rows = []
        for task in options.tasks:
            target = np.quantile(runs.surrogate.random_curves(task)[:, -1], options.quantile)
            searches = (Search(method, task, seed, options.workers, to_target=True) for seed in options.seeds)
            rows.append([_epochs_to(runs.run(search), target) for search in searches])
        return np.log(np.array(rows, float))

    result: dict[str, Any] = {}
    baseline = log_epochs(BASELINE)
    for method in dict.fromkeys([BASELINE, *options.methods]):
        began = time.time()
        epochs = log_epochs(method)
        gain = baseline - epochs
        speedup, interval = float(np.exp(gain.mean())), _interval(gain, np.exp)
        by_task = {task: float(np.exp(row.mean())) for task, row in zip(options.tasks, gain, strict=True)}
        result[method] = {"speedup": speedup, "by_task": by_task, "interval": interval}
        _print(
            f"{method:28s} {np.exp(epochs.mean()):6.0f} epochs, speed-up {speedup:5.2f} {_describe(interval)}, by task "
            f"{' '.join(f'{value:.2f}' for value in by_task.values())}, {time.time() - began:.0f} s"
        )
    return result


def _epochs_to(steps: Sequence[Step], target: float) -> float:
    """Return the epochs until the target, or those of the longest search if it was not reached."""
    return next((spent for spent, best in steps if best >= target), LONGEST * EPOCHS)


def compare_regret(runs: Runs, options: argparse.Namespace) -> dict[str, Any]:
    """Return each method's regret when each budget is spent: full schedules, or those that the default's trials take.

    A search is given what the method, the task and the seed determine: see `_limits`.
    """
    result: dict[str, Any] = {method: {} for method in options.methods}
    for name, limits in _limits(runs, options):
        for method in options.methods:
            found = np.array(
                [[_end(runs, limits(method, task, seed)) for seed in options.seeds] for task in options.tasks]
            )
            regret, spent = found[..., 0], found[..., 1]
            interval = _interval(regret)
            result[method][name] = {
                "regret": float(regret.mean()),
                "interval": interval,
                "spent": float(spent.mean()),
            }
            _print(
                f"{name:14s} {method:28s} regret {regret.mean():6.3f} {_describe(interval)}, "
                f"{spent.mean():.1f} full schedules"
            )
    return result


Limits = Callable[[str, str, int], Search]
"""The search of a method on a task with a seed, with its limits."""


def _limits(runs: Runs, options: argparse.Namespace) -> Iterator[tuple[str, Limits]]:
    """Yield the name of each budget, and what a search with it is."""
    for schedules in options.budgets:
        yield (
            f"{schedules:g} schedules",
            lambda method, task, seed, schedules=schedules: Search(
                method, task, seed, options.workers, schedules=schedules
            ),
        )
    for trials in options.trials:

        def equal_epochs(method: str, task: str, seed: int, trials: int = trials) -> Search:
            default = Search("default", task, seed, options.workers, trials, schedules=None)
            if method == "default":
                return default
            spent = round(runs.run(default)[-1][0] / EPOCHS, 4)
            return Search(method, task, seed, options.workers, trials, schedules=spent)

        yield f"{trials} trials", equal_epochs


def _end(runs: Runs, search: Search) -> tuple[float, float]:
    """Return the regret at the end of a search, and the full schedules that it has spent."""
    ends = runs.surrogate.random_curves(search.task)[:, [epochs - 1 for epochs in EVALUATIONS]].max(axis=1)
    spent, best = runs.run(search)[-1]
    return float((ends.max() - best) / (ends.max() - np.median(ends))), spent / EPOCHS


def _interval(values: np.ndarray, convert: Callable[[float], float] = float) -> list[float]:
    """Return the 90 % bootstrap interval of the mean over tasks and seeds; both are drawn."""
    rng = np.random.default_rng(0)
    tasks, seeds = values.shape
    means = [
        values[rng.integers(tasks, size=tasks)[:, None], rng.integers(seeds, size=(tasks, seeds))].mean()
        for _ in range(2000)
    ]
    return [round(float(convert(np.quantile(means, q))), 3) for q in (0.05, 0.95)]


def _describe(interval: Sequence[float]) -> str:
    return f"[{interval[0]:.2f}, {interval[1]:.2f}]"


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _read_options() -> argparse.Namespace:
    def split(convert: Callable[[str], Any]) -> Callable[[str], list[Any]]:
        return lambda text: [convert(part) for part in text.split(",")]

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with model.onnx and encoding.json")
    parser.add_argument("--tasks", default="6", help="number of tasks, or their ids: 3945,7593")
    parser.add_argument("--seeds", type=int, default=4, help="number of seeds")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2, help="trials that run at once")
    parser.add_argument(
        "--quantile", type=float, default=TARGET, help=f"target: up to {TARGET}, of 1,000 random points"
    )
    parser.add_argument("--methods", type=split(str), default=[BASELINE, "default"])
    parser.add_argument("--budgets", type=split(float), default=[], help="regret at these full schedules: 5,10,20")
    parser.add_argument("--trials", type=split(int), default=[], help="regret at these numbers of trials: 12,30")
    parser.add_argument("--json", type=Path, help="file for the result; the single searches are kept beside it")
    options = parser.parse_args()
    try:
        options.tasks = choose_tasks(Surrogate(options.data), options.tasks)
        for method in options.methods:
            parse_method(method)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    if not 0 < options.quantile <= TARGET:
        parser.error(f"--quantile {options.quantile}: accepted is up to {TARGET}, where a search ends")
    options.seeds = range(options.first_seed, options.first_seed + options.seeds)
    return options


def main() -> None:
    """Run the benchmark."""
    options = _read_options()
    runs = Runs(Surrogate(options.data), options.json and options.json.with_suffix(".jsonl"))
    compare = compare_regret if options.budgets or options.trials else compare_speed
    result: Mapping[str, Any] = compare(runs, options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")
    if compare is compare_speed and "default" in result:
        emit(speedup=result["default"]["speedup"], equal=True)  # both search until the same target


if __name__ == "__main__":
    main()

"""Compare the default search with random search on real fine-tuning, at equal epochs: what is found, on test.

    OMP_NUM_THREADS=1 python benchmarks/fine_tuning.py --storage FOLDER --seeds 8
    OMP_NUM_THREADS=1 python benchmarks/fine_tuning.py --storage FOLDER2 data=beir data.path=DIR

Each seed is a sweep of quickstart with 20 trials, and one of random search without stopping that may spend as many full
schedules (rounded up: the default spends no more). Prints the mean of MAP@100 over the dimensions on test, and the mean
difference with its 90 % bootstrap interval over seeds. Finished sweeps in FOLDER are not repeated.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

import embsweep


def main() -> None:
    """Run the sweeps and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=8)
    parser.add_argument("overrides", nargs="*", help="of every sweep, e.g. data=beir data.path=DIR")
    options = parser.parse_args()
    differences = []
    for seed in range(options.seeds):
        common = [
            "confirm=none", "runner=inline", "search.trials=20", f"search.seed={seed}",
            f"storage.path={options.storage}", *options.overrides,
        ]  # fmt: skip
        ours = run([*common, f"sweep.name=default-{seed}"])
        trials = embsweep.read_sweep(f"default-{seed}", storage=options.storage).trials
        spent = math.ceil(trials["fraction"].sum())
        random = ["search=random", "stopping=none", f"search.schedules={spent}", f"sweep.name=random-{seed}"]
        theirs = run([*common, *random])
        differences.append(ours - theirs)
        sys.stdout.write(f"seed {seed}, {spent} full schedules: default {ours:.4f}, random {theirs:.4f}\n")
    low, high = bootstrap(differences)
    sys.stdout.write(f"difference {np.mean(differences):+.4f} [{low:+.4f}, {high:+.4f}]\n")


def run(overrides: Sequence[str]) -> float:
    """Return the mean of MAP@100 over the dimensions, on test, of the winner of a sweep."""
    scores = embsweep.run_sweep(overrides, quiet=True).test
    return float(np.mean([values["map@100"] for values in scores.values()]))


def bootstrap(values: Sequence[float]) -> tuple[float, float]:
    """Return the 90 % bootstrap interval of the mean."""
    means = np.random.default_rng(0).choice(values, (10_000, len(values))).mean(axis=1)
    return float(np.quantile(means, 0.05)), float(np.quantile(means, 0.95))


if __name__ == "__main__":
    main()

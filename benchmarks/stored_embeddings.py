"""Benchmark what the scores of stored embeddings cost in the verification of a winner, at six dimensions.

    OMP_NUM_THREADS=2 python benchmarks/stored_embeddings.py --model minilm --queries 60 --passages 300

`time` is the time of encoding, evaluating and scoring every precision over that of encoding and evaluating alone. The
scores of float32 must be those of the evaluation. Needs `pip install "embsweep[embedded]"`.
"""

from __future__ import annotations

from encode_once import BATCH_SIZE, MODELS, make_set, read_options
from measuring import emit, time_pairs

from embsweep.core.names import METRICS
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import EncodedSet, Evaluation, encode_sets, evaluate_encoded
from embsweep.evaluation.quantization import StoredEvaluation, evaluate_stored
from embsweep.models.builders import build_model


def main() -> None:
    """Measure and print the result."""
    options = read_options(__doc__)
    choice, dims = MODELS[options.model]
    data, model = make_set(options.queries, options.passages), build_model(choice)

    def evaluate(of: RetrievalSet = data) -> tuple[EncodedSet, Evaluation]:
        encoded = next(encode_sets(model, [of], batch_size=BATCH_SIZE))
        return encoded, evaluate_encoded(encoded, dims)

    def evaluate_all(of: RetrievalSet = data) -> list[StoredEvaluation]:
        encoded, evaluation = evaluate(of)
        return evaluate_stored(encoded, evaluation, encoded.corpus[:2000], METRICS[-1])

    evaluate_all(make_set(10, 10))  # loads what is loaded once
    ratio, (_, evaluation), stored = time_pairs(evaluate, evaluate_all, options.rounds)
    exact = {row.dim: row.values for row in stored if row.precision == "float32"}
    equal = all((exact[dim] == values).all() for dim, values in evaluation.of_metric(METRICS[-1]).items())
    emit(time=ratio, equal=equal)


if __name__ == "__main__":
    main()

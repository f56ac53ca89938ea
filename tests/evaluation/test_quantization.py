"""Scores of stored embeddings against straightforward computations of the same, and their ties."""

import numpy as np
import pytest
import torch

from embsweep.data.collection import RetrievalSet
from embsweep.evaluation import quantization
from embsweep.evaluation.evaluator import EncodedSet, evaluate_embeddings
from embsweep.evaluation.quantization import evaluate_stored, sample_passages

METRIC, DIM = "map@100", 12
KINDS = [("float16", False), *((precision, again) for precision in ("int8", "binary") for again in (False, True))]


@pytest.fixture(autouse=True)
def quick_searches(monkeypatch):
    monkeypatch.setattr(quantization, "_MOST_SEARCHES", 2)
    monkeypatch.setattr(quantization, "_LEAST_SEARCHES", 1)


def encode(queries, corpus, relevant):
    data = RetrievalSet("x", ("q",) * len(queries), ("p",) * len(corpus), tuple(map(tuple, relevant)))
    return EncodedSet(data, torch.tensor(queries), torch.tensor(corpus))


def make_set(n=25, m=900):
    rng = np.random.default_rng(5)
    corpus = rng.normal(size=(m, DIM)).astype(np.float32)
    relevant = [[row * 7, row * 11 + 1] for row in range(n)]
    queries = corpus[[first for first, _ in relevant]] + rng.normal(size=(n, DIM)).astype(np.float32) * 0.4
    return encode(queries, corpus, relevant)


def evaluate(encoded, dims=(DIM,), calibration=None):
    evaluation = evaluate_embeddings(encoded.queries, encoded.corpus, encoded.data.relevant, dims)
    rows = evaluate_stored(encoded, evaluation, encoded.corpus if calibration is None else calibration, METRIC)
    return {(row.dim, row.precision, row.rescored): row.values for row in rows}, evaluation.of_metric(METRIC)


def average_precision(order, relevant):
    hits = np.isin(order[:100], relevant)
    return np.sum(np.cumsum(hits) / np.arange(1, len(hits) + 1) * hits) / len(relevant)


def unit(rows):
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def decode_int8(rows, calibration):
    low, high = calibration.min(axis=0), calibration.max(axis=0)
    step = (high - low) / 255
    return low + (np.clip(np.floor((rows - low) / step), 0, 255) + 0.5) * step


def sign(rows):
    return np.where(rows > 0, 1.0, -1.0)


def rank(scores):
    """Return all positions by (-score, place in the fixed random order)."""
    order = np.argsort(np.random.default_rng(0).permutation(len(scores)))
    return order[np.argsort(-scores[order], kind="stable")]


@pytest.mark.parametrize("dim", [DIM, 8])
def test_scores_equal_those_of_a_plain_computation(dim):
    encoded = make_set()
    found, exact = evaluate(encoded, (DIM, 8))
    queries, corpus = (unit(part.numpy().astype(np.float64)[:, :dim]) for part in (encoded.queries, encoded.corpus))
    stored = {
        "float16": (queries, corpus.astype(np.float16).astype(np.float64)),
        "int8": (decode_int8(queries, corpus), decode_int8(corpus, corpus)),
        "binary": (sign(queries), sign(corpus)),
    }
    for (precision, rescored), (asked, passages) in ((kind, stored[kind[0]]) for kind in KINDS):
        rankings = [rank(passages @ query) for query in asked]
        if rescored:
            best = [ranking[:400] for ranking in rankings]
            again = [np.argsort(-(passages[rows] @ q), kind="stable") for rows, q in zip(best, queries, strict=True)]
            rankings = [rows[columns] for rows, columns in zip(best, again, strict=True)]
        expected = list(map(average_precision, rankings, encoded.data.relevant))
        assert found[dim, precision, rescored] == pytest.approx(expected), (precision, rescored)
    assert found[dim, "float32", False] is exact[dim]


def test_rescoring_wins_back_what_binary_queries_lose():
    found, exact = evaluate(make_set(m=400))
    binary, rescored = (found[DIM, "binary", again].mean() for again in (False, True))
    assert binary < rescored < exact[DIM].mean()


def test_values_outside_the_calibrated_range_are_clipped():
    encoded = make_set()
    wide, narrow = (
        evaluate(encoded, calibration=encoded.corpus[torch.argsort(encoded.corpus.abs().amax(dim=1))[:count]])[0]
        for count in (900, 2)
    )
    assert narrow[DIM, "int8", False].mean() < wide[DIM, "int8", False].mean()
    assert (narrow[DIM, "binary", False] == wide[DIM, "binary", False]).all()


@pytest.mark.parametrize("first", [True, False])
def test_ties_favour_no_passage_by_its_place(first):
    """All passages have the same bits; the relevant ones are the first, or the last, of the corpus."""
    rng = np.random.default_rng(0)
    corpus = rng.uniform(0.1, 1, size=(400, 8)).astype(np.float32)
    relevant = [[row if first else 399 - row] for row in range(100)]
    found, _ = evaluate(encode(corpus[[row for (row,) in relevant]], corpus, relevant), (8,))
    in_top = np.count_nonzero(found[8, "binary", False]) / 100
    assert in_top == pytest.approx(0.25, abs=0.15), "100 of 400 equal passages are ranked"


@pytest.mark.parametrize("found_at", [0, 1])
def test_equal_embeddings_keep_their_order_at_every_precision(found_at):
    corpus = np.repeat(np.eye(60, dtype=np.float32), 2, axis=0)
    relevant = [[2 * row + found_at] for row in range(60)]
    found, _ = evaluate(encode(corpus[::2], corpus, relevant), (60,))
    assert {kind: set(values) for kind, values in found.items()} == {kind: {1 / (1 + found_at)} for kind in found}


def test_a_corpus_smaller_than_the_ranking(monkeypatch):
    monkeypatch.setattr(quantization, "_BLOCK", 2)
    corpus = np.eye(5, 8, dtype=np.float32)
    found, exact = evaluate(encode(corpus[[1, 3]], corpus, [[1], [3]]), (8,))
    assert {kind: values.tolist() for kind, values in found.items()} == dict.fromkeys(found, exact[8].tolist())


def test_the_calibration_sample_is_spread_over_all_passages():
    texts = [str(number // 2) for number in range(8000)]
    sample = sample_passages(texts)
    assert len(set(sample)) == 2000
    assert (sample[0], sample[-1]) == ("0", "3999")
    assert sample_passages(["a", "b", "a"]) == ("a", "b")

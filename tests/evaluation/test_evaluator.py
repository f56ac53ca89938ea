"""One encoding is scored at every dimension, with the results of sentence-transformers' own evaluator."""

import random
from collections import Counter

import numpy as np
import pytest

from embsweep.core.errors import CodedError, TrialFailed
from embsweep.core.names import METRICS
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import encode_texts, evaluate_model, evaluate_sets
from tests.refusals import raises_code, raises_diagnostics

DIMS = (8, 4, 2, 1)


def _score_with_library(model, data: RetrievalSet, dim: int, chunk: int = 50_000, batch_size: int = 16):
    from sentence_transformers.sentence_transformer.evaluation import InformationRetrievalEvaluator

    evaluator = InformationRetrievalEvaluator(
        queries={f"q{i}": text for i, text in enumerate(data.queries)},
        corpus={f"{i:08d}": text for i, text in enumerate(data.corpus)},  # ascending ids are positions
        relevant_docs={f"q{i}": {f"{p:08d}" for p in found} for i, found in enumerate(data.relevant)},
        corpus_chunk_size=chunk,
        batch_size=batch_size,
        truncate_dim=dim,
        write_csv=False,
    )
    found = evaluator(model)
    return {metric: found[f"cosine_{metric}"] for metric in METRICS}


def _check_contract(model, data, dims, *, chunk=50_000, batch_size=16):
    evaluation = evaluate_model(model, data, dims, batch_size=batch_size)
    assert tuple(evaluation.scores) == tuple(dims)
    for dim in dims:
        expected = _score_with_library(model, data, dim, chunk, batch_size)
        assert evaluation.scores[dim] == pytest.approx(expected, abs=1e-6), f"dim {dim}"
        average = evaluation.per_query[dim]["map@100"]
        assert average.shape == (len(data.queries),)
        assert average.dtype == np.float64
        assert np.mean(average) == pytest.approx(expected["map@100"], abs=1e-6)


def _tied_case(n_queries, n_corpus, n_distinct, seed):
    """Return vectors, most of them repeated, one of them zero, and one to five relevant passages for each query.

    Only equal vectors have equal cosines: those of others would depend on how a matrix product rounds.
    """
    rng = random.Random(seed)
    distinct = [[rng.gauss(0, 1) for _ in range(8)] for _ in range(n_distinct - 1)] + [[0.0] * 8]
    rows = [rng.choice(distinct) for _ in range(n_queries + n_corpus)]
    relevant = [rng.sample(range(n_corpus), rng.randint(1, min(5, n_corpus))) for _ in range(n_queries)]
    return rows, relevant


@pytest.mark.parametrize(
    ("n_queries", "n_corpus", "n_distinct"), [(5, 7, 3), (12, 60, 9), (20, 300, 12), (9, 250, 250), (4, 140, 1)]
)
def test_equals_the_library_with_many_ties(table_model, word_set, n_queries, n_corpus, n_distinct):
    rows, relevant = _tied_case(n_queries, n_corpus, n_distinct, seed=n_corpus)
    _check_contract(table_model(rows), word_set(n_queries, n_corpus, relevant), DIMS)


@pytest.mark.parametrize("chunk", [1, 7, 64])
def test_equals_the_library_for_any_chunk_size(table_model, word_set, chunk):
    # Rows along the axes: cosines are exact, so the library's smaller products cannot round differently.
    rng = random.Random(chunk)
    rows = [[float(column == axis) for column in range(8)] for axis in rng.choices(range(8), k=150)]
    relevant = [rng.sample(range(140), 3) for _ in range(10)]
    _check_contract(table_model(rows), word_set(10, 140, relevant), DIMS, chunk=chunk)


def test_scores_computed_by_hand(table_model, word_set):
    # At 2 dims the query's relevant passage 1 is the best; at 1 dim all three tie and the position decides.
    model = table_model([[1, 1], [1, 0], [1, 1], [1, -1]])
    evaluation = evaluate_model(model, word_set(1, 3, [[1]]), (1, 2), batch_size=2)
    assert (evaluation.scores[2]["map@100"], evaluation.scores[1]["map@100"]) == (1.0, 0.5)
    assert evaluation.ranks.tolist() == [1], "at the largest dimension, whatever the order"


def _count_encoded(model, monkeypatch) -> Counter:
    encoded: Counter = Counter()
    preprocess = model[0].preprocess

    def counting(inputs, **options):
        encoded.update(inputs)
        return preprocess(inputs, **options)

    monkeypatch.setattr(model[0], "preprocess", counting)
    return encoded


def test_every_text_is_encoded_once(table_model, word_set, monkeypatch):
    rows, relevant = _tied_case(6, 50, 20, seed=1)
    model, data = table_model(rows), word_set(6, 50, relevant)
    encoded = _count_encoded(model, monkeypatch)
    evaluate_model(model, data, DIMS, batch_size=4)
    assert encoded == Counter([*data.queries, *data.corpus])


def test_a_repeated_text_is_encoded_once_and_keeps_its_positions(table_model, monkeypatch):
    model = table_model([[1, 0], [0, 1], [2, 2]])
    encoded = _count_encoded(model, monkeypatch)
    found = encode_texts(model, ["w2", "w0", "w2", "w1", "w0"], "document", batch_size=2)
    assert found.tolist() == [[2, 2], [1, 0], [2, 2], [0, 1], [1, 0]]
    assert set(encoded.values()) == {1}


def test_a_shared_corpus_is_encoded_once(table_model, word_set, monkeypatch):
    rows, relevant = _tied_case(6, 30, 9, seed=2)
    model, full = table_model(rows), word_set(6, 30, relevant)
    halves = [
        RetrievalSet("a", full.queries[:3], full.corpus, full.relevant[:3]),
        RetrievalSet("b", full.queries[3:], (*full.corpus,), full.relevant[3:]),
    ]
    alone = [evaluate_model(model, half, DIMS, batch_size=4) for half in halves]
    encoded = _count_encoded(model, monkeypatch)
    together = list(evaluate_sets(model, halves, DIMS, batch_size=4))
    assert set(encoded.values()) == {1}
    assert [evaluation.scores for evaluation in together] == [evaluation.scores for evaluation in alone]


def test_prompts_are_used_as_the_library_does(table_model, word_set):
    rows, relevant = _tied_case(6, 30, 30, seed=3)
    model = table_model(rows)
    model.prompts = {"query": "w1 ", "document": "w9 w2 "}
    _check_contract(model, word_set(6, 30, relevant), (8, 2))


@pytest.mark.parametrize("training", [True, False])
def test_the_training_mode_of_every_module_is_restored(table_model, training):
    model = table_model([[1.0, 0.0]])
    model.train(training)
    model[0].embedding.train(not training)
    encode_texts(model, ["w0"], "query", batch_size=1)
    assert (model.training, model[0].training, model[0].embedding.training) == (training, training, not training)


def test_autocast_around_the_call_changes_nothing(table_model, word_set):
    import torch
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(0)
    rows, relevant = _tied_case(6, 40, 40, seed=4)
    model, data = table_model(rows), word_set(6, 40, relevant)
    model.append(Dense(8, 8))  # a linear layer: autocast would run it in bfloat16
    plain = encode_texts(model, data.corpus, "document", batch_size=8)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = encode_texts(model, data.corpus, "document", batch_size=8)
        evaluation = evaluate_model(model, data, DIMS, batch_size=8)
    assert torch.equal(inside, plain)
    assert inside.dtype == torch.float32
    assert evaluation.scores == evaluate_model(model, data, DIMS, batch_size=8).scores


def test_encoding_is_float32_while_the_trainer_trains_in_bf16(table_model):
    import torch
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState
    from sentence_transformers.base.modules import Dense

    torch.manual_seed(0)
    model = table_model([[1.0, 0.3], [0.7, 1.1]])
    model.append(Dense(2, 2))
    plain = encode_texts(model, ["w0", "w1"], "query", batch_size=2)
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(mixed_precision="bf16", cpu=True).prepare(model)  # what the trainer does
    AcceleratorState._reset_state(reset_partial_state=True)
    patched = model.forward
    assert torch.equal(encode_texts(model, ["w0", "w1"], "query", batch_size=2), plain)
    assert model.forward is patched, "training continues in bf16"


def test_a_truncating_model_is_refused(table_model, word_set):
    model = table_model([[1.0, 0.0], [0.0, 1.0]])
    model.truncate_dim = 1
    with raises_code(CodedError, "truncated"):
        evaluate_model(model, word_set(1, 1, [[0]]), (1,), batch_size=1)


@pytest.mark.parametrize("dims", [(3, 2), (2, 0), ()])
def test_dims_that_do_not_exist_are_refused(table_model, word_set, dims):
    with raises_diagnostics(("out-of-range", "eval.dims")):
        evaluate_model(table_model([[1, 0], [0, 1]]), word_set(1, 1, [[0]]), dims, batch_size=1)


def test_a_diverged_model_fails_the_trial(table_model, word_set):
    model = table_model([[1.0, 0.0], [float("nan"), 1.0]])
    with raises_code(TrialFailed, "not-finite"):
        evaluate_model(model, word_set(1, 1, [[0]]), (2,), batch_size=1)


_TOPICS = ("tax", "river", "engine", "poem", "fever", "orchard", "verdict", "signal")


def _sentences() -> RetrievalSet:
    corpus = [f"A note on the {topic}, part {part}: what was said about it." for topic in _TOPICS for part in range(5)]
    queries = [f"Which note speaks of the {topic}?" for topic in _TOPICS]
    return RetrievalSet("notes", tuple(queries), tuple(corpus), tuple(tuple(range(5 * i, 5 * i + 5)) for i in range(8)))


@pytest.mark.slow
def test_equals_the_library_with_a_real_transformer():
    _check_contract(_build_minilm(), _sentences(), (384, 256, 128, 64), batch_size=8)


@pytest.mark.slow
def test_equals_the_library_on_a_part_of_a_real_set(shared_set):
    """Texts of other lengths and another language than the model's; the published scores are for the full set."""
    full, size = shared_set("xquad_de"), 24
    kept = sorted({p for found in full.relevant[:size] for p in found} | set(range(0, len(full.corpus), 8)))
    new_position = {position: i for i, position in enumerate(kept)}
    relevant = tuple(tuple(new_position[p] for p in found) for found in full.relevant[:size])
    part = RetrievalSet("part", full.queries[:size], tuple(full.corpus[p] for p in kept), relevant)
    _check_contract(_build_minilm(), part, (384, 64), batch_size=64)


@pytest.mark.slow
@pytest.mark.nightly
@pytest.mark.parametrize(("name", "published"), [("xquad_es", 0.5935), ("xquad_de", 0.6650)])
def test_reproduces_published_scores(shared_set, name, published):
    # MTEB results repository, XQuADRetrieval, all-MiniLM-L6-v2, at the model's own 256 tokens.
    data = shared_set(name)
    evaluation = evaluate_model(_build_minilm(), data, (384,), batch_size=64)
    assert evaluation.scores[384]["map@100"] == pytest.approx(published, abs=1e-3)


def _build_minilm():
    from embsweep.config.training import ModelConfig
    from embsweep.models.builders import build_model

    return build_model(ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=256), device="cpu")

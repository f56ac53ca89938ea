"""The naive evaluation (one id per row): derived from a ranking, and compared with an actual one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_up import as_splits, make_rows, valid_sides

from embsweep.audit.naive_evaluation import build_row_evaluation, compare_evaluations
from embsweep.audit.split_view import build_split_view
from embsweep.evaluation.evaluator import mark_hits
from embsweep.evaluation.metrics import compute_means, compute_per_query


def evaluate_naively(data, evaluation, score):
    """Evaluate with every row as a document and, if its query is ranked, as a query whose only answer is that document.

    Documents are ordered by score, copies of a passage by row; `score[query][passage]` has no ties.
    """
    documents = [passage for _, passage in data.rows]
    documents += [text for text in data.corpus if text not in set(documents)]
    ranked_rows = [row for row, (query, _) in enumerate(data.rows) if query in evaluation.data.queries]
    rankings = [
        sorted(range(len(documents)), key=lambda d: (-score[data.rows[row][0]][documents[d]], d)) for row in ranked_rows
    ]
    ranking = np.array([order[:100] for order in rankings])
    hits = mark_hits(ranking, [[row] for row in ranked_rows], len(documents))
    return compute_means(compute_per_query(hits, np.ones(len(ranked_rows), dtype=np.int64)))


@st.composite
def judged(draw):
    """Draw three sides over few passages, with several queries per passage and several passages per query."""
    rows = draw(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 60)), min_size=6, max_size=60, unique=True))
    cut = sorted(draw(st.lists(st.integers(1, len(rows) - 1), min_size=2, max_size=2, unique=True)))
    named = [(f"q{q}?", f"p{p} text") for q, p in rows]
    extra = [f"p{number} text" for number in range(61, 61 + draw(st.integers(0, 80)))]
    return as_splits(named[: cut[0]], named[cut[0] : cut[1]], named[cut[1] :], unjudged=extra), draw(st.integers(0, 99))


@pytest.mark.slow
@settings(max_examples=60, deadline=None)
@given(judged())
def test_naive_metrics_equal_an_evaluation_with_one_id_per_row(drawn):
    splits, seed = drawn
    data = build_split_view(splits)
    evaluation = build_row_evaluation(data)
    rng = np.random.default_rng(seed)
    scores = np.array([rng.permutation(len(data.corpus)) for _ in evaluation.data.queries])
    ranking = np.argsort(-scores, axis=1)[:, :100]
    by_text = {
        query: dict(zip(data.corpus, row, strict=True))
        for query, row in zip(evaluation.data.queries, scores, strict=True)
    }
    readings = compare_evaluations("drawn", ranking, evaluation)
    expected = evaluate_naively(data, evaluation, by_text)
    for metric, value in readings.naive.items():
        assert value == pytest.approx(expected[metric]), metric
    n_relevant = np.array([len(positions) for positions in evaluation.data.relevant])
    right = compute_means(compute_per_query(mark_hits(ranking, evaluation.data.relevant, len(data.corpus)), n_relevant))
    assert readings.right == pytest.approx({metric: right[metric] for metric in readings.right})


def test_a_perfect_ranking_with_five_queries_per_passage():
    rows = make_rows(100, questions=5)
    data = build_split_view(as_splits(rows[:80], rows[80:90], rows[90:]))
    evaluation = build_row_evaluation(data)
    first = [relevant[0] for relevant in evaluation.data.relevant]
    ranking = np.array([[p, *(n for n in range(len(data.corpus)) if n != p)] for p in first])
    readings = compare_evaluations("perfect", ranking, evaluation)
    assert readings.right == {"accuracy@1": 1, "recall@10": 1, "map@100": 1}
    assert readings.naive["accuracy@1"] == pytest.approx(1 / 5)
    assert readings.naive["map@100"] == pytest.approx(sum(1 / rank for rank in range(1, 6)) / 5)
    assert readings.naive["recall@10"] == 1


@pytest.mark.slow
def test_with_one_query_per_passage_both_evaluations_are_equal(findings_of, audit):
    splits = as_splits(*valid_sides())
    reading = audit(splits).figures.readings[0]
    assert reading.naive == pytest.approx(reading.right)
    assert "naive-evaluation" not in findings_of(splits)


def test_queries_of_the_test_side_are_not_ranked():
    train, validation, test = valid_sides()
    evaluation = build_row_evaluation(build_split_view(as_splits(train, validation, test)))
    assert set(evaluation.data.queries) == {query for query, _ in [*train, *validation]}
    assert set(evaluation.data.corpus) >= {passage for _, passage in test}


def test_a_sample_of_queries_counts_the_copies_of_all_rows():
    rows = make_rows(300, questions=3)
    evaluation = build_row_evaluation(build_split_view(as_splits(rows[:240], rows[240:270], rows[270:])), limit=50)
    assert len(evaluation.data.queries) == len(evaluation.rows) == 50
    assert set(evaluation.copies.tolist()) == {3}

"""The ranking is the total order (-cosine, position), with any ties and any size of blocks."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embsweep.core.errors import TrialFailed
from embsweep.evaluation import ranking
from embsweep.evaluation.ranking import rank
from tests.refusals import raises_code


def _unit(*angles_in_quarters: int) -> torch.Tensor:
    """Vectors along the axes: their cosines are exact."""
    return torch.tensor([[[1.0, 0], [0, 1], [-1, 0], [0, -1]][angle % 4] for angle in angles_in_quarters])


def test_best_first_and_ties_by_position():
    assert rank(_unit(0), _unit(2, 1, 0, 3, 0), 10).tolist() == [[2, 4, 1, 3, 0]]


def test_vector_length_has_no_effect():
    corpus = torch.tensor([[1.0, 1.0], [100.0, 0.0], [0.001, 0.0]])
    assert rank(torch.tensor([[5.0, 0.0]]), corpus, 3).tolist() == [[1, 2, 0]]


@pytest.mark.parametrize("k", [1, 2, 100, 150, 151, 1000])
def test_if_all_tie_the_corpus_order_is_kept(k):
    assert rank(_unit(0, 1), _unit(*[0] * 151), k).tolist() == [list(range(min(k, 151)))] * 2


def test_only_rows_with_a_tie_at_the_cut_differ():
    corpus = _unit(1, 1, 1, 0, 2)
    assert rank(_unit(0, 1, 2), corpus, 2).tolist() == [[3, 0], [0, 1], [4, 0]]


def test_negative_zero_ties_with_zero():
    corpus = torch.tensor([[0.0, 1.0], [-0.0, 1.0], [0.0, -1.0], [1.0, 0.0]])
    assert rank(torch.tensor([[-1.0, 0.0]]), corpus, 4).tolist() == [[0, 1, 2, 3]]


_COORDINATES = st.sampled_from([-1.0, 0.0, 1.0])


@settings(deadline=None)
@given(
    arrays("float32", st.tuples(st.integers(1, 6), st.just(4)), elements=_COORDINATES),
    arrays("float32", st.tuples(st.integers(1, 40), st.just(4)), elements=_COORDINATES),
    st.integers(1, 45),
)
def test_equals_a_python_sort(queries, corpus, k):
    queries, corpus = torch.from_numpy(queries), torch.from_numpy(corpus)
    normalize = torch.nn.functional.normalize
    scores = torch.mm(normalize(queries, dim=-1), normalize(corpus, dim=-1).T).tolist()
    expected = [sorted(range(len(row)), key=lambda i, row=row: (-row[i], i))[:k] for row in scores]
    assert rank(queries, corpus, k).tolist() == expected


@pytest.mark.parametrize("block_scores", [1, 7, 30])
def test_blocks_do_not_change_the_ranking(monkeypatch, block_scores):
    queries, corpus = _unit(*range(9)), _unit(0, 0, 1, 3, 2, 2, 1)
    in_one_block = rank(queries, corpus, 3)
    monkeypatch.setattr(ranking, "BLOCK_SCORES", block_scores)
    assert torch.equal(rank(queries, corpus, 3), in_one_block)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_embeddings_fail_the_trial(bad):
    non_finite = _unit(0, 1, 2)
    non_finite[1, 0] = bad
    with raises_code(TrialFailed, "not-finite"):
        rank(_unit(0), non_finite, 2)
    with raises_code(TrialFailed, "not-finite"):
        rank(non_finite, _unit(0), 2)

"""The ranking is the total order (-cosine, position), with any ties and any size of blocks."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embsweep.core.errors import TrialFailed
from embsweep.evaluation import ranking
from tests.refusals import raises_code


def rank(queries, corpus, k):
    """Rank at the embeddings' own dimension only."""
    dim = corpus.shape[1]
    return ranking.rank(queries, corpus, [dim], k)[dim]


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
def test_any_small_matrix(queries, corpus, k):
    """As far as float32 can tell cosines apart; equal passages are in corpus order."""
    queries, corpus = torch.from_numpy(queries), torch.from_numpy(corpus)
    normalize = torch.nn.functional.normalize
    scores = torch.mm(normalize(queries.double(), dim=-1), normalize(corpus.double(), dim=-1).T)
    found = rank(queries, corpus, k)
    best = scores.sort(dim=1, descending=True).values[:, :k]
    assert (scores.gather(1, found) - best).abs().max() < 1e-6
    for row in found.tolist():
        for passage in row:
            equal = (corpus == corpus[passage]).all(dim=1).nonzero()[:, 0].tolist()
            ranked = [i for i in row if i in equal]
            assert ranked == equal[: len(ranked)]


DIMS = [1, 3, 8, 16]


def rank_by_dimension(queries, corpus, k):
    """Rank in float64, each dimension on its own."""
    normalize = torch.nn.functional.normalize
    found = {}
    for dim in DIMS:
        scores = normalize(queries[:, :dim].double(), dim=-1) @ normalize(corpus[:, :dim].double(), dim=-1).T
        found[dim] = scores.sort(dim=1, descending=True, stable=True).indices[:, :k]
    return found


@pytest.mark.parametrize("count", [3, 700, 5001])
def test_equal_passages_keep_corpus_order_in_any_number_for_any_query(count):
    generator = torch.Generator().manual_seed(3)
    passage = torch.randn(1, 384, generator=generator).expand(count, -1).contiguous()
    for _ in range(10):
        found = ranking.rank(torch.randn(1, 384, generator=generator), passage, [384, 33], 100)
        assert [positions.tolist() for positions in found.values()] == [[list(range(min(count, 100)))]] * 2


@pytest.mark.parametrize("count", [5_000, pytest.param(17_000, marks=pytest.mark.slow)])
def test_one_pass_ranks_as_each_dimension_on_its_own(count):
    """Equal passages, by the hundred, are in corpus order; at dimension 1 all are equal to one of two."""
    generator = torch.Generator().manual_seed(0)
    queries, corpus = (torch.randn(count, 16, generator=generator) for count in (700, count))
    corpus[torch.randperm(count, generator=generator)[:600]] = corpus[7].clone()
    corpus[torch.randperm(count, generator=generator)[:300]] = 0
    queries[:2] = torch.stack([corpus[7], torch.zeros(16)])
    expected = rank_by_dimension(queries, corpus, 100)
    found = ranking.rank(queries, corpus, DIMS, 100)
    normalize = torch.nn.functional.normalize
    for dim in DIMS:
        cosines = normalize(queries[:, :dim].double(), dim=-1) @ normalize(corpus[:, :dim].double(), dim=-1).T
        difference = cosines.gather(1, found[dim]) - cosines.gather(1, expected[dim])
        assert difference.abs().max() < 1e-6
        assert torch.equal(found[dim][:2], expected[dim][:2])
    assert torch.equal(found[1], expected[1])


@pytest.mark.parametrize(("size", "passages"), [(1, 64), (4, 64), (512, 128)])
def test_blocks_do_not_change_the_ranking(monkeypatch, size, passages):
    generator = torch.Generator().manual_seed(1)
    queries, corpus = (torch.randn(n, 16, generator=generator) for n in (9, 700))
    in_one_block = ranking.rank(queries, corpus, DIMS, 100)
    monkeypatch.setattr(ranking, "SMALL_CORPUS", 0)
    monkeypatch.setattr(ranking, "CPU_BLOCK", (size, passages))
    found = ranking.rank(queries, corpus, DIMS, 100)
    assert all(torch.equal(found[dim], in_one_block[dim]) for dim in DIMS)


def test_a_corpus_of_half_precision_in_a_file(tmp_path):
    corpus = torch.randn(300, 16, generator=torch.Generator().manual_seed(2)).half()
    np.save(tmp_path / "corpus.npy", corpus.numpy())
    mapped = np.load(tmp_path / "corpus.npy", mmap_mode="r")
    found, expected = (ranking.rank(corpus[:5].float(), given, DIMS, 10) for given in (mapped, corpus.float()))
    assert all(torch.equal(found[dim], expected[dim]) for dim in DIMS)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_non_finite_embeddings_fail_the_trial(bad):
    non_finite = _unit(0, 1, 2)
    non_finite[1, 0] = bad
    with raises_code(TrialFailed, "not-finite") as refusal:
        rank(_unit(0), non_finite, 2)
    assert "passage 1 of 3" in str(refusal.value)
    with raises_code(TrialFailed, "not-finite") as refusal:
        rank(non_finite, _unit(0), 2)
    assert "query 1 of 3" in str(refusal.value)

"""Evaluate a model at every dimension from one encoding of each text: each dimension is a slice of the embeddings.

sentence-transformers' SequentialEvaluator of one InformationRetrievalEvaluator per dimension encodes every text once
per dimension, with equal results (`benchmarks/encode_once.py`).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from embsweep.core.distributed import SINGLE, ProcessGroup
from embsweep.core.errors import CodedError, Diagnostic, InputError
from embsweep.core.gpu_errors import is_out_of_memory
from embsweep.core.precision import default_precision
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.metrics import MAX_RANK, Hits, compute_means, compute_per_query, find_first_ranks
from embsweep.evaluation.ranking import rank
from embsweep.models.attention import float32_attention
from embsweep.selection.scores import PerQuery, Scores

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor

log = logging.getLogger(__name__)

QUERIES_AT_ONCE = 8192
"""Queries that are ranked in one pass over the corpus: their best passages are held at every dimension."""


@dataclass(frozen=True)
class EncodedSet:
    """A set with the embeddings of its queries and of its corpus, float32 at full dimension, not normalised here."""

    data: RetrievalSet
    queries: Tensor
    corpus: Tensor


@dataclass(frozen=True)
class Evaluation:
    """Every metric at every dimension, as a mean and for each query.

    `per_query[dim][metric]` is float64 [n_queries], in the order of the set's queries; its mean is
    `scores[dim][metric]`. `ranks` has the rank of each query's first relevant passage at the largest dimension, 0 if it
    is not among the first 100 (int64 [n_queries]); it is empty for BM25.
    """

    scores: Scores
    per_query: Mapping[int, Mapping[str, NDArray[np.float64]]]
    ranks: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, dtype=np.int64))

    def of_metric(self, metric: str) -> PerQuery:
        """Return one metric of each query, at every dimension."""
        return {dim: by_metric[metric] for dim, by_metric in self.per_query.items()}


def evaluate_model(
    model: SentenceTransformer,
    data: RetrievalSet,
    dims: Sequence[int],
    *,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> Evaluation:
    """Compute every metric of a model on one set at each of `dims`; arguments and errors as in `evaluate_sets`.

    Args:
        model: The model.
        data: Queries, corpus and relevant passages.
        dims: The dimensions.
        batch_size: Texts per forward pass.
        group: The processes that evaluate together.
    """
    return next(evaluate_sets(model, [data], dims, batch_size=batch_size, group=group))


def evaluate_sets(
    model: SentenceTransformer,
    sets: Sequence[RetrievalSet],
    dims: Sequence[int],
    *,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> Iterator[Evaluation]:
    """Evaluate a model on several sets, each when it is requested; a corpus that several sets share is encoded once.

    Each process of `group` encodes its share of the texts; the first one ranks and broadcasts the result. Texts are
    encoded in float32 without autocast and without a trainer's tf32, whatever surrounds the call, with `encode_query`
    and `encode_document` as in sentence-transformers' evaluator; the score is the cosine. The model's train/eval mode
    is restored.

    Args:
        model: The model.
        sets: The sets to evaluate on.
        dims: The dimensions.
        batch_size: Texts per forward pass.
        group: The processes that evaluate together.

    Raises:
        InputError: If a dimension is not one of the model's.
        EmbsweepError: If `model.truncate_dim` is set.
        TrialFailed: If an embedding is not finite.
    """
    for encoded in encode_sets(model, sets, batch_size=batch_size, group=group):
        yield cast(Evaluation, group.broadcast(evaluate_encoded(encoded, dims) if group.is_first else None))


def encode_sets(
    model: SentenceTransformer, sets: Sequence[RetrievalSet], *, batch_size: int, group: ProcessGroup = SINGLE
) -> Iterator[EncodedSet]:
    """Encode several sets, each when it is requested; arguments and errors as in `evaluate_sets`.

    Args:
        model: The model.
        sets: The sets.
        batch_size: Texts per forward pass.
        group: The processes that encode together; each has all embeddings afterwards.
    """
    corpora: dict[tuple[str, ...], Tensor] = {}
    for data in sets:
        with default_precision():
            if data.corpus not in corpora:
                corpora[data.corpus] = encode_texts(model, data.corpus, "document", batch_size=batch_size, group=group)
            queries = encode_texts(model, data.queries, "query", batch_size=batch_size, group=group)
        yield EncodedSet(data, queries, corpora[data.corpus])


def evaluate_encoded(encoded: EncodedSet, dims: Sequence[int]) -> Evaluation:
    """Compute every metric of an encoded set at each of `dims`; errors as in `evaluate_embeddings`."""
    with default_precision():
        return evaluate_embeddings(encoded.queries, encoded.corpus, encoded.data.relevant, dims)


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    role: Literal["query", "document"],
    *,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> Tensor:
    """Encode texts at full dimension; a text that occurs several times is encoded once.

    Args:
        model: The model.
        texts: The texts.
        role: The prompt and route of the model to use.
        batch_size: Texts per forward pass; halved if memory runs out.
        group: The processes that share the work.

    Returns:
        Embeddings, float32 [n_texts, dim], on the model's device, not normalised here.

    Raises:
        EmbsweepError: If `model.truncate_dim` is set.
    """
    import torch

    check_untruncated(model)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    encode = model.encode_query if role == "query" else model.encode_document
    own = group.shard(list(rows)) or list(rows)[:1]  # fewer texts than processes: each encodes at least one
    autocast = torch.autocast(model.device.type, enabled=False)
    with float32_attention(model), autocast, _plain_forward(model), keep_mode(model):
        part = _encode_in_memory(encode, own, batch_size)
    distinct = group.all_gather_rows(part.float(), len(rows))
    if len(rows) == len(texts):
        return distinct
    return distinct[torch.tensor([rows[text] for text in texts], device=distinct.device)]


def _encode_in_memory(encode: Callable[..., Tensor], texts: Sequence[str], batch_size: int) -> Tensor:
    """Encode texts in batches, of half the size whenever memory runs out: the embeddings are the same.

    The library encodes the longest texts first, so that it runs out in the first batch, or never.
    """
    import torch

    while True:
        try:
            return encode(texts, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
        except Exception as error:
            if batch_size == 1 or not is_out_of_memory(error):
                raise
        torch.cuda.empty_cache()  # after the except block: the traceback holds the tensors
        batch_size //= 2
        log.warning("an evaluation ran out of memory, and goes on with batches of %d texts", batch_size)


def evaluate_embeddings(
    queries: Tensor, corpus: Tensor, relevant: Sequence[Sequence[int]], dims: Sequence[int]
) -> Evaluation:
    """Compute every metric at each of `dims` from the first d columns of the embeddings, renormalised.

    Args:
        queries: Float [n, dim].
        corpus: Float [m, dim].
        relevant: For each query the rows of `corpus` that are relevant to it, at least one.
        dims: The dimensions.

    Raises:
        InputError: If a dimension exceeds that of the embeddings.
        TrialFailed: If an embedding is not finite.
    """
    available = queries.shape[1]
    if not dims or not all(1 <= dim <= available for dim in dims):
        accepted = f"dimensions from 1 to {available}"
        raise InputError(Diagnostic("out-of-range", "eval.dims", "not all of them exist", list(dims), accepted))
    parts, ranks = [], []
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        rankings = rank(queries[part], corpus, dims, MAX_RANK)
        hits = {dim: mark_hits(r.cpu().numpy(), relevant[part], len(corpus)) for dim, r in rankings.items()}
        parts.append({dim: _score_hits(found, relevant[part]) for dim, found in hits.items()})
        ranks.append(find_first_ranks(hits[max(dims)]))
    per_query = {
        dim: {metric: np.concatenate([part[dim][metric] for part in parts]) for metric in parts[0][dim]} for dim in dims
    }
    scores = {dim: compute_means(values) for dim, values in per_query.items()}
    return Evaluation(scores, per_query, np.concatenate(ranks))


def score_ranking(
    ranking: np.ndarray, relevant: Sequence[Sequence[int]], n_corpus: int
) -> dict[str, NDArray[np.float64]]:
    """Compute every metric of a ranking for each query (float64 [n_queries]); arguments as in `mark_hits`."""
    return _score_hits(mark_hits(ranking, relevant, n_corpus), relevant)


def _score_hits(hits: Hits, relevant: Sequence[Sequence[int]]) -> dict[str, NDArray[np.float64]]:
    n_relevant = np.array([len(set(passages)) for passages in relevant], dtype=np.int64)
    return compute_per_query(hits, n_relevant)


def mark_hits(ranking: np.ndarray, relevant: Sequence[Sequence[int]], n_corpus: int) -> Hits:
    """Mark the ranked passages that are relevant.

    Args:
        ranking: Corpus positions, int [n_queries, k], best first.
        relevant: For each query the corpus positions of its relevant passages.
        n_corpus: Number of passages in the corpus.

    Returns:
        Bool [n_queries, k].
    """
    pairs = [query * n_corpus + passage for query, passages in enumerate(relevant) for passage in passages]
    offsets = np.arange(len(ranking), dtype=np.int64)[:, None] * n_corpus
    return np.isin(ranking + offsets, np.array(pairs, dtype=np.int64))


def check_untruncated(model: SentenceTransformer) -> None:
    """Check that `model.truncate_dim` is not set: it hides dimensions and would be saved with the model.

    Raises:
        EmbsweepError: If it is set.
    """
    if model.truncate_dim is not None:
        raise CodedError(
            "truncated", f"model.truncate_dim is {model.truncate_dim}; accepted: None (dimensions are cut here)"
        )


@contextmanager
def _plain_forward(model: SentenceTransformer) -> Iterator[None]:
    """Use the class's `forward`: for bf16 and fp16, accelerate sets one on the model that opens an autocast."""
    patched = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if patched is not None:
            model.__dict__["forward"] = patched


@contextmanager
def keep_mode(model: SentenceTransformer) -> Iterator[None]:
    """Restore the mode (train or eval) of every module afterwards, frozen ones included."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

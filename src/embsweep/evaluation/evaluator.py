"""Score a model at every dimension from one encoding of each text: the dimensions are slices of it.

sentence-transformers' SequentialEvaluator of one InformationRetrievalEvaluator per dimension encodes everything
once per dimension, with equal results (`benchmarks/encode_once.py`).

What one evaluation found: every metric at every dimension, as a mean and for each query.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from embsweep.core.distributed import SINGLE, ProcessGroup
from embsweep.core.errors import CodedError, Diagnostic, InputError, TrialFailed
from embsweep.core.precision import default_precision
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.metrics import MAX_RANK, Hits, compute_means, compute_per_query
from embsweep.evaluation.ranking import rank
from embsweep.models.attention import float32_attention
from embsweep.selection.scores import PerQuery, Scores

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor


@dataclass(frozen=True)
class Evaluation:
    """`per_query[dim][metric]` is float64 [n_queries], in the order of the set's queries; its mean is the score."""

    scores: Scores
    per_query: Mapping[int, Mapping[str, NDArray[np.float64]]]

    def of_metric(self, metric: str) -> PerQuery:
        """One metric of each query, at every dimension."""
        return {dim: by_metric[metric] for dim, by_metric in self.per_query.items()}


def check_scores(scores: Scores, metric: str, dims: Collection[int] | None = None) -> None:
    """TrialFailed where `metric` is missing at one of `dims` (None: those of `scores`), or any value is no number.

    A dimension that is left out would not be missed by a mean over the others.
    """
    for dim in scores if dims is None else dims:
        if metric not in scores.get(dim, {}):
            raise TrialFailed("missing-score", f"the evaluation has no {metric} at dimension {dim}")
    values = [(name, dim, value) for dim, by_metric in scores.items() for name, value in by_metric.items()]
    for name, dim, value in sorted(values, key=lambda found: found[0] != metric):  # the one that counts is told first
        if not math.isfinite(value):
            raise TrialFailed("not-finite", f"{name} at dimension {dim} is {value}")


__all__ = ["Evaluation", "Scores"]


def evaluate_model(
    model: SentenceTransformer,
    data: RetrievalSet,
    dims: Sequence[int],
    *,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> Evaluation:
    """Every metric of `model` on one set at each of `dims`; `evaluate_sets` says how."""
    return evaluate_sets(model, [data], dims, batch_size=batch_size, group=group)[0]


def evaluate_sets(
    model: SentenceTransformer,
    sets: Sequence[RetrievalSet],
    dims: Sequence[int],
    *,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> list[Evaluation]:
    """One evaluation for each set, in order; a corpus that several sets share is encoded once.

    Each process of `group` encodes its share of the texts; the first one ranks, and all are told what it found.
    Texts are encoded in float32 without autocast and without a trainer's tf32, whatever surrounds the call, with
    `encode_query` and `encode_document` as sentence-transformers' evaluator does; the score is cosine. The model's
    train/eval mode is left as it was. Raises InputError for a dimension that the model has not, EmbsweepError if
    `model.truncate_dim` is set, TrialFailed if an embedding is not finite.
    """
    corpora: dict[tuple[str, ...], Tensor] = {}
    evaluations = []
    with default_precision():
        for data in sets:
            if data.corpus not in corpora:
                corpora[data.corpus] = encode_texts(model, data.corpus, "document", batch_size=batch_size, group=group)
            queries = encode_texts(model, data.queries, "query", batch_size=batch_size, group=group)
            found = evaluate_embeddings(queries, corpora[data.corpus], data.relevant, dims) if group.is_first else None
            evaluations.append(cast(Evaluation, group.broadcast(found)))
    return evaluations


def encode_texts(
    model: SentenceTransformer,
    texts: Sequence[str],
    role: Literal["query", "document"],
    *,
    batch_size: int,
    group: ProcessGroup = SINGLE,
) -> Tensor:
    """Embeddings at full dimension, float32 [n_texts, dim], on the model's device, not normalised by us.

    A text that occurs several times is encoded once. Raises EmbsweepError if `model.truncate_dim` is set.
    """
    import torch

    check_untruncated(model)
    rows = {text: row for row, text in enumerate(dict.fromkeys(texts))}
    encode = model.encode_query if role == "query" else model.encode_document
    own = group.shard(list(rows)) or list(rows)[:1]  # fewer texts than processes: nobody encodes nothing
    autocast = torch.autocast(model.device.type, enabled=False)
    with float32_attention(model), autocast, _plain_forward(model), _keep_mode(model):
        part = encode(own, batch_size=batch_size, show_progress_bar=False, convert_to_tensor=True)
    distinct = group.all_gather_rows(part.float(), len(rows))
    if len(rows) == len(texts):
        return distinct
    return distinct[torch.tensor([rows[text] for text in texts], device=distinct.device)]


def evaluate_embeddings(
    queries: Tensor, corpus: Tensor, relevant: Sequence[Sequence[int]], dims: Sequence[int]
) -> Evaluation:
    """Every metric at each of `dims`, of the first d columns of float [n, dim] and [m, dim], renormalised.

    `relevant[i]` holds the rows of `corpus` that are relevant to query i, at least one.
    Raises InputError for a dimension beyond the embeddings', TrialFailed if one is not finite.
    """
    _check_dims(dims, queries.shape[1])
    n_relevant = np.array([len(set(passages)) for passages in relevant], dtype=np.int64)
    per_query = {}
    for dim in dims:
        ranking = rank(queries[:, :dim], corpus[:, :dim], MAX_RANK).cpu().numpy()
        hits = mark_hits(ranking, relevant, len(corpus))
        per_query[dim] = compute_per_query(hits, n_relevant)
    return Evaluation({dim: compute_means(values) for dim, values in per_query.items()}, per_query)


def mark_hits(ranking: np.ndarray, relevant: Sequence[Sequence[int]], n_corpus: int) -> Hits:
    """Whether each ranked passage is relevant: bool, of the shape [n_queries, k] of the int `ranking`."""
    pairs = [query * n_corpus + passage for query, passages in enumerate(relevant) for passage in passages]
    offsets = np.arange(len(ranking), dtype=np.int64)[:, None] * n_corpus
    return np.isin(ranking + offsets, np.array(pairs, dtype=np.int64))


def check_untruncated(model: SentenceTransformer) -> None:
    """Raises EmbsweepError if `model.truncate_dim` is set: it hides dimensions and would be saved with the model."""
    if model.truncate_dim is not None:
        said = f"model.truncate_dim is {model.truncate_dim}; accepted: None (dimensions are cut here)"
        raise CodedError("truncated", said)


def _check_dims(dims: Sequence[int], available: int) -> None:
    wrong = [dim for dim in dims if not 1 <= dim <= available]
    if wrong or not dims:
        raise InputError(
            Diagnostic(
                "out-of-range", "eval.dims", "not all of them exist", list(dims), f"dimensions from 1 to {available}"
            )
        )


@contextmanager
def _plain_forward(model: SentenceTransformer) -> Iterator[None]:
    """The class's own `forward`: for bf16 and fp16 accelerate puts one on the model that opens an autocast itself."""
    patched = model.__dict__.pop("forward", None)
    try:
        yield
    finally:
        if patched is not None:
            model.__dict__["forward"] = patched


@contextmanager
def _keep_mode(model: SentenceTransformer) -> Iterator[None]:
    """`encode` calls `model.eval()`: give every module its mode back, frozen ones included."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training

"""Score a model as if its passages' embeddings were stored at a precision below float32, without encoding again.

Embeddings are cut to a dimension, renormalised and then quantised, as somebody who stores them does. Only their float32
form is needed, so that every dimension and precision comes from one encoding of the texts.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from embsweep.evaluation.evaluator import QUERIES_AT_ONCE, EncodedSet, Evaluation, score_ranking
from embsweep.evaluation.metrics import MAX_RANK
from embsweep.evaluation.ranking import rank_products
from embsweep.selection.evidence import Precision

if TYPE_CHECKING:
    from torch import Tensor

Vectors = NDArray[np.float32]
Codes = NDArray[Any]

CALIBRATION_PASSAGES = 2000
"""Training passages that determine the int8 ranges."""

CANDIDATES = 4 * MAX_RANK
"""Passages of the first search that are ranked again with the float32 query."""

_BLOCK = 16_384
"""Passages that are quantised at once."""

_RESCORED_AT_ONCE = 64
"""Queries whose candidates are decoded at once: 105 MB as float32 at 1024 dimensions."""

_LEAST_SEARCHES, _MOST_SEARCHES, _SEARCH_TIME_S = 5, 25, 0.3
"""Searches that are timed: the most, unless they take longer than the time, and then at least the fewest."""


@dataclass(frozen=True)
class StoredEvaluation:
    """The test evaluation at one dimension and precision of the stored passages.

    `values` is one metric of each query, float64 [n_queries]. With `rescored`, the 400 best passages of a search with
    the quantised query are ranked again: with the float32 query, against the same stored vectors. `search_ms` is the
    median time of one exact search, rescoring included.
    """

    dim: int
    precision: Precision
    rescored: bool
    values: NDArray[np.float64]
    search_ms: float


@dataclass(frozen=True)
class _Format:
    """One way to store unit vectors: `encode` returns their codes, `decode` the values that codes stand for.

    `kind` and `metric` are usearch's names of the number format and the distance. With `is_coarse` the query is
    quantised too, and its best passages can be ranked again.
    """

    encode: Callable[[Vectors], Codes]
    decode: Callable[[Codes], Vectors]
    kind: Literal["f32", "f16", "i8", "b1"]
    metric: Literal["ip", "hamming"] = "ip"
    is_coarse: bool = False


@dataclass(frozen=True)
class _StoredPassages:
    """The codes of a corpus, read as the vectors that they stand for; `order` has the corpus position of each code."""

    codes: Codes
    form: _Format
    order: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.codes)

    def __getitem__(self, rows: Any) -> Vectors:
        return self.form.decode(self.codes[rows])


def evaluate_stored(
    encoded: EncodedSet, evaluation: Evaluation, calibration: Tensor, metric: str
) -> list[StoredEvaluation]:
    """Evaluate float32, float16, int8 and binary at every dimension of `evaluation`, int8 and binary also rescored.

    The values of float32 are those of `evaluation`. The others are scored by the inner product with the decoded
    passages; of binary this orders as the Hamming distance does. Ties, frequent with few bits, are ordered by a fixed
    random order of the corpus: its own order may put the relevant passages first. Passages whose embeddings are equal
    keep it, as in float32.

    Args:
        encoded: The set with its embeddings.
        evaluation: The evaluation of these embeddings.
        calibration: Embeddings of training passages, float [n, dim]: the range of a dimension is that of their values,
            and a value outside it is clipped.
        metric: The metric.

    Raises:
        TrialFailed: If an embedding is not finite.
    """
    order = _order_randomly(encoded.corpus)
    found = []
    for dim, values in evaluation.of_metric(metric).items():
        exact, *others = _list_formats(_to_unit(calibration, dim)).items()
        queries = _to_unit(encoded.queries, dim)
        stored = _store(encoded.corpus, dim, exact[1], order)
        found.append(StoredEvaluation(dim, exact[0], False, values, _time_search(stored, queries, rescore=False)))
        del stored  # one form of the corpus at a time
        for precision, form in others:
            stored = _store(encoded.corpus, dim, form, order)
            by_stage = _evaluate_stages(stored, queries, encoded, metric)
            found += [
                StoredEvaluation(dim, precision, rescored, scores, _time_search(stored, queries, rescore=rescored))
                for rescored, scores in by_stage.items()
            ]
    return found


def _order_randomly(corpus: Tensor) -> NDArray[np.int64]:
    """Return all positions in a fixed random order; those of equal embeddings are neighbours, in their own order."""
    numbers: dict[bytes, int] = {}
    groups = np.empty(len(corpus), dtype=np.int64)
    for start in range(0, len(corpus), _BLOCK):
        for row, values in enumerate(corpus[start : start + _BLOCK].cpu().numpy(), start):
            groups[row] = numbers.setdefault(hashlib.blake2b(values.tobytes(), digest_size=16).digest(), len(numbers))
    return np.argsort(np.random.default_rng(0).permutation(len(numbers))[groups], kind="stable")


def _list_formats(calibration: Vectors) -> dict[Precision, _Format]:
    """Return the formats of vectors of the dimension of `calibration`, float32 first.

    sentence-transformers has the encoders. It decodes int8 to the lower end of each step, which shifts all values of a
    quantised query in one direction: here it is the middle.
    """
    from sentence_transformers.util.quantization import quantize_embeddings

    dim = calibration.shape[1]
    ranges = np.stack([calibration.min(axis=0), calibration.max(axis=0)])
    steps = (ranges[1] - ranges[0]) / np.float32(255)
    steps[steps == 0] = 1  # as in the library

    def encode_as(precision: Literal["int8", "ubinary"]) -> Callable[[Vectors], Codes]:
        return lambda rows: np.asarray(quantize_embeddings(rows, precision, ranges=ranges))

    return {
        "float32": _Format(lambda rows: rows, lambda codes: codes, "f32"),
        "float16": _Format(lambda rows: rows.astype(np.float16), lambda codes: codes.astype(np.float32), "f16"),
        "int8": _Format(
            encode_as("int8"),
            lambda codes: (codes.astype(np.float32) + np.float32(128.5)) * steps + ranges[0],
            "i8",
            is_coarse=True,
        ),
        "binary": _Format(
            encode_as("ubinary"),
            lambda codes: np.unpackbits(codes, axis=-1, count=dim).astype(np.float32) * 2 - 1,
            *("b1", "hamming"),
            is_coarse=True,
        ),
    }


def _to_unit(rows: Tensor, dim: int) -> Vectors:
    """Cut rows to a dimension and normalise them."""
    from torch.nn.functional import normalize

    unit: Vectors = normalize(rows[:, :dim].float(), dim=-1).cpu().numpy()
    return unit


def _store(corpus: Tensor, dim: int, form: _Format, order: NDArray[np.int64]) -> _StoredPassages:
    import torch

    codes: Codes | None = None
    for start in range(0, len(order), _BLOCK):
        positions = torch.from_numpy(order[start : start + _BLOCK]).to(corpus.device)
        block = form.encode(_to_unit(corpus[positions, :dim], dim))
        if codes is None:
            codes = np.empty((len(order), block.shape[1]), dtype=block.dtype)
        codes[start : start + len(block)] = block
    assert codes is not None
    return _StoredPassages(codes, form, order)


def _evaluate_stages(
    stored: _StoredPassages, queries: Vectors, encoded: EncodedSet, metric: str
) -> dict[bool, NDArray[np.float64]]:
    """Return the metric of each query after the first search (False), and after rescoring (True) if there is one."""
    parts: dict[bool, list[NDArray[np.float64]]] = {}
    for start in range(0, len(queries), QUERIES_AT_ONCE):
        part = slice(start, start + QUERIES_AT_ONCE)
        for rescored, ranking in _rank_stages(stored, queries[part], encoded.queries.device).items():
            positions = stored.order[ranking]
            scores = score_ranking(positions, encoded.data.relevant[part], len(stored))[metric]
            parts.setdefault(rescored, []).append(scores)
    return {rescored: np.concatenate(found) for rescored, found in parts.items()}


def _rank_stages(stored: _StoredPassages, queries: Vectors, device: Any) -> dict[bool, NDArray[np.int64]]:
    import torch

    form = stored.form
    searched = form.decode(form.encode(queries)) if form.is_coarse else queries
    best = rank_products(
        torch.from_numpy(searched).to(device), stored, CANDIDATES if form.is_coarse else MAX_RANK
    ).cpu()
    first = {False: best[:, :MAX_RANK].numpy()}
    if not form.is_coarse:
        return first
    blocks = _read_parts(queries, best.numpy(), _RESCORED_AT_ONCE)
    return {**first, True: np.concatenate([_rescore(stored, *block, device) for block in blocks])}


def _read_parts(queries: Vectors, best: NDArray[np.int64], size: int) -> Iterator[tuple[Vectors, NDArray[np.int64]]]:
    for start in range(0, len(queries), size):
        yield queries[start : start + size], best[start : start + size]


def _rescore(
    stored: _StoredPassages, queries: Vectors, candidates: NDArray[np.int64], device: Any
) -> NDArray[np.int64]:
    """Return the best 100 candidates of each query by their product with the float32 query; ties keep their order."""
    import torch

    passages = torch.from_numpy(stored[candidates]).to(device)
    products = torch.bmm(passages, torch.from_numpy(queries).to(device)[:, :, None])[:, :, 0]
    columns = products.sort(dim=1, descending=True, stable=True).indices[:, :MAX_RANK].cpu().numpy()
    return np.take_along_axis(candidates, columns, axis=1)


def _time_search(stored: _StoredPassages, queries: Vectors, *, rescore: bool) -> float:
    """Return the median time in ms of one exact search for the best 100 passages, with usearch on one thread.

    Each query is searched alone. The distance of int8 is the product of the codes, which costs what that of the values
    does. Encoding the texts, and quantising the query, is left out.
    """
    from usearch.index import search

    codes, form = stored.codes, stored.form
    encoded = form.encode(queries[:_MOST_SEARCHES])
    count = min(CANDIDATES if rescore else MAX_RANK, len(codes))

    def run(row: int) -> None:
        query = encoded[row : row + 1]
        found = search(codes, query, count, form.metric, exact=True, threads=1, dtype=form.kind).keys.astype(np.int64)
        if rescore:
            np.argsort(-(stored[found] @ queries[row]), kind="stable")

    return _measure_ms(run, len(encoded))


def _measure_ms(run: Callable[[int], None], rows: int) -> float:
    run(0)  # loads what is loaded once
    times: list[float] = []
    while len(times) < _MOST_SEARCHES and (len(times) < _LEAST_SEARCHES or sum(times) < _SEARCH_TIME_S):
        started = time.perf_counter()
        run(len(times) % rows)
        times.append(time.perf_counter() - started)
    return float(np.median(times)) * 1000


def sample_passages(passages: Sequence[str]) -> tuple[str, ...]:
    """Return at most 2,000 distinct passages, evenly spaced: the same ones each time."""
    distinct = list(dict.fromkeys(passages))
    rows = np.linspace(0, len(distinct) - 1, min(CALIBRATION_PASSAGES, len(distinct))).astype(int)
    return tuple(distinct[row] for row in rows)

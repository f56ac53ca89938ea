"""Rank a corpus for each query by cosine, at several nested dimensions in one pass over the corpus.

A score at a dimension is the sum of the products of its slices, so that the matrix product of the largest dimension
gives those of all the others on the way. Ties are ordered by corpus position: a total order, so results are
deterministic.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from embsweep.core.errors import TrialFailed

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import Tensor

    Matrix = Tensor | np.ndarray

    class Rows(Protocol):
        """A matrix that is read in blocks of rows."""

        def __len__(self) -> int: ...

        def __getitem__(self, rows: slice, /) -> Matrix: ...


CPU_BLOCK = (1024, 2048)
"""Queries and passages of a block, 8 MiB of scores as float32: they fit into a cache."""

SMALL_CORPUS = 16_384
"""Passages of a corpus that is a single block: the thresholds of its first blocks would leave out little."""

SMALL_CORPUS_QUERIES = 512
"""Queries of a block with a whole small corpus, at most 32 MiB of scores."""

GPU_BLOCK = (4096, 16384)
"""Queries and passages of a block on a GPU, 256 MiB of scores."""

_TILE = 64
"""Scores of which only the largest is compared with the query's k-th best."""

_PENDING = 20
"""Candidates for each query that are collected before they are merged into its best."""


def rank(queries: Matrix, corpus: Matrix, dims: Sequence[int], k: int) -> dict[int, Tensor]:
    """Rank the corpus for each query by (-cosine, corpus position), at each of `dims`.

    This is the order of sentence-transformers 6.2 (`InformationRetrievalEvaluator.compute_all_metrics`) with ascending
    corpus ids, for embeddings cut to a dimension and renormalised. A zero vector has cosine 0. All work is done in
    float32 on the device of the queries; only a block of the corpus is converted at a time.

    Args:
        queries: Float [n, d], need not be normalised.
        corpus: Float [m, d], of any precision, on any device or in a file (`numpy.memmap`).
        dims: Numbers of leading columns, each at most d.
        k: Number of passages per query.

    Returns:
        Dimension → corpus positions of the best passages of each query, best first: int64 [n, min(k, m)].

    Raises:
        TrialFailed: If an embedding is not finite.
    """
    import torch

    device = queries.device if isinstance(queries, torch.Tensor) else torch.device("cpu")
    size, passages = _choose_block(device, len(corpus))
    nested = sorted(set(dims))
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        blocks = [_QueryBlock(rows, nested, k) for _, rows in _read_blocks(queries, size, nested[-1], device, "query")]
        for start, rows in _read_blocks(corpus, passages, nested[-1], device, "passage"):
            block = _PassageBlock(rows, nested, passages)
            for own in blocks:
                own.add(block, start)
        return {dim: torch.cat([own.top[dim].result() for own in blocks]) for dim in dims}


def rank_products(queries: Matrix, corpus: Rows, k: int) -> Tensor:
    """Rank the corpus for each query by (-inner product, corpus position).

    Products of small integers are exact, so that equal ones are ties. Work, errors and result are those of `rank`.

    Args:
        queries: Float [n, d].
        corpus: Float [m, d], of which a block is read at a time.
        k: Number of passages per query.

    Returns:
        Corpus positions of the best passages of each query, best first: int64 [n, min(k, m)].
    """
    import torch
    from torch.nn.functional import pad

    device = queries.device if isinstance(queries, torch.Tensor) else torch.device("cpu")
    (size, passages), dim = _choose_block(device, len(corpus)), queries.shape[1]
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        blocks = [(rows, _Top(k)) for _, rows in _read_blocks(queries, size, dim, device, "query")]
        for start, rows in _read_blocks(corpus, passages, dim, device, "passage"):
            columns = pad(rows, (0, 0, 0, passages - len(rows))).T
            for own, top in blocks:
                top.add(torch.mm(own, columns), len(rows), start)
        return torch.cat([top.result() for _, top in blocks])


def _choose_block(device: torch.device, passages: int) -> tuple[int, int]:
    """Return the queries and passages of a block.

    Every block is filled up to the same multiple of 64 passages, so that equal ones have equal scores, to the bit:
    kernels compute the last columns of other widths in another order.
    """
    if device.type != "cpu":
        return GPU_BLOCK
    return (SMALL_CORPUS_QUERIES, -(-passages // _TILE) * _TILE) if passages <= SMALL_CORPUS else CPU_BLOCK


class _PassageBlock:
    """Slices of a block of passages, and the lengths by which the scores of a dimension are divided."""

    def __init__(self, passages: Tensor, dims: Sequence[int], size: int) -> None:
        """Fill the block up to `size` passages with zero vectors."""
        import torch
        from torch.nn.functional import normalize, pad

        self.count = len(passages)
        rows = pad(passages, (0, 0, 0, size - self.count)) if self.count < size else passages
        squares = rows[:, : dims[0]].square().sum(dim=1)
        self.first = normalize(rows[:, : dims[0]], dim=-1).T
        self.first_lengths = squares.sqrt()
        self.slices, self.lengths = [], []
        for low, high in pairwise(dims):
            part = rows[:, low:high]
            squares = squares + part.square().sum(dim=1)
            self.slices.append(part.T)
            self.lengths.append(torch.where(squares > 0, squares.sqrt(), 1.0))


class _QueryBlock:
    """A block of queries with the best passages so far, by dimension."""

    def __init__(self, queries: Tensor, dims: Sequence[int], k: int) -> None:
        from torch.nn.functional import normalize

        self._first = normalize(queries[:, : dims[0]], dim=-1)
        self._first_lengths = queries[:, : dims[0]].norm(dim=-1, keepdim=True)
        self._slices = [queries[:, low:high] for low, high in pairwise(dims)]
        self.top = {dim: _Top(k) for dim in dims}

    def add(self, block: _PassageBlock, start: int) -> None:
        """Score a block of passages, the first of which is at position `start`.

        The cosines of the smallest dimension are products of unit vectors: at dimension 1 they are exactly 1 and -1.
        Larger dimensions add the products of their slices. Their scores are divided by the passages' lengths only: the
        length of a query does not change its ranking.
        """
        import torch

        cosines = torch.mm(self._first, block.first)
        smallest, *larger = self.top.values()
        smallest.add(cosines, block.count, start)
        if not larger:
            return
        scores = cosines * block.first_lengths * self._first_lengths
        for own, part, lengths, top in zip(self._slices, block.slices, block.lengths, larger, strict=True):
            scores.addmm_(own, part)
            top.add(torch.div(scores, lengths, out=cosines), block.count, start)


class _Top:
    """The k best passages of each query of a block, in the order (-cosine, position), and candidates for them."""

    def __init__(self, k: int) -> None:
        self._k = k
        self._values: Tensor | None = None
        self._positions: Tensor | None = None
        self._pending: list[tuple[Tensor, Tensor, Tensor]] = []

    def add(self, cosines: Tensor, count: int, start: int) -> None:
        """Collect the passages that are better than a query's k-th best: an equal one comes later in the corpus."""
        import torch

        if self._values is None or self._values.shape[1] < self._k:
            positions = torch.arange(start, start + count, device=cosines.device).expand(len(cosines), -1)
            self._merge(cosines[:, :count], positions)
            return
        cosines[:, count:] = -torch.inf
        least = self._values[:, -1:]
        tiles = cosines.view(len(cosines), -1, _TILE)
        rows, numbers = (tiles.amax(dim=2) > least).nonzero(as_tuple=True)
        values = tiles[rows, numbers]
        found, columns = (values > least[rows]).nonzero(as_tuple=True)
        self._pending.append((rows[found], start + numbers[found] * _TILE + columns, values[found, columns]))
        if sum(len(rows) for rows, _, _ in self._pending) > _PENDING * len(cosines):
            self._merge_pending()

    def result(self) -> Tensor:
        """Return the positions, best first: int64 [queries, min(k, passages)]."""
        self._merge_pending()
        assert self._positions is not None
        return self._positions

    def _merge_pending(self) -> None:
        """Merge the candidates, a row of a matrix for each query, in corpus order."""
        import torch

        if not self._pending:
            return
        assert self._values is not None
        rows, positions, values = (torch.cat(parts) for parts in zip(*self._pending, strict=True))
        self._pending = []
        rows, order = rows.sort(stable=True)
        counts = torch.bincount(rows, minlength=len(self._values))
        columns = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
        shape = (len(self._values), int(counts.max()))
        matrix, at = values.new_full(shape, -torch.inf), positions.new_zeros(shape)
        matrix[rows, columns], at[rows, columns] = values[order], positions[order]
        self._merge(matrix, at)

    def _merge(self, values: Tensor, positions: Tensor) -> None:
        import torch

        if self._values is not None and self._positions is not None:
            values = torch.cat([self._values, values], dim=1)
            positions = torch.cat([self._positions, positions], dim=1)
        columns = _select_top(values, self._k)
        self._values, self._positions = values.gather(1, columns), positions.gather(1, columns)


def _select_top(scores: Tensor, k: int) -> Tensor:
    """Return the columns of the k highest scores of each row in the order (-score, column)."""
    scores.add_(0.0)  # -0.0 becomes 0.0: some kernels order by bits
    columns = scores.topk(min(k + 1, scores.shape[1]), dim=1, sorted=False).indices.sort(dim=1).values
    values, order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True)
    chosen = columns.gather(1, order[:, :k])
    # topk takes any of several equal scores at its boundary.
    tied = (values[:, k - 1 : k] == values[:, k : k + 1]).flatten()
    if tied.any():
        chosen[tied] = _select_first(scores[tied], values[tied, k - 1 : k], k)
    return chosen


def _select_first(scores: Tensor, least: Tensor, k: int) -> Tensor:
    """Return the columns of the k highest scores in the order (-score, column); `least` is the k-th of each row."""
    import torch

    above, equal = scores > least, scores == least
    room = k - above.sum(dim=1, keepdim=True)
    columns = (above | (equal & (equal.cumsum(dim=1, dtype=torch.int32) <= room))).nonzero()[:, 1].view(-1, k)
    order = scores.gather(1, columns).sort(dim=1, descending=True, stable=True).indices
    return columns.gather(1, order)


def _read_blocks(matrix: Rows, size: int, dim: int, device: torch.device, what: str) -> Iterator[tuple[int, Tensor]]:
    """Yield blocks of a matrix, cut to a dimension, as float32, each with the position of its first row.

    Raises:
        TrialFailed: If one is not finite.
    """
    import torch

    for start in range(0, len(matrix), size):
        part = matrix[start : start + size][:, :dim]
        rows = (part if isinstance(part, torch.Tensor) else torch.tensor(part)).to(device, torch.float32)
        sums = rows.sum(dim=1)  # not finite if a value is not
        if not sums.isfinite().all():
            first = start + int((~sums.isfinite()).nonzero()[0])
            raise TrialFailed("not-finite", f"the embedding of {what} {first} of {len(matrix)} is not finite")
        yield start, rows

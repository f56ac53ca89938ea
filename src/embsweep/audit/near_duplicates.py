"""Near-duplicates: texts that share most of their words, found by MinHash and then compared exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embsweep.audit.split_view import draw_sample
from embsweep.data.text import normalise_text
from embsweep.data.words import list_words_and_pairs, split_words

_HASHES = 128
_SEED = 1
_RECALL = 0.9
_MARGIN = 0.15
_CHUNK = 1000
_MOST_CANDIDATES = 2000
_BUDGET = 10_000_000
"""Maximum number of candidates in all, about 3 s of work: texts from one template have n² of them."""

_MOST_COMPARED = 10


@dataclass(frozen=True)
class Shingling:
    """Unit of comparison: runs of `words` words; with `numbers_matter`, texts with different numbers never match."""

    words: int
    numbers_matter: bool


QUERIES = Shingling(words=1, numbers_matter=True)
"""Single words, because questions are short; in scripts without spaces single characters and pairs of them.

The same question about 2020 and about 2021 is not a near-duplicate.
"""

PASSAGES = Shingling(words=2, numbers_matter=False)


@dataclass(frozen=True)
class NearDuplicate:
    """Positions of two texts, and the Jaccard similarity of their shingles."""

    text: int
    other: int
    similarity: float


def find_near(
    texts: Sequence[str], labels: Sequence[int], how: Shingling, threshold: float
) -> tuple[list[NearDuplicate], bool]:
    """Find near-duplicates of each text: up to ten, and up to ten with a different label.

    MinHash finds the candidates (at least 90 of 100 pairs at `threshold`, practically all above it); their exact
    similarity decides, so no pair is below `threshold`. A pair is usually found twice, once from each of its texts.

    Args:
        texts: Texts to compare.
        labels: Side of each text; texts with a label above 0 are checked first.
        how: Shingles to compare.
        threshold: Smallest Jaccard similarity of a near-duplicate.

    Returns:
        The near-duplicates, the most similar first, and False if there were too many candidates to check, else True.
    """
    if len(texts) < 2:
        return [], True
    sketches, index = _build_index(texts, how, threshold)
    digests = np.array([sketch.digest() for sketch in sketches], dtype=np.uint32)
    of_label = np.asarray(labels)

    @lru_cache(maxsize=20_000)
    def shingles(position: int) -> frozenset[str]:
        return frozenset(list_shingles(texts[position], how))

    found, left = [], _BUDGET
    for text in np.argsort(of_label <= 0, kind="stable").tolist():
        candidates = [other for other in index.query(sketches[text]) if other != text]
        left -= len(candidates)
        if left < 0:
            break
        for other in _choose(digests, of_label, text, candidates, threshold) if candidates else ():
            similarity = _compare(shingles(text), shingles(other))
            if similarity >= threshold and not (how.numbers_matter and _numbers(texts[text]) != _numbers(texts[other])):
                found.append(NearDuplicate(text, other, similarity))
    return sorted(found, key=lambda near: (-near.similarity, near.text, near.other)), left >= 0


def list_shingles(text: str, how: Shingling) -> list[str]:
    """Split a text into runs of `how.words` words; the whole normalised text is one run if it has fewer words."""
    words = list_words_and_pairs(text) if how.words == 1 else split_words(text)
    if len(words) < how.words:
        return [" ".join(words) or normalise_text(text)]
    if how.words == 1:
        return words
    return [" ".join(run) for run in zip(*(words[start:] for start in range(how.words)), strict=False)]


def choose_rows(threshold: float) -> int:
    """Choose the hashes per band so that a pair at `threshold` shares a band with a probability of at least 90 %.

    With b bands of r hashes the probability is 1 - (1 - s^r)^b (Leskovec, Rajaraman, Ullman: Mining of Massive
    Datasets, 3.4). The largest such r gives the fewest candidates.
    """
    fitting = [rows for rows in (1, 2, 4, 8, 16) if 1 - (1 - threshold**rows) ** (_HASHES // rows) >= _RECALL]
    return max(fitting, default=1)


def _build_index(texts: Sequence[str], how: Shingling, threshold: float) -> tuple[list[Any], Any]:
    """Build a MinHash sketch of 128 hashes for each text, and the LSH index of all sketches by position."""
    # Rust: 25,000 passages of 150 words take .4 s, datasketch (Python) 5.8 s; both MIT, both maintained (2026).
    from rensa import RMinHash, RMinHashLSH  # type: ignore[import-untyped]

    sketches: list[Any] = []
    for start in range(0, len(texts), _CHUNK):  # all shingles of 25,000 passages at once need half a gigabyte
        chunk = [list_shingles(text, how) for text in texts[start : start + _CHUNK]]
        sketches.extend(RMinHash.from_token_sets(chunk, _HASHES, _SEED))
    index = RMinHashLSH(threshold=threshold, num_perm=_HASHES, num_bands=_HASHES // choose_rows(threshold))
    index.insert_pairs(list(enumerate(sketches)))
    return sketches, index


def _choose(
    digests: NDArray[np.uint32], labels: NDArray[np.int64], text: int, others: list[int], threshold: float
) -> list[int]:
    """Select the candidates to compare exactly, by the similarity that the digests (uint32 [n, 128]) estimate."""
    near = np.array(draw_sample(sorted(others), _MOST_CANDIDATES))
    estimate = (digests[near] == digests[text]).mean(axis=1)
    order = np.argsort(-estimate, kind="stable")
    near = near[order[estimate[order] >= threshold - _MARGIN]]
    across = near[labels[near] != labels[text]]
    return list(dict.fromkeys([*near[:_MOST_COMPARED].tolist(), *across[:_MOST_COMPARED].tolist()]))


def _compare(some: frozenset[str], more: frozenset[str]) -> float:
    shared = len(some & more)
    return shared / (len(some) + len(more) - shared)


def _numbers(text: str) -> list[str]:
    return sorted(word for word in split_words(text) if any(map(str.isnumeric, word)))

"""The identity of a split: a hash of every text, every judgement and every side."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence

from embsweep.data.collection import Pair, RetrievalSet


def compute_fingerprint(train: Sequence[Pair], held_out: Sequence[RetrievalSet], corpus: Sequence[str]) -> str:
    """64 hexadecimal digits; the same in every process and for every order of the source's rows."""
    digest = hashlib.sha256()
    for record in sorted(_list_records(train, held_out, corpus)):
        digest.update(record.encode("ascii") + b"\n")
    return digest.hexdigest()


def _list_records(train: Sequence[Pair], held_out: Sequence[RetrievalSet], corpus: Sequence[str]) -> Iterator[str]:
    for pair in train:
        yield json.dumps(["train", pair.anchor, pair.positive, pair.negative])
    for side, answers in enumerate(held_out):
        for query, relevant in zip(answers.queries, answers.relevant, strict=True):
            yield json.dumps(["held out", side, query, sorted(answers.corpus[position] for position in relevant)])
    for text in corpus:
        yield json.dumps(["corpus", text])

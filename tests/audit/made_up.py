"""Splits given as values, and synthetic texts, for the tests of the audit."""

import random

from embsweep.config.training import ModelConfig, TrainConfig
from embsweep.data.collection import Pair, RetrievalSet, Splits

SYLLABLES = [a + b for a in "bdfgklmnprst" for b in "aeiou"]
MINILM = ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=256)
ABSENT = MINILM.model_copy(update={"name": "absent", "kind": "hub", "source": "/nowhere"})
TRAIN = TrainConfig(
    learning_rate=1e-5,
    epochs=1,
    batch_size=16,
    warmup=0.1,
    scheduler="cosine",
    optimizer="adamw_torch",
    precision="fp32",
    batch_sampler="no_duplicates",
    seed=1,
)


def make_text(seed, words):
    """Return random words, equal for equal seeds; texts of two seeds share almost nothing."""
    draw = random.Random(seed)
    return " ".join("".join(draw.choices(SYLLABLES, k=3)) for _ in range(words))


def make_rows(count, *, start=0, questions=1):
    """Return (query, passage) rows with `questions` queries per passage."""
    return [
        (f"{make_text(f'q{number}', 6)}?", make_text(f"p{number // questions}", 14))
        for number in range(start, start + count)
    ]


def as_set(rows, corpus, name="made-up"):
    """Return rows as a retrieval set: distinct queries with the positions of all their passages."""
    position_of = {text: position for position, text in enumerate(corpus)}
    relevant = {}
    for query, passage in rows:
        relevant.setdefault(query, []).append(position_of[passage])
    return RetrievalSet(name, tuple(relevant), corpus, tuple(tuple(positions) for positions in relevant.values()))


def as_splits(train, validation, test, *, unjudged=()):
    """Return splits with these rows, without keeping texts on one side. A training row may have a negative."""
    rows = [*validation, *test, *train]
    corpus = tuple(dict.fromkeys([*(text for row in rows for text in row[1:]), *unjudged]))
    pairs = tuple(Pair(query, passage, tuple(negatives)) for query, passage, *negatives in train)
    return Splits("made-up", "f" * 64, pairs, as_set(validation, corpus), as_set(test, corpus))


def valid_sides(train=100, held_out=100):
    """Return rows for three sides that share no text."""
    return (
        make_rows(train),
        make_rows(held_out, start=train),
        make_rows(held_out, start=train + held_out),
    )

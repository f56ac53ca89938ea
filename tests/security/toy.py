"""Forty synthetic pairs."""

from embsweep.data.collection import Pair, RetrievalSet
from embsweep.training.trial import TrialData


def toy_data():
    passages = [f"passage number {i} of {chr(97 + i % 26)}" for i in range(40)]
    queries = [f"what of {chr(97 + i % 26)}{i}" for i in range(40)]
    held = RetrievalSet("toy", tuple(queries), tuple(passages), tuple((i,) for i in range(40)))
    return TrialData(tuple(Pair(q, p) for q, p in zip(queries, passages, strict=True)), held)

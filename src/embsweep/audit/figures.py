"""The figures of an audit: what it measured, whether or not that is a finding."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from embsweep.audit.batch import InBatch
from embsweep.audit.held_out import HeldOut
from embsweep.audit.languages import Languages
from embsweep.audit.lengths import Cut, Lengths
from embsweep.audit.naive import TwoReadings
from embsweep.audit.structure import Structure


@dataclass(frozen=True)
class Size:
    """One side by its distinct texts; a row is a query with one of its passages."""

    name: str
    rows: int
    queries: int
    passages: int


@dataclass(frozen=True)
class Figures:
    """`lengths`, `cuts` by `queries` and `passages`; `cuts` is empty where the tokenizer cannot be had."""

    data: str
    model: str
    sizes: tuple[Size, ...]
    corpus: int
    merged: Mapping[str, int]
    structure: Structure
    lengths: Mapping[str, Lengths]
    cuts: Mapping[str, Cut]
    languages: Languages
    batch: InBatch
    held_out: tuple[HeldOut, ...]
    readings: tuple[TwoReadings, ...]

"""From rows of named values to pairs: which columns are asked for, and what each row must hold in them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection as Sized
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice

from embsweep.data.collection import Pair
from embsweep.data.faults import FaultList
from embsweep.data.text import check_text
from embsweep.errors import did_you_mean

_LISTED = 30
_LONGEST_NAME = 80
_LIKENED = 1000
"""Columns among which a misspelt one is sought: a broken file may seem to have a million."""


@dataclass(frozen=True)
class Columns:
    """Names of the columns that hold question, passage and, perhaps, hard negative."""

    anchor: str
    positive: str
    negative: str | None = None

    @property
    def by_key(self) -> dict[str, str]:
        """Configuration key under `data` → name of its column."""
        asked = {"anchor": self.anchor, "positive": self.positive, "negative": self.negative}
        return {key: name for key, name in asked.items() if name is not None}


def check_distinct(columns: Columns, faults: FaultList) -> None:
    """Record a fault where one column is asked for twice."""
    names = list(columns.by_key.values())
    for position, (key, name) in enumerate(columns.by_key.items()):
        if name in names[:position]:
            faults.add(
                "duplicate-column",
                f"data.{key}",
                "names a column that is already used",
                name,
                accepted="another column",
            )


def check_header(columns: Columns, present: Sized[str], where: str, faults: FaultList) -> bool:
    """Whether all columns asked for are `present`; each that is not is a fault at `where`."""
    missing = [(key, name) for key, name in columns.by_key.items() if name not in present]
    for key, name in missing:
        problem = f"there is no column '{name}' (data.{key})"
        if faults.is_full:
            faults.add("missing-column", where, problem)
            continue
        guess = did_you_mean(name, [c for c in islice(present, _LIKENED) if c not in columns.by_key.values()])
        fix = guess or f"set data.{key} to the name of one of these columns"
        faults.add("missing-column", where, problem, accepted=f"columns here: {list_names(present)}", fix=fix)
    return not missing


def list_names(present: Sized[str]) -> str:
    """The first names, each quoted and cut short; a file of the wrong kind has names as long as itself."""
    names = [
        repr(name if len(name) <= _LONGEST_NAME else name[:_LONGEST_NAME] + "…") for name in islice(present, _LISTED)
    ]
    more = len(present) - len(names)
    return ", ".join([*names, *([f"and {more:,} more"] if more > 0 else [])]) or "none"


def check_repeated(present: list[str], where: str, faults: FaultList) -> None:
    """Record each column name that stands more than once: which of them is meant cannot be known."""
    for name, count in Counter(present).items():
        if count > 1:
            faults.add("duplicate-column", where, f"column '{name}' stands there {count} times", accepted="once")


def read_pair(row: Mapping[str, object], columns: Columns, where: str, faults: FaultList) -> Pair | None:
    """The row as a pair of stripped texts, or None after recording what is wrong with it."""
    texts = {key: check_text(row[name], where, name, faults) for key, name in columns.by_key.items()}
    anchor, positive = texts["anchor"], texts["positive"]
    if anchor is None or positive is None or None in texts.values():
        return None
    return Pair(anchor, positive, texts.get("negative"), where)

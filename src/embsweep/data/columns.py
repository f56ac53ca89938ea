"""From rows of named values to pairs: which columns are asked for, and what each row must hold in them."""

from __future__ import annotations

from collections.abc import Collection as Sized
from collections.abc import Mapping
from dataclasses import dataclass

from embsweep.data.collection import Pair
from embsweep.data.faults import FaultList
from embsweep.data.text import check_text
from embsweep.errors import did_you_mean

_LISTED = 30


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
            faults.add(f"data.{key}", "names a column that is already used", name, accepted="another column")


def check_header(columns: Columns, present: Sized[str], where: str, faults: FaultList) -> bool:
    """Whether all columns asked for are `present`; each that is not is a fault at `where`."""
    missing = [(key, name) for key, name in columns.by_key.items() if name not in present]
    for key, name in missing:
        listed = ", ".join(map(repr, list(present)[:_LISTED])) or "none"
        guess = did_you_mean(name, [column for column in present if column not in columns.by_key.values()])
        fix = guess or f"set data.{key} to the name of one of these columns"
        faults.add(where, f"there is no column '{name}' (data.{key})", accepted=f"columns here: {listed}", fix=fix)
    return not missing


def check_repeated(present: list[str], where: str, faults: FaultList) -> None:
    """Record each column name that stands more than once: which of them is meant cannot be known."""
    for name in dict.fromkeys(present):
        if present.count(name) > 1:
            faults.add(where, f"column '{name}' stands there {present.count(name)} times", accepted="once")


def read_pair(row: Mapping[str, object], columns: Columns, where: str, faults: FaultList) -> Pair | None:
    """The row as a pair of stripped texts, or None after recording what is wrong with it."""
    texts = {key: check_text(row[name], where, name, faults) for key, name in columns.by_key.items()}
    anchor, positive = texts["anchor"], texts["positive"]
    if anchor is None or positive is None or None in texts.values():
        return None
    return Pair(anchor, positive, texts.get("negative"), where)

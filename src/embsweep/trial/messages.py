"""A trial's reports as JSON text: how they travel between processes, and how a trial remembers its own."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

from embsweep.decide.scores import scores_from_json
from embsweep.trial.reporter import Outcome, Report, Started, TrialResult

Message = Started | Report | TrialResult

_KINDS: dict[str, type[Any]] = {"started": Started, "report": Report, "result": TrialResult}


def to_text(message: Message) -> str:
    """One line of JSON; floats keep every bit."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(message, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(message)})


def from_text(text: str) -> Message:
    """The message that `to_text` was given."""
    fields = json.loads(text)
    message: Message = _KINDS[fields.pop("kind")](**_restore(fields))
    return message


def reports_to_text(reports: tuple[Report, ...]) -> str:
    """Several reports as one line of JSON."""
    return json.dumps(to_rows(reports))


def reports_from_text(text: str) -> tuple[Report, ...]:
    """The reports that `reports_to_text` was given. ValueError, KeyError or TypeError for any other text."""
    return from_rows(json.loads(text))


def to_rows(reports: Iterable[Report]) -> list[dict[str, Any]]:
    """Reports as plain JSON."""
    return [dataclasses.asdict(report) for report in reports]


def from_rows(rows: Iterable[dict[str, Any]]) -> tuple[Report, ...]:
    """The reports that `to_rows` was given, once they went through JSON."""
    return tuple(Report(**_restore(row)) for row in rows)


_RESTORE: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"scores": scores_from_json, "best_scores": scores_from_json, "outcome": Outcome, "earlier": from_rows}
)
"""Fields that JSON has no type for."""


def _restore(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        name: _RESTORE[name](value) if name in _RESTORE and value is not None else value
        for name, value in fields.items()
    }

"""A trial's reports as JSON text: how they travel between processes without Tune looking into them."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from embsweep.decide.scores import scores_from_json
from embsweep.trial.reporter import Outcome, Report, Started, TrialResult

Message = Started | Report | TrialResult

_KINDS: dict[str, type[Any]] = {"started": Started, "report": Report, "result": TrialResult}
_SCORES = ("scores", "best_scores")


def to_text(message: Message) -> str:
    """One line of JSON; floats keep every bit."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(message, cls))
    return json.dumps({"kind": kind, **dataclasses.asdict(message)})


def from_text(text: str) -> Message:
    """The message that `to_text` was given."""
    fields = json.loads(text)
    kind = fields.pop("kind")
    for name in _SCORES:
        if fields.get(name) is not None:
            fields[name] = scores_from_json(fields[name])
    if kind == "result":
        fields["outcome"] = Outcome(fields["outcome"])
    message: Message = _KINDS[kind](**fields)
    return message

"""A finished run as the ledger has it: all that MLflow is told of it, once more where the outbox has lost it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embsweep.decide.scores import scores_from_json
from embsweep.search.record import TrialRecord
from embsweep.tracking.recorder import Recorder
from embsweep.tracking.runs import Child
from embsweep.trial.messages import from_rows
from embsweep.trial.reporter import Outcome, Report, TrialResult

LOG_NOTE = "log"
"""Attribute of a run in the ledger: its evaluations, whole and in order."""

SAID_NOTE = "said"
"""Attribute of a run in the ledger: the last that its earlier attempts have said of each step."""

FACTS_NOTE = "facts"
"""Attribute of a run in the ledger: the names of the attributes that are facts of its training."""


def reports_of(record: TrialRecord, note: str = LOG_NOTE) -> tuple[Report, ...]:
    """The evaluations of a run: those of its last attempt, and what that went on from."""
    return from_rows(record.attributes.get(note, []))


def result_of(record: TrialRecord) -> TrialResult:
    """The end of a finished run, as the ledger has it."""
    facts, outcome = record.attributes, _OUTCOMES[record.state]
    scores = facts.get("scores")
    return TrialResult(
        outcome,
        None if outcome is Outcome.FAILED else record.best,
        None if scores is None else scores_from_json(scores),
        facts.get("checkpoint"),
        facts.get("ended_at", 0.0),
        facts.get("reason"),
    )


_OUTCOMES = {"complete": Outcome.COMPLETE, "stopped": Outcome.STOPPED, "failed": Outcome.FAILED}


def tell_again(record: TrialRecord, tracking: Recorder, child: Child, params: Mapping[str, Any]) -> None:
    """Everything of a finished run but its end: what MLflow knows already stays as it is."""
    facts = record.attributes
    tracking.start_trial(child, record.attempt, params, started_at=facts.get("started_at"))
    tracking.log_facts(child, {name: facts[name] for name in facts.get(FACTS_NOTE, ())})
    for report in reports_of(record):
        tracking.log_report(child, report)

"""What a report says, as values: gathered by `sweep` from ledger, evidence and files, rendered in this package."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embsweep.reports.html.search_history import SearchHistory
from embsweep.selection.evidence import Evidence


@dataclass(frozen=True)
class State:
    """State of a sweep.

    `status` is RUNNING, FINISHED, KILLED or FAILED. `started` and `finished` count trials of the search, `requested` is
    its budget, `counts` its trials by state. `best` is the best objective so far, of trial `best_trial`; `baseline`
    that of the base model. `reasons` are those of failed trials. With `is_outdated` the evidence is of an earlier
    state: the sweep has been extended since.
    """

    status: str
    finished: int
    requested: int
    counts: Mapping[str, int]
    baseline: float | None = None
    best: float | None = None
    best_trial: int | None = None
    reasons: tuple[tuple[int, str], ...] = ()
    is_outdated: bool = False


@dataclass(frozen=True)
class Commands:
    """Complete command lines: that of the sweep, and those that show its state and promote its winner."""

    sweep: str
    status: str
    promote: str


@dataclass(frozen=True)
class QueryText:
    """Texts of a test query: its own, and one of its relevant passages."""

    query: str
    passage: str


@dataclass(frozen=True)
class Provenance:
    """Where a result comes from. `facts` are label and value; `files` are name and content; `findings` of the audit.

    A finding is severity, name, message and what to do about it.
    """

    facts: tuple[tuple[str, str], ...]
    findings: tuple[tuple[str, str, str, str], ...]
    files: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ReportData:
    """Everything that the report of a sweep says.

    `objective` describes the objective. `evidence` is None without a result. `texts` maps a test query's position to
    its texts; it is empty if none may be shown (`has_texts` is false), or none were kept. `configuration` is that of
    trial 0, after scaling.
    """

    name: str
    title: str
    objective: str
    state: State
    commands: Commands
    provenance: Provenance
    written_at: str
    evidence: Evidence | None = None
    history: SearchHistory | None = None
    texts: Mapping[int, QueryText] = field(default_factory=dict)
    has_texts: bool = True
    configuration: Mapping[str, Any] = field(default_factory=dict)

"""The report of an audit: findings, waivers and measured figures, with conversion to evidence, text and JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from embsweep.audit.findings import Finding, Severity
from embsweep.audit.in_batch_negatives import InBatch
from embsweep.audit.languages import Languages
from embsweep.audit.lengths import Lengths, Truncation
from embsweep.audit.naive_evaluation import NaiveComparison
from embsweep.audit.sizes import HeldOut, Structure
from embsweep.audit.split_view import TRAIN
from embsweep.selection.evidence import FindingRecord


@dataclass(frozen=True)
class Size:
    """Numbers of distinct texts on one side; a row is a query with one of its passages."""

    name: str
    rows: int
    queries: int
    passages: int


@dataclass(frozen=True)
class Figures:
    """All measurements of an audit, also those without a finding.

    `lengths` and `cuts` have the keys `queries` and `passages`; `cuts` is empty if the tokenizer is not available.
    """

    data: str
    model: str
    sizes: tuple[Size, ...]
    corpus: int
    merged: Mapping[str, int]
    structure: Structure
    lengths: Mapping[str, Lengths]
    cuts: Mapping[str, Truncation]
    languages: Languages
    batch: InBatch
    held_out: tuple[HeldOut, ...]
    readings: tuple[NaiveComparison, ...]


@dataclass(frozen=True)
class AuditReport:
    """All findings, errors first; `waived` names the errors among them that the configuration accepts."""

    findings: tuple[Finding, ...]
    figures: Figures
    waived: tuple[str, ...] = ()

    def of(self, severity: Severity) -> tuple[Finding, ...]:
        """Return the findings of one severity."""
        return tuple(finding for finding in self.findings if finding.severity == severity)

    @property
    def unwaived(self) -> tuple[Finding, ...]:
        """Errors that stop a sweep."""
        return tuple(finding for finding in self.of("error") if finding.name not in self.waived)


def to_facts(report: AuditReport) -> tuple[FindingRecord, ...]:
    """Convert the findings to records of the evidence: counts and messages, never a text of the data."""
    return tuple(
        FindingRecord(
            name=finding.name,
            severity=finding.severity,
            message=finding.message,
            waived=finding.name in report.waived,
        )
        for finding in report.findings
    )


def summary_lines(report: AuditReport) -> list[str]:
    """Return one line for each error and warning, and one with the number of notes and the command that shows them."""
    lines = [_describe(report, finding) for finding in (*report.of("error"), *report.of("warning"))]
    notes = len(report.of("note"))
    if notes or not lines:
        counted = f"{notes} note{'' if notes == 1 else 's'}" if notes else "nothing found"
        lines.append(f"Data audit: {counted}; details: embsweep audit with the same settings")
    return lines


def _describe(report: AuditReport, finding: Finding) -> str:
    severity = "waived error" if finding.name in report.waived else finding.severity
    return f"Data audit, {severity} {finding.name}: {finding.message}"


def report_to_json(report: AuditReport) -> dict[str, Any]:
    """Convert the whole report to plain JSON: counts, messages and fixes, never a text of the data."""
    findings = [
        {**facts.model_dump(), "fix": finding.hint}
        for facts, finding in zip(to_facts(report), report.findings, strict=True)
    ]
    figures = _without_texts(asdict(report.figures))
    for size in figures["sizes"]:
        size["name"] = "train" if size["name"] == TRAIN else size["name"]  # the name in data sets and in Splits
    return {"findings": findings, "waived": list(report.waived), "figures": figures}


def _without_texts(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(key): _without_texts(part) for key, part in value.items() if key != "examples"}
    return [_without_texts(part) for part in value] if isinstance(value, tuple | list) else value

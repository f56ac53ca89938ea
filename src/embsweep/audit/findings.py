"""Findings of the audit: every finding by name, its severity, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from embsweep.core.errors import Diagnostic, did_you_mean

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From most to least severe: an error stops a sweep, a warning limits the value of its result, a note informs."""

Example = tuple[str, ...]

MAX_EXAMPLES = 3

FIXES: Mapping[str, str] = MappingProxyType(
    {
        "passage-on-two-sides": "keep every passage on one side: split by passage group",
        "query-on-two-sides": "keep every query on one side: split by passage group",
        "leaked-queries": "remove one of each near-duplicate pair, or change data.split.seed",
        "leaked-passages": "remove one of each near-duplicate pair, or change data.split.seed",
        "overlapping-passages": "keep each document on one side: data.group=COLUMN, the column that names the document",
        "columns-swapped": "swap data.anchor and data.positive",
        "empty-texts": "remove the rows whose text is empty",
        "short-texts": "check the examples, and remove rows without content",
        "query-equals-passage": "remove rows whose question is its own answer",
        "cut-texts": "raise model.max_seq_length, or shorten passages",
        "tokens-unknown": "use a local model copy, or model=minilm",
        "languages-differ": "check that this is meant: the base model must know both languages",
        "language-mix": "check that this is meant",
        "few-held-out-queries": "add data, raise data.split fractions, or confirm=cross_validated",
        "in-batch-false-negatives": "train.batch_sampler=no_duplicates if not set, or a smaller train.batch_size",
        "near-duplicate-queries": "nothing, if they are different questions",
        "near-duplicate-passages": "nothing, if they are different passages",
        "exact-duplicate-queries": "nothing: they were merged",
        "exact-duplicate-passages": "nothing: they were merged",
        "normalised-duplicate-queries": "nothing: they were merged",
        "normalised-duplicate-passages": "nothing: they were merged",
        "rows-left-out": "nothing, if that is meant",
        "several-questions-per-passage": "nothing: passages are judged once, and kept on one side",
        "several-passages-per-query": "nothing: each counts as relevant",
        "naive-evaluation": "do not compare with scores of an evaluation that has one id per row",
        "unjudged-passages": "nothing: they make the task harder, as in use",
    }
)
"""Name of every finding → what to do about it. docs/audit.md has the rules."""

WAIVABLE = (
    "passage-on-two-sides",
    "query-on-two-sides",
    "leaked-queries",
    "leaked-passages",
    "columns-swapped",
    "empty-texts",
)
"""Findings that can be errors, and so can be waived."""


@dataclass(frozen=True)
class Finding:
    """One finding. `message` has counts but never a text of the data; `examples` are such texts.

    An example is one text, two similar texts, or a query with its passage.
    """

    name: str
    severity: Severity
    message: str
    examples: tuple[Example, ...] = ()

    @property
    def hint(self) -> str:
        """Recommended action."""
        return FIXES[self.name]


def to_diagnostic(finding: Finding) -> Diagnostic:
    """Convert an error to a diagnostic at `audit.<name>`, with the fix and the option that waives it."""
    return Diagnostic(
        "audit-finding",
        f"audit.{finding.name}",
        finding.message,
        hint=f"{finding.hint}; or audit.waive=[{finding.name}]",
    )


def validate_waivers(waive: Iterable[str]) -> list[Diagnostic]:
    """Return a diagnostic at `audit.waive` for each name that is not a waivable finding."""
    return [
        Diagnostic(
            "no-effect" if name in FIXES else "unknown-option",
            "audit.waive",
            "is never an error" if name in FIXES else "no finding has this name",
            name,
            ", ".join(WAIVABLE),
            did_you_mean(name, WAIVABLE),
        )
        for name in waive
        if name not in WAIVABLE
    ]


def order_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Sort findings: errors, then warnings, then notes; otherwise their order is kept."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))

"""What the audit can find: every finding by name, and how it is told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, did_you_mean

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
"""From grave to slight: an error stops a sweep, a warning says what a result will be worth, a note informs."""

Example = tuple[str, ...]

MAX_EXAMPLES = 3

FIXES: Mapping[str, str] = MappingProxyType(
    {
        "passage-on-two-sides": "keep every passage on one side: split by passage group",
        "query-on-two-sides": "keep every query on one side: split by passage group",
        "leaked-queries": "remove one of each two alike from the data, or another data.split.seed",
        "leaked-passages": "remove one of each two alike from the data, or another data.split.seed",
        "columns-swapped": "exchange data.anchor and data.positive",
        "empty-texts": "remove the rows whose text is empty",
        "short-texts": "look at the examples, and remove rows that say nothing",
        "query-equals-passage": "remove rows whose question is its own answer",
        "cut-texts": "a larger model.max_seq_length, or shorter passages",
        "tokens-unknown": "a local copy of the model, or model=minilm",
        "languages-differ": "check that this is meant: the base model must know both languages",
        "language-mix": "check that this is meant",
        "few-held-out-queries": "more data, larger data.split fractions, or confirm=cross_validated",
        "in-batch-false-negatives": "train.batch_sampler=no_duplicates where it is not, or a smaller train.batch_size",
        "near-duplicate-queries": "nothing, if they are different questions",
        "near-duplicate-passages": "nothing, if they are different passages",
        "exact-duplicate-queries": "nothing: they were merged",
        "exact-duplicate-passages": "nothing: they were merged",
        "normalised-duplicate-queries": "nothing: they were merged",
        "normalised-duplicate-passages": "nothing: they were merged",
        "rows-left-out": "nothing, if that is meant",
        "several-questions-per-passage": "nothing: passages are judged once, and kept on one side",
        "several-passages-per-query": "nothing: each of them counts as right",
        "naive-evaluation": "do not compare with scores of an evaluation that has one id a row",
        "unjudged-passages": "nothing: they make the task harder, as in use",
    }
)
"""Name of every finding → what to do about it. docs/audit.md holds the rules."""

WAIVABLE = (
    "passage-on-two-sides",
    "query-on-two-sides",
    "leaked-queries",
    "leaked-passages",
    "columns-swapped",
    "empty-texts",
)
"""Findings that can be errors."""


@dataclass(frozen=True)
class Finding:
    """One thing found. `message` holds counts and never a text of the data; `examples` are such texts.

    An example is a text, two that are alike, or a query with its passage.
    """

    name: str
    severity: Severity
    message: str
    examples: tuple[Example, ...] = ()

    @property
    def hint(self) -> str:
        """What to do about it."""
        return FIXES[self.name]


def to_diagnostic(finding: Finding) -> Diagnostic:
    """An error as a fault at `audit.<name>`: what to mend, and how to accept it as it is."""
    return Diagnostic(
        "audit-finding",
        f"audit.{finding.name}",
        finding.message,
        hint=f"{finding.hint}; or audit.waive=[{finding.name}]",
    )


def check_waivers(waive: Iterable[str]) -> list[Diagnostic]:
    """A fault at `audit.waive` for each name that no error has."""
    diagnostics = []
    for name in waive:
        if name in WAIVABLE:
            continue
        problem = "is never an error" if name in FIXES else "no finding has this name"
        code: Code = "no-effect" if name in FIXES else "unknown-option"
        diagnostics.append(
            Diagnostic(code, "audit.waive", problem, name, ", ".join(WAIVABLE), did_you_mean(name, WAIVABLE))
        )
    return diagnostics


def order_findings(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Errors first, then warnings, then notes; otherwise as they came."""
    return tuple(sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity)))

"""Values of the doctor: a fact about the machine, the verdict of a step, and how both are printed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from dataclasses import dataclass

WIDTH = 100
"""Columns of the output."""

_LABEL = 14


@dataclass(frozen=True)
class Fact:
    """One line about the machine; an empty label continues the fact above."""

    label: str
    text: str


@dataclass(frozen=True)
class Verdict:
    """The result of one step.

    `is_ok` is None if the step was skipped; `figures` then say why. They may have several lines. `seconds` includes the
    start of the process.
    """

    name: str
    is_ok: bool | None
    figures: str
    seconds: float = 0.0

    @property
    def has_failed(self) -> bool:
        """Whether the step ran and did not meet its conditions."""
        return self.is_ok is False


class Skipped(Exception):
    """Raised by a step that cannot run on this machine; the message says why."""


class StepFailed(Exception):
    """Raised by a step whose conditions are not met; the message has what was measured and what is accepted."""


def require(condition: object, figures: str) -> None:
    """Raise StepFailed with the figures unless `condition` is true."""
    if not condition:
        raise StepFailed(figures)


def format_fact(fact: Fact) -> str:
    """Return the lines of a fact, aligned behind its label, at most `WIDTH` columns wide."""
    return _align(fact.label, fact.text, _LABEL)


def format_verdict(verdict: Verdict) -> str:
    """Return the lines of a verdict: name, outcome, seconds and figures."""
    if verdict.is_ok is None:
        return _align(verdict.name, f"skipped: {verdict.figures}", _LABEL)
    outcome = "ok" if verdict.is_ok else "FAILED"
    return _align(verdict.name, f"{outcome}, {verdict.seconds:.0f} s: {verdict.figures}", _LABEL)


def format_lines(texts: Iterable[str]) -> str:
    """Return paragraphs of at most `WIDTH` columns."""
    return "\n".join(_wrap(text, "") for text in texts)


def _align(label: str, text: str, width: int) -> str:
    indent = " " * width
    lines = "\n".join(_wrap(line, indent) for line in text.splitlines() or [""])
    return f"{label:<{width}}{lines[width:]}".rstrip()


def _wrap(text: str, indent: str) -> str:
    """Wrap a line between words; a path that is longer than a line stays whole, so that it can be copied."""
    wrapper = textwrap.TextWrapper(
        WIDTH, initial_indent=indent, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return wrapper.fill(text) or indent

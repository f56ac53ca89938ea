"""Diagnostics of the data: collected while a source is read, and raised together."""

from __future__ import annotations

from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError

LISTED = 20
"""Number of diagnostics shown one by one; a file of the wrong kind has one on every line."""


class DiagnosticList:
    """Collection of diagnostics: keeps the first `LISTED` and counts the rest."""

    def __init__(self) -> None:
        self._listed: list[Diagnostic] = []
        self._total = 0
        self._more_in = ""

    def add(
        self,
        code: Code,
        location: str,
        message: str,
        value: object = None,
        *,
        expected: str | None = None,
        hint: str | None = None,
    ) -> None:
        """Record one diagnostic.

        Args:
            code: Kind of the diagnostic.
            location: Dotted configuration key (`data.pairs`) or place in a file (`my.jsonl:17`).
            message: Description of the error.
            value: The value received, None to show none.
            expected: What is accepted instead.
            hint: Command or spelling that fixes it.
        """
        self._total += 1
        if len(self._listed) < LISTED:
            self._listed.append(Diagnostic(code, location, message, value, expected, hint))
        else:
            self._more_in = self._more_in or location.split(":", maxsplit=1)[0]

    def __len__(self) -> int:
        return self._total

    @property
    def is_full(self) -> bool:
        """True if the next diagnostic is only counted, so that expensive parts of its text need not be computed."""
        return self._total >= LISTED

    def raise_if_any(self) -> None:
        """Raise the recorded diagnostics as one error; return if there are none.

        Raises:
            InputError: If a diagnostic was recorded. Its last diagnostic is the number of those not listed, if any.
        """
        if not self._total:
            return
        more = self._total - len(self._listed)
        raise InputError(
            [
                *self._listed,
                *([Diagnostic("more-faults", self._more_in, f"and {more:,} more errors", count=more)] if more else []),
            ]
        )

"""Faults of the data, gathered while reading goes on and raised together."""

from __future__ import annotations

from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError

LISTED = 20
"""Faults that are shown one by one; a file of a wrong kind has one on every line."""


class DiagnosticList:
    """Keeps the first `LISTED` faults and counts the rest."""

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
        """Record one fault; the arguments are those of `Fault`."""
        self._total += 1
        if len(self._listed) < LISTED:
            self._listed.append(Diagnostic(code, location, message, value, expected, hint))
        else:
            self._more_in = self._more_in or location.split(":", maxsplit=1)[0]

    def __len__(self) -> int:
        return self._total

    @property
    def is_full(self) -> bool:
        """Whether the next fault is only counted: what costs time to say need not be worked out for it."""
        return self._total >= LISTED

    def raise_if_any(self) -> None:
        """Raise InputError with the faults listed and, where there were more, their number."""
        if not self._total:
            return
        more = self._total - len(self._listed)
        raise InputError(
            [
                *self._listed,
                *([Diagnostic("more-faults", self._more_in, f"and {more:,} more faults", count=more)] if more else []),
            ]
        )

"""Diagnostics of the data: collected while a source is read, and raised together, one of each kind."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace

from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError

LISTED = 20
"""Number of kinds of diagnostics shown; a file of the wrong kind may have a new one on every line."""

PLACES = 3
"""Number of places shown of one kind of diagnostic."""


_NUMBER = re.compile(r"\b\d+\b")


@dataclass
class _Kind:
    """Diagnostics that differ only in their place: the first one, and the places of all that are shown."""

    first: Diagnostic
    places: list[str] = field(default_factory=list)
    count: int = 0

    def add(self, location: str) -> None:
        self.count += 1
        if len(self.places) < PLACES and location not in self.places:
            self.places.append(location)

    def summarise(self) -> Diagnostic:
        """Return the first diagnostic; if it stands for several, its message has their number and first places."""
        if self.count == 1:
            return self.first
        shown = ", ".join([*self.places, *(["…"] if self.count > len(self.places) else [])])
        return replace(self.first, message=f"{self.first.message} ({self.count:,} times: {shown})", count=self.count)


class DiagnosticList:
    """Collection of diagnostics: one of each kind, with the number of its places and the first of them.

    Diagnostics are of one kind if they have the same code and the same message, except for numbers, in one file; those
    of a configuration key are all listed.
    It keeps the first `LISTED` kinds and counts the rest.
    """

    def __init__(self) -> None:
        self._kinds: dict[tuple[str, str, str], _Kind] = {}
        self._total = 0
        self._more = 0
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
            code: Code of the diagnostic.
            location: Dotted configuration key (`data.pairs`) or place in a file (`my.jsonl:17`).
            message: Description of the error.
            value: The value received, None to show none.
            expected: What is accepted instead.
            hint: Command or spelling that fixes it.
        """
        self._total += 1
        where, is_in_file, _ = location.partition(":")
        key = (code, where, _NUMBER.sub("#", message) if is_in_file else f"{self._total}")
        if key not in self._kinds and self.is_full:
            self._more += 1
            self._more_in = self._more_in or where
            return
        found = self._kinds.setdefault(key, _Kind(Diagnostic(code, location, message, value, expected, hint)))
        found.add(location)

    def __len__(self) -> int:
        return self._total

    @property
    def is_full(self) -> bool:
        """True if a new kind is only counted, so that expensive parts of its text need not be computed."""
        return len(self._kinds) >= LISTED

    def raise_if_any(self) -> None:
        """Raise the recorded diagnostics as one error; return if there are none.

        Raises:
            InputError: If a diagnostic was recorded. Its last diagnostic is the number of those not listed, if any.
        """
        if not self._total:
            return
        more = Diagnostic("more-faults", self._more_in, f"and {self._more:,} more errors", count=self._more)
        raise InputError([*(kind.summarise() for kind in self._kinds.values()), *([more] if self._more else [])])

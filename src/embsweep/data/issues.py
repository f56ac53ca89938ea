"""Faults of the data, gathered while reading goes on and raised together."""

from __future__ import annotations

from embsweep.core.codes import Code
from embsweep.core.errors import Fault, InputError

LISTED = 20
"""Faults that are shown one by one; a file of a wrong kind has one on every line."""


class FaultList:
    """Keeps the first `LISTED` faults and counts the rest."""

    def __init__(self) -> None:
        self._listed: list[Fault] = []
        self._total = 0
        self._more_in = ""

    def add(
        self,
        code: Code,
        where: str,
        problem: str,
        value: object = None,
        *,
        accepted: str | None = None,
        fix: str | None = None,
    ) -> None:
        """Record one fault; the arguments are those of `Fault`."""
        self._total += 1
        if len(self._listed) < LISTED:
            self._listed.append(Fault(code, where, problem, value, accepted, fix))
        else:
            self._more_in = self._more_in or where.split(":", maxsplit=1)[0]

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
                *([Fault("more-faults", self._more_in, f"and {more:,} more faults", stands_for=more)] if more else []),
            ]
        )

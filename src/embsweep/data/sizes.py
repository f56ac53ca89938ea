"""Refuse a file whose texts cannot fit into memory, before the memory is taken."""

from __future__ import annotations

from embsweep.core.machine_memory import available_bytes
from embsweep.data.diagnostics import DiagnosticList

LEAST_COPIES = 4
"""Bytes of memory that reading takes at least for each byte of text: as bytes, as a text, as a record, as a pair.

Reading a million short rows took 8.5 (112 MB).
"""

_GIB = 2**30


def most_bytes() -> int | None:
    """Return how many bytes of text can be read into the available memory, None if that is not known."""
    available = available_bytes()
    return None if available is None else max(0, available // LEAST_COPIES)


def fits(count: int, name: str, diagnostics: DiagnosticList, *, is_more: bool = False) -> bool:
    """Return whether texts of `count` bytes fit into memory; record a diagnostic if they do not.

    Args:
        count: Bytes of all texts of a file, uncompressed.
        name: Name of the file.
        diagnostics: Receives the diagnostic.
        is_more: Whether there are more than `count` bytes.
    """
    most = most_bytes()
    if most is None or (count <= most and not is_more):
        return True
    size = f"{'more than ' if is_more else ''}{count / _GIB:,.1f} GiB"
    problem = (
        f"holds {size} of text, which takes at least {LEAST_COPIES} times as much memory, and "
        f"{LEAST_COPIES * most / _GIB:,.1f} GiB are available"
    )
    diagnostics.add("not-enough-memory", name, problem, hint="use a part of the file, or a machine with more memory")
    return False

"""Format the reason of a trial's failure: one line for a table, a tag and a terminal, or the stack of every cause."""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from embsweep.core.errors import EmbsweepError, omit_unsafe_advice
from embsweep.core.redaction import escape_control_characters

MOST_CHARS = 1000


def format_error(error: BaseException) -> str:
    """Return name and message of an error, or the message alone for an EmbsweepError, whose text is complete."""
    is_own, name = isinstance(error, EmbsweepError), type(error).__name__
    text = to_single_line(str(error) if is_own else omit_unsafe_advice(str(error)))
    if isinstance(error, SystemExit):
        return f"the trial called sys.exit({to_single_line(repr(error.code))})"
    if is_own and text:
        return text
    return f"{name}: {text}" if text else name


def to_single_line(text: str, limit: int = MOST_CHARS) -> str:
    """Return `text` in one line of at most `limit` characters, without control characters."""
    lines = (" ".join(escape_control_characters(line).split()) for line in text.splitlines())
    joined = " | ".join(line for line in lines if line)
    return joined if len(joined) <= limit else joined[: limit - 1] + "…"


def describe_frames(error: BaseException) -> str:
    """Return the stack of an error and of its causes, by file and line, the cause last.

    Of the messages only those of EmbsweepError are included: those of other libraries may contain a secret.
    """
    return "\nbecause of:\n\n".join(_frames(error))


def _frames(error: BaseException | None) -> Iterator[str]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        name = f"{type(error).__module__}.{type(error).__qualname__}"
        message = f": {error}" if isinstance(error, EmbsweepError) else ""
        yield "".join(traceback.format_tb(error.__traceback__)) + f"{name}{message}\n"
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)

"""What a user is told when something is wrong: where, which value, what is accepted, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embsweep.core.codes import Code
from embsweep.core.redaction import redact


@dataclass(frozen=True)
class Diagnostic:
    """One thing that is wrong.

    `code` is the kind of fault and not part of the text; `where` is a dotted configuration key
    (`train.learning_rate`) or a place in a file (`my.jsonl:17`); `accepted` says what would be right, `fix` names the
    command or spelling that mends it, `count` how many it is where not all are listed. Its text is without
    secrets: they are found before the text is shortened, and before quotes and line ends in them are spelt out.
    """

    code: Code
    location: str
    message: str
    value: object = None
    expected: str | None = None
    hint: str | None = None
    count: int = 1

    def __str__(self) -> str:
        parts = [f"{self.location}: {self.message}"]
        if self.value is not None:
            parts.append(f"got {_shorten(_represent(self.value))}")
        if self.expected:
            parts.append(f"accepted: {self.expected}")
        if self.hint:
            parts.append(self.hint)
        return "; ".join(_shorten(_escape(redact(part)), _LONGEST_PART) for part in parts)


_LONGEST_PART = 1000


def _shorten(text: str, limit: int = 160) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _represent(value: object) -> str:
    """`repr`, of no more of a text than is shown; some values have none (too many digits, lists too deep)."""
    try:
        clean = _without_secrets(value)
        return repr(clean[:200] if isinstance(clean, str | bytes) else clean)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} that is too large to show"


def _without_secrets(value: object) -> object:
    if isinstance(value, str):
        return redact(value)
    if type(value) is list:
        return list(map(_without_secrets, value))
    if type(value) is tuple:
        return tuple(map(_without_secrets, value))
    if type(value) is dict:
        return {_without_secrets(key): _without_secrets(inner) for key, inner in value.items()}
    return value


def _escape(text: str) -> str:
    """A message may hold names from the user's data: what could steer a terminal, or begin a line, is spelt out."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text[: 2 * _LONGEST_PART])


class EmbsweepError(Exception):
    """Base of every error that the command line shows as a message and not as a traceback."""

    exit_code = 1


class InputError(EmbsweepError):
    """Bad input, with every fault found. Exit code 2; nothing was started."""

    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic] | Diagnostic) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Diagnostic, ...]]]:
        """Its faults and not its text: it crosses processes."""
        return type(self), (self.diagnostics,)


class CodedError(EmbsweepError):
    """An error of a type that has several causes: `code` says which, the text tells it."""

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        super().__init__(message)

    def __reduce__(self) -> tuple[type[CodedError], tuple[Code, str]]:
        """With its code: it crosses processes."""
        return type(self), (self.code, str(self))


class SweepRefused(CodedError):
    """A sweep of this name exists and is not the one asked for, or is running. Exit code 2; nothing was started."""

    exit_code = 2


class TooManyFailures(EmbsweepError):
    """The sweep ended with no usable trial or with more failed trials than it allows."""

    exit_code = 3


class GateRefused(CodedError):
    """A promotion or a rollback was refused; the registry's aliases are as they were."""

    exit_code = 4


class DiskFull(EmbsweepError):
    """There is no room where the sweep writes. What is on disk is whole; the same command goes on."""


class TrackingUnavailable(EmbsweepError):
    """MLflow stays away where it must be heard (registration); the same command goes on from here."""


class TrialFailed(CodedError):
    """One trial cannot go on (a non-finite loss, say); the sweep can."""


def nearest(name: str, options: Iterable[str]) -> str | None:
    """The option whose spelling is nearest to `name`, or None where none is near.

    A dotted key is also compared by its last part, so that `learning_rat` finds `train.learning_rate`.
    """
    candidates = list(options)
    whole = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    if whole:
        return whole[0]
    by_leaf = {option.rsplit(".", 1)[-1]: option for option in reversed(candidates)}
    leaf = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(by_leaf), n=1, cutoff=0.75)
    return by_leaf[leaf[0]] if leaf else None


def did_you_mean(name: str, options: Iterable[str]) -> str | None:
    """`did you mean 'x'?` for the nearest spelling, or None."""
    found = nearest(name, options)
    return f"did you mean '{found}'?" if found else None

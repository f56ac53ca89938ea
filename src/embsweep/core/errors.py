"""Diagnostics and errors for users: code, location, message, value, accepted values and hint."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from embsweep.core.codes import Code
from embsweep.core.redaction import bound, escape_control_characters, redact


@dataclass(frozen=True)
class Diagnostic:
    """One error or warning about the user's input.

    Its text contains no secrets: they are redacted before the text is shortened, and before quotes and line ends in
    them are escaped.

    Attributes:
        code: Kind of the error; not part of the text.
        location: Dotted configuration key (`train.learning_rate`), or place in a file (`my.jsonl:17`).
        message: What is wrong.
        value: Value received; not shown if None.
        expected: Values that are accepted.
        hint: Command or spelling that fixes it.
        count: Number of errors that this one stands for, if not all are listed.
    """

    code: Code
    location: str
    message: str
    value: object = None
    expected: str | None = None
    hint: str | None = None
    count: int = 1

    def __str__(self) -> str:
        value = None if self.value is None else f"got {_mask(_represent(self.value), _LONGEST_VALUE)}"
        expected = f"accepted: {self.expected}" if self.expected else None
        parts = filter(None, (f"{self.location}: {self.message}", value, expected, self.hint))
        return "; ".join(
            _shorten(escape_control_characters(_mask(part, _LONGEST_PART), one_line=True), _LONGEST_PART)
            for part in parts
        )


_LONGEST_PART = 1000
_LONGEST_VALUE = 160


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _mask(text: str, limit: int) -> str:
    """Return at most `limit` characters of a text without secrets; its length does not matter for the time."""
    return _shorten(redact(bound(text, limit)), limit)


def _represent(value: object) -> str:
    """Return `repr`, which fails for some values (too many digits, lists too deep)."""
    try:
        return repr(redact(bound(value, _LONGEST_VALUE)) if isinstance(value, str) else value)
    except (ValueError, RecursionError):
        return f"a value of type {type(value).__name__} that is too large to show"


class EmbsweepError(Exception):
    """Base of all errors that the command line shows as a message and not as a traceback; without secrets."""

    exit_code = 1

    def __str__(self) -> str:
        return redact(super().__str__())


class InputError(EmbsweepError):
    """Invalid input, with a diagnostic for every error found. Exit code 2; nothing was started."""

    exit_code = 2

    def __init__(self, diagnostics: Sequence[Diagnostic] | Diagnostic) -> None:
        self.diagnostics = (diagnostics,) if isinstance(diagnostics, Diagnostic) else tuple(diagnostics)
        super().__init__("\n".join(str(diagnostic) for diagnostic in self.diagnostics))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Diagnostic, ...]]]:
        """Pickle the diagnostics instead of the text, so that the error can cross processes."""
        return type(self), (self.diagnostics,)


class CodedError(EmbsweepError):
    """An error that has several causes, distinguished by `code` and described by the text."""

    def __init__(self, code: Code, message: str) -> None:
        self.code = code
        super().__init__(message)

    def __reduce__(self) -> tuple[type[CodedError], tuple[Code, str]]:
        """Pickle the code too, so that the error can cross processes."""
        return type(self), (self.code, str(self))


class SweepRefused(CodedError):
    """A sweep of this name is running, or differs from the requested one. Exit code 2; nothing was started."""

    exit_code = 2


class TooManyFailures(EmbsweepError):
    """The sweep ended with no usable trial or with more failed trials than it allows."""

    exit_code = 3


class GateRefused(CodedError):
    """A promotion or a rollback was refused; the registry's aliases are unchanged."""

    exit_code = 4


class DiskFull(EmbsweepError):
    """The disk to which the sweep writes is full. All files on it are complete; the same command resumes the sweep."""


class TrackingUnavailable(EmbsweepError):
    """MLflow is unreachable in a step that requires it (registration); the same command resumes with that step."""


class TrialFailed(CodedError):
    """One trial cannot continue (because of a non-finite loss, for example); the sweep can."""


_UNSAFE_ADVICE = re.compile(
    r"weights_only|trust_remote_code|allow_pickle|safe_globals|allowlist|ignore_mismatched_sizes|pickle\.load"
)
_SENTENCE_ENDS = (". ", ".\n", "\n")


def omit_unsafe_advice(text: str) -> str:
    """Return the message of a library up to the sentence that advises to turn a protection off.

    torch advises `weights_only=False` for a pickle that it refuses, transformers `trust_remote_code=True`, NumPy
    `allow_pickle=True`. Without a sentence before it, our own words are returned.
    """
    found = _UNSAFE_ADVICE.search(text)
    if found is None:
        return text
    kept = text[: max(text.rfind(end, 0, found.start()) for end in _SENTENCE_ENDS) + 1].strip()
    return kept or "it holds more than data"


def describe_exception(error: BaseException) -> str:
    """Return the type of an exception of a library and the first line of its message, without unsafe advice."""
    text = str(error) if isinstance(error, EmbsweepError) else omit_unsafe_advice(str(error))
    return ": ".join([type(error).__name__, *text.strip().splitlines()[:1]])


def did_you_mean(name: str, options: Iterable[str]) -> str | None:
    """Return `did you mean 'x'?` with the option whose spelling is nearest to `name`, or None if none is similar.

    A dotted key is also compared by its last part, so that `learning_rat` finds `train.learning_rate`.
    """
    candidates = list(options)
    by_leaf = {option.rsplit(".", 1)[-1]: option for option in reversed(candidates)}
    whole = difflib.get_close_matches(name, candidates, n=1, cutoff=0.7)
    leaf = difflib.get_close_matches(name.rsplit(".", 1)[-1], list(by_leaf), n=1, cutoff=0.75)
    found = [*whole, *(by_leaf[part] for part in leaf)]
    return f"did you mean '{found[0]}'?" if found else None

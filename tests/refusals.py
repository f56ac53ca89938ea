"""Assertions on errors by code and location: the texts of messages are compared in test_messages.py only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from embsweep.core.codes import Code
from embsweep.core.errors import CodedError, Diagnostic, InputError


def codes_and_locations(diagnostics: Iterable[Diagnostic]) -> list[tuple[Code, str]]:
    """Return the code and location of each diagnostic."""
    return [(diagnostic.code, diagnostic.location) for diagnostic in diagnostics]


@contextmanager
def raises_diagnostics(*expected: tuple[Code, str]) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """Expect an InputError with these diagnostics in order: `with raises_diagnostics(("empty", "data.revision")):`."""
    with pytest.raises(InputError) as caught:
        yield caught
    assert codes_and_locations(caught.value.diagnostics) == list(expected)


@contextmanager
def raises_code(kind: type[CodedError], code: Code) -> Iterator[pytest.ExceptionInfo[CodedError]]:
    """Expect an error of this type with this code."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code


def exit_diagnostics(error: BaseException | None) -> list[tuple[Code, str]]:
    """Return code and location of the diagnostics that ended a command; `error` was raised while handling them."""
    cause = error.__context__ if error else None
    return codes_and_locations(cause.diagnostics) if isinstance(cause, InputError) else []

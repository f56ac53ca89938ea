"""What is refused, by code and place: the words of a message are compared in test_messages.py alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pytest

from embsweep.core.codes import Code
from embsweep.core.errors import CodedError, Diagnostic, InputError


def signs(diagnostics: Iterable[Diagnostic]) -> list[tuple[Code, str]]:
    """Code and place of each fault."""
    return [(diagnostic.code, diagnostic.location) for diagnostic in diagnostics]


@contextmanager
def raises_diagnostics(*expected: tuple[Code, str]) -> Iterator[pytest.ExceptionInfo[InputError]]:
    """InputError with exactly these faults, in order: `with raises_faults(("empty", "data.revision")):`."""
    with pytest.raises(InputError) as caught:
        yield caught
    assert signs(caught.value.diagnostics) == list(expected)


@contextmanager
def raises_code(kind: type[CodedError], code: Code) -> Iterator[pytest.ExceptionInfo[CodedError]]:
    """An error of this type for this reason."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.code == code


def signs_behind(left: BaseException | None) -> list[tuple[Code, str]]:
    """Code and place of the faults for which a command left: `left` was raised while an InputError was handled."""
    cause = left.__context__ if left else None
    return signs(cause.diagnostics) if isinstance(cause, InputError) else []

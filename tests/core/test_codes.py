"""Error codes: every code in the source is in the list, and every code of the list is used."""

from __future__ import annotations

import ast
import pickle
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import pytest

import embsweep
from embsweep.core.codes import Code
from embsweep.core.errors import CodedError, Diagnostic, GateRefused, InputError, SweepRefused, TrialFailed
from embsweep.search.storage import LedgerUnavailable
from embsweep.tracking.registry.files import UnreadableEvidence, UntrustedModel
from embsweep.training.resume import InvalidResumeState
from embsweep.training.verification import VerificationFailed

CODES = get_args(Code)
KINDS = [
    CodedError, SweepRefused, GateRefused, TrialFailed,
    LedgerUnavailable, VerificationFailed, InvalidResumeState, UnreadableEvidence, UntrustedModel,
]  # fmt: skip
SOURCE = Path(embsweep.__file__).parent


def test_every_code_is_kebab_case_and_listed_once():
    assert [code for code in CODES if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", code)] == []
    assert len(CODES) == len(set(CODES))


@pytest.mark.slow
def test_every_code_of_the_list_is_used():
    written = {text for file in SOURCE.rglob("*.py") if file.name != "codes.py" for text in _texts(file)}
    assert [code for code in CODES if code not in written] == []


@pytest.mark.slow
def test_no_call_uses_a_code_that_is_not_listed():
    """mypy checks this too; repeated here for runs without mypy."""
    named = [(file.name, line, code) for file in SOURCE.rglob("*.py") for line, code in _literal_codes(file)]
    assert len(named) > 150
    assert [place for place in named if place[-1] not in CODES] == []


def test_a_diagnostic_requires_a_code():
    with pytest.raises(TypeError):
        Diagnostic("a.b", "is wrong")  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_an_error_keeps_its_code_when_pickled(kind: type[CodedError]):
    error = kind("not-finite", "loss is nan")
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), back.code, str(back)) == (kind, "not-finite", "loss is nan")


def test_diagnostics_keep_their_codes_when_pickled():
    diagnostics = (Diagnostic("empty", "a.b", "is empty"), Diagnostic("unknown-key", "c", "unknown key", 3))
    back = pickle.loads(pickle.dumps(InputError(diagnostics)))
    assert back.diagnostics == diagnostics


def _texts(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _literal_codes(file: Path) -> Iterator[tuple[int, str]]:
    """Return line and value of each literal code: the first argument of the errors, `Diagnostic` and so on."""
    callables = {"Diagnostic", "ConstraintError", *(kind.__name__ for kind in KINDS)}
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Call) and node.args and isinstance(first := node.args[0], ast.Constant):
            name = getattr(node.func, "id", None) or getattr(node.func, "attr", None)
            receiver = getattr(getattr(node.func, "value", None), "id", None)
            if name in callables or (name == "add" and receiver == "diagnostics"):
                yield node.lineno, str(first.value)

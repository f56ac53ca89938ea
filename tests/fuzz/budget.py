"""How many examples the fuzz tests draw, and what holds for every refusal.

By day a tenth of the examples that a test asks for, the same in every run. At night, and for a longer run,

    EMBSWEEP_FUZZ_EXAMPLES=50 python -m pytest tests/fuzz -m "not nightly" --timeout 3600

draws fifty times as many as are asked for, anew in every run; hypothesis prints how to repeat what fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from embsweep.core.errors import Diagnostic, InputError

TIMES = int(os.environ.get("EMBSWEEP_FUZZ_EXAMPLES", "0"))
"""0 by day."""
_SHARE_BY_DAY = 10
_FEWEST = 10
_LONGEST_MESSAGE = 6000
_LONGEST_LOAD_S = 15.0
"""Of processor time; what waits for ever is ended by the timeout of the whole test."""


def budget(examples):
    """Settings for a test of so many examples, a share of them by day."""
    by_day = max(_FEWEST, examples // _SHARE_BY_DAY)
    return settings(
        max_examples=examples * TIMES if TIMES else by_day,
        derandomize=not TIMES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def refused_well() -> Iterator[list[Diagnostic]]:
    """The faults of the InputError raised inside, none where nothing was: few, told briefly, on one line each, soon."""
    diagnostics: list[Diagnostic] = []
    started = time.process_time()
    try:
        yield diagnostics
    except InputError as error:
        diagnostics.extend(error.diagnostics)
        assert 0 < len(diagnostics) <= 51
        for diagnostic in diagnostics:
            assert diagnostic.location
            assert diagnostic.message
            check_message(str(diagnostic))
    assert time.process_time() - started < _LONGEST_LOAD_S


def check_message(text: str) -> None:
    """Fits a screen and cannot steer the terminal."""
    assert len(text) <= _LONGEST_MESSAGE
    assert text.isprintable(), ascii(text)


def huge(cases, at_night=()):
    """Parameters of the names of `cases`: slow, and those of `at_night`, which take seconds each, nightly."""
    return [
        pytest.param(name, marks=pytest.mark.nightly if name in at_night else pytest.mark.slow, id=name)
        for name in cases
    ]

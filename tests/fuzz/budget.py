"""Number of examples of the fuzz tests, and checks of every refusal.

A normal run draws a tenth of the examples that a test requests, the same ones in every run. For a longer run,

    EMBSWEEP_FUZZ_EXAMPLES=50 python -m pytest tests/fuzz -m "not nightly" --timeout 3600

draws fifty times the requested examples, different ones in every run; hypothesis prints how to repeat a failure.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import HealthCheck, settings

from embsweep.core.errors import Diagnostic, InputError

FACTOR = int(os.environ.get("EMBSWEEP_FUZZ_EXAMPLES", "0"))
"""Multiple of the requested examples; 0 in a normal run."""
_NORMAL_DIVISOR = 10
_MIN_EXAMPLES = 10
_MAX_MESSAGE_LENGTH = 6000
_MAX_CPU_TIME_S = 15.0
"""In processor time; a call that waits forever is ended by the timeout of the test."""


def budget(examples):
    """Return settings for a test with this number of examples, a tenth of them in a normal run."""
    normal = max(_MIN_EXAMPLES, examples // _NORMAL_DIVISOR)
    return settings(
        max_examples=examples * FACTOR if FACTOR else normal,
        derandomize=not FACTOR,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def collect_diagnostics() -> Iterator[list[Diagnostic]]:
    """Collect the diagnostics of an InputError raised in the block, if any; check number, length and processor time."""
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
    assert time.process_time() - started < _MAX_CPU_TIME_S


def check_message(text: str) -> None:
    """Check that a message is not too long and contains no control characters."""
    assert len(text) <= _MAX_MESSAGE_LENGTH
    assert text.isprintable(), ascii(text)


def huge(cases, nightly=()):
    """Return parameters for the names of `cases`: slow, or nightly if in `nightly`, as those take seconds each."""
    return [
        pytest.param(name, marks=pytest.mark.nightly if name in nightly else pytest.mark.slow, id=name)
        for name in cases
    ]

"""How many examples the fuzz tests draw, and what holds for every refusal.

As it stands the examples are the same in every run (CI). For a longer run with other seeds:

    EMBSWEEP_FUZZ_EXAMPLES=50 python -m pytest tests/fuzz -o addopts="" -q --timeout 3600

draws fifty times as many, anew in every run; hypothesis prints how to repeat what fails.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import HealthCheck, settings

from embsweep.errors import Fault, InputError

_TIMES = int(os.environ.get("EMBSWEEP_FUZZ_EXAMPLES", "0"))
_LONGEST_MESSAGE = 6000
_LONGEST_LOAD_S = 15.0
"""Of processor time; what waits for ever is ended by the timeout of the whole test."""


def budget(examples):
    """Settings for a test of so many examples in CI."""
    return settings(
        max_examples=examples * (_TIMES or 1),
        derandomize=not _TIMES,
        database=None,
        deadline=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@contextmanager
def refused_well() -> Iterator[list[Fault]]:
    """The faults of the InputError raised inside, none where nothing was: few, told briefly, on one line each, soon."""
    faults: list[Fault] = []
    started = time.process_time()
    try:
        yield faults
    except InputError as error:
        faults.extend(error.faults)
        assert 0 < len(faults) <= 51
        for fault in faults:
            assert fault.where
            assert fault.problem
            check_message(str(fault))
    assert time.process_time() - started < _LONGEST_LOAD_S


def check_message(text: str) -> None:
    """Fits a screen and cannot steer the terminal."""
    assert len(text) <= _LONGEST_MESSAGE
    assert text.isprintable(), ascii(text)

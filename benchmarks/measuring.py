"""Ratios of two functions measured side by side, and peak memory."""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
S = TypeVar("S")


def time_pairs(first: Callable[[], T], second: Callable[[], S], rounds: int) -> tuple[float, T, S]:
    """Run both in turns, `rounds` times; return the median of second's time over first's, and the last results."""
    ratios = []
    for _ in range(rounds):
        first_s, first_result = _time(first)
        second_s, second_result = _time(second)
        ratios.append(second_s / first_s)
        sys.stderr.write(f"  {first_s:.2f} s against {second_s:.2f} s\n")
    return statistics.median(ratios), first_result, second_result


def _time(function: Callable[[], T]) -> tuple[float, T]:
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def peak_growth(function: Callable[[], object]) -> int:
    """Return by how many bytes this process grows at most while `function` runs (Linux)."""
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM, the peak of VmRSS
    function()
    return _status("VmHWM") - before


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def emit(**result: Any) -> None:
    """Print the result of a benchmark as JSON, in the last line of its output."""
    sys.stdout.write(json.dumps(result) + "\n")

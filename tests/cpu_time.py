"""`--cpu-limit SECONDS`: a test whose call takes more CPU time than that fails, with its name and what it took.

The limit is meant for an idle core. Where a test is beyond it, two fixed loops say by how much this core is slower now
(its neighbour shares caches and units with it), and the limit is so many times larger.
"""

import os
import time

import psutil
import pytest

_LOOP_S, _CHURN_S = 0.09, 0.55
"""CPU time of the two loops of `measure_slowness` on an idle core at its fastest; at others it took 0.17 and 0.95."""


def add_option(parser):
    parser.addoption("--cpu-limit", type=float, default=None, metavar="SECONDS", help="CPU time of a test's call phase")


def measure_call(item):
    """Run the call phase of `item` (a hook wrapper's body); fail it where the limit is passed.

    Tests marked `nightly` have no limit.
    """
    limit_s = item.config.getoption("--cpu-limit")
    if limit_s is None or item.get_closest_marker("nightly"):
        return (yield)
    before_s = cpu_seconds()
    result = yield
    took_s = cpu_seconds() - before_s
    if took_s > limit_s and took_s > (limit_s := limit_s * measure_slowness()):
        pytest.fail(f"{item.nodeid} took {took_s:.1f} s of CPU time, the limit is {limit_s:.1f} s", pytrace=False)
    return result


def measure_slowness():
    """How many times longer than at its fastest this core takes now, for arithmetic or for memory; 1 at least."""
    return max(1.0, _take(_count) / _LOOP_S, _take(_churn) / _CHURN_S)


def _take(trial_fn):
    begun = time.process_time()
    trial_fn()
    return time.process_time() - begun


def _count():
    total = 0
    for number in range(2_000_000):
        total += number * number


def _churn():
    many = {str(number): [number] for number in range(300_000)}
    sum(len(many[str(number * 7919 % 300_000)]) for number in range(300_000))


def cpu_seconds():
    """CPU time so far: of this process, of its children that have ended, and of all descendants that live."""
    own = os.times()
    total_s = own.user + own.system + own.children_user + own.children_system
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # it has just ended
        total_s += times.user + times.system + times.children_user + times.children_system
    return total_s

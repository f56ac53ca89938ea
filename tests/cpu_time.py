"""`--cpu-limit SECONDS`: fail every test whose call phase takes more CPU time, with its name and the time.

The limit is meant for an idle core. If a test exceeds it, two fixed loops measure how much slower this core is now
(programs on other cores share caches and execution units with it), and the limit is multiplied by that factor.
"""

import os
import time

import psutil
import pytest

_ARITHMETIC_S, _MEMORY_S = 0.09, 0.55
"""CPU time of the two loops of `measure_slowness` on an idle core at its fastest; up to 0.17 and 0.95 were measured."""


def add_option(parser):
    parser.addoption("--cpu-limit", type=float, default=None, metavar="SECONDS", help="CPU time of a test's call phase")


def measure_call(item):
    """Run the call phase of `item` (the body of a hook wrapper); fail the test if it exceeds the limit.

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
    """Return how many times slower than at its fastest this core is now, at arithmetic or memory access; at least 1."""
    return max(1.0, _measure(_use_cpu) / _ARITHMETIC_S, _measure(_use_memory) / _MEMORY_S)


def _measure(loop):
    begun = time.process_time()
    loop()
    return time.process_time() - begun


def _use_cpu():
    total = 0
    for number in range(2_000_000):
        total += number * number


def _use_memory():
    many = {str(number): [number] for number in range(300_000)}
    sum(len(many[str(number * 7919 % 300_000)]) for number in range(300_000))


def cpu_seconds():
    """Return the CPU time so far of this process, its finished children and all running descendants."""
    own = os.times()
    total_s = own.user + own.system + own.children_user + own.children_system
    for process in psutil.Process().children(recursive=True):
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue  # it has ended meanwhile
        total_s += times.user + times.system + times.children_user + times.children_system
    return total_s

"""Two drivers of one sweep, and another sweep under the same name."""

import json
import signal
import subprocess
import sys

import pytest

from embsweep.search.read import read_ledger
from tests.chaos.conftest import SEARCH, SMALL, count_trials
from tests.chaos.fork_server import ROOT
from tests.chaos.invariants import check_invariants
from tests.cpu_time import cpu_seconds

pytestmark = pytest.mark.slow

REFUSED_WITHIN_S = 5.0
SLOW_TO_IMPORT = ("mlflow", "ray", "sentence_transformers", "torch", "transformers")

# Run run_sweep.py and print the imported modules at exit, as the last line of stdout.
PROGRAM = """
import atexit, json, runpy, sys
atexit.register(lambda: print(json.dumps(sorted(name for name in sys.modules if "." not in name)), flush=True))
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start_second(sandbox):
    command = [sys.executable, "-c", PROGRAM, ROOT / "run_sweep.py", *sandbox.arguments(*SMALL)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def first(fork_server, sandbox):
    """A driver in its first trial."""
    driver = fork_server.start(sandbox, *SMALL, plan={"0": "sleep"})
    driver.wait_for("trial 0 at 25%")
    yield driver
    driver.send(signal.SIGKILL)
    assert driver.wait().code == -9, "it was running all the time"


def test_the_second_driver_exits_and_names_the_first(first, sandbox):
    """It exits before it imports the libraries that take seconds."""
    second = start_second(sandbox)
    assert second.returncode == 2
    assert f"process {first.pid}" in second.stderr
    assert "Traceback" not in second.stderr
    assert not set(SLOW_TO_IMPORT) & set(json.loads(second.stdout.splitlines()[-1]))


@pytest.mark.nightly
def test_the_second_driver_exits_within_seconds(first, sandbox):
    """Measured in CPU time, which is the time on an idle machine; the first driver sleeps meanwhile."""
    before_s = cpu_seconds()
    start_second(sandbox)
    assert cpu_seconds() - before_s < REFUSED_WITHIN_S


@pytest.mark.nightly
def test_a_rehearsal_may_run_at_the_same_time(fork_server, first, sandbox):
    """It has another name, so it is another sweep."""
    result = fork_server.run(sandbox, "scale=rehearsal", "search.trials=2", "confirm=none", "matryoshka.dims=[384,64]")
    assert "is running already" not in result.output


def test_another_sweep_of_this_name_is_refused(fork_server, sandbox_at):
    sandbox = sandbox_at("finalization", *SEARCH)
    for changed in ("train.batch_size=16", "data.split.seed=3", "train.warmup=interval(0.0,0.2)"):
        result = fork_server.run(sandbox, *SEARCH, changed)
        assert result.code == 2, result.output
        assert changed.partition("=")[0] in result.output


@pytest.mark.parametrize(
    ("arguments", "part"), [(SEARCH, "finalization"), pytest.param(SMALL, "confirmation", marks=pytest.mark.nightly)]
)
def test_a_larger_budget_is_not_refused(fork_server, sandbox_at, arguments, part):
    sandbox = sandbox_at(part, *arguments)
    assert fork_server.run(sandbox, *arguments).code == 0
    more = count_trials(arguments) + 1
    result = fork_server.run(sandbox, *arguments[1:], f"search.trials={more}")
    problems = check_invariants(sandbox, code=result.code, trials=more)
    registered = ("registered versions", "aliases")  # another winner is another version
    assert [problem for problem in problems if not any(words in problem for words in registered)] == [], result.output
    assert [(t.number, t.attempt) for t in read_ledger(sandbox.ledger)[1]] == [(n, 1) for n in range(more)]

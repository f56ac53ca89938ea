"""The program's environment variables are set once, and the user's values are kept."""

import os
import subprocess
import sys
from collections import UserDict

import pytest

from embsweep.core.environment import MLFLOW_ENVIRONMENT, RAY_ENVIRONMENT, set_default_environment
from tests import steady_environment


def test_missing_variables_are_added_and_the_users_values_are_kept():
    variables = {"TQDM_DISABLE": "0", "RAY_CHDIR_TO_TRIAL_DIR": "1"}
    set_default_environment(variables)
    assert variables["RAY_USAGE_STATS_ENABLED"] == "0"
    assert variables["TQDM_DISABLE"] == "0"
    assert variables["RAY_CHDIR_TO_TRIAL_DIR"] == "0", "sweeps do not work with any other value"
    assert variables.items() >= (RAY_ENVIRONMENT | MLFLOW_ENVIRONMENT).items()


class CountingDict(UserDict):
    writes = 0

    def __setitem__(self, name, value):
        self.writes += 1
        super().__setitem__(name, value)


def test_a_second_call_writes_nothing():
    variables = CountingDict()
    set_default_environment(variables)
    first = variables.writes
    set_default_environment(variables)
    assert variables.writes == first > 0


@pytest.mark.slow
def test_the_program_sets_its_environment_before_it_imports_libraries():
    code = (
        "import sys; import embsweep.cli.main, embsweep.cli.commands\n"
        "from embsweep.cli.console import quiet_environment\n"
        "print([name for name in ('ray', 'torch', 'mlflow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def changes(monkeypatch):
    """Return a function that returns and clears the recorded changes; none reaches the environment."""
    recorded = []
    monkeypatch.setattr(steady_environment, "_state", {"changes": recorded, "reaches_c": True})
    monkeypatch.setattr(steady_environment, "_by_libraries", steady_environment.collections.Counter())
    monkeypatch.setattr(steady_environment, "_putenv", lambda *_: None)
    monkeypatch.setattr(steady_environment, "_unsetenv", lambda *_: None)
    monkeypatch.setitem(sys.modules, "ray", sys.modules.get("ray", sys))

    def take():
        names = [name for name, _ in recorded]
        recorded.clear()
        return names

    return take


def test_added_and_removed_names_and_other_values_are_recorded(changes):
    steady_environment._watched_putenv("EMBSWEEP_NEW", "1")
    steady_environment._watched_putenv("PATH", "/")
    steady_environment._watched_unsetenv("PATH")
    assert changes() == ["EMBSWEEP_NEW", "PATH", "PATH"]


def test_equal_values_and_values_that_ray_replaces_are_not_recorded(changes):
    steady_environment._watched_putenv("PATH", os.environ["PATH"])
    steady_environment._watched_putenv("PYTHONBREAKPOINT", "x")
    assert changes() == []


@pytest.mark.slow
def test_accelerate_does_not_change_the_environment(changes):
    """Without our patch, accelerate empties the environment briefly for every trainer."""
    from accelerate.utils import GradientAccumulationPlugin

    from embsweep.training.trainer import _leave_environment_alone

    _leave_environment_alone()
    before = steady_environment._by_libraries.total()
    assert GradientAccumulationPlugin(num_steps=2).to_kwargs() == {"num_steps": 2}
    assert changes() == []
    assert steady_environment._by_libraries.total() == before

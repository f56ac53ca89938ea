"""The environment of a program is settled once, and what the user set there stays."""

import os
import subprocess
import sys

import pytest

from embsweep.core import environment
from embsweep.core.environment import RAY_ENVIRONMENT, given, replace_value, set_default_environment
from tests import steady_environment


def test_what_is_missing_is_added_and_the_users_own_stays(monkeypatch):
    monkeypatch.setattr(environment, "_settled", {})
    found = {"TQDM_DISABLE": "0", "RAY_CHDIR_TO_TRIAL_DIR": "1"}
    set_default_environment(found)
    assert found["RAY_USAGE_STATS_ENABLED"] == "0"
    assert found["TQDM_DISABLE"] == "0"
    assert found["RAY_CHDIR_TO_TRIAL_DIR"] == "0", "a sweep would not work otherwise"
    assert found.items() >= RAY_ENVIRONMENT.items()


class Counting(dict):
    writes = 0

    def __setitem__(self, name, value):
        self.writes += 1
        super().__setitem__(name, value)


def test_a_second_time_nothing_is_written(monkeypatch):
    monkeypatch.setattr(environment, "_settled", {})
    found = Counting()
    set_default_environment(found)
    first = found.writes
    set_default_environment(found)
    assert found.writes == first > 0


def test_the_users_value_is_told_from_the_default(monkeypatch, set_env):
    monkeypatch.setattr(environment, "_settled", {})
    set_env(RAY_AUTH_MODE=None, TQDM_DISABLE="0", SOMETHING="x")
    with steady_environment.python_only():
        set_default_environment()
    assert os.environ["RAY_AUTH_MODE"] == "token"
    assert (given("RAY_AUTH_MODE"), given("TQDM_DISABLE"), given("SOMETHING")) == (None, "0", "x")
    with steady_environment.python_only():
        replace_value("RAY_AUTH_MODE", "disabled")
    assert os.environ["RAY_AUTH_MODE"] == "disabled"
    assert given("RAY_AUTH_MODE") is None, "this program's, too"


def test_no_name_is_added_later():
    with pytest.raises(KeyError):
        replace_value("EMBSWEEP_NO_SUCH_NAME", "1")
    assert "EMBSWEEP_NO_SUCH_NAME" not in os.environ


@pytest.mark.slow
def test_the_program_settles_it_before_any_library_is_imported():
    code = (
        "import sys; import embsweep.cli.main, embsweep.cli.commands\n"
        "from embsweep.cli.console import quiet_environment\n"
        "print([name for name in ('ray', 'torch', 'mlflow', 'numpy') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def changes(monkeypatch):
    """What the watch notes, with nothing that reaches the environment."""
    noted = []
    monkeypatch.setattr(steady_environment, "_state", {"changes": noted, "reaches_c": True})
    monkeypatch.setattr(steady_environment, "_by_libraries", steady_environment.collections.Counter())
    monkeypatch.setattr(steady_environment, "_putenv", lambda *_: None)
    monkeypatch.setattr(steady_environment, "_unsetenv", lambda *_: None)
    monkeypatch.setitem(sys.modules, "ray", sys.modules.get("ray", sys))

    def take():
        names = [name for name, _ in noted]
        noted.clear()
        return names

    return take


def test_the_watch_sees_names_that_come_and_go_and_other_values(changes):
    steady_environment._watched_putenv("EMBSWEEP_NEW", "1")
    steady_environment._watched_putenv("PATH", "/")
    steady_environment._watched_unsetenv("PATH")
    assert changes() == ["EMBSWEEP_NEW", "PATH", "PATH"]


def test_the_watch_lets_the_same_value_and_rays_own_pass(changes):
    steady_environment._watched_putenv("PATH", os.environ["PATH"])
    steady_environment._watched_putenv("PYTHONBREAKPOINT", "x")
    assert changes() == []


@pytest.mark.slow
def test_accelerate_leaves_it_alone(changes):
    """It would empty the environment for a moment with every trainer."""
    from accelerate.utils import GradientAccumulationPlugin

    from embsweep.training.trainer import _leave_environment_alone

    _leave_environment_alone()
    assert GradientAccumulationPlugin(num_steps=2).to_kwargs() == {"num_steps": 2}
    assert changes() == []
    assert not steady_environment._by_libraries.total()

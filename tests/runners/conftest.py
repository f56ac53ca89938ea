"""Fixtures with schedulers, fake and real, and with runners."""

import pytest

from tests.doubles import FakeScheduler


@pytest.fixture
def make_scheduler(make_config, tmp_path):
    def make(count, **kwargs):
        return FakeScheduler(make_config().trial, tmp_path, count, **kwargs)

    return make


@pytest.fixture
def make_sweep_scheduler(make_config, tmp_path):
    """Return `make(trials, **limits)`: a real scheduler over a real ledger, with mocks of MLflow and the display."""
    from embsweep.config.search_space import FloatRange
    from embsweep.config.sweep import SearchConfig, StoppingConfig
    from embsweep.search.ledger import Ledger
    from embsweep.search.pruners import build_pruner
    from embsweep.sweep.phase import search_phase
    from embsweep.sweep.scheduler import SweepScheduler
    from tests.mocks import make_mocks

    space = (FloatRange("train.learning_rate", 1e-6, 1e-4),)

    def make(trials, **limits):
        config = make_config(*(f"sweep.{key}={value}" for key, value in limits.items()))
        search = SearchConfig(sampler="random", trials=trials, seed=1, recipe_first=False)
        pruner = build_pruner(StoppingConfig(kind="none"), 0.25)
        ledger = Ledger.open(tmp_path / "study.db", space=space, search=search, pruner=pruner)
        ledger.set_metadata(name="s", title="", objective="", requested_trials=trials, slots=1)
        phase = search_phase(tmp_path / "trials", config, keep_recipe=False)
        return SweepScheduler(ledger, *make_mocks(), lambda record: config, phase)

    return make


@pytest.fixture
def make_ray_runner(ray_session, tmp_path):
    """Return `make_ray_runner(slots)`: a runner on the Ray instance of this process."""
    from embsweep.runners.ray.runner import RayRunner

    def make(slots):
        runner = RayRunner()
        runner.use(slots, tmp_path / "scratch")
        return runner

    return make

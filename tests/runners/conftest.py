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
    """Return `make(trials, **limits)`: a real scheduler over a real ledger, without listeners."""
    from embsweep.config.search_space import FloatRange
    from embsweep.search.storage import open_storage
    from embsweep.sweep.scheduler import SweepScheduler, search_phase
    from tests.ledgers import open_search

    space = (FloatRange("train.learning_rate", 1e-6, 1e-4),)

    def make(trials, **limits):
        config = make_config(*(f"sweep.{key}={value}" for key, value in limits.items()))
        ledger = open_search(open_storage(tmp_path / "study.db"), space, trials=trials, seed=1)
        phase = search_phase(tmp_path / "trials", config, keep_recipe=False)
        return SweepScheduler(ledger, lambda record: config, phase)

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

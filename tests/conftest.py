"""Shared fixtures: Hydra's loader over conf/, and the composed default configuration."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import copy
import functools
import gc
import random
import signal
from pathlib import Path

import pytest
from hypothesis import settings

from embsweep.cli.composition.compose import compose_point, config_loader, group_options, to_values
from embsweep.cli.console import quiet_environment
from embsweep.config import build_config
from tests import cpu_time, steady_environment
from tests.paid_once import compose_once, imports_paid, mlflow_template, seed_storage  # noqa: F401 - fixtures

quiet_environment()
pytest.register_assert_rewrite("tests.refusals")
settings.register_profile("any speed", settings(), deadline=None)  # an example's 200 ms say how busy the machine is
settings.load_profile("any speed")

HEAVY = ("ray", "slow", "browser")


def pytest_addoption(parser):
    cpu_time.add_option(parser)
    parser.addoption("--sample", type=int, default=None, metavar="N", help="run N tests drawn at random (by its seed)")


def pytest_configure(config):
    config.pluginmanager.register(steady_environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and its children, ignore it
    gc.disable()  # until all is collected: importing makes a million objects that stay, and no garbage


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from cpu_time.measure_call(item))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Draw the sample; run files with heavy tests first, so that two processes end at about the same time."""
    count = config.getoption("--sample")
    if count is not None and count < len(items):
        drawn = set(random.Random(config.getoption("randomly_seed")).sample(sorted(i.nodeid for i in items), count))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in drawn])
        items[:] = [item for item in items if item.nodeid in drawn]
    heavy = {item.path for item in items if any(item.get_closest_marker(name) for name in HEAVY)}
    items.sort(key=lambda item: item.path not in heavy)


def pytest_collection_finish():
    """What is imported stays to the end: no search for garbage goes through it again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def loader():
    with config_loader() as found:
        yield found


@pytest.fixture(scope="session")
def compose_values(loader):
    """Compose, the same overrides once: compose_values("model=minilm", "train.epochs=2").

    Hydra reads files for each choice of groups once.
    """

    @functools.cache
    def compose(*overrides):
        chosen = [line for line in overrides if group_options(loader, line.partition("=")[0].lstrip("+"))]
        return to_values(compose_point(loader, chosen, [line for line in overrides if line not in chosen]))

    return lambda *overrides: copy.deepcopy(compose(*overrides))


@pytest.fixture(scope="session")
def make_config(compose_values):
    """Compose and validate: make_config("model=minilm", "train.epochs=2")."""

    def make(*overrides):
        return build_config(compose_values(*overrides))

    return make


@pytest.fixture
def ray_session(tmp_path):
    """See `ray_session.join_session`."""
    from tests.ray_session import join_session

    join_session(tmp_path)


@pytest.fixture(scope="session")
def shared_data():
    """Real retrieval sets beside the checkout; tests that need them are skipped where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    return folder

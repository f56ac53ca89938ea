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
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import settings
from omegaconf import OmegaConf

from embsweep.cli.composition.compose import compose, config_loader, group_options, to_values
from embsweep.cli.console import quiet_environment
from embsweep.config import build_config
from tests import cpu_time, steady_environment
from tests.session_fixtures import heavy_imports, mlflow_template, seed_storage  # noqa: F401 - fixtures

quiet_environment()
pytest.register_assert_rewrite("tests.refusals")
# No deadline: whether an example takes longer than Hypothesis's 200 ms depends on how busy the machine is.
settings.register_profile("no deadline", settings(), deadline=None)
settings.load_profile("no deadline")

HEAVY = ("ray", "slow", "browser")


def pytest_addoption(parser):
    cpu_time.add_option(parser)
    parser.addoption("--sample", type=int, default=None, metavar="N", help="run N randomly drawn tests (seeded)")


def pytest_configure(config):
    config.pluginmanager.register(steady_environment)
    # A shell starts background jobs with SIGINT ignored, and their children inherit that.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    gc.disable()  # during collection: imports create a million objects that stay, and no garbage


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from cpu_time.measure_call(item))


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    """Draw the sample; run files with heavy tests first, so that two processes finish at about the same time."""
    count = config.getoption("--sample")
    if count is not None and count < len(items):
        drawn = set(random.Random(config.getoption("randomly_seed")).sample(sorted(i.nodeid for i in items), count))
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid not in drawn])
        items[:] = [item for item in items if item.nodeid in drawn]
    heavy = {item.path for item in items if any(item.get_closest_marker(name) for name in HEAVY)}
    items.sort(key=lambda item: item.path not in heavy)


def pytest_collection_finish():
    """Exclude all imported objects from garbage collection: they stay until the end."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def loader():
    with config_loader() as opened:
        yield opened


@pytest.fixture(scope="session")
def compose_values(loader):
    """Return `compose(*overrides)`, which caches its results: compose_values("model=minilm", "train.epochs=2").

    Hydra reads the files once for each choice of groups.
    """

    @functools.cache
    def compose_cached(*overrides):
        chosen = [line for line in overrides if group_options(loader, line.partition("=")[0].lstrip("+"))]
        tree = copy.deepcopy(compose(loader, chosen))
        others = [line for line in overrides if line not in chosen]
        for override in OverridesParser.create().parse_overrides(others):
            OmegaConf.update(tree, override.key_or_group, override.value(), force_add=override.is_add())
        return to_values(tree)

    return lambda *overrides: copy.deepcopy(compose_cached(*overrides))


@pytest.fixture(scope="session")
def make_config(compose_values):
    """Return a function that composes and validates: make_config("model=minilm", "train.epochs=2")."""

    def make(*overrides):
        return build_config(compose_values(*overrides))

    return make


@pytest.fixture
def ray_session(tmp_path):
    """Start Ray, or reuse the one of this process; see `ray_session.join_session`."""
    from tests.ray_session import join_session

    join_session(tmp_path)


@pytest.fixture(scope="session")
def shared_data():
    """Folder of real retrieval data sets beside the checkout; skips the test if it is absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    return folder

"""Shared fixtures: Hydra's loader over conf/, and the composed default configuration."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from pathlib import Path

import pytest

from embsweep.app.composer import compose, config_loader, to_values
from embsweep.app.terminal import quiet_environment
from embsweep.config import build_config

quiet_environment()


@pytest.fixture(scope="session")
def loader():
    with config_loader() as found:
        yield found


@pytest.fixture(scope="session")
def make_config(loader):
    """Compose and validate: make_config("model=minilm", "train.epochs=2")."""

    def make(*overrides):
        return build_config(to_values(compose(loader, overrides)))

    return make


@pytest.fixture(scope="session")
def shared_data():
    """Real retrieval sets beside the checkout; tests that need them are skipped where they are absent."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("../shared/data is absent")
    return folder

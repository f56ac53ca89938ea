"""Fixtures: one real MLflow store for the session (its migrations take seconds), with a sweep for each test."""

import itertools

import numpy as np
import pytest
from tests.mlflow_runs import SampleSweep
from tests.toy_models import make_static

from embsweep.core.names import METRICS
from embsweep.tracking.records import SweepIdentity
from embsweep.tracking.store import open_store
from embsweep.training.messages import TrialReport

_numbers = itertools.count()


@pytest.fixture(scope="session")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("root é 100%41 #1 what?")


@pytest.fixture(scope="session")
def store(root, seed_storage):
    seed_storage(root)
    return open_store(root, uri=None, experiment="embsweep tests")


@pytest.fixture(scope="session")
def client(store):
    return store.client


@pytest.fixture
def identity():
    return SweepIdentity(name="legal", study_id=f"study-{next(_numbers)}", base_model="minilm")


@pytest.fixture
def sweep(store, identity):
    return SampleSweep(store, identity)


@pytest.fixture
def empty_cwd(tmp_path, monkeypatch):
    """An empty working directory, to check that nothing is written to it."""
    folder = tmp_path / "empty"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture(scope="session")
def make_scores():
    def make(base=0.1, dims=(384, 256, 128, 64)):
        return {dim: dict.fromkeys(METRICS, base + dim / 10000) for dim in dims}

    return make


@pytest.fixture(scope="session")
def make_report(make_scores):
    def make(step=10, **changes):
        values = {
            "fraction": step / 100,
            "step": step,
            "epoch": step / 50,
            "objective": 0.4,
            "best_objective": 0.45,
            "best_fraction": 0.05,
            "scores": make_scores(),
            "loss": 1.5,
            "learning_rate": 2e-5,
            "reported_at": 1.7e9 + step,
        }
        return TrialReport(**(values | changes))

    return make


@pytest.fixture(scope="session")
def make_model():
    """`make_model(seed)`: a tiny real model, built in memory; each seed gives another one."""

    def make(seed=0, dim=8):
        words = ["[UNK]", "law", "tax", "permit", "street"]
        return make_static(words, np.random.default_rng(seed).normal(size=(len(words), dim)))

    return make

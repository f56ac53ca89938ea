"""Fixtures: the published facts beside the checkout, and the composed recipes."""

import json
from pathlib import Path

import pytest

from embsweep.cli.composition.request import read_request
from embsweep.config import build_config


@pytest.fixture(scope="session")
def published():
    """Return model id → facts copied from the model cards; skip the test if the file is absent."""
    file = Path(__file__).resolve().parents[3] / "shared" / "reference" / "published_cards.json"
    if not file.is_file():
        pytest.skip("../shared/reference is absent")
    return {facts["model"]: facts for facts in json.loads(file.read_text("utf-8"))}


@pytest.fixture(scope="session")
def request_of(loader):
    """Return a function that composes a recipe's sweep and caches it: request_of("es_boe", "train.epochs=3")."""
    made = {}

    def make(name, *overrides):
        arguments = (f"+sweep={name}", *overrides)
        if arguments not in made:
            made[arguments] = read_request(loader, arguments, "")
        return made[arguments]

    return make


@pytest.fixture(scope="session")
def recipe_of(request_of):
    """Return a function that returns the validated configuration of trial 0 of a recipe's sweep."""
    return lambda name, *overrides: build_config(request_of(name, *overrides).values)

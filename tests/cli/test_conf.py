"""Every file under conf/ composes and validates."""

import math
import re
from itertools import zip_longest

import pytest

from embsweep.cli.composition.compose import compose, group_options, to_values
from embsweep.cli.composition.request import read_request
from embsweep.cli.paths import conf_dir
from embsweep.config import build_config, check_trainable

GROUPS = sorted(path.name for path in conf_dir().iterdir() if path.is_dir())
OPTIONS = [(p.parent.name, p.stem) for p in sorted(conf_dir().glob("*/*.yaml")) if p.parent.name != "sweep"]
SWEEPS = sorted(path.stem for path in (conf_dir() / "sweep").glob("*.yaml"))
REQUIRED = {
    ("data", "files"): ["data.pairs=x.jsonl"],
    ("data", "beir"): ["data.path=x"],
    ("data", "hub"): ["data.id=x", "data.revision=y"],
    ("model", "minilm"): ["matryoshka=from_384"],
    ("model", "minilm-3-layers"): ["matryoshka=from_384"],
    ("model", "static"): ["matryoshka=from_384"],
    ("model", "multilingual-e5-small"): ["matryoshka=from_384"],
    ("model", "multilingual-e5-base"): ["matryoshka=from_768"],
    ("model", "multilingual-e5-large-instruct"): ["model.task=x"],
    ("model", "gte-multilingual-base"): ["matryoshka=from_768"],
    ("model", "embeddinggemma-300m"): ["matryoshka=from_768"],
    ("model", "paraphrase-multilingual-mpnet-base-v2"): ["matryoshka=from_768"],
    ("model", "potion-multilingual-128m"): ["matryoshka.dims=[256,128,64]"],
}


def test_every_group_is_in_the_defaults_list(loader):
    choices = compose(loader, []).hydra.runtime.choices
    assert {*GROUPS} - {"sweep"} == {name for name in choices if "/" not in name and "@" not in name}


ROUNDS = list(zip_longest(*([option for option in OPTIONS if option[0] == group] for group in GROUPS)))
"""Combinations of one option per group that together contain every option: few compositions for all files."""


@pytest.mark.slow
@pytest.mark.parametrize("options", ROUNDS)
def test_options_compose_together(loader, options):
    chosen = [option for option in options if option is not None]
    required = [line for option in chosen for line in REQUIRED.get(option, []) if "=from_" not in line]
    values = to_values(compose(loader, [*(f"{group}={name}" for group, name in chosen), *required]))
    assert build_config(values)
    assert values["model"]["name"] == dict(chosen).get("model", "bge-m3")


@pytest.mark.slow
@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_option_composes_and_validates(loader, group, option):
    overrides = [f"{group}={option}", *REQUIRED.get((group, option), [])]
    config = build_config(to_values(compose(loader, overrides)))
    assert check_trainable(config) == []


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_sweep_composes_and_the_bounds_of_its_space_validate(loader, sweep):
    from embsweep.config.search_space import boundary_values

    request = read_request(loader, [f"+sweep={sweep}"], "")
    assert request.space
    for dimension in request.space:
        for value in boundary_values(dimension):
            assert check_trainable(request.configure({dimension.key: value})) == []


@pytest.mark.slow
@pytest.mark.parametrize("sweep", SWEEPS)
def test_a_sweep_states_the_full_schedules_of_its_trials(loader, sweep):
    from optuna.storages import InMemoryStorage

    from embsweep.search.factory import open_search_ledger

    request = read_request(loader, [f"+sweep={sweep}"], "")
    config = request.configure({})
    ledger = open_search_ledger(
        InMemoryStorage(),
        space=request.space,
        search=config.search,
        stopping=config.stopping,
        evaluations=config.eval.schedule(config.train.epochs),
        finalists=config.confirm.finalists,
        recipe=request.recipe,
    )
    stated = re.search(
        r"^  trials: (\d+) +# about (\d+) full schedules", (conf_dir() / f"sweep/{sweep}.yaml").read_text(), re.M
    )
    assert stated, "say how many full schedules the trials take: trials: 30  # about 8 full schedules (docs/search.md)"
    assert (int(stated[1]), stated[2]) == (config.search.trials, f"{math.ceil(ledger.expected_schedules)}")


def test_published_recipe_is_the_default(make_config):
    """From the three cards of the published bge-m3 fine-tunes: 2e-5, cosine, warm-up .1, batch 16, no_duplicates."""
    config = make_config()
    assert config.model.source == "BAAI/bge-m3"
    assert (config.train.learning_rate, config.train.scheduler, config.train.warmup) == (2e-5, "cosine", 0.1)
    assert (config.train.batch_size, config.train.batch_sampler) == (16, "no_duplicates")
    assert config.train.precision == "auto"
    assert config.matryoshka.dims == (1024, 768, 512, 256, 128, 64) == config.trial.eval_dims


def test_every_option_is_described_in_its_first_line():
    for path in conf_dir().glob("*/*.yaml"):
        lines = path.read_text().splitlines()
        described = lines[1] if lines[0].startswith("# @package") else lines[0]
        assert described.startswith("# "), path


def test_group_options_of_an_unknown_group_are_empty(loader):
    assert group_options(loader, "nosuch") == []

"""The public functions: their examples run, and importing the package imports none of the libraries behind them."""

import doctest
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

import embsweep
from embsweep import api
from embsweep.core.errors import InputError
from embsweep.search.attribution import Share, TargetImportance
from embsweep.search.importance import Importance
from embsweep.tracking.connection import connect
from embsweep.tracking.store import store_uri
from tests.toy_models import make_static

SMALL = {
    "data.anchor": "question", "data.positive": "passage", "data.max_pairs": None, "data.split.validation": 0.2,
    "data.split.test": 0.2, "runner": "inline", "eval.fractions": [0.5, 1.0], "train.batch_size": 8,
    "train.warmup": 0.1, "matryoshka": "from_384", "matryoshka.weight_power": 0, "confirm": "none",
}  # fmt: skip
HEAVY = ("torch", "ray", "mlflow", "optuna", "hydra", "omegaconf", "pydantic", "transformers", "pandas", "numpy")


@pytest.fixture
def examples(pairs, model_of, tmp_path, seed_storage, run_here):
    """Names that the examples use, and `promote`, which makes the registered version champion."""
    seed_storage(tmp_path)
    model = dict(line.split("=", 1) for line in model_of(pairs))

    def promote():
        client = connect(store_uri(tmp_path, None))
        client.set_registered_model_alias("quickstart", "champion", "1")
        client.set_model_version_tag("quickstart", "1", "embsweep.decision", "promoted")

    return {
        "embsweep": embsweep, "pairs": str(pairs), "storage": str(tmp_path), "small": {**SMALL, **model},
        "model": make_static(["[UNK]", "tax", "May"], np.eye(64)[:3]), "promote": promote,
    }  # fmt: skip


def test_importing_the_package_is_light():
    code = f"import sys, embsweep; print([name for name in {HEAVY} if name in sys.modules], dir(embsweep) != [])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout == "[] True\n"


def test_every_public_name_has_a_docstring():
    assert all(getattr(embsweep, name).__doc__ for name in embsweep.__all__)


def test_an_unknown_name_is_refused():
    with pytest.raises(AttributeError, match="run_sweeps"):
        embsweep.run_sweeps  # noqa: B018


def test_a_mapping_stands_for_overrides():
    config = {"+sweep": "bgem3", "matryoshka.dims": [64, 32], "data.max_pairs": None, "sweep.fresh": True}
    assert api._to_overrides(config) == [
        "+sweep=bgem3", "matryoshka.dims=[64,32]", "data.max_pairs=null", "sweep.fresh=true",
    ]  # fmt: skip


def test_a_sweep_that_does_not_exist_is_an_input_error(tmp_path):
    with pytest.raises(InputError, match="no such sweep"):
        embsweep.read_sweep("nothing", storage=tmp_path)


def test_the_importance_of_a_sweep_is_a_table(tmp_path, monkeypatch):
    few = TargetImportance(3, reason="too few trials to say")
    targets = {"objective": TargetImportance(60, {"x": Share(1.0, 0.8, 1.0)}), "map@100/64": few}
    monkeypatch.setattr("embsweep.search.importance.read_importance", lambda _: Importance(("x", "y"), targets))
    sweep = embsweep.Sweep("s", "FINISHED", "", None, None, pd.DataFrame(), _ledger=tmp_path / "study.db")
    table = sweep.importance
    assert table is sweep.importance, "computed once"
    assert table.loc[("objective", "x")].tolist() == [1.0, 0.8, 1.0, ""]
    assert table.loc["objective", "share"].isna().tolist() == [False, True]
    assert table.loc["map@100/64", "reason"].tolist() == [few.reason] * 2
    assert "_ledger" not in repr(sweep)


def test_the_importance_of_a_sweep_without_trials_is_an_empty_table(tmp_path):
    sweep = embsweep.Sweep("s", "RUNNING", "", None, None, pd.DataFrame(), _ledger=tmp_path / "study.db")
    assert sweep.importance.empty
    assert sweep.importance.columns.tolist() == ["share", "low", "high", "reason"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["evaluate", "run_sweep"])
def test_examples(name, examples):
    """The examples of `run_sweep`, of `read_sweep` and of `load_champion` belong to one sweep."""
    names = ("run_sweep", "read_sweep", "load_champion") if name == "run_sweep" else (name,)
    runner = doctest.DocTestRunner(optionflags=doctest.NORMALIZE_WHITESPACE)
    output = []
    for public in names:
        (example,) = doctest.DocTestFinder(recurse=False).find(getattr(api, public), public, globs=examples)
        runner.run(example, out=output.append, clear_globs=False)
        if public == "run_sweep":
            examples["promote"]()
    assert runner.summarize(verbose=False).failed == 0, "".join(output)

"""Whole sweeps over spaces with impossible and repeated points, and with a store of the environment."""

import pytest
from mlflow import MlflowClient

from embsweep.search.read import read_ledger

pytestmark = pytest.mark.slow


def runs_in(uri):
    client = MlflowClient(uri)
    experiments = [e.experiment_id for e in client.search_experiments() if e.name != "Default"]
    return client.search_runs(experiments) if experiments else []


def test_a_small_space_is_tried_once_without_failures(launch, tmp_path):
    arguments = [
        "matryoshka=from_384_coarse", "eval.dims=[384,64]", "matryoshka.weights=choice(null,[1,2])",
        "matryoshka.weight_power=choice(0,-1)", "train.learning_rate=1e-2", "train.patience=choice(null,1)",
        "search=random", "search.trials=12", "stopping=none",
    ]  # fmt: skip
    result, output = launch(*arguments)
    _, records = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    assert [record.state for record in records] == ["complete"] * 6
    assert "only 6 configurations (search.trials is 12)" in output
    assert result.is_whole_space
    patience = {run.data.params["train.patience"] for run in runs_in(f"sqlite:///{tmp_path}/mlflow.db")
                if run.data.tags.get("mlflow.parentRunId")}  # fmt: skip
    assert patience == {"null", "1"}
    again, output = launch(*arguments)
    assert "is finished" in output
    assert again.evidence == result.evidence


def test_a_sweep_stays_with_the_store_of_its_first_start(launch, tmp_path, set_env):
    team = f"sqlite:///{tmp_path}/team.db"
    set_env(MLFLOW_TRACKING_URI=team, MLFLOW_EXPERIMENT_NAME="team")
    _, output = launch("search.trials=1")
    assert f"MLflow: {team} (from MLFLOW_TRACKING_URI), experiment team (from MLFLOW_EXPERIMENT_NAME)" in output
    assert len(runs_in(team)) == 2
    set_env(MLFLOW_TRACKING_URI=None, MLFLOW_EXPERIMENT_NAME=None)
    result, output = launch("search.trials=2")
    assert f"MLflow: {team} (from the sweep's earlier start)" in output
    assert "MLFLOW_TRACKING_URI is not set now" in output
    assert result.store == team
    assert len(runs_in(team)) == 3
    assert runs_in(f"sqlite:///{tmp_path}/mlflow.db") == []

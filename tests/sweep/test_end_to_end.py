"""A sweep as a user runs it, with real Ray, MLflow and ledger."""

import json

import pytest

from embsweep.core.names import METRICS, tracked_metric
from embsweep.search.read import read_ledger
from tests.cli.conftest import call, outside_hydra  # noqa: F401 - fixtures
from tests.sweep.conftest import E2E, SMALL, run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow]

DIMS = (384, 256, 128, 64)


def open_client(storage):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{storage / 'mlflow.db'}")


@pytest.fixture(scope="session")
def client(finished_sweep):
    return open_client(finished_sweep[0])


def runs_of(client, role):
    experiment = client.get_experiment_by_name("embsweep")
    return [
        run
        for run in client.search_runs([experiment.experiment_id])
        if run.data.tags["embsweep.role"] == role and run.data.tags["embsweep.sweep"] == "e2e"
    ]


def test_output_shows_progress_and_results(finished_sweep):
    _, result = finished_sweep
    for named in ("'e2e'", "static", "trial 0 ", "trial 2 ", "MAP@100", "embsweep ui"):
        assert named in result.output
    assert "Traceback" not in result.output
    assert "WARNING" not in result.output
    assert "Failed to fetch" not in result.output, "Ray's own log is not mixed with the progress"


def test_the_ledger_has_every_trial(finished_sweep):
    storage, _ = finished_sweep
    notes, trials = read_ledger(storage / "sweeps/e2e/study.db")
    assert [t.number for t in trials] == list(range(3))
    assert {t.state for t in trials} <= {"complete", "stopped"}
    assert trials[0].params["train.learning_rate"] == 1e-2, "the recipe is trial 0"
    best = min(trials, key=lambda t: (-t.best, t.number))
    assert notes["result"]["winner"] in {0, best.number}, "the winner is the finalist or the recipe"
    assert notes["result"]["objective"] > notes["baseline"]["objective"]


def test_only_the_first_trial_of_a_process_imports(finished_sweep):
    storage, _ = finished_sweep
    trials = read_ledger(storage / "sweeps/e2e/study.db")[1]
    by_pid = {}
    for trial in sorted(trials, key=lambda t: t.attributes["started_at"]):
        by_pid.setdefault(trial.attributes["pid"], []).append(trial.facts["import_s"])
    assert len(by_pid) <= 2
    for first, *later in by_pid.values():
        assert all(import_s < first / 4 for import_s in later)


def test_mlflow_has_one_parent_run_and_one_child_per_trial_with_all_metrics(client):
    (parent,) = runs_of(client, "sweep")
    children = runs_of(client, "trial")
    assert sorted(int(c.data.tags["embsweep.trial"]) for c in children) == list(range(3))
    assert {c.data.tags["mlflow.parentRunId"] for c in children} == {parent.info.run_id}
    for child in children:
        assert child.info.status == "FINISHED"
        assert float(child.data.params["train.learning_rate"]) > 0
        for dim in DIMS:
            for metric in METRICS:
                assert 0 <= child.data.metrics[tracked_metric(dim, metric)] <= 1
            assert child.data.metrics[tracked_metric(dim, "map@100", prefix="best")] >= 0
    assert parent.info.status == "FINISHED"
    assert parent.inputs.dataset_inputs[0].dataset.name == "docstrings"


def test_configuration_environment_and_code_are_logged(client):
    (parent,) = runs_of(client, "sweep")
    folders = ("config", "environment", "audit")
    names = {f.path for folder in folders for f in client.list_artifacts(parent.info.run_id, folder)}
    assert names == {
        "config/resolved.yaml", "config/requested.yaml",
        "audit/audit.json", "environment/packages.txt", "environment/machine.txt", "environment/git.txt",
    }  # fmt: skip
    assert "importance.json" in {file.path for file in client.list_artifacts(parent.info.run_id)}


def test_the_registered_model_has_no_pickles_and_returns_the_winners_embeddings(finished_sweep, client):
    from embsweep.tracking.registry.load import load_registered
    from embsweep.tracking.store import open_store
    from embsweep.training.checkpoint import load_checkpoint
    from embsweep.training.verification import hash_of_manifest

    storage, _ = finished_sweep
    (version,) = client.search_model_versions("name = 'e2e'")
    assert client.get_model_version_by_alias("e2e", "challenger").version == version.version
    store = open_store(storage, uri=None, experiment="embsweep")
    verification = json.loads((storage / "sweeps/e2e/evidence.json").read_text())["verification"]
    (weights,) = (
        p for p in (storage / "sweeps/e2e").glob("*/*/best") if hash_of_manifest(p) == verification["manifest_sha256"]
    )
    texts = ["Return the sum of all elements.", "Open a file."]
    again = load_registered(store, "e2e", "challenger").encode(texts)
    assert (again == load_checkpoint(weights).encode(texts)).all()
    assert not [p for p in (storage / "mlruns").rglob("*") if p.suffix in {".bin", ".pt", ".pkl"}]


def test_the_same_command_prints_the_result_and_runs_no_trial(finished_sweep, client, call):  # noqa: F811
    storage, first = finished_sweep
    before = len(runs_of(client, "trial"))
    again = call(f"storage.path={storage}", *E2E)
    assert again.code == 0
    assert "trial 0 " not in again.out
    table = first.output[first.output.index("\nMAP@100 ") :]
    assert table.split("Compare")[0] in again.out
    assert len(runs_of(client, "trial")) == before


def test_another_space_under_the_same_name_is_refused(finished_sweep, call):  # noqa: F811
    storage, _ = finished_sweep
    another = "train.learning_rate=interval(0.1,0.2)"
    result = call(f"storage.path={storage}", *E2E, another)
    assert result.code == 2
    assert "space train.learning_rate" in result.err
    assert "sweep.fresh=true" in result.err


@pytest.mark.nightly
def test_a_larger_budget_extends_the_sweep_without_repeating_trials(tmp_path):
    """Uses its own storage, as it changes the sweep. `tests/chaos/test_second_driver.py` extends one in daily tests."""
    assert run_sweep(tmp_path, *SMALL, "search.trials=2", "sweep.name=e2e").code == 0
    result = run_sweep(tmp_path, *SMALL, "search.trials=4", "sweep.name=e2e")
    assert result.code == 0, result.output
    assert " 2 of 4 " in result.output
    trials = read_ledger(tmp_path / "sweeps/e2e/study.db")[1]
    assert [(t.number, t.attempt) for t in trials] == [(n, 1) for n in range(4)]
    client = open_client(tmp_path)
    assert len(runs_of(client, "trial")) == 4
    assert len(runs_of(client, "sweep")) == 1


def test_status_command_and_evaluate_command_with_json(finished_sweep, tmp_path):
    from typer.testing import CliRunner

    from embsweep.cli.commands import app

    storage, _ = finished_sweep
    listed = CliRunner().invoke(app, ["status", "--storage", str(storage)])
    assert "e2e" in listed.output
    target = tmp_path / "r.json"
    overrides = ["model=static", "data.packages=[stdlib]", "data.max_pairs=300"]
    done = CliRunner().invoke(app, ["evaluate", *overrides, "--split", "validation", "--json", str(target)])
    assert done.exit_code == 0, done.output
    written = json.loads(target.read_text())
    assert set(written["scores"]) == {str(d) for d in DIMS}
    assert set(written["scores"]["64"]) == set(METRICS) == set(written["bm25"])

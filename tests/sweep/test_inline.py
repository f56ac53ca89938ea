"""The whole use case in one process: inline runner, real MLflow, the user's own file of pairs."""

import pytest

from embsweep.errors import InputError, SweepRefused, TooManyFailures
from embsweep.search.ledger import read_ledger

pytestmark = pytest.mark.slow


def test_a_sweep_on_the_users_own_pairs(launch, tmp_path):
    result, output = launch()
    evidence = result.evidence
    assert evidence.on_validation("winner") >= evidence.on_validation("base")
    assert result.registered.startswith("models:/quickstart/1")
    assert set(evidence.validation["winner"]) == set(evidence.test["winner"].scores) == {384, 256, 128, 64}
    assert sum(evidence.counts.values()) == 3
    assert evidence.verdict.outcome == "unconfirmed"
    assert "Sweep 'quickstart' on static" in output
    assert "54 training pairs" in output
    assert (tmp_path / "sweeps/quickstart/log.txt").stat().st_size > 0
    assert oct((tmp_path / "sweeps/quickstart").stat().st_mode)[-3:] == "700"

    again, output = launch()
    assert again == result
    assert "is finished" in output

    extended, output = launch("search.trials=4")
    assert sum(extended.evidence.counts.values()) == 4
    assert "Going on: 3 of 4" in output

    with pytest.raises(SweepRefused, match=r"loss\.scale: 20\.0 then, 30\.0 now"):
        launch("loss.scale=30.0")


def test_a_fresh_sweep_of_the_same_seeds_is_the_same(launch):
    result, _ = launch("search.trials=2")
    fresh, output = launch("search.trials=2", "sweep.fresh=true")
    assert "The earlier sweep of this name is now" in output
    assert fresh.evidence.verdict.winner == result.evidence.verdict.winner
    assert fresh.evidence.validation == result.evidence.validation, "the same seeds give the same sweep"
    assert fresh.registered.startswith("models:/quickstart/"), "a new version, not a new model"


def test_an_extension_that_was_interrupted_goes_on_and_is_not_taken_for_finished(launch, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    first, _ = launch("search.trials=2")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("embsweep.sweep.desk.SweepDesk.finished", interrupted)  # while its last trial runs
        launch("search.trials=3")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("embsweep.sweep.run.crown_winner", interrupted)  # when all trials are over
        launch("search.trials=3")
    extended, _ = launch("search.trials=3")
    assert sum(first.evidence.counts.values()) == 2
    assert sum(extended.evidence.counts.values()) == 3


def test_a_rehearsal_says_so_everywhere(launch, tmp_path):
    result, output = launch("scale=rehearsal", "search.trials=1", "eval.fractions=[1.0]")
    assert output.startswith("REHEARSAL of 'quickstart'")
    assert result.registered.startswith("models:/quickstart-rehearsal/1")
    notes, _ = read_ledger(tmp_path / "sweeps/quickstart-rehearsal/study.db")
    assert notes["identity"]["train.epochs"] == 1.0

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("embsweep")
    tags = [run.data.tags for run in client.search_runs([experiment.experiment_id])]
    assert len(tags) == 2
    assert {t["embsweep.rehearsal"] for t in tags} == {"true"}
    assert {t["embsweep.rehearses"] for t in tags} == {"static"}
    assert result.evidence.rehearsal
    assert result.evidence.rehearses == "static"


def test_when_every_trial_fails_nothing_is_registered_and_the_reasons_are_told(launch, tmp_path):
    with pytest.raises(TooManyFailures) as caught:
        launch("train.precision=fp16", "sweep.max_failed_trials=1")
    assert "fp16 needs a GPU" in str(caught.value)
    assert "nothing was registered" in str(caught.value)
    _, trials = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    assert [t.state for t in trials] == ["failed", "failed"]
    assert "fp16" in (tmp_path / "sweeps/quickstart/trials/0000/error.txt").read_text()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.search_registered_models() == []
    statuses = {run.info.status for run in client.search_runs(["1"])}
    assert statuses == {"FAILED"}


def test_bad_data_is_found_before_anything_is_created(launch, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "q", "passage": ""}\n{"question": "q2"}\n', "utf-8")
    with pytest.raises(InputError) as caught:
        launch(f"data.pairs={bad}", seeded=False)
    places = [fault.where for fault in caught.value.faults]
    assert "bad.jsonl:1" in places[0]
    assert "bad.jsonl:2" in places[1]
    assert not (tmp_path / "sweeps/quickstart").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_a_batch_that_cannot_be_filled_is_refused(launch):
    with pytest.raises(InputError, match="larger than the 27 training passages"):
        launch("train.batch_size=64")


def test_a_batch_in_the_space_that_cannot_be_filled_is_refused(launch):
    with pytest.raises(InputError, match=r"27 training passages \(in the search space at train\.batch_size=64\)"):
        launch("train=published", "train.batch_size=8,64")

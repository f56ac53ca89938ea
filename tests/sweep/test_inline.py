"""Whole sweeps in one process: inline runner, real MLflow, the user's own file of pairs."""

import re

import pytest

from embsweep.core.errors import SweepRefused, TooManyFailures, TrialFailed
from embsweep.search.read import read_ledger, read_metadata
from tests.refusals import raises_code, raises_diagnostics

pytestmark = pytest.mark.slow


def test_a_sweep_on_the_users_own_pairs(launch, tmp_path):
    result, output = launch()
    evidence = result.evidence
    assert evidence.on_validation("winner") >= evidence.on_validation("base")
    assert result.registered.startswith("models:/quickstart/1")
    assert set(evidence.validation["winner"]) == set(evidence.test["winner"].scores) == {384, 256, 128, 64}
    assert sum(evidence.counts.values()) == 3
    assert evidence.verdict.outcome == "unconfirmed"
    check_quantization(evidence)
    assert all(named in output for named in ("'quickstart'", "static", " 54 "))
    assert (tmp_path / "sweeps/quickstart/log.txt").stat().st_size > 0
    assert oct((tmp_path / "sweeps/quickstart").stat().st_mode)[-3:] == "700"

    assert launch()[0] == result

    extended, output = launch("search.trials=4")
    assert sum(extended.evidence.counts.values()) == 4
    assert " 3 of 4 " in output

    with raises_code(SweepRefused, "other-sweep") as caught:
        launch("loss.scale=30.0")
    assert all(named in str(caught.value) for named in ("loss.scale: ", "20.0", "30.0"))


def check_quantization(evidence):
    """Check that float32 is the winner's own test score, and that every other precision is there at each dimension."""
    others = [(name, rescored) for name in ("int8", "binary") for rescored in (False, True)]
    kinds = [("float32", False), ("float16", False), *others]
    rows = {(row.dim, row.precision, row.rescored): row for row in evidence.quantization}
    assert list(rows) == [(dim, *kind) for dim in evidence.dims for kind in kinds]
    for dim, exact in evidence.test["winner"].intervals.items():
        assert rows[dim, "float32", False].score == exact
        assert rows[dim, "float16", False].score.mean == pytest.approx(exact.mean, abs=0.02)
    assert all(row.search_ms > 0 for row in rows.values())


def test_a_fresh_sweep_with_the_same_seeds_gives_the_same_result(launch):
    result, _ = launch("search.trials=2")
    fresh, output = launch("search.trials=2", "sweep.fresh=true")
    assert re.search(r"sweeps/quickstart\.\d{8}-\d{6}", output), "the new folder of the earlier sweep"
    assert fresh.evidence.verdict.winner == result.evidence.verdict.winner
    assert fresh.evidence.validation == result.evidence.validation, "the same seeds give the same scores"
    assert fresh.registered.startswith("models:/quickstart/"), "a new version, not a new model"


def test_a_promoted_trial_trains_as_if_it_had_never_paused(launch, tmp_path):
    """To the bit: its reports equal those of the same points without pauses. One starts over, without its state."""
    common = ("search=random", "search.trials=4", "eval.fractions=[0.25,0.5,1.0]", "confirm.finalists=2")
    launch(*common, "stopping=promotion", "stopping.paused_states=1")
    _, paused = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    launch(*common, "stopping=none", "sweep.name=whole")
    _, whole = read_ledger(tmp_path / "sweeps/whole/study.db")
    assert [record.state for record in paused].count("complete") == 3, "the recipe and two finalists"
    for one, other in zip(paused, whole, strict=True):
        assert one.params == other.params
        same = [(r.fraction, r.objective, r.scores, r.loss, r.learning_rate) for r in other.reports]
        assert [(r.fraction, r.objective, r.scores, r.loss, r.learning_rate) for r in one.reports] == same[
            : len(one.reports)
        ]
    assert {record.attempt for record in paused} == {1}


def test_an_interruption_after_the_result_is_stored_leaves_a_finished_sweep(launch, tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("embsweep.sweep.winner.project_ledger", interrupted)  # MLflow is yet to get the result
        launch("search.trials=1")
    assert read_metadata(tmp_path / "sweeps/quickstart/study.db")["status"] == "FINISHED"
    assert "is finished" in launch("search.trials=1")[1]


def test_an_interrupted_extension_resumes_and_is_not_treated_as_finished(launch, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    first, _ = launch("search.trials=2")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(
            "embsweep.sweep.scheduler.SweepScheduler.on_trial_complete", interrupted
        )  # while its last trial runs
        launch("search.trials=3")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("embsweep.sweep.run.finalize_sweep", interrupted)  # when all trials are finished
        launch("search.trials=3")
    extended, _ = launch("search.trials=3")
    assert sum(first.evidence.counts.values()) == 2
    assert sum(extended.evidence.counts.values()) == 3


def test_a_rehearsal_is_marked_as_one_everywhere(launch, tmp_path):
    result, output = launch("scale=rehearsal", "search.trials=1", "eval.fractions=[1.0]")
    assert re.match(r"REHEARSAL .*'quickstart'", output)
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


def test_nothing_is_registered_if_every_trial_fails_and_the_reasons_are_reported(launch, tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise TrialFailed("not-supported", "no such kernel")

    monkeypatch.setattr("embsweep.training.trial.resolve_for_this_process", refuse)
    with pytest.raises(TooManyFailures) as caught:
        launch("sweep.max_failed_trials=1")
    assert "no such kernel" in str(caught.value)
    _, trials = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    assert [t.state for t in trials] == ["failed", "failed"]
    assert "no such kernel" in (tmp_path / "sweeps/quickstart/trials/0000/error.txt").read_text()

    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    assert client.search_registered_models() == []
    statuses = {run.info.status for run in client.search_runs(["1"])}
    assert statuses == {"FAILED"}


def test_invalid_data_is_reported_before_any_file_is_created(launch, tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"question": "q", "passage": ""}\n{"question": "q2"}\n', "utf-8")
    with raises_diagnostics(("empty", "bad.jsonl:1"), ("missing-column", "bad.jsonl:2")):
        launch(f"data.pairs={bad}", seeded=False)
    assert not (tmp_path / "sweeps/quickstart").exists()
    assert not (tmp_path / "mlflow.db").exists()


def test_a_batch_that_cannot_be_filled_is_refused(launch):
    with raises_diagnostics(("out-of-range", "train.batch_size")) as caught:
        launch("train.batch_size=64")
    assert " 27 " in str(caught.value)


def test_a_batch_in_the_space_that_cannot_be_filled_is_refused(launch):
    with raises_diagnostics(("out-of-range", "train.batch_size")) as caught:
        launch("train=published", "train.batch_size=8,64")
    assert all(named in str(caught.value) for named in (" 27 ", "train.batch_size=64"))

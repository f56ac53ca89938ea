import dataclasses
import json
import math
import time
from pathlib import Path
from unittest import mock

import pytest

from embsweep.core.names import METRICS
from embsweep.tracking.records import DatasetRecord, SweepIdentity
from embsweep.tracking.runs import RunRef, open_sweep_run
from embsweep.training.messages import Outcome, TrialResult

pytestmark = pytest.mark.slow


def _trials(client, store, sweep):
    return client.search_runs([store.experiment_id], f"tags.`mlflow.parentRunId` = '{sweep.run_id}'")


def _result(outcome=Outcome.COMPLETE, **changes):
    values = {"best_objective": 0.45, "best_scores": None, "checkpoint": None, "ended_at": time.time(), "reason": None}
    return TrialResult(outcome, **(values | changes))


def test_reopening_a_sweep_finds_its_run(store, client, identity, sweep):
    sweep.finish({"best_objective": 0.5})
    assert client.get_run(sweep.run_id).info.status == "FINISHED"
    again = open_sweep_run(store, identity)
    assert again.run_id == sweep.run_id
    assert client.get_run(sweep.run_id).info.status == "RUNNING"
    found = client.search_runs([store.experiment_id], f"tags.`embsweep.study` = '{identity.study_id}'")
    assert len(found) == 1


def test_a_fresh_start_with_the_same_name_is_another_run(store, identity, sweep):
    fresh = open_sweep_run(store, dataclasses.replace(identity, study_id=identity.study_id + "-fresh"))
    assert fresh.run_id != sweep.run_id


def test_a_rehearsal_is_tagged(store, client, identity):
    rehearsal = dataclasses.replace(identity, rehearsal=True, rehearses="bge-m3")
    sweep = open_sweep_run(store, rehearsal)
    for run_id in (sweep.run_id, sweep.start_trial(RunRef(0, "trial 0"), 1, {})):
        tags = client.get_run(run_id).data.tags
        assert tags["embsweep.rehearsal"] == "true"
        assert (tags["embsweep.base_model"], tags["embsweep.rehearses"]) == ("minilm", "bge-m3")


def test_a_trial_is_a_child_with_its_configuration(client, sweep, identity):
    run = client.get_run(
        sweep.start_trial(RunRef(3, "trial 3"), 1, {"train": {"learning_rate": 2e-5}, "loss": {"name": "mnrl"}})
    )
    assert run.info.run_name == "trial 3"
    assert run.info.status == "RUNNING"
    assert run.data.params == {"train.learning_rate": "2e-05", "loss.name": "mnrl"}
    assert run.data.tags["mlflow.parentRunId"] == sweep.run_id
    assert run.data.tags["embsweep.trial"] == "3"
    assert run.data.tags["embsweep.study"] == identity.study_id


def test_another_attempt_continues_the_same_run(store, client, identity, sweep, make_report):
    first = sweep.start_trial(RunRef(0, "trial 0"), 1, {"a": 1})
    sweep.log_report(first, make_report(objective=math.nan))
    sweep.finish_trial(first, _result(Outcome.FAILED, reason="out of memory"))
    second = open_sweep_run(store, identity).start_trial(RunRef(0, "trial 0"), 2, {"a": 2, "b": 3})
    assert second == first
    assert len(_trials(client, store, sweep)) == 1
    run = client.get_run(first)
    assert run.info.status == "RUNNING"
    assert run.data.params == {"a": "1", "b": "3"}
    assert run.data.tags["embsweep.attempt"] == "2"
    assert not {"embsweep.outcome", "embsweep.reason", "embsweep.non_finite"} & set(run.data.tags)


def test_parameters_that_were_lost_in_a_crash_are_added(client, sweep):
    params = {f"k{n}": n for n in range(250)}
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {"k0": 0})
    assert sweep.start_trial(RunRef(0, "trial 0"), 1, params) == run_id
    assert client.get_run(run_id).data.params == {key: str(value) for key, value in params.items()}


def test_parameters_of_the_sweep_are_cut_and_logged_once(client, sweep):
    sweep.log_params({"space": {"long": "é" * 7000}, "n": 1})
    sweep.log_params({"n": 2})
    params = client.get_run(sweep.run_id).data.params
    assert len(params["space.long"]) == 6000
    assert params["n"] == "1"


def test_a_report_is_one_request_with_every_metric_at_every_dimension(client, sweep, make_report, make_scores):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    requests = []
    original = type(client).log_batch

    def count(self, *args, **kwargs):
        requests.append(kwargs)
        return original(self, *args, **kwargs)

    with mock.patch.object(type(client), "log_batch", count):
        sweep.log_report(run_id, make_report(step=10))
    assert len(requests) == 1
    names = {metric.key for metric in requests[0]["metrics"]}
    own = {"objective", "best_objective", "loss", "learning_rate", "epoch", "fraction"}
    assert len(names) == 4 * len(METRICS) + len(own)
    assert own < names
    (point,) = client.get_metric_history(run_id, "eval/dim_64/map_at_100")
    assert (point.step, point.value) == (10, pytest.approx(make_scores()[64]["map@100"]))


def test_a_repeated_report_changes_nothing(client, sweep, make_report):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    for step in (10, 20, 10, 20):
        sweep.log_report(run_id, make_report(step=step))
    history = client.get_metric_history(run_id, "eval/dim_256/map_at_100")
    assert [point.step for point in history] == [10, 20]


@pytest.mark.parametrize("later_s", [+3600.0, -3600.0])
def test_tables_show_the_best_objective_of_the_last_attempt(store, client, identity, sweep, make_report, later_s):
    """Even if an earlier attempt had a better one, and if the clock was set back between them."""
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    sweep.log_report(run_id, make_report(step=90, best_objective=0.9, reported_at=10_000.0))
    again = open_sweep_run(store, identity)
    again.start_trial(RunRef(0, "trial 0"), 2, {})
    again.log_report(run_id, make_report(step=10, best_objective=0.45, reported_at=10_000.0 + later_s))
    for _ in range(2):
        again.finish_trial(run_id, _result(ended_at=10_001.0 + later_s))
        assert client.get_run(run_id).data.metrics["best_objective"] == 0.45
    assert len(client.get_metric_history(run_id, "best_objective")) == 3


def test_a_better_score_is_shown_after_the_clock_was_set_back(client, sweep, make_report):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    sweep.log_report(run_id, make_report(step=10, best_objective=0.3, reported_at=10_000.0))
    sweep.log_report(run_id, make_report(step=20, best_objective=0.45, reported_at=6_400.0))
    assert client.get_run(run_id).data.metrics["best_objective"] == 0.45
    for trials, best in ((6, 0.3), (9, 0.5)):
        sweep.finish({"best_objective": best}, trials=trials, ended_ms=10_000_000 - trials)
    assert client.get_run(sweep.run_id).data.metrics["best_objective"] == 0.5


def test_runs_that_a_slow_server_created_twice_are_deleted(store, client, identity):
    """As if a request that was only slow had been sent again."""
    create = type(client).create_run

    def create_three(self, *args, **kwargs):
        found = [create(self, *args, **kwargs) for _ in range(3)]
        return found[1]

    with mock.patch.object(type(client), "create_run", create_three):
        sweep = open_sweep_run(store, identity)
        run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    ours = f"tags.`embsweep.study` = '{identity.study_id}'"
    assert len(client.search_runs([store.experiment_id], ours)) == 6
    sweep.finish_trial(run_id, _result())
    sweep.finish({"best_objective": 0.5}, trials=1)
    found = client.search_runs([store.experiment_id], ours)
    assert sorted(run.info.run_id for run in found) == sorted([run_id, sweep.run_id])
    assert {run.info.status for run in found} == {"FINISHED"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_named_and_not_logged(client, sweep, make_report, bad):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    sweep.log_report(run_id, make_report(objective=bad, loss=bad))
    run = client.get_run(run_id)
    assert run.data.tags["embsweep.non_finite"] == "loss, objective"
    assert not {"objective", "loss"} & set(run.data.metrics)
    assert run.data.metrics["best_objective"] == 0.45


def test_a_complete_trial_has_its_best_scores(client, sweep, make_scores):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    sweep.finish_trial(run_id, _result(best_scores=make_scores(0.2)))
    run = client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.tags["embsweep.outcome"] == "complete"
    assert run.data.metrics["best/dim_256/map_at_100"] == pytest.approx(0.2256)
    assert run.data.metrics["best_objective"] == 0.45


def test_a_stopped_trial_is_finished_with_the_given_scores(client, sweep, make_scores):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    sweep.finish_trial(run_id, _result(Outcome.STOPPED), make_scores(0.3))
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["embsweep.outcome"]) == ("FINISHED", "stopped")
    assert run.data.metrics["best/dim_64/map_at_100"] == pytest.approx(0.3064)


def test_a_failed_trial_has_its_reason_without_secrets(client, sweep):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    reason = "cannot read https://ann:hunter2@host: " + "x" * 9000
    sweep.finish_trial(run_id, _result(Outcome.FAILED, best_objective=None, reason=reason))
    run = client.get_run(run_id)
    assert run.info.status == "FAILED"
    assert run.data.tags["embsweep.reason"].startswith("cannot read https://***@host: xxx")
    assert "best_objective" not in run.data.metrics


def test_the_baseline_is_logged_once(client, sweep, make_scores):
    for _ in range(2):
        sweep.log_baseline(make_scores(), bm25_map=0.37)
    assert len(client.get_metric_history(sweep.run_id, "baseline/dim_384/ndcg_at_10")) == 1
    assert client.get_run(sweep.run_id).data.metrics["bm25/map_at_100"] == 0.37


def test_facts_become_metrics_and_tags(client, sweep):
    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {})
    sweep.log_facts(run_id, {"setup_s": 1.5, "device": "cpu", "parameters": 10})
    run = client.get_run(run_id)
    assert (run.data.metrics["setup_s"], run.data.metrics["parameters"]) == (1.5, 10.0)
    assert run.data.tags["embsweep.device"] == "cpu"


def test_a_dataset_is_logged_with_name_digest_and_sizes_but_no_texts(client, sweep):
    facts = DatasetRecord("docs", "f" * 64, "file:///data/my.jsonl", {"train": 30, "test": 5})
    for _ in range(2):
        sweep.log_dataset(facts)
    (found,) = client.get_run(sweep.run_id).inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("docs", "f" * 16)
    assert json.loads(found.dataset.profile) == {"train": 30, "test": 5}


def test_text_artifacts_are_stored_without_secrets(client, sweep, tmp_path):
    sweep.log_artifact_text("configuration.yaml", "uri: postgresql://ann:hunter2@db/x\n")
    path = client.download_artifacts(sweep.run_id, "configuration.yaml", str(tmp_path))
    assert Path(path).read_text() == "uri: postgresql://***@db/x\n"


@pytest.mark.parametrize(("interrupted", "status"), [(True, "KILLED"), (False, "FAILED")])
def test_an_early_end_marks_the_sweep_and_its_running_trials(client, sweep, interrupted, status):
    done, running = sweep.start_trial(RunRef(0, "trial 0"), 1, {}), sweep.start_trial(RunRef(1, "trial 1"), 1, {})
    sweep.finish_trial(done, _result())
    sweep.close(interrupted=interrupted)
    states = [client.get_run(run_id).info.status for run_id in (sweep.run_id, done, running)]
    assert states == [status, "FINISHED", status]


def test_there_is_no_active_run_and_no_file_in_the_working_directory(empty_cwd, sweep, make_report):
    import mlflow

    run_id = sweep.start_trial(RunRef(0, "trial 0"), 1, {"a": 1})
    sweep.log_report(run_id, make_report())
    sweep.finish({})
    assert mlflow.active_run() is None
    assert list(empty_cwd.iterdir()) == []


def test_a_name_with_a_quote_is_refused(store):
    with pytest.raises(ValueError, match="it's"):
        open_sweep_run(store, SweepIdentity("it's", "1", "minilm"))

"""Runs in MLflow become equal to their states, whatever they were before."""

import copy
import dataclasses
import json
import math
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import PERMISSION_DENIED
from tests.mlflow_runs import find_all_runs, find_differences
from tests.tracking.fake_mlflow import FakeMlflow, Faulty
from tests.tracking.states import T0, make_sweep, make_trial

from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.requests import MetricBatch
from embsweep.tracking.runs import DIGEST_TAG, NOTE_END, NOTE_TAG, OWN_TAGS_TAG, SWEEP, RunState, RunWriter

pytestmark = pytest.mark.slow

TRIAL = ("trial", 0)


@pytest.fixture
def study(identity):
    return identity.study_id


@pytest.fixture
def fake():
    return FakeMlflow()


def write(store, *states):
    """Write states with a new view of the store, and return the writer."""
    writer = RunWriter(store, states[0].study)
    for state in states:
        writer.write(state)
    return writer


def dump(fake):
    """Return everything that a fake contains."""
    return copy.deepcopy((fake.runs, fake.points, fake.texts, [len(inputs) for inputs in fake.inputs.values()]))


def write_a_history(store, study):
    """Write a trial's failed attempt, a second attempt with a clock set back, and its end; return the last states."""
    failed = make_trial(
        study, status="FAILED", steps=(10, 90), metrics=(MetricBatch({"objective": math.nan, "loss": 1.0}, T0, 10),)
    )
    again = make_trial(study, steps=(10, 20), attempt=2, shift_ms=-3_600_000)
    done = make_trial(
        study,
        status="FINISHED",
        steps=(10, 20),
        attempt=2,
        shift_ms=-3_600_000,
        params={f"k{n:03}": "v" * 200 for n in range(250)} | failed.params,
    )
    done = dataclasses.replace(done, metrics=(*failed.metrics, *done.metrics))
    other = make_trial(study, 1, status="KILLED", steps=(10,))
    paused = make_trial(study, 2, status="SCHEDULED", steps=(10,), tags={"embsweep.state": "paused at 10%"})
    write(store, make_sweep(study), failed)
    write(store, make_sweep(study), again)
    write(store, make_sweep(study, "FINISHED"), done, other, paused)
    return make_sweep(study, "FINISHED"), done, other, paused


def test_the_fake_is_like_mlflow(store, client, fake, study):
    for at, its_client in ((store, client), (fake, fake)):
        states = write_a_history(at, study)
        assert find_differences(its_client, at.experiment_id, states) == []


def test_writing_again_changes_nothing_and_sends_no_request_but_reads(fake, study):
    states = write_a_history(fake, study)
    before = dump(fake)
    faulty = Faulty(fake, "1")
    writer = RunWriter(faulty, study)
    assert writer.digests == {state.key: state.digest for state in states}
    for state in states:
        writer.write(state)
    assert dump(fake)[:3] == before[:3]
    assert "create_run" not in faulty.requests


def test_the_digest_depends_on_everything(study):
    changes = {
        "status": "KILLED", "name": "other", "params": {}, "tags": {}, "metrics": (), "texts": {}, "dataset": None,
        "final": {"a": 1.0}, "ended_ms": 1, "started_ms": 1, "experiment_tags": {"a": "b"},
        "note": "n", "linked": make_trial(study),
    }  # fmt: skip
    state = make_sweep(study)
    others = [dataclasses.replace(state, **{name: value}).digest for name, value in changes.items()]
    assert len({state.digest, *others}) == len(changes) + 1
    assert make_sweep(study).digest == state.digest


def test_an_experiment_gets_the_tags_that_it_lacks_and_keeps_those_of_people(fake, study):
    fake.experiment_tags["mlflow.note.content"] = "our note"
    faulty = Faulty(fake, "1")
    state = make_sweep(study, experiment_tags={"mlflow.sharedViewState.a": "v"})
    writer = write(faulty, state)
    assert fake.experiment_tags == {
        "mlflow.note.content": "our note",
        "mlflow.experimentKind": "custom_model_development",
        "mlflow.sharedViewState.a": "v",
    }
    fake.experiment_tags["mlflow.sharedViewState.a"] = "changed"
    faulty.requests.clear()
    writer.write(make_sweep(study, "FINISHED", experiment_tags=state.experiment_tags))
    assert not {"get_experiment", "set_experiment_tag"} & set(faulty.requests)
    write(faulty, make_sweep(study, experiment_tags=state.experiment_tags))
    assert "set_experiment_tag" not in faulty.requests
    assert fake.experiment_tags["mlflow.sharedViewState.a"] == "changed"


def test_a_description_has_the_ids_of_the_store_and_a_link_to_a_run_that_is_not_written_yet(fake, study):
    trial = make_trial(study, 0, "FINISHED", steps=(10,))
    linked = RunState(trial.key, study, trial.name, "RUNNING", trial.started_ms)
    state = make_sweep(study, "FINISHED", note="#/{experiment}/{run}", linked=linked)
    writer = write(fake, state, trial)
    note = fake.runs[writer.run_ids[SWEEP]].data.tags[NOTE_TAG]
    assert note == f"#/1/{writer.run_ids[trial.key]}\n\n{NOTE_END}"
    assert find_differences(fake, "1", (state, trial)) == []


def test_a_description_that_a_person_has_written_stays(fake, study):
    writer = write(fake, make_sweep(study, note="first"))
    tags = fake.runs[writer.run_ids[SWEEP]].data.tags
    write(fake, make_sweep(study, note="second"))
    assert tags[NOTE_TAG] == f"second\n\n{NOTE_END}"
    tags[NOTE_TAG] = "mine"
    write(fake, make_sweep(study, "FINISHED", note="third"))
    assert tags[NOTE_TAG] == "mine"


def test_tags_of_the_user_are_replaced_by_those_of_a_later_start(fake, study):
    first = {"team": "search", "ticket": "1", OWN_TAGS_TAG: "team,ticket", "mlflow.user": "ann"}
    writer = write(fake, make_sweep(study, tags=first))
    tags = fake.runs[writer.run_ids[SWEEP]].data.tags
    tags["by hand"] = "stays"
    write(fake, make_sweep(study, tags={"team": "ranking", OWN_TAGS_TAG: "team"}))
    assert (tags["team"], tags["by hand"], "ticket" in tags) == ("ranking", "stays", False)


def test_an_experiment_that_belongs_to_others_keeps_its_tags(fake, study, monkeypatch):
    def refuse(*_):
        raise MlflowException("not yours", PERMISSION_DENIED)

    monkeypatch.setattr(fake, "set_experiment_tag", refuse)
    state = make_sweep(study, experiment_tags={"mlflow.sharedViewState.a": "v"})
    assert write(fake, state).digests == {SWEEP: state.digest}


def test_another_report_is_one_request(fake, study):
    faulty = Faulty(fake, "1")
    writer = write(faulty, make_sweep(study), make_trial(study, steps=(10,)))
    faulty.requests.clear()
    writer.write(make_trial(study, steps=(10, 20)))
    assert faulty.requests == ["log_batch"]
    assert find_differences(fake, "1", (make_sweep(study), make_trial(study, steps=(10, 20)))) == []


def test_more_metrics_than_one_request_may_have(fake, study):
    many = tuple(MetricBatch({f"m{n}": 1.0 for n in range(30)}, T0, step) for step in range(100))
    state = make_sweep(study, metrics=many)
    faulty = Faulty(fake, "1")
    write(faulty, state)
    assert faulty.requests.count("log_batch") == 4, "one with the parameters"
    assert find_differences(fake, "1", (state,)) == []


def test_a_fresh_sweep_of_the_same_name_has_its_own_runs(fake, study):
    write(fake, make_sweep(study), make_trial(study))
    write(fake, make_sweep(f"{study}-fresh"), make_trial(f"{study}-fresh", 7))
    assert len(fake.runs) == 4
    for states in (
        (make_sweep(study), make_trial(study)),
        (make_sweep(f"{study}-fresh"), make_trial(f"{study}-fresh", 7)),
    ):
        assert find_differences(fake, "1", states) == []


def test_a_resumed_run_has_no_end_of_the_attempt_before(fake, study):
    reason = {"embsweep.reason": "out of memory", "embsweep.outcome": "failed", "embsweep.restarted": "its state"}
    bad = (MetricBatch({"loss": math.inf, "objective": math.nan}, T0),)
    write(fake, make_sweep(study), make_trial(study, status="FAILED", tags=reason, metrics=bad))
    (run,) = find_all_runs(fake, "1", study)[TRIAL]
    assert run.data.tags.items() >= {**reason, "embsweep.non_finite": "loss, objective"}.items()
    write(fake, make_sweep(study), make_trial(study, attempt=2))
    assert run.info.status == "RUNNING"
    assert not {*reason, "embsweep.non_finite"} & set(run.data.tags)
    assert find_differences(fake, "1", (make_sweep(study), make_trial(study, attempt=2))) == []


def test_a_paused_run_has_not_ended_and_goes_on(fake, study):
    paused = make_trial(study, status="SCHEDULED", steps=(10,), tags={"embsweep.state": "paused at 10%"})
    stages = make_trial(study), paused, make_trial(study, steps=(10, 20)), make_trial(study, status="FINISHED")
    writer = write(fake, make_sweep(study))
    for state in stages:
        writer.write(state)
        (run,) = find_all_runs(fake, "1", study)[TRIAL]
        assert (run.info.status, run.info.end_time) == (state.status, state.ended_ms)
        assert run.data.tags.get("embsweep.state") == state.tags.get("embsweep.state")
        assert run.data.tags[DIGEST_TAG] == state.digest


@pytest.mark.parametrize("shift_ms", [3_600_000, -3_600_000])
def test_tables_show_the_best_objective_of_the_last_attempt(fake, study, shift_ms):
    """Even if an earlier attempt reached a higher step, and if the clock was set back between them."""
    first, sweep = make_trial(study, steps=(10, 90)), make_sweep(study)
    write(fake, sweep, first)
    done = make_trial(study, status="FINISHED", steps=(10, 20), attempt=2, shift_ms=shift_ms)
    for _ in range(2):
        write(fake, sweep, done)
    (run,) = find_all_runs(fake, "1", study)[TRIAL]
    assert run.data.metrics["best_objective"] == 0.45
    assert len(fake.get_metric_history(run.info.run_id, "best_objective")) == 5


def test_a_later_result_is_shown_whatever_the_clock_says(fake, study):
    for best, ended_ms in ((0.5, T0 + 1000), (0.4, T0 + 10), (0.6, T0 + 5)):
        write(fake, make_sweep(study, "FINISHED", final={"best_objective": best}, ended_ms=ended_ms))
        (run,) = find_all_runs(fake, "1", study)[SWEEP]
        assert run.data.metrics["best_objective"] == best


def test_runs_that_a_request_sent_twice_has_created_become_one(fake, study):
    faulty = Faulty(fake, "1", lambda request: "twice" if request == "create_run" else None)
    states = make_sweep(study), make_trial(study, steps=(10,))
    write(faulty, *states)
    assert len(fake.runs) == 4
    ended = make_sweep(study, "FINISHED"), make_trial(study, status="FINISHED", steps=(10,))
    write(faulty, *ended)
    assert find_differences(fake, "1", ended) == []


def test_a_run_that_a_slow_server_creates_after_the_end_replaces_nothing(fake, study):
    states = make_sweep(study, "FINISHED"), make_trial(study, status="FINISHED", steps=(10,))
    run_ids = write(fake, *states).run_ids
    late = fake.create_run("1", 0, states[1].identity_tags, "trial 0")
    again = RunWriter(fake, study)
    assert again.run_ids == run_ids
    assert again.digests[TRIAL] == states[1].digest
    again.write(states[1])
    assert late.info.run_id not in fake.runs


def test_a_deleted_run_is_created_again(store, client, study):
    states = make_sweep(study), make_trial(study, status="FINISHED", steps=(10,))
    client.delete_run(write(store, *states).run_ids[TRIAL])
    write(store, *states)
    assert find_differences(client, store.experiment_id, states) == []


def test_another_store_gets_everything_and_the_first_one_nothing(fake, study):
    states, other = write_a_history(fake, study), FakeMlflow()
    before = dump(fake)
    write(other, *states)
    assert find_differences(other, "1", states) == []
    assert dump(fake) == before


def test_data_and_texts_are_logged_without_secrets(store, client, study, tmp_path):
    secret = "postgresql://ann:hunter2@db/x"
    dataset = DatasetRecord("docs", "e" * 64, secret, {"train": 30, "test": 5})
    tags = {"embsweep.command": f"run_sweep.py tracking.uri={secret}"}
    state = make_sweep(study, dataset=dataset, texts={"config/a.yaml": f"uri: {secret}\n"}, tags=tags)
    for _ in range(2):
        run_id = write(store, state).run_ids[SWEEP]
    run = client.get_run(run_id)
    (found,) = run.inputs.dataset_inputs
    assert (found.dataset.name, found.dataset.digest) == ("docs", "e" * 16)
    assert json.loads(found.dataset.profile) == {"train": 30, "test": 5}
    path = client.download_artifacts(run_id, "config/a.yaml", str(tmp_path))
    assert Path(path).read_text() == "uri: postgresql://***@db/x\n"
    assert "hunter2" not in str(run.to_dictionary())


def test_there_is_no_active_run_and_no_file_in_the_working_directory(empty_cwd, store, study):
    import mlflow

    write(store, make_sweep(study), make_trial(study, status="FINISHED", steps=(10,)))
    assert mlflow.active_run() is None
    assert list(empty_cwd.iterdir()) == []


def test_the_digest_is_written_last(fake, study):
    """A crash before it leaves a run that is written again."""
    refused = []

    def fault(request):
        refused.append(request)
        return "lost" if request == "set_terminated" else None

    writer = RunWriter(Faulty(fake, "1", fault), study)
    writer.write(make_sweep(study))
    with pytest.raises(ConnectionError):
        writer.write(make_trial(study, status="FINISHED", steps=(10,)))
    (run,) = find_all_runs(fake, "1", study)[TRIAL]
    assert DIGEST_TAG not in run.data.tags

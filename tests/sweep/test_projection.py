"""What MLflow must say about a sweep: a pure function of the ledger's metadata and records."""

import dataclasses
import json
import time

import pytest

from embsweep.core.names import METRICS
from embsweep.search.confirmation import ConfirmationLedger
from embsweep.search.record import CONFIG, FACTS, PROMOTION, REPORT, STUDY, TrialRecord
from embsweep.search.storage import open_storage
from embsweep.sweep.projection import build_view, describe_state, project_ledger, project_sweep, project_trial
from embsweep.tracking.runs import SWEEP
from embsweep.training.messages import REPORTS
from tests.ledgers import open_search, report_at
from tests.sweep.schedulers import METADATA, SPACE

FIRST, BEST, LAST = (
    report_at(0.25, 0.2, at=10.0),
    report_at(0.5, 0.6, at=20.0),
    report_at(0.75, 0.4, best=0.6, best_fraction=0.5, at=30.0),
)
INTERRUPTED = {**METADATA, "status": "KILLED", "ended_at": 99.0}
BASELINE = {"objective": 0.1, "bm25": {"map@100": 0.3}, "scores": {"64": {"map@100": 0.1}}}
RESULT = {"summary": {"best_objective": 0.6, "test_objective": 0.5}, "ended_at": 90.0, "trials": 4}


def trial(state="running", *reports, number=2, reached=None, params=None, **attributes):
    """Return a record whose last attempt has made these reports, or only those at the steps `reached`."""
    rows = {f"{REPORT}{row['step']}": row for row in REPORTS.dump_python(tuple(reports), mode="json")}
    steps = {int(1000 * report.fraction) for report in reports} if reached is None else reached
    config = {"train": {"seed": 5, "learning_rate": 0.1}, "eval": {"dims": [64, 32]}}
    own = {"attempt": 1, "started_at": 5.0, CONFIG: config, **rows, **attributes}
    best = max((report.objective for report in reports), default=None)
    return TrialRecord(number, state, params or {"train.learning_rate": 0.1}, best, 0.75, own, steps, created_at=4.0)


def runs_to(step, *, promoted=False):
    """Return the attributes of a trial that runs until a rung."""
    return {PROMOTION: {"until": step, "paused": False, "promoted": promoted}}


def paused_at(step):
    """Return the attributes of a trial that has paused at a rung."""
    return {PROMOTION: {"until": step, "paused": True}}


def points(state):
    """Return name → (value, ms, step) of the metrics of the validation split, of the weights and of facts."""
    return [
        (name, value, batch.at_ms, batch.step)
        for batch in state.metrics
        for name, value in batch.values.items()
        if "map_at_100" in name or name.endswith("_s")
    ]


EVALUATIONS = [
    ("eval/dim_64/map_at_100", 0.2, 10_000, 1),
    ("eval/dim_64/map_at_100", 0.6, 20_000, 2),
    ("eval/dim_64/map_at_100", 0.4, 30_000, 3),
]
WEIGHTS = ("best/dim_64/map_at_100", 0.6, 40_000, 0)


# -- the sweep -----------------------------------------------------------------------------------------------


def test_a_running_sweep_has_its_description():
    state = project_sweep(METADATA)
    assert (state.key, state.study, state.name, state.status) == (SWEEP, "0a1b", "s", "RUNNING")
    assert (state.started_ms, state.ended_ms, state.metrics, state.final) == (500, None, (), {})
    assert state.params == {"space.lr": "interval 0 to 1", "search.sampler": "random"}
    assert state.tags["embsweep.command"] == "python run_sweep.py"
    assert state.tags["embsweep.sweep"] == "s"
    assert (state.dataset.name, state.dataset.sizes) == ("d", {"passages": 9})
    assert state.texts == {"config/resolved.yaml": "x: 1"}


def test_a_sweep_has_what_mattered_as_an_artifact_once_it_is_known():
    assert "importance.json" not in project_sweep(METADATA).texts
    found = {"objective": {"trials": 3, "shares": {}, "reason": "too few trials to say"}}
    state = project_sweep({**METADATA, "importance": found})
    assert json.loads(state.texts["importance.json"]) == found
    assert state.texts.items() > project_sweep(METADATA).texts.items()


def test_a_sweep_has_a_view_of_its_trials_from_its_start_on():
    view = {"metric": "ndcg@10", "dims": [64, 32], "swept": ["train.epochs"]}
    metadata = {**METADATA, "tracking": {**METADATA["tracking"], "view": view}}
    ((name, value),) = project_sweep(metadata).experiment_tags.items()
    assert name == "mlflow.sharedViewState.embsweep-0a1b"
    assert "best/dim_32/ndcg_at_10" in value
    assert project_sweep({**metadata, "status": "FINISHED", "ended_at": 9.0}).experiment_tags == {name: value}
    assert project_sweep(METADATA).experiment_tags == {}, "a ledger of before there were views"


def test_the_baseline_is_a_metric_of_the_sweep_at_its_start():
    (batch,) = project_sweep({**METADATA, "baseline": BASELINE}).metrics
    assert batch.values == {"baseline/dim_64/map_at_100": 0.1, "bm25/map_at_100": 0.3}
    assert (batch.at_ms, batch.step) == (500, 0)


def test_a_finished_sweep_shows_its_result():
    state = project_sweep({**METADATA, "status": "FINISHED", "ended_at": 90.0, "baseline": BASELINE, "result": RESULT})
    assert (state.status, state.ended_ms) == ("FINISHED", 90_000)
    assert state.final == RESULT["summary"]


def test_an_interrupted_sweep_has_ended_until_it_runs_again():
    assert (project_sweep(INTERRUPTED).status, project_sweep(INTERRUPTED).ended_ms) == ("KILLED", 99_000)
    resumed = project_sweep({**INTERRUPTED, "status": "RUNNING"})
    assert (resumed.status, resumed.ended_ms) == ("RUNNING", None)
    assert resumed == project_sweep(METADATA)


def test_a_rehearsal_is_tagged():
    identity = {"name": "s", "base_model": "static", "rehearsal": True, "rehearses": "minilm"}
    metadata = {**METADATA, "tracking": {**METADATA["tracking"], "identity": identity}}
    for state in (project_sweep(metadata), project_trial(metadata, STUDY, trial())):
        assert (state.tags["embsweep.rehearsal"], state.tags["embsweep.rehearses"]) == ("true", "minilm")


# -- trials --------------------------------------------------------------------------------------------------


def test_a_running_trial_has_its_reports_at_their_own_times():
    state = project_trial(METADATA, STUDY, trial("running", FIRST, BEST, LAST))
    assert (state.key, state.study, state.name) == (("trial", 2), "0a1b", "trial 2")
    assert (state.status, state.started_ms, state.ended_ms) == ("RUNNING", 4_000, None)
    assert points(state) == EVALUATIONS
    assert state.final == {}
    assert "embsweep.outcome" not in state.tags
    assert state.params == {"train.seed": "5", "train.learning_rate": "0.1", "eval.dims": "64, 32"}
    assert (state.tags["embsweep.attempt"], state.tags["embsweep.attempt_started_ms"]) == ("1", "5000")


@pytest.mark.parametrize("outcome", ["complete", "stopped"])
def test_a_trial_with_a_value_is_finished_and_has_the_scores_of_its_weights(outcome):
    state = project_trial(METADATA, STUDY, trial(outcome, FIRST, BEST, LAST, ended_at=40.0))
    assert (state.status, state.ended_ms) == ("FINISHED", 40_000)
    assert points(state) == [*EVALUATIONS, WEIGHTS]
    assert state.final == {"best_objective": 0.6}
    assert state.tags["embsweep.outcome"] == outcome


def test_a_failed_trial_has_its_reason_without_secrets_and_no_best_objective():
    reason = "no answer from postgresql://ann:hunter2-and-more@db/x " + 3000 * "y"
    state = project_trial(METADATA, STUDY, trial("failed", FIRST, BEST, LAST, ended_at=40.0, reason=reason))
    assert (state.status, state.tags["embsweep.outcome"], state.final) == ("FAILED", "failed", {})
    assert points(state)[:3] == EVALUATIONS
    assert state.tags["embsweep.reason"].startswith("no answer from postgresql://")
    assert "hunter2" not in state.tags["embsweep.reason"]
    assert len(state.tags["embsweep.reason"]) == 2000


@pytest.mark.parametrize("status", ["KILLED", "FAILED"])
def test_an_open_trial_of_a_sweep_that_does_not_run_has_ended_with_it(status):
    metadata = {**INTERRUPTED, "status": status}
    state = project_trial(metadata, STUDY, trial("running", FIRST))
    assert (state.status, state.ended_ms) == (status, 99_000)
    assert state.final == {}
    ended = project_trial(metadata, STUDY, trial("complete", FIRST, ended_at=40.0))
    assert (ended.status, ended.ended_ms) == ("FINISHED", 40_000), "one that had ended before"


@pytest.mark.parametrize("metadata", [METADATA, INTERRUPTED])
def test_a_paused_trial_waits_whether_the_sweep_runs_or_not(metadata):
    state = project_trial(metadata, STUDY, trial("paused", FIRST, ended_at=40.0, **paused_at(125)))
    assert (state.status, state.ended_ms, state.final) == ("SCHEDULED", None, {})
    assert state.tags["embsweep.state"] == "paused at 75%"
    assert "embsweep.outcome" not in state.tags
    assert points(state) == EVALUATIONS[:1]


def test_a_promoted_trial_runs_again():
    state = project_trial(METADATA, STUDY, trial("running", FIRST, ended_at=40.0, **runs_to(500, promoted=True)))
    assert (state.status, state.ended_ms) == ("RUNNING", None)
    assert state.tags["embsweep.state"] == "promoted to 50%"


def test_a_paused_trial_that_was_closed_has_ended_with_its_pause():
    state = project_trial(METADATA, STUDY, trial("stopped", FIRST, ended_at=40.0, **paused_at(250)))
    assert (state.status, state.ended_ms, state.tags["embsweep.outcome"]) == ("FINISHED", 40_000, "stopped")
    assert state.tags["embsweep.state"] == "stopped"


def test_a_trial_whose_configuration_is_invalid_has_its_point_and_its_reason():
    reason = "invalid configuration: train.batch_size is not valid"
    attributes = {"attempt": 1, "ended_at": 6.0, "reason": reason}
    point = {"train.batch_size": 8, "matryoshka": "halving"}
    record = TrialRecord(3, "failed", point, None, 0.0, attributes, created_at=4.0)
    state = project_trial(METADATA, STUDY, record)
    assert (state.status, state.started_ms, state.ended_ms) == ("FAILED", 4_000, 6_000)
    assert state.params == {"train.batch_size": "8", "matryoshka": "halving"}
    assert (state.metrics, state.final) == ((), {})
    assert state.tags["embsweep.reason"] == reason


def test_chosen_groups_are_parameters_beside_the_configuration():
    params = {"train.learning_rate": 0.1, "matryoshka": "halving"}
    state = project_trial(METADATA, STUDY, trial(params=params))
    assert state.params["matryoshka"] == "halving"
    assert state.params["train.seed"] == "5"


def test_facts_are_metrics_if_they_are_numbers_and_tags_otherwise():
    state = project_trial(METADATA, STUDY, trial(**{f"{FACTS}1": {"started_at": 5.0, "setup_s": 1.5, "device": "cpu"}}))
    assert points(state) == [("setup_s", 1.5, 5_000, 1)]
    assert state.tags["embsweep.device"] == "cpu"


def test_the_scores_of_a_trial_that_started_over_are_those_of_its_last_attempt():
    """The first attempt got further, and its points stay in MLflow; its weights were replaced."""
    again = trial("stopped", FIRST, BEST, LAST, reached={250}, ended_at=40.0)
    again = dataclasses.replace(again, best=0.2)
    state = project_trial(METADATA, STUDY, again)
    assert points(state) == [*EVALUATIONS, ("best/dim_64/map_at_100", 0.2, 40_000, 0)]
    assert state.final == {"best_objective": 0.2}


def test_a_confirmation_run_is_a_run_of_its_own_study():
    params = {"trial": 4, "seed": 11, "fold": 1}
    state = project_trial(METADATA, "confirmation-2-folds", trial(number=0, params=params))
    assert (state.key, state.name) == (("confirmation-2-folds", 0), "confirmation of trial 4, seed 11, fold 1")
    assert {key: state.params[key] for key in ("trial", "seed", "fold")} == {"trial": "4", "seed": "11", "fold": "1"}
    assert state.tags["embsweep.phase"] == "confirmation"
    assert project_trial(METADATA, STUDY, trial()).tags["embsweep.phase"] == "search"


def test_every_metric_at_every_dimension_is_reported():
    scores = {dim: dict.fromkeys(METRICS, 0.5) for dim in (64, 32)}
    report = dataclasses.replace(BEST, scores=scores)
    state = project_trial(METADATA, STUDY, trial("complete", report, ended_at=40.0))
    names = {name for batch in state.metrics for name in batch.values}
    assert len([name for name in names if name.startswith("eval/dim_")]) == 2 * len(METRICS)
    assert len([name for name in names if name.startswith("best/dim_")]) == 2 * len(METRICS)


def test_equal_states_have_equal_digests_and_any_change_another():
    record = trial("running", FIRST)
    digests = [
        project_trial(METADATA, STUDY, each).digest
        for each in (
            record,
            trial("running", FIRST),
            trial("running", FIRST, BEST),
            trial("running", FIRST, attempt=2),
            trial("complete", FIRST, ended_at=40.0),
        )
    ]
    assert digests[0] == digests[1]
    assert len(set(digests)) == 4


# -- the table -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("record", "words"),
    [
        (trial("running"), "running"),
        (trial("running", **runs_to(1000)), "running"),
        (trial("running", **runs_to(120)), "running to 12%"),
        (trial("paused", FIRST, ended_at=9.0, **paused_at(500)), "paused at 75%"),
        (trial("running", FIRST, ended_at=9.0, **runs_to(1000, promoted=True)), "promoted to 100%"),
        (trial("stopped", FIRST, ended_at=9.0, **paused_at(120)), "stopped"),
        (trial("complete", FIRST, ended_at=9.0, **runs_to(1000)), "complete"),
    ],
)
def test_the_state_in_words(record, words):
    assert describe_state(record) == words


@pytest.mark.parametrize(
    ("record", "seconds"),
    [
        (trial("running"), 95.0),
        (trial("paused", ended_at=9.0, **paused_at(250)), 4.0),
        (trial("running", ended_at=9.0, **runs_to(500)), None),
        (trial("running", ended_at=9.0, started_at=60.0, **runs_to(500)), 40.0),
        (trial("complete", ended_at=9.0), 4.0),
        (TrialRecord(0, "running", {}, None, 0.0, {}), None),
    ],
)
def test_the_time_of_a_trial_is_that_since_its_last_promotion(monkeypatch, record, seconds):
    monkeypatch.setattr(time, "time", lambda: 100.0)
    (row,) = build_view({**METADATA, "requested_trials": 9}, [record]).rows
    assert row.elapsed_s == seconds


def test_a_sweep_whose_first_trial_runs_to_its_end_has_rungs_too():
    notes = {**METADATA, "requested_trials": 9}
    assert build_view(notes, [trial("running", **runs_to(1000))]).has_rungs
    assert not build_view(notes, [trial("running")]).has_rungs


# -- the whole ledger ----------------------------------------------------------------------------------------


def test_a_ledger_gives_the_sweep_first_then_the_runs_of_every_phase(tmp_path):
    path = tmp_path / "study.db"
    assert project_ledger(path) == ()
    ledger = open_search(open_storage(path), SPACE)
    assert project_ledger(path) == (), "a sweep that has not begun"
    ledger.set_metadata(**METADATA)
    ledger.ask()
    ConfirmationLedger(open_storage(path), "confirmation", [{"trial": 0, "seed": 1}]).ask()
    assert [state.key for state in project_ledger(path)] == [SWEEP, ("trial", 0), ("confirmation", 0)]

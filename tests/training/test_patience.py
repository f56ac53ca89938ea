"""Early stopping by patience: complete schedules of the callback without a model, with scores set by the test."""

from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsweep.core.errors import TrialFailed
from embsweep.core.names import METRICS
from embsweep.evaluation.evaluator import Evaluation
from embsweep.recipes.cards import load_cards
from embsweep.training import callback as rungs
from embsweep.training.callback import EvaluationCallback
from embsweep.training.messages import Outcome, TrialSpec
from embsweep.training.resume import ResumeState
from tests.refusals import raises_code


class Reports(list):
    """A reporter that keeps the reports and answers the one at step `stop_at` with a stop."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.stop_at = stop_at

    def report(self, report):
        self.append(report)
        return report.step == self.stop_at


@pytest.fixture(scope="module")
def config(make_config):
    return make_config("eval=epochs", "eval.dims=[64]").trial


@pytest.fixture(scope="module")
def train(config):
    """`train(objectives, patience)`: evaluate after each epoch of one step; returns steps taken, result and reports."""
    saved = []

    def run(objectives, patience, stop_at=None):
        scores = iter(objectives)
        patch = pytest.MonkeyPatch()
        patch.setattr(rungs, "evaluate_model", lambda *_, **__: evaluation(next(scores)))
        patch.setattr(rungs, "save_checkpoint", lambda _, path: saved.append(path))
        patch.setattr(rungs, "save_per_query", lambda *_: None)
        patch.setattr(rungs, "check_fence", lambda _: None)
        patch.setattr(rungs, "save_state", lambda *_: None)
        changed = config.train.model_copy(update={"epochs": float(len(objectives)), "patience": patience})
        job = TrialSpec(number=0, attempt=1, config=config.model_copy(update={"train": changed}), folder="0000")
        reports = Reports(stop_at)
        try:
            callback = EvaluationCallback(job, SimpleNamespace(model=None), None, reports, ResumeState(job.state, {}))
            return *_train(callback, len(objectives)), reports
        finally:
            patch.undo()

    return run


def evaluation(score):
    return Evaluation({64: dict.fromkeys(METRICS, score)}, {64: {metric: [score] for metric in METRICS}})


def _train(callback, steps):
    state, control = SimpleNamespace(max_steps=steps, global_step=0, epoch=0.0), SimpleNamespace()
    control.should_training_stop = False
    callback.on_train_begin(None, state, control)
    while state.global_step < steps and not control.should_training_stop:
        state.global_step += 1
        state.epoch = float(state.global_step)
        callback.on_step_end(None, state, control)
    return state.global_step, callback.to_result()


@pytest.mark.parametrize(
    ("objectives", "patience", "steps"),
    [
        ([0.5, 0.4, 0.3, 0.2], 2, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.4, 0.3], 2, 5),
        ([0.5, 0.4, 0.6, 0.5, 0.7], 2, 5),
        ([0.5, 0.5, 0.5], 1, 2),  # an equal score is no new best
        ([0.1, 0.2, 0.3], 1, 3),
        ([0.5, 0.4, 0.3], None, 3),
        ([0.5, 0.4, 0.3], 9, 3),
    ],
)
def test_trial_ends_after_patience_evaluations_without_a_new_best(train, objectives, patience, steps):
    taken, result, reports = train(objectives, patience)
    assert taken == steps == len(reports)
    assert result.outcome == Outcome.COMPLETE
    assert result.best_objective == max(objectives[:steps])


def test_a_stop_by_the_reporter_differs_from_one_by_patience(train):
    assert train([0.5, 0.4, 0.3, 0.2], 2, stop_at=3)[1].outcome == Outcome.STOPPED
    assert train([0.5, 0.4, 0.3, 0.2], 2)[1].outcome == Outcome.COMPLETE


def test_a_score_that_is_not_finite_fails_with_any_patience(train):
    with raises_code(TrialFailed, "not-finite"):
        train([0.5, float("nan"), 0.6], 2)


@settings(max_examples=60)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=20), st.integers(1, 6))
def test_patience_matches_its_definition(train, objectives, patience):
    """Training ends at the first evaluation at which the last `patience` ones are not above the best before them."""
    ends = (n for n in range(patience + 1, len(objectives) + 1) if _is_stale(objectives[:n], patience))
    taken, result, _ = train(objectives, patience)
    assert taken == next(ends, len(objectives))
    assert result.best_objective == max(objectives[:taken])


def _is_stale(objectives_so_far, patience):
    return max(objectives_so_far[-patience:]) <= max(objectives_so_far[:-patience])


def test_the_published_log_that_ends_early_ends_at_the_same_epoch(train):
    """es_boe: 50 epochs planned, best checkpoint chosen at dimension 128, stopped after the seventh epoch."""
    card = load_cards()["es_boe"]
    scores = [row.scores[card.chosen_by] for row in card.log]
    taken, result, reports = train([*scores, *[0.99] * 43], card.train.patience)
    assert taken == len(card.log)
    assert result.best_objective == max(scores)
    assert reports[-1].best_fraction == pytest.approx(2 / 50)

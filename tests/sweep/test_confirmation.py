"""Confirmation runs: equal finalists are tied, a better one is named, interruptions resume, test is evaluated once.

The scores of every run are known in advance (`known_scores`); each sweep has a storage folder of its own.
"""

import re
import shutil
from dataclasses import dataclass

import pytest

from embsweep.core.errors import TooManyFailures
from embsweep.search.ledger import Ledger
from embsweep.search.read import read_ledger, read_phases
from embsweep.selection.evidence import RECIPE, RUNNER_UP, WINNER, ConfirmedRecord, Evidence, VerdictRecord
from embsweep.sweep import confirmation
from embsweep.sweep.confirmation import draw_seeds
from embsweep.sweep.winner import name_finalists
from embsweep.tracking.store import open_store
from embsweep.training import trial as train
from tests.sweep.known_scores import FAIR, GOOD, POOR, by_learning_rate, use_rule, write_inputs

pytestmark = pytest.mark.slow

CLEAR = ("train.learning_rate=1e-6,1e-2", "search.trials=2")
"""The recipe, which is trial 0, is good; the other trial is not."""

RECIPE_OUTSIDE = ("train.learning_rate=1e-6,2e-2", "search.trials=2")
"""Neither of these is the recipe's own learning rate."""


@dataclass(frozen=True)
class FinishedSweep:
    """A finished sweep: its storage folder, evidence and output."""

    storage: object
    evidence: Evidence
    output: str

    @property
    def folder(self):
        return self.storage / "sweeps/quickstart"

    @property
    def notes(self):
        return read_ledger(self.folder / "study.db")[0]

    @property
    def store(self):
        return open_store(self.storage, uri=None, experiment="embsweep")


@pytest.fixture(scope="module")
def sweep(launch_in, tmp_path_factory):
    """Return `run(*arguments)`: a sweep with two finalists and two fresh seeds.

    A given `storage` resumes the sweep in it; `rule` determines the scores.
    """
    inputs = write_inputs(tmp_path_factory.mktemp("inputs"))

    def run(*arguments, storage=None, rule=by_learning_rate):
        storage = storage or tmp_path_factory.mktemp("storage")
        fixed = ("confirm=standard", "confirm.seeds=2", "confirm.finalists=2", "search=grid", *inputs)
        keys = {argument.split("=")[0] for argument in arguments}
        kept = [argument for argument in fixed if argument.split("=")[0] not in keys]
        with pytest.MonkeyPatch.context() as patch:
            use_rule(patch, rule)
            result, output = launch_in(storage, *kept, *arguments)
        return FinishedSweep(storage, result.evidence, output)

    return run


@pytest.fixture(scope="module")
def equal(sweep):
    """Three trials that differ only in their seed: the recipe scores lowest, all are equal under fresh seeds."""
    noise = {42: POOR, 47: FAIR, 49: GOOD}
    return sweep("train.seed=42,47,49", "train.learning_rate=1e-2", rule=lambda train: noise.get(train.seed, GOOD))


def test_trials_that_differ_only_in_their_seed_are_tied_and_the_cheapest_wins(equal):
    verdict = equal.evidence.verdict
    assert verdict.outcome == "tied"
    assert verdict.winner == 0, "equal in cost: the recipe"
    assert {facts.trial for facts in verdict.confirmed} == {0, 1, 2}
    runs = {facts.confirmed for facts in verdict.confirmed}
    assert len(runs) == 1, "the same configuration under the same fresh seeds"
    assert [len(scores) for scores in runs] == [2]


def test_draw_seeds_avoids_used_seeds_and_is_repeatable():
    assert draw_seeds(3, 0, []) == draw_seeds(3, 0, [])
    taken = draw_seeds(3, 0, [])[1]
    again = draw_seeds(3, 0, [taken])
    assert taken not in again
    assert len(set(again)) == 3
    assert draw_seeds(3, 1, []) != draw_seeds(3, 0, [])


def test_confirmation_runs_are_children_of_the_sweep_and_not_trials_of_the_search(equal):
    assert len(read_ledger(equal.folder / "study.db")[1]) == 3
    store = equal.store
    runs = store.client.search_runs([store.experiment_id])
    roles = sorted(run.data.tags["embsweep.role"] for run in runs)
    assert roles == ["confirmation"] * 6 + ["sweep"] + ["trial"] * 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    again = [run for run in runs if run.data.tags["embsweep.role"] == "confirmation"]
    assert len({run.data.params["train.seed"] for run in again}) == 2


def test_only_the_best_weights_of_each_finalist_are_kept(equal):
    kept = list((equal.folder / "confirmation").glob("*/best"))
    assert len(kept) == 3, "one for each of two finalists and the recipe"


def test_holdout_was_evaluated_once_for_finalists_recipe_base_and_bm25(equal):
    (evaluation,) = equal.notes["holdout_evaluations"]
    assert (equal.evidence.holdout_evaluations, evaluation["earlier"]) == (1, 0)
    test = equal.evidence.test
    assert {name: reading.trial for name, reading in test.items() if reading.trial is not None} == {
        "winner": 0,
        "runner-up": 1,
        "trial 2": 2,
    }
    assert set(test) == {"winner", "runner-up", "trial 2", "base", "BM25"}
    assert set(evaluation["models"]) == set(test) - {"BM25"}


@pytest.fixture(scope="module")
def resumed(sweep, tmp_path_factory):
    """A sweep that was interrupted when the third run of the confirmation ended, and resumed."""
    storage = tmp_path_factory.mktemp("resumed")
    real, calls = Ledger.complete, []

    def complete(self, number, objective):
        calls.append(number)
        if len(calls) == 5:  # after two trials of the search
            raise KeyboardInterrupt
        real(self, number, objective)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "complete", complete)
        sweep(*CLEAR, storage=storage)
    return sweep(*CLEAR, storage=storage)


def test_an_interrupted_confirmation_resumes(resumed):
    assert " 2 of 2 " in resumed.output
    runs = read_phases(resumed.folder / "study.db")["confirmation"]
    assert sorted(record.attempt for record in runs) == [1, 1, 1, 2]


def test_a_clearly_better_configuration_is_named_and_beats_its_base(resumed):
    evidence = resumed.evidence
    assert evidence.verdict.outcome == "named"
    assert evidence.training.params["train.learning_rate"] == "0.01"
    overall = {c.reference: c for c in evidence.comparisons if c.dim is None}
    assert overall["base"].difference > 0.1
    assert overall["base"].adjusted_p < 0.05
    assert overall["runner-up"].adjusted_p < 0.05


THREE = ("train.learning_rate=1e-6,1e-2,2e-2", "confirm=none")


@pytest.fixture(scope="module")
def searched(sweep):
    """A sweep of two of three points without confirmation, whose winner was evaluated on the test split."""
    return sweep(*THREE, "search.trials=2")


@pytest.fixture
def copied(searched, tmp_path):
    """Copy of the storage folder of that sweep."""
    shutil.copytree(searched.storage, tmp_path / "storage")
    return tmp_path / "storage"


def test_extending_a_finished_sweep_is_a_second_holdout_evaluation_and_reported(sweep, searched, copied):
    again = sweep(*THREE, "search.trials=3", storage=copied)
    assert (searched.evidence.holdout_evaluations, again.evidence.holdout_evaluations) == (1, 2)
    assert re.search(r"\b2 .*test split", again.output)
    once_more = sweep(*THREE, "search.trials=3", storage=copied)
    assert once_more.evidence == again.evidence
    assert [(e["number"], e["earlier"]) for e in once_more.notes["holdout_evaluations"]] == [(1, 0), (2, 0)]


def test_holdout_evaluations_of_another_sweep_on_the_same_data_count(sweep, copied):
    other = sweep(
        "train.learning_rate=1e-6,1e-2", "search.trials=1", "confirm=none", "sweep.name=other", storage=copied
    )
    assert other.evidence.holdout_evaluations == 2
    (evaluation,) = read_ledger(copied / "sweeps/other/study.db")[0]["holdout_evaluations"]
    assert (evaluation["number"], evaluation["earlier"]) == (1, 1)


def test_another_choice_among_evaluated_models_is_another_holdout_evaluation(sweep, searched, copied, monkeypatch):
    loser = 1 - searched.evidence.verdict.winner
    real = confirmation.select_winner

    def select_loser(*args, **kwargs):
        return real(*args, **kwargs).model_copy(update={"winner": loser})

    monkeypatch.setattr(confirmation, "select_winner", select_loser)
    second = sweep(*THREE, "search.trials=2", "gate.alpha=0.01", storage=copied)
    assert second.evidence.verdict.winner == loser
    assert second.evidence.holdout_evaluations == 2
    assert re.search(r"\b1 model to evaluate", second.output), "its embeddings as they would be stored"


def test_folds_compare_on_every_query_outside_test(sweep):
    finished = sweep(*CLEAR, "confirm.folds=2")
    evidence = finished.evidence
    assert re.search(r"\b2 folds.* 8 ", finished.output)
    (comparison,) = (c for c in evidence.verdict.comparisons if c.dim is None)
    assert comparison.queries == evidence.data.sizes["train_pairs"] + evidence.data.sizes["validation_queries"]
    assert comparison.groups == comparison.queries, "each passage has one question, and folds share none"
    assert evidence.training.run == f"trial {evidence.verdict.winner}", "weights trained on the sweep's own split"
    assert not list(finished.folder.glob("confirmation*/*/best"))


def failing(should_fail):
    """Return a `_train` that raises if `should_fail(job)` is true."""
    inner = train._train

    def run(job, *arguments, **options):
        if should_fail(job):
            raise FloatingPointError("scripted")
        return inner(job, *arguments, **options)

    return run


def is_of_confirmation(job):
    return "confirmation" in job.folder


@pytest.fixture(scope="module")
def one_fails(sweep):
    """A sweep of two trials, neither of them the recipe, whose better one fails in every confirmation run."""
    with pytest.MonkeyPatch.context() as patch:
        failing_train = failing(lambda job: is_of_confirmation(job) and job.config.train.learning_rate > 0.01)
        patch.setattr(train, "_train", failing_train)
        return sweep(*RECIPE_OUTSIDE)


def test_a_configuration_that_fails_in_the_confirmation_cannot_win(one_fails):
    verdict = one_fails.evidence.verdict
    assert one_fails.evidence.training.params["train.learning_rate"] == "1e-06"
    assert {facts.trial: facts.failures for facts in verdict.confirmed} == {0: 0, 1: 2}
    assert verdict.warnings


def test_a_first_trial_that_is_not_the_recipe_is_not_named_recipe(one_fails):
    assert "recipe" not in one_fails.evidence.test, "the recipe's learning rate, 1e-2, is outside the space"
    assert not any(facts.is_recipe for facts in one_fails.evidence.verdict.confirmed)


def test_nothing_is_registered_if_every_finalist_fails_in_the_confirmation(sweep, tmp_path):
    with pytest.MonkeyPatch.context() as patch, pytest.raises(TooManyFailures, match="scripted"):
        patch.setattr(train, "_train", failing(is_of_confirmation))
        sweep(*CLEAR, storage=tmp_path)
    store = open_store(tmp_path, uri=None, experiment="embsweep")
    assert not store.client.search_registered_models()
    again = sweep(*CLEAR, storage=tmp_path)
    assert again.evidence.training.params["train.learning_rate"] == "0.01"
    assert [facts.failures for facts in again.evidence.verdict.confirmed] == [0, 0], "the failed runs are repeated"


def confirmed(trial, *runs, searched=0.5):
    return ConfirmedRecord(trial=trial, params={}, is_recipe=trial == 0, searched=searched, confirmed=runs)


@pytest.mark.parametrize(
    ("winner", "has_recipe", "names"),
    [
        (4, True, {WINNER: 4, RECIPE: 0, RUNNER_UP: 2, "trial 7": 7}),
        (0, True, {WINNER: 0, RUNNER_UP: 4, "trial 2": 2, "trial 7": 7}),
        (4, False, {WINNER: 4, RUNNER_UP: 2, "trial 0": 0, "trial 7": 7}),
    ],
)
def test_name_finalists(winner, has_recipe, names):
    runs = (confirmed(0, 0.55), confirmed(2, 0.6), confirmed(4, 0.7), confirmed(7, 0.1, searched=0.9))
    verdict = VerdictRecord(outcome="named", winner=winner, tied_with=(), rule="", comparisons=(), confirmed=runs)
    assert name_finalists(verdict, (4, 2, 7, 0), has_recipe=has_recipe) == names

"""Confirmation runs: their seeds, the weights that are kept, and points of an earlier plan."""

import types

import numpy as np
import pytest

from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import RetrievalSet
from embsweep.search.confirmation import ConfirmationLedger
from embsweep.search.record import TrialRecord
from embsweep.sweep.confirmation import _label_all, _latest, confirmation_phase, draw_seeds, find_used_seeds
from embsweep.sweep.scheduler import SweepScheduler
from tests.ledgers import Memory


def record(number, **params):
    return TrialRecord(number, "complete", params, 0.5, 1.0, {})


def configuration(seed):
    return types.SimpleNamespace(train=types.SimpleNamespace(seed=seed))


def test_find_used_seeds_returns_those_of_all_trials_not_only_of_the_finalists():
    drawn = draw_seeds(4, 0, ())
    trials = [record(number, **{"train.seed": seed}) for number, seed in enumerate(drawn[:3])]
    used = find_used_seeds(trials, lambda params: configuration(params["train.seed"]))
    assert used == set(drawn[:3])
    assert draw_seeds(1, 0, used) == drawn[3:]


def test_find_used_seeds_finds_a_seed_that_is_not_swept():
    def configure(params):
        if params["train.epochs"] == 9:
            raise InputError(Diagnostic("train", "is not valid", 9))
        return configuration({"static": 7, "published": 42}[params["train"]])

    trials = [
        record(number, **{"train": group, "train.epochs": epochs})
        for number, (group, epochs) in enumerate([("static", 9), ("static", 1), ("static", 2), ("published", 1)])
    ]
    assert find_used_seeds(trials, configure) == {7, 42}


class Confirmation:
    """A confirmation over a ledger that outlives its processes."""

    def __init__(self, folder, folds=()):
        self.storage = Memory()
        self.context = types.SimpleNamespace(
            prepared=types.SimpleNamespace(folds=folds),
            folder=types.SimpleNamespace(root=folder),
            recipe=types.SimpleNamespace(sweep=types.SimpleNamespace(max_attempts=3)),
        )
        self.phase = confirmation_phase(self.context)

    def open(self, points):
        """Return the ledger of a new process that plans these points, after it has deleted what is not kept."""
        ledger = ConfirmationLedger(self.storage.open(), self.phase.study, points)
        SweepScheduler(ledger, lambda record: pytest.fail("no run is started"), self.phase).delete_checkpoints()
        return ledger

    def finish(self, ledger, value):
        """Complete one run, with weights on disk, and return its number."""
        started = ledger.ask()
        (self.phase.trial_dir(started.number) / "best").mkdir(parents=True)
        ledger.complete(started.number, value)
        return started.number


def test_the_best_weights_of_each_trial_are_kept_over_all_plans(tmp_path):
    """A confirmation is interrupted; then it is resumed with other seeds, and with other finalists."""
    confirmation = Confirmation(tmp_path)
    first = confirmation.open([{"trial": trial, "seed": seed} for seed in (1, 2) for trial in (4, 7)])
    one = confirmation.finish(first, 0.5)
    again = confirmation.open([{"trial": trial, "seed": seed} for seed in (1, 3) for trial in (4, 9)])
    others = [confirmation.finish(again, value) for value in (0.3, 0.7, 0.4)]
    last = confirmation.open([{"trial": 4, "seed": 1}])
    assert last.ask() is None
    assert all(r.params.keys() == {"trial", "seed"} for r in last.trials)
    kept = {n for n in (one, *others) if (confirmation.phase.trial_dir(n) / "best").is_dir()}
    assert kept == confirmation.phase.checkpoints_to_keep(last.trials) == {others[1], others[2]}, (
        "the best of each trial"
    )


def test_a_run_that_was_given_up_is_no_result(tmp_path):
    """Its finalist was dropped and has come back: the run counts neither as missing scores nor as a failure."""
    confirmation, points = Confirmation(tmp_path), [{"trial": 4, "seed": 1}, {"trial": 7, "seed": 1}]
    confirmation.open(points[:1]).ask()
    other = confirmation.finish(confirmation.open(points[1:]), 0.5)
    again = confirmation.open(points)
    assert [r.state for r in again.trials] == ["failed", "complete"]
    assert [r.number for r in _latest(again.trials, points)] == [other]
    confirmation.finish(again, 0.4)
    assert [(r.number, r.state) for r in _latest(again.trials, points)] == [(2, "complete"), (other, "complete")]


def test_weights_of_folds_are_not_kept(tmp_path):
    confirmation = Confirmation(tmp_path, folds=("one", "two"))
    ledger = confirmation.open([{"trial": 4, "seed": 1, "fold": fold} for fold in (0, 1)])
    confirmation.finish(ledger, 0.5)
    assert confirmation.phase.checkpoints_to_keep(ledger.trials) == set()


def test_no_passage_group_is_in_two_folds():
    one = RetrievalSet("x", ("a", "b", "c"), ("p", "q"), ((0,), (1,), (0,)))
    labels = _label_all([one, one, one])
    parts = np.split(labels, 3)
    assert all(part[0] == part[2] != part[1] for part in parts)
    assert len(set(labels.tolist())) == 6


def test_queries_of_folds_are_grouped_only_by_their_passages():
    """They are not grouped by their position: the second fold has more groups than the first."""
    small = RetrievalSet("x", ("a",), ("p",), ((0,),))
    large = RetrievalSet("y", ("a", "b", "c"), ("p", "q"), ((0,), (1,), (1,)))
    for sets, groups in (([small, large], (1, 2)), ([large, small], (2, 1))):
        labels = _label_all(sets).tolist()
        assert len(set(labels)) == sum(groups)

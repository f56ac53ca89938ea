"""Finalists run again: equal ones are tied, a better one is named, interruptions resume, and test is read once."""

import json
import random

import pytest

from embsweep.decide.evidence import RECIPE, RUNNER_UP, WINNER, ConfirmedFacts, VerdictFacts
from embsweep.errors import TooManyFailures
from embsweep.search.ledger import Ledger, read_ledger
from embsweep.search.pruners import build_pruner
from embsweep.sweep.fresh_runs import fresh_seeds
from embsweep.sweep.winner import name_finalists
from embsweep.tracking.store import open_store

pytestmark = pytest.mark.slow

ASKED = [
    "river",
    "stone",
    "lamp",
    "horse",
    "bread",
    "cloud",
    "spoon",
    "chair",
    "wheel",
    "glass",
    "paper",
    "money",
    "clock",
    "shirt",
    "fruit",
    "plant",
    "mouse",
    "night",
]
MEANT = [
    "law",
    "tax",
    "court",
    "claim",
    "fee",
    "permit",
    "notice",
    "appeal",
    "record",
    "office",
    "duty",
    "term",
    "right",
    "proof",
    "party",
    "judge",
    "order",
    "deed",
]


@pytest.fixture(scope="session")
def riddles(tmp_path_factory):
    """Questions in one set of words, passages in another: hopeless for the base model, learned by training."""
    path = tmp_path_factory.mktemp("riddles") / "riddles.jsonl"
    draw = random.Random(5)
    rows = []
    for _ in range(220):
        chosen = draw.sample(range(len(ASKED)), 4)
        question, passage = (" ".join(words[i] for i in chosen) for words in (ASKED, MEANT))
        rows.append(json.dumps({"question": question, "passage": passage}))
    path.write_text("\n".join(rows), "utf-8")
    return path


@pytest.fixture(scope="module")
def storage(tmp_path_factory):
    return tmp_path_factory.mktemp("storage")


@pytest.fixture(scope="module")
def sweep(launch_in, riddles, storage):
    """`sweep(name, *arguments)` on the riddles; the recipe learns well, and finalists are run again twice."""

    def run(name, *arguments):
        fixed = [
            f"data.pairs={riddles}", f"sweep.name={name}", "train.learning_rate=2e-2", "train.warmup=0.1",
            "train.batch_size=32", "train.epochs=3", "matryoshka=from_384", "matryoshka.weight_power=0",
            "confirm=standard", "confirm.seeds=2", "confirm.finalists=2", "search=grid",
            "audit.waive=[columns-swapped,leaked-passages,leaked-queries]",
        ]  # fmt: skip
        keys = {argument.split("=")[0] for argument in arguments}
        kept = [argument for argument in fixed if argument.split("=")[0] not in keys]
        result, output = launch_in(storage, *kept, *arguments)
        return result.evidence, output

    return run


@pytest.fixture(scope="module")
def equal(sweep):
    """Three trials that differ in their seed alone."""
    return sweep("equal", "train.seed=42,47,49", "stopping=none")


def test_trials_that_differ_by_their_seed_alone_are_tied_and_the_cheapest_serves(equal):
    evidence, output = equal
    assert evidence.verdict.outcome == "tied"
    assert evidence.verdict.winner == 0, "equal in cost: the recipe"
    runs = {facts.confirmed for facts in evidence.verdict.confirmed}
    assert len(runs) == 1, "the same configuration under the same fresh seeds"
    assert "2 fresh seeds" in output


def test_fresh_seeds_are_fresh_and_repeatable():
    assert fresh_seeds(3, 0, []) == fresh_seeds(3, 0, [])
    taken = fresh_seeds(3, 0, [])[1]
    again = fresh_seeds(3, 0, [taken])
    assert taken not in again
    assert len(set(again)) == 3
    assert fresh_seeds(3, 1, []) != fresh_seeds(3, 0, [])


def test_a_clearly_better_configuration_is_named_and_beats_its_base(sweep):
    evidence, _ = sweep("clear", "train.learning_rate=1e-6,2e-2", "search.trials=2")
    assert evidence.verdict.outcome == "named"
    assert evidence.training.params["train.learning_rate"] == "0.02"
    overall = {c.rival: c for c in evidence.comparisons if c.dim is None}
    assert overall["base"].difference > 0.1
    assert overall["base"].adjusted_p < 0.05
    assert overall["runner-up"].adjusted_p < 0.05


def test_confirmation_runs_are_children_of_the_sweep_and_not_trials_of_the_search(equal, storage):
    _, trials = read_ledger(storage / "sweeps/equal/study.db")
    assert len(trials) == 3
    store = open_store(storage, uri=None, experiment="embsweep")
    runs = store.client().search_runs([store.experiment_id], "tags.`embsweep.sweep` = 'equal'")
    roles = sorted(run.data.tags["embsweep.role"] for run in runs)
    assert roles == ["confirmation"] * 6 + ["sweep"] + ["trial"] * 3
    assert {run.info.status for run in runs} == {"FINISHED"}
    again = [run for run in runs if run.data.tags["embsweep.role"] == "confirmation"]
    assert len({run.data.params["train.seed"] for run in again}) == 2


def test_only_the_best_weights_of_each_finalist_stay(equal, storage):
    kept = list((storage / "sweeps/equal/confirmation").glob("*/best"))
    assert len(kept) == 3, "one for each of two finalists and the recipe"


def test_test_was_read_once_for_finalists_recipe_base_and_bm25(equal, storage):
    evidence, _ = equal
    notes, _ = read_ledger(storage / "sweeps/equal/study.db")
    (look,) = notes["looks"]
    assert evidence.look == look["earlier"] + 1, "other sweeps of this storage may have looked at the same data"
    (third,) = evidence.verdict.tied_with[1:2] if evidence.test["runner-up"].trial == 2 else (2,)
    assert set(evidence.test) == {"winner", "runner-up", f"trial {third}", "base", "BM25"}
    assert set(look["models"]) == set(evidence.test) - {"BM25"}


def test_a_finished_sweep_that_is_extended_looks_a_second_time_and_says_so(sweep, storage):
    first, _ = sweep("looks", "train.learning_rate=1e-6,2e-2,3e-2", "search.trials=2", "confirm=none")
    again, output = sweep("looks", "train.learning_rate=1e-6,2e-2,3e-2", "search.trials=3", "confirm=none")
    assert again.look == first.look + 1
    assert f"Look {again.look} at the test split" in output
    once_more, output = sweep("looks", "train.learning_rate=1e-6,2e-2,3e-2", "search.trials=3", "confirm=none")
    assert once_more == again
    assert "is finished" in output
    notes, _ = read_ledger(storage / "sweeps/looks/study.db")
    assert [look["number"] for look in notes["looks"]] == [1, 2]
    assert first.look == notes["looks"][0]["earlier"] + 1, "other sweeps have looked at the same data"


def test_another_choice_among_models_already_read_is_another_look(sweep, monkeypatch):
    arguments = ("choices", "train.learning_rate=2e-2,3e-2", "search.trials=2", "confirm=none", "confirm.finalists=2")
    first, _ = sweep(*arguments)
    loser = 1 - first.verdict.winner
    from embsweep.sweep import confirm

    decided = confirm.decide_verdict

    def decide(*given, **named):
        return decided(*given, **named).model_copy(update={"winner": loser})

    monkeypatch.setattr(confirm, "decide_verdict", decide)
    second, output = sweep(*arguments, "gate.alpha=0.01")
    assert second.verdict.winner == loser
    assert second.look == first.look + 1
    assert "0 models newly read" in output


def test_an_interrupted_confirmation_goes_on_where_it_was(sweep, storage, monkeypatch):
    arguments = ("resumed", "train.learning_rate=1e-6,2e-2", "search.trials=2")
    finished = Ledger.complete
    calls = []

    def complete(self, number, objective):
        calls.append(number)
        if len(calls) == 5:  # two trials, and the third run of the confirmation
            raise KeyboardInterrupt
        finished(self, number, objective)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Ledger, "complete", complete)
        sweep(*arguments)
    evidence, output = sweep(*arguments)
    assert "Going on: 2 of 2 trials are finished, confirmation and test follow" in output
    runs = confirmation_records(storage / "sweeps/resumed/study.db", "confirmation")
    assert sorted(record.attempt for record in runs) == [1, 1, 1, 2]
    assert evidence.verdict.outcome == "named"


def test_folds_let_every_query_outside_test_speak(sweep, storage):
    evidence, output = sweep("folds", "train.learning_rate=1e-6,2e-2", "search.trials=2", "confirm.folds=2")
    assert "on each of 2 folds, 8 runs" in output
    (comparison,) = (c for c in evidence.verdict.comparisons if c.dim is None)
    assert comparison.queries == evidence.data.sizes["train_pairs"] + evidence.data.sizes["validation_queries"]
    assert evidence.training.run == f"trial {evidence.verdict.winner}", "weights that saw the sweep's own split"
    assert not list((storage / "sweeps/folds").glob("confirmation*/*/best"))


def test_a_configuration_that_fails_when_it_is_run_again_cannot_win(sweep, monkeypatch):
    from embsweep.trial import train

    def fail_the_fast(trial, reporter, start):
        if trial.job.folder.split("/")[-2] == "confirmation" and trial.job.config.train.learning_rate > 0.01:
            raise FloatingPointError("scripted")
        return inner(trial, reporter, start)

    inner = train._train
    monkeypatch.setattr(train, "_train", fail_the_fast)
    evidence, _ = sweep("fails", "train.learning_rate=1e-6,2e-2", "search.trials=2")
    assert evidence.training.params["train.learning_rate"] == "1e-06"
    assert any("failed" in warning for warning in evidence.verdict.warnings)


def test_when_every_finalist_fails_again_nothing_is_registered(sweep, storage, monkeypatch):
    from embsweep.trial import train

    inner = train._train

    def fail(trial, reporter, start):
        if "confirmation" in trial.job.folder:
            raise FloatingPointError("scripted")
        return inner(trial, reporter, start)

    arguments = ("hopeless", "train.learning_rate=1e-2,2e-2", "search.trials=2")
    with monkeypatch.context() as patch, pytest.raises(TooManyFailures, match="scripted"):
        patch.setattr(train, "_train", fail)
        sweep(*arguments)
    store = open_store(storage, uri=None, experiment="embsweep")
    assert not store.client().search_registered_models("name = 'hopeless'")
    evidence, _ = sweep(*arguments)
    assert evidence.verdict.outcome in ("named", "tied"), "the same command tries the failed runs again"
    assert all(facts.failures == 0 for facts in evidence.verdict.confirmed)


def test_a_first_trial_that_is_not_the_recipe_is_not_called_so(sweep):
    evidence, _ = sweep("outside", "train.learning_rate=1e-6,2e-2", "search.trials=2", "confirm=none")
    assert "recipe" not in evidence.test, "the recipe's learning rate, 1e-2, lies outside the space"
    assert not any(facts.is_recipe for facts in evidence.verdict.confirmed)


def confirmed(trial, *runs, searched=0.5):
    return ConfirmedFacts(trial=trial, params={}, is_recipe=trial == 0, searched=searched, confirmed=runs)


@pytest.mark.parametrize(
    ("winner", "has_recipe", "names"),
    [
        (4, True, {WINNER: 4, RECIPE: 0, RUNNER_UP: 2, "trial 7": 7}),
        (0, True, {WINNER: 0, RUNNER_UP: 4, "trial 2": 2, "trial 7": 7}),
        (4, False, {WINNER: 4, RUNNER_UP: 2, "trial 0": 0, "trial 7": 7}),
    ],
)
def test_names_on_the_test_split(winner, has_recipe, names):
    runs = (confirmed(0, 0.55), confirmed(2, 0.6), confirmed(4, 0.7), confirmed(7, 0.1, searched=0.9))
    verdict = VerdictFacts(outcome="named", winner=winner, tied_with=(), rule="", comparisons=(), confirmed=runs)
    assert name_finalists(verdict, (4, 2, 7, 0), has_recipe=has_recipe) == names


def confirmation_records(path, study):
    from embsweep.config.machinery import SearchConfig, StoppingConfig

    search = SearchConfig(sampler="grid", trials=1, seed=0, recipe_first=False)
    pruner = build_pruner(StoppingConfig(kind="none"), 1.0)
    return Ledger.open(path, space=(), search=search, pruner=pruner, study=study).trials

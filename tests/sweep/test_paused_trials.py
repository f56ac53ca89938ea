"""Paused trials of a sweep: their states on disk, what is said of them, and how they end."""

import pytest
from optuna.storages import InMemoryStorage

from embsweep.runners.inline import InlineRunner
from embsweep.search.factory import open_search_ledger
from embsweep.sweep.scheduler import SweepScheduler, search_phase
from tests.sweep.schedulers import FRACTIONS, METADATA, SPACE, Heard, scripted

TRIALS = 8


@pytest.fixture
def run(make_config, tmp_path):
    """Return `run(paused_states)`: the scheduler of a finished search with promotion, and what was heard."""

    def call(paused_states, **score):
        config = make_config(
            "stopping=promotion",
            f"stopping.paused_states={paused_states}",
            "stopping.min_fraction=0.25",
            "search=random",
            f"search.trials={TRIALS}",
            "search.recipe_first=false",
            "confirm.finalists=1",
            "sweep.keep_checkpoints=1",
        )
        ledger = open_search_ledger(
            InMemoryStorage(),
            space=SPACE,
            search=config.search,
            stopping=config.stopping,
            evaluations=FRACTIONS,
            finalists=1,
        )
        ledger.set_metadata(**METADATA, requested_trials=TRIALS)
        heard = Heard()
        phase = search_phase(tmp_path / "trials", config, keep_recipe=False)
        scheduler = SweepScheduler(ledger, lambda record: config, phase, heard.listeners(ledger))
        InlineRunner().run(scheduler, write_states(scheduler, scripted(**score)))
        return scheduler, heard

    return call


def write_states(scheduler, trial_fn):
    """Let a trial leave a state, and check that no more than allowed are on disk when it begins."""

    def run(job, reporter):
        states = list(scheduler.phase.directory.glob("*/state"))
        assert len(states) <= scheduler.phase.paused_states
        job.state.mkdir(parents=True, exist_ok=True)
        return trial_fn(job, reporter)

    return run


def folders(scheduler, name):
    return sorted(int(path.parent.name) for path in scheduler.phase.directory.glob(f"*/{name}"))


@pytest.mark.parametrize("paused_states", [0, 2, 99])
def test_the_most_promising_states_stay_on_disk_until_the_search_ends(run, paused_states):
    scheduler, heard = run(paused_states)
    paused = [record.number for record in scheduler.ledger.trials if record.state == "paused"]
    best = scheduler.ledger.rank_paused()[:paused_states]
    assert set(folders(scheduler, "state")) <= set(best)
    assert paused_states < TRIALS or folders(scheduler, "state") == sorted(best)
    promotions = [event for _, event in heard.events if "promoted" in event]
    assert promotions
    assert all(("its state was deleted" in event) is (paused_states == 0) for event in promotions)
    scheduler.close_paused()
    assert folders(scheduler, "state") == []
    assert len(folders(scheduler, "best")) == 1
    assert [r.state for r in scheduler.ledger.trials].count("stopped") == len(paused)
    assert heard.last(paused[0]).status == "FINISHED"


def test_every_pause_and_promotion_is_told_in_order(run):
    _, heard = run(99, score=lambda number, fraction: fraction - number / 100)
    own = [event for number, event in heard.events if number == 0 and event and not event.startswith("at ")]
    assert own[1:] == [
        "paused at 25%: .2500 (best .2500)",
        "is promoted to 50%",
        "paused at 50%: .5000 (best .5000)",
        "is promoted to 100%",
        "complete, best 1.0000",
    ]

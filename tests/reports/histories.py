"""Made-up searches for the charts of the report: a few trials by hand, and any number of trials at random."""

import random

from embsweep.config.search_space import Choice, FloatRange, IntRange
from embsweep.reports.html.search_history import (
    Attempt,
    ConfirmationRun,
    HistoryReport,
    HistoryShare,
    HistoryTrial,
    SearchHistory,
    TargetShares,
)

RATE, EPOCHS = FloatRange("train.learning_rate", 1e-6, 1e-2, log=True), IntRange("train.epochs", 1, 4)
LOSS, BATCH = Choice("loss", ("mnrl", "cached_mnrl", "gist")), Choice("loss.mini_batch_size", ("256", "16", "64"))
SPACE = (RATE, EPOCHS, LOSS, BATCH)
RUNGS = (0.25, 0.5, 1.0)
START = 1_700_000_000.0


def make_trial(number, *objectives, state="complete", at=None, rungs=RUNGS, **more):
    """Return a trial with a running best at each of its first rungs, reported `at` these seconds after the start."""
    times = at or [number + rung for rung in rungs]
    reports = tuple(
        HistoryReport(rung, value, START + time) for rung, value, time in zip(rungs, objectives, times, strict=False)
    )
    values = {"at_rungs": dict(enumerate(objectives))} if state != "failed" else {}
    values["params"] = {RATE.key: 10 ** -(2 + number % 4), EPOCHS.key: 1 + number % 4, LOSS.key: "mnrl"}
    return HistoryTrial(
        number=number,
        state=state,
        objective=objectives[-1] if objectives else None,
        fraction=rungs[len(objectives) - 1] if objectives else 0.0,
        scores={64: objectives[-1], 32: objectives[-1] / 2} if objectives else {},
        reports=reports,
        **{**values, **more},
    )


def make_history(*trials, **more):
    """Return a finished search of these trials, with rungs and one slot."""
    values = {
        **{"name": "s", "status": "FINISHED", "objective": "mean map@100", "metric": "map@100", "slots": 1},
        **{"space": SPACE, "baseline": 0.1, "rungs": RUNGS, "requested_trials": len(trials)},
    }
    return SearchHistory(**{**values, "trials": trials, **more})


def draw_history(count, *, slots=2, **more):
    """Return a finished search at random whose better half goes on at each rung, with a confirmation."""
    rng = random.Random(count)
    final = [rng.uniform(0.1, 0.5) for _ in range(count)]
    curves = [[value * share + rng.gauss(0, 0.01) for share in (0.5, 0.8, 1.0)] for value in final]
    reached, going = [1] * count, range(count)
    for rung in (0, 1):
        going = sorted(going, key=lambda i: -curves[i][rung])[: max(2, len(going) // 2)]
        for i in going:
            reached[i] += 1
    free, trials = [0.0] * slots, []
    for i in range(count):
        attempts, times = [], []
        for _ in range(reached[i]):
            lane = free.index(min(free))
            attempts.append(Attempt(START + free[lane] + 2, START + free[lane] + 50, "cpu"))
            free[lane] += 60
            times.append(free[lane] - 10)
        values = [max(curves[i][: n + 1]) for n in range(reached[i])]
        state = "failed" if i % 25 == 7 else "complete" if reached[i] == 3 else "stopped"
        loss = LOSS.options[i % 3]
        params = {RATE.key: 10 ** rng.uniform(-6, -2), EPOCHS.key: 1 + i % 4, LOSS.key: loss}
        params |= {BATCH.key: rng.choice(BATCH.options)} if loss == "cached_mnrl" else {}
        roles = {"is_recipe": i == 0, "is_winner": i == going[0], "is_finalist": i in going[:2]}
        trials.append(make_trial(i, *values, state=state, at=times, params=params, attempts=tuple(attempts), **roles))
    end = START + max(free)
    runs = [
        ConfirmationRun(i, seed, None, "complete", 0.4, (Attempt(end + 90 * seed, end + 90 * seed + 80),))
        for seed in (1, 2)
        for i in going[:2]
    ]
    return make_history(*trials, slots=slots, confirmation=tuple(runs), importance=make_importance(count), **more)


def make_importance(count, first=0.6):
    """Return what mattered for the objective and two dimensions."""
    shares = {RATE.key: HistoryShare(first, 0.4, 0.7), LOSS.key: HistoryShare(1 - first, 0.3, 0.6)}
    return tuple(TargetShares(name, count, shares) for name in ("objective", "map@100/64", "map@100/32"))

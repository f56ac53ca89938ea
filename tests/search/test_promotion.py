"""Promotion: which trial a free slot runs next and how far, and how the rungs are fitted to the budget."""

import heapq

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.fidelity import carry_to_end, hold_to_end, rung_values
from embsweep.search.promotion import NewTrial, Promotion, PromotionPlan, TrialProgress, choose_next, plan_promotion

EVALUATIONS = (1 / 16, 1 / 8, 1 / 4, 1 / 2, 3 / 4, 1.0)


def plan(**changes):
    values = {"rungs": (250, 500, 1000), "reduction_factor": 2, "trials": 8, "finalists": 1}
    return PromotionPlan(**{**values, **changes})


def trial(number, *scores, state="paused", until=None, is_recipe=False):
    """Return a trial with these scores at the rungs 250, 500, 1000."""
    curve = dict(zip((250, 500, 1000), scores, strict=False))
    return TrialProgress(number, state, curve, until or max(curve, default=250), is_recipe)


def fit(trials, schedules=None, evaluations=EVALUATIONS, finalists=3, has_recipe=True):
    search = SearchConfig(sampler="random", trials=trials, schedules=schedules, seed=0, recipe_first=has_recipe)
    stopping = StoppingConfig(kind="promotion", reduction_factor=4)
    return plan_promotion(stopping, search, evaluations, finalists=finalists, has_recipe=has_recipe)


# -- fitting ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("trials", "schedules", "first"),
    [
        (1000, 10.0, 62),
        (30, 5.0, 62),
        (30, 20.0, 500),
        (200, None, 62),
        (30, None, 125),
        (14, None, 250),
        (8, None, 500),
    ],
)
def test_the_first_rung_is_the_largest_that_the_budget_allows(trials, schedules, first):
    found = fit(trials, schedules)
    assert found.rungs[0] == first
    assert all(after >= 2 * before for before, after in zip(found.rungs, found.rungs[1:-1], strict=False))
    assert found.rungs[-1] == 1000
    assert first == 62 or found.expected_schedules <= (schedules or 6 + 0.1 * trials)


@pytest.mark.parametrize("trials", [1, 4])
def test_no_trial_pauses_if_all_are_finalists(trials):
    assert fit(trials).rungs == (1000,)
    assert fit(trials).expected_schedules == trials


@pytest.mark.parametrize(("evaluations", "rungs"), [((1.0,), (1000,)), ((0.25, 0.5, 1.0), (250, 500, 1000))])
def test_rungs_are_evaluations(evaluations, rungs):
    assert fit(14, evaluations=evaluations).rungs == rungs


def test_no_rung_is_below_the_smallest_fraction():
    search = SearchConfig(sampler="random", trials=9, seed=0, recipe_first=False)
    stopping = StoppingConfig(kind="promotion", min_fraction=0.5)
    found = plan_promotion(stopping, search, [0.1, 0.2, 0.3, 0.4, 0.55, 0.7, 1.0], finalists=1, has_recipe=False)
    assert found.rungs == (550, 1000)


# -- decisions ----------------------------------------------------------------------------------------------------


def test_the_recipe_runs_to_its_end_and_the_others_to_the_first_rung():
    assert choose_next(plan(has_recipe=True), []) == NewTrial(1000)
    running = trial(0, state="running", until=1000, is_recipe=True)
    assert choose_next(plan(has_recipe=True), [running]) == NewTrial(250)


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(0, 0.5)], NewTrial(250)),
        ([trial(0, 0.5), trial(1, 0.6)], Promotion(1, 500)),
        ([trial(0, 0.6), trial(1, 0.6)], Promotion(0, 500)),
        ([trial(0, 0.5), trial(1, 0.6, state="running", until=500)], NewTrial(250)),
        ([trial(0, 0.5), trial(1, 0.6, state="failed")], NewTrial(250)),
        ([trial(0, 0.9, state="stopped"), trial(1, 0.5)], NewTrial(250)),
        ([trial(0, 0.5), trial(1, 0.6, 0.7), trial(2, 0.7, 0.8), trial(3, 0.8)], Promotion(2, 1000)),
        ([trial(0, 0.5, 0.9, 0.9, state="complete"), trial(1, 0.6), trial(2, 0.1), trial(3, 0.2)], Promotion(1, 500)),
    ],
    ids=["alone", "best of two", "tie", "is running", "failed", "closed", "highest rung first", "below a finished one"],
)
def test_the_best_of_all_that_reached_a_rung_go_on(trials, expected):
    assert choose_next(plan(), trials) == expected


@pytest.mark.parametrize(
    ("trials", "expected"),
    [
        ([trial(0, 0.5), trial(1, 0.4), trial(2, 0.3)], Promotion(0, 500)),
        ([trial(0, 0.5, 0.6), trial(1, 0.55), trial(2, 0.3)], Promotion(1, 500)),
        ([trial(0, 0.5, 0.6), trial(1, 0.4), trial(2, 0.3)], Promotion(0, 1000)),
        ([trial(0, 0.5, 0.6, 0.7, state="complete"), trial(1, 0.4), trial(2, 0.3)], None),
        ([trial(0, 0.5, 0.6, 0.7, state="complete"), trial(1, 0.9), trial(2, 0.3)], Promotion(1, 500)),
        ([trial(0, 0.5, state="running", until=500), trial(1, 0.4), trial(2, 0.3)], None),
        ([trial(0, 0.9, 0.9, 0.9, state="complete", is_recipe=True), trial(1, 0.4), trial(2, 0.3)], Promotion(1, 500)),
        ([trial(0, 0.5, 0.6, state="failed"), trial(1, 0.4), trial(2, 0.3)], Promotion(1, 500)),
        ([trial(0, state="failed"), trial(1, state="failed"), trial(2, state="failed")], None),
    ],
)
def test_without_new_trials_the_best_paused_ones_go_on_until_enough_have_finished(trials, expected):
    assert choose_next(plan(trials=3, reduction_factor=9, has_recipe=trials[0].is_recipe), trials) == expected


@pytest.mark.parametrize(
    ("promoted", "expected"),
    [
        ([trial(0, 0.8, 0.9)], Promotion(0, 1000)),
        ([trial(0, 0.8, 0.9, 0.9, state="complete")], NewTrial(250)),
        ([trial(number, 0.8, 0.9) for number in range(5)], NewTrial(250)),
    ],
    ids=["less", "less, but the best one has finished", "enough"],
)
def test_a_third_of_the_steps_goes_to_promotions(promoted, expected):
    """Nine trials: only one is promoted from a rung, and has been."""
    others = [trial(number, 0.1) for number in range(len(promoted), 9)]
    assert choose_next(plan(trials=99, reduction_factor=9), [*promoted, *others]) == expected


def test_a_limit_that_suffices_for_all_trials_lets_all_start():
    assert choose_next(plan(rungs=(1000,), trials=2, finalists=3, schedules=2.0), []) == NewTrial(1000)


def test_a_limit_keeps_back_what_the_best_trial_needs_to_finish():
    """Of 2 schedules, 4 trials to the first rung leave 1; the best one needs 0.75 of it."""
    trials = [trial(number, 0.5 + number / 10) for number in range(4)]
    limited = plan(trials=99, reduction_factor=9, schedules=2.0)
    assert choose_next(limited, trials) == NewTrial(250)
    assert choose_next(limited, [*trials, trial(4, 0.1)]) == Promotion(3, 500)


def test_a_failed_trial_is_replaced_if_another_whole_schedule_fits():
    """What it has spent is missing from what was kept back, and nothing else is left that could finish."""
    limited, failed = plan(trials=9, schedules=2.0), trial(0, 0.5, state="failed")
    assert choose_next(limited, [failed]) == NewTrial(250)
    assert choose_next(plan(trials=9, schedules=1.2), [failed]) is None


def simulate(plan, curves, slots):
    """Run a search on a clock; return the trials and the number of times that a slot found nothing to do."""
    trials, queue, now, idle = [], [], 0, 0
    while True:
        while len(queue) < slots and (found := choose_next(plan, trials)) is not None:
            if isinstance(found, NewTrial):
                is_recipe = plan.has_recipe and not trials
                trials.append(TrialProgress(len(trials), "running", {}, found.until, is_recipe))
                number = len(trials) - 1
            else:
                number = found.number
                trials[number] = _change(trials[number], state="running", until=found.until)
            heapq.heappush(queue, (now + found.until - trials[number].last_step, number))
        idle += slots - len(queue) if len(trials) < plan.trials else 0
        if not queue:
            return trials, idle
        now, number = heapq.heappop(queue)
        old = trials[number]
        steps = [rung for rung in plan.rungs if old.last_step < rung <= old.until]
        best = max([*old.curve.values(), 0.0])
        curve = {**old.curve}
        for step in steps:
            curve[step] = best = max(best, curves[number % len(curves)][plan.rungs.index(step)])
        trials[number] = _change(old, curve=curve, state="complete" if old.until == 1000 else "paused")


def _change(old, **changes):
    values = {name: getattr(old, name) for name in ("number", "state", "curve", "until", "is_recipe")}
    return TrialProgress(**{**values, **changes})


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.tuples(*[st.floats(0, 1)] * 3), min_size=3, max_size=12),
    st.integers(1, 5),
    st.integers(1, 3),
    st.booleans(),
    st.sampled_from([None, 4.0, 6.5]),
)
def test_every_search_ends_with_its_finalists_and_no_slot_waits_before(curves, slots, finalists, has_recipe, schedules):
    trials = 12 if schedules is None else 99
    searched = plan(trials=trials, finalists=finalists, has_recipe=has_recipe, schedules=schedules)
    found, idle = simulate(searched, curves, slots)
    finished = [t for t in found if t.state == "complete" and not t.is_recipe]
    assert len(finished) >= finalists
    if schedules is None:
        assert len(found) == trials
        assert idle == 0
    else:
        assert sum(t.last_step for t in found) <= (schedules + 0.75 * finalists) * 1000


# -- carried values -----------------------------------------------------------------------------------------------


def test_values_are_carried_to_the_end_by_the_median_gain_of_the_others():
    curves = [{250: 0.2, 500: 0.3, 1000: 0.35}, {250: 0.1, 500: 0.4}, {250: 0.5}, {}]
    carried = carry_to_end(curves, (250, 500, 1000))
    assert carried[:3] == pytest.approx([0.35, 0.4 + 0.05, 0.5 + 0.2 + 0.05])
    assert carried[3] == -float("inf")


def test_a_trial_that_ended_by_patience_counts_at_later_rungs_and_gains_nothing_more():
    curves = [{250: 0.2, 500: 0.3, 1000: 0.5}, hold_to_end({250: 0.4})]
    assert carry_to_end(curves, (250, 500, 1000)) == [0.5, 0.4]
    ended = [TrialProgress(number, "complete", {250: 0.9}, 250) for number in range(2)]
    assert choose_next(plan(), [*ended, trial(2, 0.1, 0.2)]) == NewTrial(250)


def test_schedules_of_other_lengths_are_compared_by_fraction():
    """The second one is evaluated at thirds: in between it is interpolated, and half of the last gain is to come."""
    curves = [{250: 0.2, 500: 0.3, 750: 0.4, 1000: 0.5}, {333: 0.2, 667: 0.4}]
    assert rung_values(curves, (250, 500))[1] == pytest.approx({0: 0.2, 1: 0.3})
    assert carry_to_end(curves, (250, 500, 1000)) == pytest.approx([0.5, 0.4 + 0.2 * 333 / 500])


def test_a_short_schedule_takes_no_place_at_rungs_before_its_first_evaluation():
    """Evaluated only at its half and end, it has a better value than others have at a quarter, and does not count."""
    short = TrialProgress(2, "paused", {500: 0.4}, 250)
    assert rung_values([short.curve], (125, 250, 500, 1000)) == [{2: 0.4}]
    assert choose_next(plan(), [trial(0, 0.1), trial(1, 0.2), short]) == Promotion(1, 500)

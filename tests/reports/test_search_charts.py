"""The charts of a search show the numbers of its history, say what they leave out, and are left out if nothing fits."""

import json
import re

import pytest

from embsweep.config.search_space import Choice, FloatRange, IntRange
from embsweep.reports.html.charts.best_so_far import list_progress
from embsweep.reports.html.charts.importance_chart import importance_chart
from embsweep.reports.html.charts.parallel_axes import (
    build_axis,
    label_number,
    list_log_ticks,
    list_ticks,
    shorten_keys,
)
from embsweep.reports.html.charts.parallel_coordinates import MOST_LINES, choose_lines, parallel_chart
from embsweep.reports.html.charts.rung_diagram import correlate_ends, rank_at_rungs
from embsweep.reports.html.charts.search_charts import search_charts, search_notes
from embsweep.reports.html.charts.slot_lanes import build_time_axis, find_gaps, list_bars
from embsweep.reports.html.charts.slot_timeline import compute_busy
from embsweep.reports.html.search_history import Attempt, ConfirmationRun, TargetShares, find_scale
from tests.reports.histories import BATCH, LOSS, RATE, START, draw_history, make_history, make_importance, make_trial

RECIPE = make_trial(0, 0.2, 0.25, 0.3, at=(10, 30, 70), is_recipe=True)
BEST = make_trial(1, 0.1, 0.3, 0.5, at=(20, 40, 80))
WINNER = make_trial(2, 0.15, 0.28, 0.45, at=(25, 45, 90), is_winner=True)
STOPPED = make_trial(3, 0.12, state="stopped", at=(50,))
FAILED = make_trial(4, 0.9, state="failed", at=(60,))
LOST = make_trial(5, state="failed")
SMALL = make_history(RECIPE, BEST, WINNER, STOPPED, FAILED, LOST)


def chart_of(history, key):
    return next(chart for chart in search_charts(history) if chart.key == f"search-{key}")


def attempts(*pairs, **more):
    return tuple(Attempt(START + start, START + end, **more) for start, end in pairs)


# -- parallel coordinates -----------------------------------------------------------------------------------------


def test_parallel_coordinates_show_every_trial_with_its_values():
    chart = chart_of(SMALL, "parallel")
    rows = {str(row[0]).partition(",")[0]: row for row in chart.table.rows}
    assert [rows[str(t.number)][2] for t in SMALL.trials] == [t.objective for t in SMALL.trials]
    assert [rows[str(t.number)][3:5] for t in (RECIPE, LOST)] == [(0.3, 0.15), (None, None)]
    assert chart.table.rows[0][:2] == ("1, best in the search", "finished")
    assert rows["3"][1] == "stopped early at 25 %"
    assert rows["0"][5:] == ("0.01", "1", "mnrl", "not used"), "the key's option is not used"
    lines = {line["trial"]: line for line in chart.spec["data"][0]["values"]}
    assert lines.keys() == {0, 1, 2, 3, 4, 5}
    assert chart.title == (
        "Of 6 trials, trial 1 has the best objective in the search, .5000; the confirmation chose trial 2 (.4500)."
    )
    assert lines[2]["width"] == max(line["width"] for line in lines.values()), "the winner stands out without colour"


def test_a_place_on_an_axis_is_that_of_the_value():
    rate = build_axis(RATE, "rate")
    assert [rate.place(value) for value in (1e-6, 1e-4, 1e-2)] == pytest.approx([0, 0.5, 1])
    batch = build_axis(BATCH, "batch", absent="not used")
    numbers = [batch.place(value) for value in ("16", "64", "256")]
    assert numbers == sorted(numbers), "options that are numbers are in their order"
    assert batch.place(None) < numbers[0], "a key that is not used is below all values"
    loss = build_axis(LOSS, "loss")
    assert {label: place for place, label in loss.ticks} == {option: loss.place(option) for option in LOSS.options}


def test_kinds_of_axes():
    kinds = (RATE, IntRange("n", 1, 4), LOSS, BATCH)
    assert [find_scale(dimension) for dimension in kinds] == ["log", "linear", "categorical", "ordinal"]


def test_ticks_are_round_and_within_the_range():
    assert list_ticks(0.13, 0.61) == pytest.approx([0.2, 0.3, 0.4, 0.5, 0.6])
    assert list_ticks(1, 4) == [1, 2, 3, 4]
    assert list_log_ticks(1e-6, 1e-3) == [1e-6, 1e-5, 1e-4, 1e-3]
    assert list_log_ticks(1e-5, 1e-4) == pytest.approx([1e-5, 2e-5, 5e-5, 1e-4])
    assert [label_number(value) for value in (1e-6, 2.5e-5, 0.001, 0.25, 12.0)] == [
        *("1e-6", "2.5e-5", "0.001", "0.25", "12")
    ]
    assert shorten_keys(["train.warmup", "loss.warmup", "train.epochs"]) == ["train.warmup", "loss.warmup", "epochs"]


@pytest.mark.slow
def test_of_many_trials_the_named_ones_the_best_and_a_sample_are_drawn():
    history = draw_history(1000)
    drawn = choose_lines(history.trials)
    numbers = {trial.number for trial in drawn}
    able = sorted((t for t in history.trials if t.can_win), key=lambda trial: -trial.objective)
    assert len(drawn) == len(numbers) == MOST_LINES
    assert {t.number for t in able[:100]} <= numbers
    assert {t.number for t in history.trials if t.is_finalist or t.is_recipe} <= numbers
    assert min(trial.objective for trial in drawn) < able[500].objective, "the sample has bad ones, too"
    chart = chart_of(history, "parallel")
    assert len(chart.spec["data"][0]["values"]) == len(chart.table.rows) == MOST_LINES
    assert "700 are left out" in chart.table.notes[-1]
    assert sum(len(json.dumps(chart.spec)) for chart in search_charts(history)) < 500_000


# -- best so far --------------------------------------------------------------------------------------------------


def test_cost_is_what_was_trained_until_a_report():
    found = [(step.trial.number, step.cost) for step in list_progress(SMALL)]
    assert found == [
        *((0, 0.25), (1, 0.5), (2, 0.75), (0, 1.0), (1, 1.25), (2, 1.5), (3, 1.75), (4, 2.0)),
        *((0, 2.5), (1, 3.0), (2, 3.5)),
    ]


def test_best_so_far_leaves_out_failed_trials():
    chart = chart_of(SMALL, "best")
    assert chart.table.rows == (
        *(("0, recipe", 0.2, "0.25"), ("0, recipe", 0.25, "1.00"), ("1, best in the search", 0.3, "1.25")),
        ("1, best in the search", 0.5, "3.00"),
    )
    assert chart.title == (
        "Trial 1 reached the best objective .5000 after 3.0 of 3.5 full schedules; the winner, trial 2, reached .4500 "
        "after 3.5."
    )
    assert any("Failed trials (2)" in note for note in chart.table.notes)


def test_low_outliers_are_drawn_at_the_edge():
    low = make_trial(6, -5.0, state="stopped", at=(91,))
    chart = chart_of(make_history(*SMALL.trials, low), "best")
    point = next(row for row in chart.spec["data"]["values"] if row["trial"] == "6")
    assert (point["kind"], point["objective"]) == ("below the axis", "-5.0000")
    assert 0 < point["y"] < 0.1
    assert any("violates a constraint" in note for note in chart.table.notes)


# -- rungs --------------------------------------------------------------------------------------------------------


def test_ranks_at_the_rungs():
    assert rank_at_rungs(SMALL) == {
        **{0: {0: 1, 1: 3, 2: 3}, 1: {0: 4, 1: 1, 2: 1}, 2: {0: 2, 1: 2, 2: 2}, 3: {0: 3}},
    }
    chart = chart_of(SMALL, "rungs")
    assert chart.title == (
        "The winner, trial 2, was 2nd of 4 at the first rung (25 %); 3 of 6 trials finished their schedules."
    )
    assert chart.table.rows[0] == ("1, best in the search", "finished", 4, 1, 1)
    assert chart.table.notes[0] == "25 % 4 reached 3 went on; 50 % 3 reached 3 went on; end 3 finished."


def test_rank_correlation_of_first_rung_and_end():
    same = [make_trial(i, i / 10, i / 10, i / 10) for i in range(4)]
    reversed_ = [make_trial(i, i / 10, 0.5, 1 - i / 10) for i in range(4)]
    one_swap = [make_trial(i, i / 10, 0.5, end) for i, end in enumerate((0.1, 0.2, 0.4, 0.3))]
    found = [correlate_ends(h := make_history(*t), rank_at_rungs(h)) for t in (same, reversed_, one_swap, same[:3])]
    assert found == [1.0, -1.0, pytest.approx(0.8), None]


# -- slots --------------------------------------------------------------------------------------------------------


def test_lanes_gaps_and_busy_time():
    resumed = make_trial(0, 0.2, 0.3, 0.4, attempts=attempts((0, 10), (30, 50)))
    other = make_trial(1, 0.1, state="stopped", attempts=attempts((5, 20)))
    run = ConfirmationRun(0, 7, None, "complete", 0.4, attempts((50, 70)))
    history = make_history(resumed, other, slots=2, confirmation=(run,))
    bars = list_bars(history)
    assert [(bar.trial, bar.number, bar.lane, bar.seed) for bar in bars] == [
        *((0, 1, 0, None), (1, 1, 1, None), (0, 2, 0, None), (0, 1, 0, 7))
    ]
    assert [(gap.start - START, gap.end - START) for gap in find_gaps(bars)] == [(20, 30)]
    axis = build_time_axis(bars)
    assert compute_busy(history, bars, axis) == pytest.approx((10 + 20 + 15 + 20) / (2 * 70))
    chart = chart_of(history, "slots")
    assert chart.title == "The 2 slots were training 46 % of 1:10."
    assert chart.table.rows[2][:5] == (0, "search", 2, 1, None)
    assert chart.table.rows[3][1:] == ("confirmation, seed 7", 1, 1, None, "0:50", "0:20")


def test_an_end_that_is_written_late_opens_no_lane():
    first = make_trial(0, 0.2, attempts=attempts((0, 100)))
    second = make_trial(1, 0.1, attempts=attempts((98, 200)))
    third = make_trial(2, 0.1, attempts=attempts((150, 210)))
    assert [bar.lane for bar in list_bars(make_history(first, second, third))] == [0, 0, 1]


def test_a_long_interruption_is_cut_out_of_the_time_axis():
    first = make_trial(0, 0.2, 0.3, 0.4, attempts=attempts((0, 100)))
    second = make_trial(1, 0.1, state="stopped", attempts=attempts((100 + 36_000, 200 + 36_000), device="cuda:0"))
    history = make_history(first, second)
    axis = build_time_axis(list_bars(history))
    assert axis.running_s == 200
    assert [axis.place(START + time) for time in (0, 100, 36_100, 36_200)] == pytest.approx([0, 100, 108, 208])
    chart = chart_of(history, "slots")
    assert chart.title == "The slot was training 100 % of 3:20; the sweep was interrupted once, for 10:00:00 in all."
    assert chart.table.notes[-1] == "Nothing ran for 10:00:00: the time axis leaves it out."


def test_a_run_that_goes_on_is_told_from_one_that_has_ended():
    running = make_trial(1, 0.1, state="running", attempts=attempts((5, 20), is_open=True))
    ended = make_trial(0, 0.2, 0.3, 0.4, attempts=attempts((0, 10)))
    rows = chart_of(make_history(ended, running, slots=2), "slots").table.rows
    assert [row[-1] for row in rows] == ["0:10", "0:15 so far"]


# -- what mattered ------------------------------------------------------------------------------------------------


def test_what_mattered_is_shown_with_intervals():
    chart = chart_of(make_history(*SMALL.trials, importance=make_importance(30)), "importance")
    assert chart.title == (
        "learning_rate mattered most: 60 % (40 % to 70 %) of what distinguishes the best of 30 trials, and most at "
        "every dimension."
    )
    assert chart.table.rows[1] == ("loss", *("40 %", "30 % to 60 %") * 3)
    rows = chart.spec["data"]["values"]
    assert {(row["parameter"], row["target"], row["share"]) for row in rows} >= {("learning_rate", "objective", 0.6)}
    assert "The same value in every trial: train.epochs, loss.mini_batch_size." in chart.table.notes


def test_too_few_trials_to_say_is_a_sentence_and_no_chart():
    reason = "too few trials to say (6 with a value, at least 20 are needed)"
    few = tuple(TargetShares(name, 6, {}, reason) for name in ("objective", "map@100/64"))
    history = make_history(*SMALL.trials, importance=few)
    assert importance_chart(history) is None
    assert search_notes(history) == (f"What mattered: {reason}.",)
    objective_only = (make_importance(30)[0], few[1])
    history = make_history(*SMALL.trials, importance=objective_only)
    assert search_notes(history) == ()
    assert f"What mattered for 64 dimensions: {reason}." in chart_of(history, "importance").table.notes


# -- all ----------------------------------------------------------------------------------------------------------


def test_charts_that_do_not_apply_are_left_out():
    keys = [chart.key for chart in search_charts(make_history(RECIPE, space=(), rungs=()))]
    assert keys == [], "one trial is no search"
    assert search_charts(make_history(space=())) == ()
    complete = [make_trial(i, 0.1, 0.2, 0.3 + i / 10) for i in range(3)]
    assert "search-rungs" not in [chart.key for chart in search_charts(make_history(*complete))], "none has paused"
    assert "search-rungs" not in [chart.key for chart in search_charts(make_history(*SMALL.trials, rungs=()))]
    lost = make_history(FAILED, LOST)
    assert parallel_chart(lost) is None


def test_a_running_search_has_a_leader_and_no_winner():
    trials = [make_trial(0, 0.1, 0.2, 0.3), make_trial(1, 0.2, state="paused"), make_trial(2, 0.1, state="running")]
    titles = [chart.title for chart in search_charts(make_history(*trials, status="RUNNING"))]
    assert titles[0] == "Of 3 trials, trial 0 has the best objective so far, .3000."
    assert not any("winner" in title for title in titles)


LONG = (
    FloatRange("train.a_parameter_with_a_really_long_name_that_does_not_fit", 0.0, 1.0),
    Choice("model.another_one", ("[1024,512,256,128,64,32]", 'an option with "quotes" and <tags>', "x")),
    *(FloatRange(f"train.parameter_{i}", 1.0, 1.0) for i in range(8)),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    "history",
    [
        SMALL,
        draw_history(30),
        draw_history(1000, slots=8),
        make_history(
            *(make_trial(i, 0.1 * i, 0.2, params={LONG[1].key: LONG[1].options[1]}) for i in range(3)), space=LONG
        ),
    ],
    ids=["small", "30", "1000", "long names"],
)
def test_every_chart_can_be_drawn_without_warnings(history):
    import vl_convert

    for chart in search_charts(history):
        text = json.dumps(chart.spec)
        draw = vl_convert.vegalite_to_svg if "vega-lite" in chart.spec["$schema"] else vl_convert.vega_to_svg
        svg = draw(text, allowed_base_urls=[])
        assert svg.count("<path") + svg.count("<text") > 20, chart.key
        assert not re.search(r"NaN|undefined|null|Infinity", svg), chart.key

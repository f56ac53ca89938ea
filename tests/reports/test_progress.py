"""Progress: a live table on a terminal, plain lines for other outputs."""

import io
import re

import pytest
from rich.console import Console

from embsweep.reports.progress import LiveProgress, Progress, build_table, describe_view, open_progress
from tests.reports.conftest import make_paused_view, make_view, row
from tests.texts import numbers_in


def printed(console):
    return console.file.getvalue()


def lines_of(renderable, width=160):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return printed(console).splitlines()


def test_the_console_decides_the_kind_of_progress(plain, terminal):
    assert type(open_progress(plain)) is Progress
    assert isinstance(open_progress(terminal), LiveProgress)


def test_one_line_per_event(plain, view):
    with Progress(plain) as progress:
        progress.say("Resuming")
        progress.update(view, "trial 2 ends")
    first, second = printed(plain).splitlines()
    assert first == "Resuming"
    assert second.startswith("[0:00] trial 2 ends | 4/10 ")
    assert numbers_in(second.partition(" | ")[2]) == [4, 10, 0.52, 0.4, 1, 1, 5, 0]


def test_lines_are_neither_wrapped_nor_parsed_as_markup(view):
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    with Progress(console) as progress:
        progress.say("[bold]" + "x" * 200 + "[/nonsense]")
        progress.update(view, "an event in [brackets]")
    first, second = printed(console).splitlines()
    assert first == "[bold]" + "x" * 200 + "[/nonsense]"
    assert "an event in [brackets] | 4/10 " in second


def test_live_table_shows_the_last_state(terminal, view):
    with LiveProgress(terminal) as progress:
        progress.say("a line that stays [/here]")
        progress.update(view, "event")
    text = printed(terminal)
    assert "a line that stays [/here]" in text
    assert describe_view(view) in text
    assert "★2" in text


def test_live_table_before_the_first_event(terminal):
    with LiveProgress(terminal):
        pass
    assert numbers_in(re.sub("\x1b\\[[?\\d]*\\w", "", printed(terminal))) == []


def test_live_table_stays_visible_after_an_error(terminal, view):
    with pytest.raises(RuntimeError), LiveProgress(terminal) as progress:
        progress.update(view, "event")
        raise RuntimeError
    assert describe_view(view) in printed(terminal)
    assert printed(terminal).endswith("\x1b[?25h")  # the cursor is visible again


def test_running_trials_first_then_the_best_and_failed_ones_last(view):
    lines = lines_of(build_table(view))
    assert [line.split()[0] for line in lines[1:]] == ["4", "5", "★2", "0", "1", "3"]
    assert lines[1].split() == ["4", "running", "50%", ".4700", "0:20", "learning_rate=4e-05"]
    assert lines[2].split() == ["5", "running", "0%", "–", "–", "learning_rate=5e-05"]


def test_paused_trials_follow_the_running_ones_with_their_rungs():
    lines = lines_of(build_table(make_paused_view()))[1:]
    assert [line.split()[0] for line in lines] == ["★2", "4", "3", "1", "0"]
    assert "promoted to 50%" in lines[0]
    assert lines[2].split()[1:5] == ["paused", "at", "25%", "25%"]


def test_only_the_best_are_shown_whether_paused_or_finished():
    view = make_view(*(row(n, ("paused", "complete")[n % 2], n / 100) for n in range(6)), has_rungs=True)
    lines = lines_of(build_table(view, shown=3))
    assert [line.split()[0] for line in lines[1:-1]] == ["4", "★5", "3"]
    assert numbers_in(lines[-1]) == [3]


def test_a_line_counts_the_trials_that_pause_as_started(plain):
    with Progress(plain) as progress:
        progress.update(make_paused_view(), "trial 0 ends")
    assert numbers_in(printed(plain).partition(" | ")[2]) == [5, 10, 1, 2, 0.52, 0.4]


def test_a_failed_trial_shows_its_reason_in_one_line():
    table = build_table(make_view(row(0, "failed", None, note="out of memory [/dev/nvidia0]\nTraceback")))
    (line,) = lines_of(table)[1:]
    assert line.endswith("out of memory [/dev/nvidia0]")


def test_parameters_with_brackets_are_shown():
    assert "packages=[numpy]" in lines_of(build_table(make_view(row(0, params="packages=[numpy]"))))[1]


def test_long_sweeps_are_cut_on_the_terminal_only():
    view = make_view(*(row(n, best=n / 100) for n in range(30)), requested_trials=40)
    cut = lines_of(build_table(view, shown=12))
    assert len(cut) == 1 + 12 + 1
    assert cut[1].split()[0] == "★29"
    assert numbers_in(cut[-1]) == [18]
    assert len(lines_of(build_table(view))) == 1 + 30


def test_narrow_terminal_shortens_only_the_parameters(view):
    view = make_view(row(0, params="learning_rate=1e-05 " * 10))
    (line,) = lines_of(build_table(view), width=60)[1:]
    assert line.split()[:5] == ["★0", "complete", "100%", ".5000", "1:00"]
    assert line.rstrip().endswith("…")
    assert len(line) <= 60


VIEWS = {  # with the numbers of their line: finished, requested, best, base, stopped, remaining time; some others below
    "before the first trial": (make_view(baseline=None), [0, 10, 0]),
    "at the end": (make_view(row(0), requested_trials=1), [1, 1, 0.5, 0.4, 0]),
    "two at once": (make_view(row(0), requested_trials=3, slots=2), [1, 3, 0.5, 0.4, 0, 1, 0]),
    "more than requested": (make_view(row(0), row(1), requested_trials=1), [2, 1, 0.5, 0.4, 0]),
    # started, requested, finished, paused, best, base
    "some are paused": (make_paused_view(), [5, 10, 1, 2, 0.52, 0.4]),
    # started, requested, finished, stopped, failed, best, base
    "none is paused any more": (
        make_view(row(0), row(1, "stopped", 0.4), row(2, "failed", None), requested_trials=3, has_rungs=True),
        [3, 3, 1, 1, 1, 0.5, 0.4],
    ),
}


@pytest.mark.parametrize("name", VIEWS)
def test_one_line_of_a_sweep(name):
    view, numbers = VIEWS[name]
    assert describe_view(view).startswith("mine: ")
    assert numbers_in(describe_view(view)) == numbers

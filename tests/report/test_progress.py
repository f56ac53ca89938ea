"""Progress: a live table on a terminal, plain lines elsewhere."""

import io

import pytest
from rich.console import Console

from embsweep.report.progress import LineProgress, LiveProgress, build_table, describe_view, open_progress
from tests.report.conftest import make_view, row


def printed(console):
    return console.file.getvalue()


def lines_of(renderable, width=160):
    console = Console(file=io.StringIO(), width=width)
    console.print(renderable)
    return printed(console).splitlines()


def test_output_decides_the_kind(plain, terminal):
    assert isinstance(open_progress(plain), LineProgress)
    assert isinstance(open_progress(terminal), LiveProgress)


def test_a_line_an_event(plain, view):
    with LineProgress(plain) as progress:
        progress.say("Going on")
        progress.update(view, "trial 2 ends")
    assert printed(plain).splitlines() == [
        "Going on",
        "[0:00] trial 2 ends | 4/10 done, best .5200 (base .4000), 1 stopped, 1 failed, about 5:00 left",
    ]


def test_lines_are_neither_wrapped_nor_read_as_markup(view):
    console = Console(file=io.StringIO(), width=40, force_terminal=False)
    with LineProgress(console) as progress:
        progress.say("[bold]" + "x" * 200 + "[/nonsense]")
        progress.update(view, "an event in [brackets]")
    first, second = printed(console).splitlines()
    assert first == "[bold]" + "x" * 200 + "[/nonsense]"
    assert "an event in [brackets] | 4/10 done" in second


def test_live_table_shows_the_last_state(terminal, view):
    with LiveProgress(terminal) as progress:
        progress.say("a line that stays [/here]")
        progress.update(view, "event")
    text = printed(terminal)
    assert "a line that stays [/here]" in text
    assert "mine: 4 of 10 trials, best .5200 (base .4000), 1 stopped, 1 failed, about 5:00 left, 0:00 elapsed" in text
    assert "★2" in text


def test_live_table_before_the_first_event(terminal):
    with LiveProgress(terminal):
        pass
    assert "trials" not in printed(terminal)


def test_live_table_is_left_when_something_fails(terminal, view):
    with pytest.raises(RuntimeError), LiveProgress(terminal) as progress:
        progress.update(view, "event")
        raise RuntimeError
    assert "mine: 4 of 10 trials" in printed(terminal)
    assert printed(terminal).endswith("\x1b[?25h")  # the cursor is back


def test_running_trials_first_then_the_best_and_failed_ones_last(view):
    lines = lines_of(build_table(view))
    assert [line.split()[0] for line in lines[1:]] == ["4", "5", "★2", "0", "1", "3"]
    assert lines[1].split() == ["4", "running", "50%", ".4700", "0:20", "learning_rate=4e-05"]
    assert lines[2].split() == ["5", "running", "0%", "–", "–", "learning_rate=5e-05"]


def test_a_failed_trial_shows_its_reason_in_one_line():
    table = build_table(make_view(row(0, "failed", None, note="out of memory [/dev/nvidia0]\nTraceback")))
    (line,) = lines_of(table)[1:]
    assert line.endswith("out of memory [/dev/nvidia0]")


def test_parameters_that_look_like_markup_are_shown():
    assert "packages=[numpy]" in lines_of(build_table(make_view(row(0, params="packages=[numpy]"))))[1]


def test_long_sweeps_are_cut_on_the_terminal_only():
    view = make_view(*(row(n, best=n / 100) for n in range(30)), asked=40)
    cut = lines_of(build_table(view, shown=12))
    assert len(cut) == 1 + 12 + 1
    assert cut[1].split()[0] == "★29"
    assert "and 18 more" in cut[-1]
    assert len(lines_of(build_table(view))) == 1 + 30


def test_narrow_terminal_shortens_only_the_parameters(view):
    view = make_view(row(0, params="learning_rate=1e-05 " * 10))
    (line,) = lines_of(build_table(view), width=60)[1:]
    assert line.split()[:5] == ["★0", "complete", "100%", ".5000", "1:00"]
    assert line.rstrip().endswith("…")
    assert len(line) <= 60


@pytest.mark.parametrize(
    ("view", "text"),
    [
        (make_view(baseline=None), "mine: 0 of 10 trials, best – (base –), 0 stopped"),
        (make_view(row(0), asked=1), "mine: 1 of 1 trials, best .5000 (base .4000), 0 stopped"),
        (
            make_view(row(0), asked=3, slots=2),
            "mine: 1 of 3 trials, best .5000 (base .4000), 0 stopped, about 1:00 left",
        ),
        (make_view(row(0), row(1), asked=1), "mine: 2 of 1 trials, best .5000 (base .4000), 0 stopped"),
    ],
)
def test_one_line_of_a_sweep(view, text):
    assert describe_view(view) == text

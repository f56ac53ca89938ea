"""The terminal: errors as messages with exit codes, output that is never wrapped in a pipe, quiet libraries."""

import io
import sys

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from embsweep.cli.console import console, exit_codes, quiet_environment
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError, SweepRefused, TooManyFailures, TrialFailed


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def left_with(error, resume=None):
    with pytest.raises(SystemExit) as left, exit_codes(resume):
        raise error
    return left.value.code


ERRORS = [
    (InputError(Diagnostic("out-of-range", "a.b", "is wrong", 3)), 2, ["1 ", "  - a.b: is wrong; got 3"]),
    (InputError([Diagnostic("empty", "a", "x"), Diagnostic("empty", "b", "y")]), 2, ["2 ", "  - a: x", "  - b: y"]),
    (SweepRefused("other-sweep", "it differs"), 2, ["it differs"]),
    (TooManyFailures("4 of 4 failed"), 3, ["4 of 4 failed"]),
    (TrialFailed("not-finite", "loss is nan"), 1, ["loss is nan"]),
    (EmbsweepError("something of ours"), 1, ["something of ours"]),
    (KeyboardInterrupt(), 130, [""]),
]
"""Each with its exit code, and how the lines of its message begin."""


@pytest.mark.parametrize(("error", "code", "beginnings"), ERRORS)
def test_errors_are_messages_on_stderr(capsys, error, code, beginnings):
    assert left_with(error) == code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings
    assert lines[1:] == beginnings[1:]


def test_interrupted_with_a_command_to_go_on(capsys):
    assert left_with(KeyboardInterrupt(), "python run_sweep.py +sweep=x") == 130
    assert capsys.readouterr().err.endswith(": python run_sweep.py +sweep=x\n")


def test_a_full_disk_is_a_message_whoever_says_so(capsys):
    """safetensors, torch and sqlite each raise something of their own."""
    assert left_with(RuntimeError("I/O error: No space left on device (os error 28)"), resume="the command") == 1
    output = capsys.readouterr().err
    assert "No space left on device (os error 28)" in output
    assert output.endswith(": the command\n")


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_codes():
        raise ZeroDivisionError


def test_no_error_no_exit(capsys):
    with exit_codes():
        pass
    assert capsys.readouterr() == ("", "")


def test_messages_are_neither_wrapped_nor_read_as_markup(capsys):
    text = "[bold]a reason[/nonsense] " + "x" * 500
    left_with(EmbsweepError(text))
    assert capsys.readouterr().err == text + "\n"


def test_names_of_others_cannot_steer_the_terminal(capsys, monkeypatch, set_env):
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil"
    table = Table()
    table.add_row(evil)
    for shown in (evil, Text(evil), table, Panel(evil)):
        console().print(shown, markup=False)
    left_with(EmbsweepError(evil))
    found = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(found.out + found.err)
    assert r"\x1b[2J\x1b]0;title" in found.err
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    set_env(TERM="xterm")
    console().print(Text("red", "red"), evil)
    assert "\x1b[31mred" in terminal.getvalue(), "its own colours stay"
    assert "\x1b[2J" not in terminal.getvalue()


def test_things_that_are_not_listed_are_counted(capsys):
    left_with(
        InputError([Diagnostic("empty", "a", "x"), Diagnostic("more-faults", "b", "and 1,214 more faults", count=1214)])
    )
    assert capsys.readouterr().err.startswith("1,215 ")


def test_a_pipe_is_wide_and_never_wrapped(capsys):
    out = console()
    out.print("x" * 500)
    assert not out.is_terminal
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_a_terminal_keeps_its_own_width(monkeypatch, set_env):
    monkeypatch.setattr(sys, "stdout", FakeTerminal())
    set_env(COLUMNS="77", TERM="xterm")
    assert console().width == 77
    assert console().is_terminal


def test_stderr_has_a_console_of_its_own(capsys):
    console(stderr=True).print("there")
    assert capsys.readouterr() == ("", "there\n")


def test_a_followed_log_shows_each_line_at_once(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw))
    quiet_environment()
    sys.stdout.write("one line\n")
    assert raw.getvalue() == b"one line\n"

"""Terminal output: errors become messages and exit codes, pipes are never wrapped, libraries are quiet."""

import io
import sys
from contextlib import nullcontext
from unittest import mock

import pytest
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from embsweep.cli.console import console, exit_codes, number_table, quiet_environment
from embsweep.cli.signals import Shutdown
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError, SweepRefused, TooManyFailures, TrialFailed


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def exit_code_of(error, resume=None):
    """Return the exit code. No signal handlers are installed: after an interruption they would stay in this process."""
    with (
        mock.patch("embsweep.cli.console.handle_signals", lambda _: nullcontext(Shutdown())),
        pytest.raises(SystemExit) as exited,
        exit_codes(resume),
    ):
        raise error
    return exited.value.code


ERRORS = [
    (InputError(Diagnostic("out-of-range", "a.b", "is wrong", 3)), 2, ["1 ", "  - a.b: is wrong; got 3"]),
    (InputError([Diagnostic("empty", "a", "x"), Diagnostic("empty", "b", "y")]), 2, ["2 ", "  - a: x", "  - b: y"]),
    (SweepRefused("other-sweep", "it differs"), 2, ["it differs"]),
    (TooManyFailures("4 of 4 failed"), 3, ["4 of 4 failed"]),
    (TrialFailed("not-finite", "loss is nan"), 1, ["loss is nan"]),
    (EmbsweepError("an embsweep error"), 1, ["an embsweep error"]),
    (KeyboardInterrupt(), 130, [""]),
]
"""Errors with their exit code and the beginning of each line of their message."""


@pytest.mark.parametrize(("error", "code", "beginnings"), ERRORS)
def test_errors_are_messages_on_stderr(capsys, error, code, beginnings):
    assert exit_code_of(error) == code
    out, err = capsys.readouterr()
    lines = err.splitlines()
    assert out == ""
    assert [line[: len(start)] for line, start in zip(lines, beginnings, strict=True)] == beginnings
    assert lines[1:] == beginnings[1:]


def test_interrupt_prints_the_command_that_resumes(capsys):
    assert exit_code_of(KeyboardInterrupt(), "python run_sweep.py +sweep=x") == 130
    assert capsys.readouterr().err.endswith(": python run_sweep.py +sweep=x\n")


def test_a_full_disk_is_a_message_in_every_library(capsys):
    """safetensors, torch and sqlite each raise a different error."""
    assert exit_code_of(RuntimeError("I/O error: No space left on device (os error 28)"), resume="the command") == 1
    output = capsys.readouterr().err
    assert "No space left on device (os error 28)" in output
    assert output.endswith(": the command\n")


def test_an_unexpected_error_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_codes():
        raise ZeroDivisionError


def test_without_an_error_there_is_no_exit(capsys):
    with exit_codes():
        pass
    assert capsys.readouterr() == ("", "")


def test_messages_are_neither_wrapped_nor_parsed_as_markup(capsys):
    text = "[bold]a reason[/nonsense] " + "x" * 500
    exit_code_of(EmbsweepError(text))
    assert capsys.readouterr().err == text + "\n"


def test_no_text_of_others_is_read_as_markup(capsys):
    """Neither as a text, nor in a table, whose cells are texts too."""
    table = number_table("[/x]", "[red]")
    table.add_row("[/foo]", "[bold]:smile:[/bold]")
    console().print("[/foo] :smile: [red]x[/red]", table)
    out = capsys.readouterr().out
    assert [part for part in ("[/foo] :smile: [red]x[/red]", "[/x]", "[bold]:smile:[/bold]") if part not in out] == []


def test_control_sequences_in_third_party_names_are_escaped(capsys, monkeypatch, set_env):
    evil = "\x1b[2J\x1b]0;title\x07\x9b31m\u202eevil"
    table = Table()
    table.add_row(evil)
    for shown in (evil, Text(evil), table, Panel(evil)):
        console().print(shown)
    exit_code_of(EmbsweepError(evil))
    output = capsys.readouterr()
    assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(output.out + output.err)
    assert r"\x1b[2J\x1b]0;title" in output.err
    terminal = FakeTerminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    set_env(TERM="xterm")
    console().print(Text("red", "red"), evil)
    assert "\x1b[31mred" in terminal.getvalue(), "the program's own colours are kept"
    assert "\x1b[2J" not in terminal.getvalue()


def test_secrets_are_masked_in_everything_that_is_printed(capsys, set_env):
    set_env(MY_PASSWORD="hunter2hunter2", COLUMNS="40")  # pragma: allowlist secret
    table = Table(width=30)
    table.add_row("the first is hunter2hunter2 and wraps", Text("postgresql://ann:hunter2@db/x"))
    for shown in ("hunter2hunter2", Text("hunter2hunter2", "red"), table, Panel("see http://ann:hunter2@host")):
        console().print(shown)
        console(stderr=True).print(shown)
    output = "".join(capsys.readouterr())
    assert "hunter2" not in output
    assert "***" in output


def test_diagnostics_that_are_not_listed_are_counted(capsys):
    exit_code_of(
        InputError([Diagnostic("empty", "a", "x"), Diagnostic("more-faults", "b", "and 1,214 more errors", count=1214)])
    )
    assert capsys.readouterr().err.startswith("1,215 ")


def test_a_pipe_is_wide_and_never_wrapped(capsys):
    out = console()
    out.print("x" * 500)
    assert not out.is_terminal
    assert capsys.readouterr().out == "x" * 500 + "\n"


def test_a_terminal_keeps_its_width(monkeypatch, set_env):
    monkeypatch.setattr(sys, "stdout", FakeTerminal())
    set_env(COLUMNS="77", TERM="xterm")
    assert console().width == 77
    assert console().is_terminal


def test_stderr_has_a_separate_console(capsys):
    console(stderr=True).print("an error")
    assert capsys.readouterr() == ("", "an error\n")


def test_each_line_is_written_to_a_pipe_at_once(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw))
    quiet_environment()
    sys.stdout.write("one line\n")
    assert raw.getvalue() == b"one line\n"

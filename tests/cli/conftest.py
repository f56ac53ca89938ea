"""Fixtures that run the command line inside this process and return its exit code and output."""

import json
import logging
import sys
from contextlib import nullcontext
from dataclasses import dataclass

import pytest
from huggingface_hub import constants
from hydra.core.global_hydra import GlobalHydra

from embsweep.cli import main
from embsweep.cli.signals import Shutdown
from embsweep.core.codes import Code
from embsweep.runners.resources import Machine
from tests.refusals import exit_diagnostics


@dataclass(frozen=True)
class ExitResult:
    """Exit code, output and diagnostics of a command."""

    code: int
    out: str
    err: str
    diagnostics: list[tuple[Code, str]]

    @property
    def listed_locations(self):
        """Locations of the diagnostics as printed on stderr, in order."""
        return [line[4:].split(": ")[0] for line in self.err.splitlines() if line.startswith("  - ")]


@pytest.fixture(autouse=True)
def no_signal(monkeypatch):
    """Leave this process's signals alone: after a KeyboardInterrupt they would stay with the command."""
    monkeypatch.setattr("embsweep.cli.console.handle_signals", lambda _: nullcontext(Shutdown()))


@pytest.fixture
def outside_hydra():
    """Let Hydra start, which it refuses inside the session's loader, and undo its changes to the root logger."""
    state, root = GlobalHydra.instance(), logging.getLogger()
    before, state.hydra = state.hydra, None
    handlers, level = list(root.handlers), root.level
    yield
    state.hydra = before
    root.handlers, root.level = handlers, level


@pytest.fixture
def two_cores(monkeypatch):
    """Simulate a machine with two cores, no GPU and no hub, so that diagnostics do not depend on the real one."""
    monkeypatch.setattr("embsweep.runners.base.inspect_machine", lambda: Machine(2, 0))
    monkeypatch.setattr("embsweep.sweep.checks.preflight.has_usable_gpu", lambda: False)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


@pytest.fixture
def started(monkeypatch):
    """Collect the requests that pass every check of `main`; none is run."""
    requests = []
    monkeypatch.setattr(main, "_run", requests.append)
    return requests


@pytest.fixture
def call(monkeypatch, capsys, outside_hydra):
    """Return a function that runs `python run_sweep.py …`: call("+sweep=bgem3", "train.epochs=1")."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["run_sweep.py", *arguments])
        code, diagnostics = 0, []
        try:
            main.main()
        except SystemExit as exited:
            code, diagnostics = exited.code, exit_diagnostics(exited)
        output = capsys.readouterr()
        return ExitResult(code, output.out, output.err, diagnostics)

    return run


@pytest.fixture
def call_past_hydra(call, monkeypatch):
    """Return `call` without Hydra's own start, which composes twice more."""
    monkeypatch.setattr(main.hydra, "main", lambda **_: lambda task: lambda: task(None))
    return call


@pytest.fixture(scope="session")
def pairs(tmp_path_factory):
    """Write sixty valid pairs to one file for the session, so that command lines that name it are composed once."""
    file = tmp_path_factory.mktemp("data") / "pairs.jsonl"
    rows = [{"anchor": f"question {i}", "positive": f"passage number {i}"} for i in range(60)]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file

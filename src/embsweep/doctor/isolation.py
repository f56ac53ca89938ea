"""Run a step in a process group of its own, so that a broken CUDA context, a crash or a hang ends with it."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from embsweep.core.errors import describe_exception
from embsweep.doctor.setup import Setup, Sizes
from embsweep.doctor.verdicts import Skipped, StepFailed, Verdict, require

_ENVIRONMENT = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
"""Variables of the steps: nothing is downloaded."""

Run = Callable[[Setup], str]
_LINES = 3


@dataclass(frozen=True)
class Step:
    """A step: its function returns figures, or raises Skipped, StepFailed or the error of a library.

    `is_quick`: it is part of a check without `--all`. `title` says what is checked.
    """

    name: str
    title: str
    run: Run
    is_quick: bool = False
    timeout_s: float = 180.0


def run_isolated(step: Step, device: str, sizes: Sizes, logs: Path) -> Verdict:
    """Run a step in a new process; whatever happens there becomes a verdict.

    Args:
        step: The step.
        device: `cuda` or `cpu`.
        sizes: Sizes of the step.
        logs: Folder for what the step prints; the file is kept only if the step fails.
    """
    clock = time.perf_counter()
    log = logs / f"{step.name.replace(' ', '-')}.log"
    scratch = Path(tempfile.mkdtemp(prefix="step-", dir=logs))
    is_kept = False
    try:
        verdict = _run_process(step, Setup(device, scratch, sizes), log)
        is_kept = verdict.has_failed and log.exists() and log.stat().st_size > 0
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        if not is_kept:
            log.unlink(missing_ok=True)
    figures = f"{verdict.figures} (log: {log})" if is_kept else verdict.figures
    return Verdict(step.name, verdict.is_ok, figures, time.perf_counter() - clock)


def run_here(step: Step, setup: Setup) -> Verdict:
    """Run a step in this process; its errors become verdicts, with their traceback on stderr."""
    clock = time.perf_counter()
    is_ok: bool | None = False
    try:
        is_ok, figures = True, step.run(setup)
    except Skipped as error:
        is_ok, figures = None, str(error)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        is_ok = False if package in ("", "embsweep") else None
        figures = f"{package} is not installed" if is_ok is None else describe_exception(error)
    except StepFailed as error:
        is_ok, figures = False, str(error)
    except Exception as error:
        traceback.print_exc()
        is_ok, figures = False, describe_exception(error)
    return Verdict(step.name, is_ok, figures, time.perf_counter() - clock)


def _run_process(step: Step, setup: Setup, log: Path) -> Verdict:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_serve, args=(theirs, step, setup, log))
    process.start()
    theirs.close()
    verdict, has_ended = None, False
    try:
        if has_ended := ours.poll(step.timeout_s):
            with contextlib.suppress(EOFError):  # the process died
                verdict = ours.recv()
    finally:
        _kill_group(process.pid)  # before the process is waited for: until then its number is not used again
        process.kill()
        process.join()
    if verdict is not None:
        return cast(Verdict, verdict)
    reason = f"its process died ({_describe_exit(process.exitcode)})" if has_ended else _describe_timeout(step)
    return Verdict(step.name, False, f"{reason}{_last_lines(log)}")


def _describe_timeout(step: Step) -> str:
    return f"no result in {step.timeout_s:g} s, ended"


def _serve(connection: Connection, step: Step, setup: Setup, log: Path) -> None:
    """Run the step in a new session, with its output in the log, and send the verdict."""
    os.environ.update(_ENVIRONMENT)  # before the step imports its libraries
    with contextlib.suppress(OSError):
        os.setsid()
    threading.Thread(target=_watch_parent, daemon=True).start()
    with log.open("ab") as file:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(file.fileno(), stream.fileno())
    connection.send(run_here(replace(step, run=partial(_run_on_device, step.run)), setup))


def _run_on_device(run: Run, setup: Setup) -> str:
    """Run the step, but not on the CPU in place of a GPU: trials would do so."""
    import torch

    require(not setup.is_gpu or torch.cuda.is_available(), "torch sees no GPU in the process of this step")
    return run(setup)


def _watch_parent() -> None:
    """End with all processes of the step if the parent ends."""
    if parent := multiprocessing.parent_process():
        parent.join()
        os.killpg(os.getpgid(0), signal.SIGKILL)


def _kill_group(pid: int | None) -> None:
    """End what the step has left running: workers, a hanging kernel."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if pid is not None and os.getpgid(pid) == pid:
            os.killpg(pid, signal.SIGKILL)


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return signal.Signals(-code).name
    return f"exit code {code}"


def _last_lines(log: Path) -> str:
    try:
        lines = log.read_text("utf-8", errors="replace").strip().splitlines()[-_LINES:]
    except OSError:
        return ""
    return f": {' | '.join(lines)}" if lines else ""

"""`embsweep doctor`: print the facts, run the steps one after the other, and say whether anything is wrong."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from embsweep.core.errors import describe_exception
from embsweep.core.redaction import redact
from embsweep.doctor.facts import read_machine, read_packages, read_variables
from embsweep.doctor.gpu_facts import describe_views, view_gpus
from embsweep.doctor.isolation import Step, run_isolated
from embsweep.doctor.setup import FULL, Sizes
from embsweep.doctor.steps import STEPS
from embsweep.doctor.verdicts import Fact, Verdict, format_fact, format_lines, format_verdict

Say = Callable[[str], object]


def run_doctor(say: Say, *, storage: Path, store: str, is_all: bool = False) -> bool:
    """Print the facts about this machine and run steps on its GPUs; return whether nothing is wrong.

    Args:
        say: Prints lines.
        storage: Folder with `sweeps/`.
        store: Where this folder's records go.
        is_all: Run all steps (minutes), not only the quick ones.
    """
    views = view_gpus()
    for fact in (*read_machine(storage), *describe_views(views), *read_packages(), *_read_rest(store)):
        say(format_fact(fact))
    steps = [step for step in STEPS if is_all or step.is_quick]
    if views.diagnostics or views.problem:
        reason = "torch cannot be imported" if views.problem else "torch cannot use the GPUs (PROBLEM above)"
        say(format_lines(["", f"No step was run: {reason}."]))
        return False
    if not views.gpus:
        say(format_lines(_describe_steps(STEPS)))
        return True
    return run_steps(say, steps, is_all=is_all)


def _read_rest(store: str) -> Iterator[Fact]:
    yield Fact("MLflow store", redact(store))
    yield from read_variables()


def _describe_steps(steps: Sequence[Step]) -> Iterator[str]:
    quick, others = (", ".join(step.name for step in steps if step.is_quick is wanted) for wanted in (True, False))
    yield ""
    yield f"No GPU: on a GPU these steps would run: {quick}; with --all also: {others}."


def run_steps(say: Say, steps: Sequence[Step], *, is_all: bool) -> bool:
    """Run steps on the GPU, each in its own process, and print their verdicts; return whether none failed."""
    say(format_lines(["", f"{len(steps)} steps on the first GPU, each in a process of its own:"]))
    verdicts = []
    for verdict in iterate_verdicts(steps):
        say(format_verdict(verdict))
        verdicts.append(verdict)
    failed = [verdict.name for verdict in verdicts if verdict.has_failed]
    skipped = sum(verdict.is_ok is None for verdict in verdicts)
    seconds = sum(verdict.seconds for verdict in verdicts)
    more = "" if is_all else f"; embsweep doctor --all runs all {len(STEPS)}"
    counts = f"{len(verdicts)} steps, {len(failed)} failed, {skipped} skipped, {seconds:.0f} s{more}"
    say(format_lines(["", f"{counts}. Failed: {', '.join(failed)}" if failed else counts]))
    return not failed


def iterate_verdicts(steps: Sequence[Step], device: str = "cuda", sizes: Sizes = FULL) -> Iterator[Verdict]:
    """Run steps one after the other, each in its own process, and yield their verdicts.

    Logs of failed steps stay in a temporary folder, which their figures name.

    Args:
        steps: The steps.
        device: `cuda` or `cpu`.
        sizes: Sizes of the steps.
    """
    try:
        logs = Path(tempfile.mkdtemp(prefix="embsweep-doctor-"))
    except OSError as error:
        yield Verdict("scratch", False, f"no temporary folder can be written: {describe_exception(error)}")
        return
    try:
        for step in steps:
            yield run_isolated(step, device, sizes, logs)
    finally:
        if not any(logs.iterdir()):
            shutil.rmtree(logs, ignore_errors=True)

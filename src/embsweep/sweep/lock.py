"""Fail fast if another process is already running this sweep.

The lock is tested before the preflight checks, because those take longer than a user should wait for this answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embsweep.core.errors import InputError, SweepRefused
from embsweep.core.names import rehearsal_name
from embsweep.runners.resources import inspect_machine
from embsweep.sweep.checks.inputs import find_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.request import SweepRequest


def check_not_running(request: SweepRequest) -> None:
    """Check that no other process runs the requested sweep; leave every other problem to the preflight checks.

    A rehearsal runs under a name of its own. With `scale.mode` auto, the machine's GPUs decide which of the two names
    applies; they are counted only if a sweep of one of the names is running. On a cluster, the preflight checks decide
    instead, because they inspect its nodes.

    Raises:
        SweepRefused: If another process runs the sweep; the message names it.
    """
    names = _candidate_names(request.values)
    refusals = {name: refusal for name in names if (refusal := _find_running(request, name))}
    if refusals and len(names) > 1:
        if request.values.get("runner", {}).get("kind") == "cluster":
            return
        names = names[:1] if inspect_machine().gpus else names[1:]  # importing torch takes seconds
    for name in names:
        if name in refusals:
            raise refusals[name]


def _find_running(request: SweepRequest, name: str) -> SweepRefused | None:
    folder = SweepFolder(find_storage(request.values, request.default_storage), name)
    if not (folder.storage / "sweeps" / f".{name}.lock").exists():
        return None
    try:
        with folder.hold():
            return None
    except SweepRefused as refusal:
        return refusal
    except InputError:  # the preflight checks report it together with all other problems
        return None


def _candidate_names(values: Mapping[str, Any]) -> list[str]:
    """Return the names that the sweep may have: at full scale, in rehearsal, or both; none if it is misconfigured."""
    sweep, scale = values.get("sweep"), values.get("scale")
    name = sweep.get("name") if isinstance(sweep, Mapping) else None
    if not isinstance(name, str) or "/" in name or not isinstance(scale, Mapping):
        return []
    both = {"full": [name], "rehearsal": [rehearsal_name(name)], "auto": [name, rehearsal_name(name)]}
    return both.get(str(scale.get("mode")), [])

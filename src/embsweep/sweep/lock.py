"""A second driver of one sweep, told so at once: before anything is checked, which takes longer than it should wait."""

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
    """SweepRefused, naming the process, where another one runs this sweep. What is wrong otherwise is left to others.

    Whether this would be a rehearsal, which has another name, is asked only where one of the two is running; that of a
    cluster is left to the checks, which look at it.
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
    except InputError:  # found again by the checks, with all else that is wrong
        return None


def _candidate_names(values: Mapping[str, Any]) -> list[str]:
    """At full scale and in rehearsal; none where the configuration does not say."""
    sweep, scale = values.get("sweep"), values.get("scale")
    name = sweep.get("name") if isinstance(sweep, Mapping) else None
    if not isinstance(name, str) or "/" in name or not isinstance(scale, Mapping):
        return []
    both = {"full": [name], "rehearsal": [rehearsal_name(name)], "auto": [name, rehearsal_name(name)]}
    return both.get(str(scale.get("mode")), [])

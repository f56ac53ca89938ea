"""Share the data of all trials through Ray's object store; a trial itself carries only references.

The store keeps one copy per node and copies between nodes. Texts are deserialised once in a warm process; arrays (token
tables) are not copied at all; a base model's files are sent in chunks and unpacked once on each machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray

from embsweep.models.node_cache import unpack
from embsweep.models.snapshot import Snapshot, SnapshotFile
from embsweep.runners.base import TrialFn
from embsweep.training.messages import Reporter, TrialResult, TrialSpec

_opened: dict[ObjectRefs, dict[str, Any]] = {}
"""Contents of the last refs that this process opened; at most one, to free the texts of an earlier sweep."""


@dataclass(frozen=True)
class ModelRefs:
    """A base model in the object store: the chunks of each file in order. `node` already has the model's own folder."""

    snapshot: Snapshot
    chunks: tuple[tuple[SnapshotFile, tuple[ray.ObjectRef[NDArray[np.uint8]], ...]], ...]
    node: str


@dataclass(frozen=True)
class ObjectRefs:
    """References by name. Their contents stay in Ray's store as long as the driver holds this object."""

    objects: tuple[tuple[str, ray.ObjectRef[Any]], ...]
    models: tuple[tuple[str, tuple[ModelRefs, ...]], ...]


@dataclass(frozen=True)
class RemoteTrialFn:
    """`run` with the contents of `refs` as keyword arguments: a `TrialFn` of a few hundred bytes."""

    run: Any
    refs: ObjectRefs

    def __call__(self, job: TrialSpec, reporter: Reporter) -> TrialResult:
        """Open the refs, if this process has not done so, and run the trial."""
        result: TrialResult = self.run(job, reporter, **get_all(self.refs))
        return result


def put_trial_fn(trial_fn: TrialFn, *, to_other_machines: bool) -> TrialFn:
    """Put the keyword arguments of a `functools.partial` into the object store; return any other function unchanged."""
    if not isinstance(trial_fn, partial) or trial_fn.args or not trial_fn.keywords:
        return trial_fn
    return RemoteTrialFn(trial_fn.func, put_all(trial_fn.keywords, to_other_machines=to_other_machines))


def put_all(contents: dict[str, Any], *, to_other_machines: bool) -> ObjectRefs:
    """Put everything into Ray's object store, once per sweep.

    A value that is a tuple of `Snapshot`s is a set of base models: their files are sent only `to_other_machines`, which
    unpack them; processes that can read the driver's disk use the files there.
    """
    models = {name: value for name, value in contents.items() if _is_models(value) and to_other_machines}
    objects = {name: ray.put(value) for name, value in contents.items() if name not in models}
    shipped = {name: tuple(_ship_model(snapshot) for snapshot in value) for name, value in models.items()}
    return ObjectRefs(tuple(objects.items()), tuple(shipped.items()))


def get_all(refs: ObjectRefs) -> dict[str, Any]:
    """Return the contents by name, the same objects in every call of a process; snapshots are in local folders.

    Raises:
        EmbsweepError: If a base model cannot be unpacked here.
    """
    if refs not in _opened:
        _opened.clear()
        objects: list[Any] = ray.get([reference for _, reference in refs.objects])
        contents = dict(zip((name for name, _ in refs.objects), objects, strict=True))
        contents |= {name: tuple(map(_open_model, models)) for name, models in refs.models}
        _opened[refs] = contents
    return dict(_opened[refs])


def _is_models(value: Any) -> bool:
    return isinstance(value, tuple) and bool(value) and all(isinstance(item, Snapshot) for item in value)


def _ship_model(snapshot: Snapshot) -> ModelRefs:
    chunks = tuple((file, tuple(map(ray.put, snapshot.read_chunks(file)))) for file in snapshot.files)
    return ModelRefs(snapshot, chunks, ray.get_runtime_context().get_node_id())


def _open_model(model: ModelRefs) -> Snapshot:
    if ray.get_runtime_context().get_node_id() == model.node:
        return model.snapshot
    chunks = dict(model.chunks)
    return unpack(model.snapshot, lambda file: _iter_chunks(chunks[file]))


def _iter_chunks(references: Iterable[ray.ObjectRef[NDArray[np.uint8]]]) -> Iterator[NDArray[np.uint8]]:
    """Yield one chunk at a time, so that the store need not hold a whole model at once."""
    for reference in references:
        yield ray.get(reference)

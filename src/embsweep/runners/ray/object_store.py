"""What every trial needs travels once to a node and is opened once in a process; with a trial go only references.

Ray's object store keeps one copy a node and moves it between nodes. Texts are deserialised once in a warm process;
arrays (token tables) are not copied at all; a base model's files go in chunks and are unpacked once on each machine.
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
from embsweep.training.messages import Reporter, TrialSpec

_opened: dict[ObjectRefs, dict[str, Any]] = {}
"""The last refs that this process opened: one, so that an earlier sweep's texts do not stay."""


@dataclass(frozen=True)
class ModelRefs:
    """A base model on its way: the chunks of each of its files in order. On `node` its own folder is there already."""

    snapshot: Snapshot
    chunks: tuple[tuple[SnapshotFile, tuple[ray.ObjectRef[NDArray[np.uint8]], ...]], ...]
    node: str


@dataclass(frozen=True)
class ObjectRefs:
    """References by the names of what they stand for. Its contents stay in Ray's store as long as its driver has it."""

    objects: tuple[tuple[str, ray.ObjectRef[Any]], ...]
    models: tuple[tuple[str, tuple[ModelRefs, ...]], ...]


@dataclass(frozen=True)
class RemoteTrialFn:
    """`run` with the contents of `refs` as keyword arguments: a `Work` of a few hundred bytes."""

    run: Any
    refs: ObjectRefs

    def __call__(self, job: TrialSpec, reporter: Reporter) -> None:
        """Open the refs, if this process has not done so, and run the job."""
        self.run(job, reporter, **get_all(self.refs))


def put_trial_fn(trial_fn: TrialFn, *, to_other_machines: bool) -> TrialFn:
    """`work` with its keyword arguments shipped, if it is a `functools.partial`; else as it is."""
    if not isinstance(trial_fn, partial) or trial_fn.args or not trial_fn.keywords:
        return trial_fn
    return RemoteTrialFn(trial_fn.func, put_all(trial_fn.keywords, to_other_machines=to_other_machines))


def put_all(contents: dict[str, Any], *, to_other_machines: bool) -> ObjectRefs:
    """Put everything into Ray's object store, once a sweep.

    A value that is a tuple of `Snapshot`s is a set of base models: their files travel only `to_other_machines`, where
    they are unpacked, and are read where they lie by processes that see the driver's disk.
    """
    models = {name: value for name, value in contents.items() if _is_models(value) and to_other_machines}
    objects = {name: ray.put(value) for name, value in contents.items() if name not in models}
    shipped = {name: tuple(_ship_model(snapshot) for snapshot in value) for name, value in models.items()}
    return ObjectRefs(tuple(objects.items()), tuple(shipped.items()))


def get_all(refs: ObjectRefs) -> dict[str, Any]:
    """The contents by name, the same objects in every call of a process. Snapshots lie in folders of this machine.

    EmbsweepError where a base model cannot be unpacked here.
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
    """One chunk after the other: the store need not hold a whole model at once."""
    for reference in references:
        yield ray.get(reference)

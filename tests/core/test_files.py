"""Atomic writes survive a power cut: contents are synced before the rename, the parent folder after it.

The tests cut no power: they record the calls that a file system requires, and their order.
"""

import os
from pathlib import Path

import numpy as np
import pytest

from embsweep.config import TrialConfig
from embsweep.config.training import ModelConfig
from embsweep.core import files as folders
from embsweep.core.files import atomic_write, open_atomic, write_folder
from embsweep.evaluation.per_query import load_per_query, save_per_query
from embsweep.models.copies import copy_model
from embsweep.training.messages import TrialSpec
from embsweep.training.resume import acquire_fence

VALUES = {64: np.array([0.5, 1.0])}


class RecordedCalls:
    """Calls in order: syncs as (path, bytes on disk) and moves as (old, new)."""

    def __init__(self):
        self.made = []

    def watch(self, monkeypatch):
        sync, move, exchange = os.fsync, {"rename": os.rename, "replace": os.replace}, folders._exchange

        def fsync(descriptor):
            path = Path(f"/proc/self/fd/{descriptor}").readlink()
            self.made.append(("sync", path, os.fstat(descriptor).st_size if path.is_file() else None))
            sync(descriptor)

        def moving(name):
            def call(old, new, **kwargs):
                self.made.append(("move", Path(old), Path(new)))
                move[name](old, new, **kwargs)

            return call

        def exchanging(first, second):
            self.made.append(("move", first, second))
            return exchange(first, second)

        monkeypatch.setattr(os, "fsync", fsync)
        for name in move:
            monkeypatch.setattr(os, name, moving(name))
        monkeypatch.setattr(folders, "_exchange", exchanging)

    def check(self, target):
        """Check that one move created `target`, its contents were synced before, and its parent folder after."""
        (position,) = [index for index, (kind, *paths) in enumerate(self.made) if kind == "move" and paths[1] == target]
        source = self.made[position][1]
        before = {path: size for kind, path, size in self.made[:position] if kind == "sync"}
        inside = [target, *target.rglob("*")] if target.is_dir() else [target]
        for path in inside:
            origin = source / path.relative_to(target)
            size = path.stat().st_size if path.is_file() else None
            assert before.get(origin, "never") == size, f"{origin.name}: not synced after its last byte"
        assert ("sync", target.parent, None) in self.made[position:], f"{target.parent}: not synced after the move"


@pytest.fixture
def calls(monkeypatch):
    recorded = RecordedCalls()
    recorded.watch(monkeypatch)
    return recorded


def test_a_file(calls, tmp_path):
    atomic_write(tmp_path / "deep" / "file", b"12345")
    calls.check(tmp_path / "deep" / "file")
    assert (tmp_path / "deep" / "file").read_bytes() == b"12345"


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_an_interrupted_write_leaves_only_the_old_file(tmp_path, error):
    path = tmp_path / "file"
    atomic_write(path, b"old")
    with pytest.raises(error), open_atomic(path) as file:
        file.write(b"new")
        raise error
    assert [(left.name, left.read_bytes()) for left in tmp_path.iterdir()] == [("file", b"old")]


def test_per_query_scores(calls, tmp_path):
    save_per_query(tmp_path / "per_query.npz", VALUES)
    calls.check(tmp_path / "per_query.npz")
    assert load_per_query(tmp_path / "per_query.npz", {64: {"map@100": 0.75}}, "map@100")[64].tolist() == [0.5, 1.0]


def test_the_fencing_token(calls, tmp_path):
    job = TrialSpec(number=1, attempt=2, config=TrialConfig.model_construct(), folder=str(tmp_path / "0001"))
    acquire_fence(job)
    calls.check(tmp_path / "0001" / "attempt")


def fill(folder):
    (folder / "inner").mkdir()
    (folder / "inner" / "weights").write_bytes(b"12345")


@pytest.mark.parametrize("exchanges", [True, False])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_folder(calls, tmp_path, monkeypatch, is_new, exchanges):
    folder = tmp_path / "state"
    if not is_new:
        write_folder(folder, fill)
    if not exchanges:
        monkeypatch.setattr(folders, "_exchange", lambda *_: False)
    calls.made.clear()
    write_folder(folder, fill)
    calls.check(folder)


def test_a_copied_model(calls, tmp_path):
    source, root = tmp_path / "source", tmp_path / "models"
    for folder in (source, root):
        folder.mkdir()
    (source / "config.json").write_text("{}")
    (source / "weights").write_bytes(bytes(4000))
    cfg = ModelConfig(name="m", kind="hub", source=str(source), dim=4, max_seq_length=8)
    calls.check(copy_model(cfg, root).folder)

"""A base model's files: which of them travel, and how they arrive once, whole and checked on a machine."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from tests.refusals import raises_code

from embsweep.config.training import ModelConfig
from embsweep.core.errors import CodedError
from embsweep.models import node_cache
from embsweep.models.embedded import find_weights
from embsweep.models.node_cache import node_folder, unpack
from embsweep.models.snapshot import SnapshotFile, find_snapshot, localise, read_snapshot, select_files

USER = """
import fcntl, sys, time
stream = open(sys.argv[1], "ab")
fcntl.flock(stream, fcntl.LOCK_SH)
print(flush=True)
time.sleep(60)
"""


def make_files(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def snapshot(tmp_path):
    folder = make_files(tmp_path / "source", config=b"{}", empty=b"", weights=bytes(range(256)) * 40, sub__more=b"more")
    return read_snapshot(folder, source="org/model")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A node's folder, with no lock left over from another test."""
    monkeypatch.setattr(node_cache, "_IN_USE", {})
    return tmp_path / "node"


def small_chunks(snapshot):
    return lambda file: snapshot.read_chunks(file, 1000)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def config(source, revision=None, kind="hub"):
    return ModelConfig(name="m", kind=kind, source=str(source), revision=revision, dim=384, max_seq_length=32)


@pytest.mark.parametrize(
    ("present", "travels"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], ["config.json", "model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin", "colbert_linear.pt"], ["pytorch_model.bin"]),
        (["pytorch_model-00001-of-00002.bin", "optimizer.pt"], ["pytorch_model-00001-of-00002.bin"]),
        (["model.safetensors", "2_Dense/pytorch_model.bin"], ["2_Dense/pytorch_model.bin", "model.safetensors"]),
        (["onnx/model.onnx", "onnx/model.onnx_data", "tf_model.h5", "rust_model.ot", "flax_model.msgpack"], []),
        (["modeling.py", ".git/config", ".cache/x.json", ".gitattributes", "setup.sh"], []),
        (["sentencepiece.bpe.model", "vocab.txt", "1_Pooling/config.json"], None),
    ],
)
def test_what_travels(present, travels):
    assert sorted(select_files(map(Path, present))) == sorted(present if travels is None else travels)


def test_files_are_named_measured_and_hashed(snapshot):
    assert [file.name for file in snapshot.files] == ["config", "empty", "sub/more", "weights"]
    assert [file.size_bytes for file in snapshot.files] == [2, 0, 4, 10240]
    assert snapshot.files[0].sha256 == hashlib.sha256(b"{}").hexdigest()
    assert snapshot.size_bytes == 10246


def test_the_key_is_that_of_the_contents(snapshot, tmp_path):
    twin = read_snapshot(shutil.copytree(snapshot.folder, tmp_path / "twin"), source="elsewhere")
    assert twin.key == snapshot.key
    (tmp_path / "twin" / "config").write_bytes(b"[]")
    assert read_snapshot(tmp_path / "twin", source="elsewhere").key != snapshot.key


def test_chunks_are_the_files_bytes(snapshot):
    for file in snapshot.files:
        chunks = list(snapshot.read_chunks(file, 1000))
        assert all(chunk.dtype == np.uint8 and 0 < len(chunk) <= 1000 for chunk in chunks)
        assert b"".join(chunk.tobytes() for chunk in chunks) == (snapshot.folder / file.name).read_bytes()


def test_a_file_that_grows_meanwhile_is_named(snapshot):
    (snapshot.folder / "config").write_bytes(b"{} ")
    with raises_code(CodedError, "altered-file") as caught:
        list(snapshot.read_chunks(snapshot.files[0]))
    assert str(snapshot.folder / "config") in str(caught.value)


def test_embedded_models_do_not_travel():
    assert find_snapshot(ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=8)) is None


def test_a_model_of_the_cache_is_found_behind_its_links(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = make_files(tmp_path / "models--org--m", refs__main=b"abc", blobs__1=b"{}", blobs__2=b"weights")
    commit = repo / "snapshots" / "abc"
    commit.mkdir(parents=True)
    (commit / "config.json").symlink_to("../../blobs/1")
    (commit / "model.safetensors").symlink_to("../../blobs/2")
    found = find_snapshot(config("org/m"))
    assert [(file.name, file.size_bytes) for file in found.files] == [("config.json", 2), ("model.safetensors", 7)]
    assert find_snapshot(config("org/m", "abc")).key == found.key
    assert find_snapshot(config("org/m", "other")) is None
    assert find_snapshot(config("no such:id")) is None


def test_a_file_that_cannot_be_read(tmp_path):
    make_files(tmp_path, config=b"{}")
    (tmp_path / "model.safetensors").symlink_to("nowhere")
    with raises_code(CodedError, "unreadable") as caught:
        read_snapshot(tmp_path, source="x")
    assert str(tmp_path / "model.safetensors") in str(caught.value)


def test_localise_takes_the_snapshot_of_this_source_and_revision(snapshot, tmp_path):
    there = snapshot.at(tmp_path / "there")
    assert localise(config("org/model"), [there]) == config(tmp_path / "there")
    for other in (config("org/model", "abc"), config("org/other"), config("org/model", kind="static")):
        assert localise(other, [there]) == other
    assert localise(config("org/model"), []) == config("org/model")


def test_unpacked_once_private_and_whole(snapshot, root):
    unpacked = unpack(snapshot, small_chunks(snapshot), root)
    assert unpacked == snapshot.at(root / snapshot.key)
    assert contents(unpacked.folder) == contents(snapshot.folder)
    for path in [root, *unpacked.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o400)
    again = unpack(snapshot, lambda file: pytest.fail("is there already"), root)
    assert again == unpacked


@pytest.mark.parametrize("bytes_sent", [b"{]", b"", b"{} "])
def test_other_bytes_are_refused_and_leave_nothing(snapshot, root, bytes_sent):
    with raises_code(CodedError, "altered-file") as caught:
        unpack(snapshot, lambda file: [np.frombuffer(bytes_sent, np.uint8)], root)
    assert str(caught.value).startswith("config: ")
    assert contents(root).keys() == {f"{snapshot.key}.use-lock", f"{snapshot.key}.write-lock"}


@pytest.mark.parametrize("name", ["../escaped", "/tmp/escaped", "a/../../escaped"])
def test_no_file_outside_the_folder(snapshot, root, name):
    bad = type(snapshot)("x", None, snapshot.folder, (SnapshotFile(name, 2, hashlib.sha256(b"{}").hexdigest()),))
    with raises_code(CodedError, "bad-name") as caught:
        unpack(bad, lambda file: [np.frombuffer(b"{}", np.uint8)], root)
    assert name in str(caught.value)
    assert not list(root.parent.rglob("escaped"))


def test_what_a_crash_left_is_replaced(snapshot, root):
    make_files(root, **{f".{snapshot.key}.deadbeef__config": b"{", f"{snapshot.key}__config": b"{}"})
    unpacked = unpack(snapshot, small_chunks(snapshot), root)
    assert contents(unpacked.folder) == contents(snapshot.folder)
    assert [path.name for path in root.iterdir() if path.is_dir()] == [snapshot.key]


def test_of_many_at_once_one_writes(snapshot, root):
    reads, results = [], []

    def slow_chunks(file):
        reads.append(file.name)
        time.sleep(0.02)
        return snapshot.read_chunks(file)

    threads = [Thread(target=lambda: results.append(unpack(snapshot, slow_chunks, root))) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 6
    assert sorted(reads) == [file.name for file in snapshot.files]


def other_model(tmp_path, number, size=5000):
    return read_snapshot(make_files(tmp_path / f"other{number}", weights=bytes([number]) * size), source=f"o{number}")


def forget(folder):
    """As if the process that used it had ended."""
    node_cache._IN_USE.pop(folder).close()


def test_the_longest_unused_makes_room(tmp_path, root):
    models = [other_model(tmp_path, number) for number in range(4)]
    for age, model in zip((30, 10, 20), models, strict=False):
        folder = unpack(model, model.read_chunks, root).folder
        os.utime(folder, (time.time() - age,) * 2)
        forget(folder)
    unpack(models[3], models[3].read_chunks, root, kept_bytes=15_000)
    assert [(root / model.key).exists() for model in models] == [False, True, True, True]
    forget(root / models[3].key)
    unpack(models[0], models[0].read_chunks, root, kept_bytes=10_000)
    assert [(root / model.key).exists() for model in models] == [True, False, False, True]


@pytest.mark.slow
def test_a_model_in_use_stays(tmp_path, root):
    """By this process, and by another one until it ends, however it ends."""
    first, second, third = (other_model(tmp_path, number) for number in range(3))
    unpack(first, first.read_chunks, root)
    lock = root / f"{second.key}.use-lock"
    unpack(second, second.read_chunks, root)
    forget(root / second.key)
    with subprocess.Popen([sys.executable, "-c", USER, lock], stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        unpack(third, third.read_chunks, root, kept_bytes=1)
        assert (root / first.key).exists()
        assert (root / second.key).exists()
        user.kill()
    forget(root / third.key)
    shutil.rmtree(root / third.key)
    unpack(third, third.read_chunks, root, kept_bytes=1)
    assert (root / first.key).exists()
    assert not (root / second.key).exists()


def test_a_full_disk_is_told_before_anything_is_written(snapshot, root, monkeypatch):
    usage = type(shutil.disk_usage("/"))(100, 100, snapshot.size_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with raises_code(CodedError, "not-enough-room") as caught:
        unpack(snapshot, lambda file: pytest.fail("nothing to read"), root)
    assert all(named in str(caught.value) for named in (str(root), "10246", "TMPDIR"))


def test_the_nodes_folder_belongs_to_this_user_alone(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = node_folder()
    assert folder == tmp_path / f"embsweep-{os.getuid()}" / "models"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.parent.chmod(0o770)
    with raises_code(CodedError, "unsafe-folder"):
        node_folder()
    folder.parent.rmdir()
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    folder.parent.symlink_to(tmp_path / "elsewhere")
    with raises_code(CodedError, "unsafe-folder"):
        node_folder()


@pytest.mark.slow
def test_a_real_model_is_the_same_after_the_journey(root):
    import torch

    from embsweep.models.registry import build_model

    cfg = config(find_weights().parent)
    snapshot = find_snapshot(cfg)
    there = build_model(localise(cfg, [unpack(snapshot, snapshot.read_chunks, root)]), "cpu")
    here = build_model(cfg, "cpu")
    assert all(torch.equal(*both) for both in zip(here.parameters(), there.parameters(), strict=True))
    assert here.tokenizer.backend_tokenizer.to_str() == there.tokenizer.backend_tokenizer.to_str()

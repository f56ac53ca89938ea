"""Snapshots of base models: which files are sent to nodes, and how a node unpacks and verifies them once."""

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
    """Return a node's folder, without locks of other tests."""
    monkeypatch.setattr(node_cache, "_IN_USE", {})
    return tmp_path / "node"


def small_chunks(snapshot):
    return lambda file: snapshot.read_chunks(file, 1000)


def contents(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def config(source, revision=None, kind="hub"):
    return ModelConfig(name="m", kind=kind, source=str(source), revision=revision, dim=384, max_seq_length=32)


@pytest.mark.parametrize(
    ("present", "sent"),
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
def test_files_sent_to_nodes(present, sent):
    assert sorted(select_files(map(Path, present))) == sorted(present if sent is None else sent)


def test_files_have_name_size_and_hash(snapshot):
    assert [file.name for file in snapshot.files] == ["config", "empty", "sub/more", "weights"]
    assert [file.size_bytes for file in snapshot.files] == [2, 0, 4, 10240]
    assert snapshot.files[0].sha256 == hashlib.sha256(b"{}").hexdigest()
    assert snapshot.size_bytes == 10246


def test_the_key_depends_on_the_contents_only(snapshot, tmp_path):
    twin = read_snapshot(shutil.copytree(snapshot.folder, tmp_path / "twin"), source="other")
    assert twin.key == snapshot.key
    (tmp_path / "twin" / "config").write_bytes(b"[]")
    assert read_snapshot(tmp_path / "twin", source="other").key != snapshot.key


def test_chunks_are_the_files_bytes(snapshot):
    for file in snapshot.files:
        chunks = list(snapshot.read_chunks(file, 1000))
        assert all(chunk.dtype == np.uint8 and 0 < len(chunk) <= 1000 for chunk in chunks)
        assert b"".join(chunk.tobytes() for chunk in chunks) == (snapshot.folder / file.name).read_bytes()


def test_a_file_that_grows_after_hashing_is_named(snapshot):
    (snapshot.folder / "config").write_bytes(b"{} ")
    with raises_code(CodedError, "altered-file") as caught:
        list(snapshot.read_chunks(snapshot.files[0]))
    assert str(snapshot.folder / "config") in str(caught.value)


def test_embedded_models_have_no_snapshot():
    assert find_snapshot(ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=8)) is None


def test_a_cached_model_is_found_through_its_symlinks(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    repo = make_files(tmp_path / "models--org--m", refs__main=b"abc", blobs__1=b"{}", blobs__2=b"weights")
    commit = repo / "snapshots" / "abc"
    commit.mkdir(parents=True)
    (commit / "config.json").symlink_to("../../blobs/1")
    (commit / "model.safetensors").symlink_to("../../blobs/2")
    snapshot = find_snapshot(config("org/m"))
    assert [(file.name, file.size_bytes) for file in snapshot.files] == [("config.json", 2), ("model.safetensors", 7)]
    assert find_snapshot(config("org/m", "abc")).key == snapshot.key
    assert find_snapshot(config("org/m", "other")) is None
    assert find_snapshot(config("no such:id")) is None


def test_a_file_that_cannot_be_read(tmp_path):
    make_files(tmp_path, config=b"{}")
    (tmp_path / "model.safetensors").symlink_to("nowhere")
    with raises_code(CodedError, "unreadable") as caught:
        read_snapshot(tmp_path, source="x")
    assert str(tmp_path / "model.safetensors") in str(caught.value)


def test_localise_uses_the_snapshot_of_this_source_and_revision(snapshot, tmp_path):
    unpacked = snapshot.at(tmp_path / "unpacked")
    assert localise(config("org/model"), [unpacked]) == config(tmp_path / "unpacked")
    for other in (config("org/model", "abc"), config("org/other"), config("org/model", kind="static")):
        assert localise(other, [unpacked]) == other
    assert localise(config("org/model"), []) == config("org/model")


def test_a_snapshot_is_unpacked_once_and_privately(snapshot, root):
    unpacked = unpack(snapshot, small_chunks(snapshot), root)
    assert unpacked == snapshot.at(root / snapshot.key)
    assert contents(unpacked.folder) == contents(snapshot.folder)
    for path in [root, *unpacked.folder.rglob("*")]:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o400)
    again = unpack(snapshot, lambda file: pytest.fail("is already unpacked"), root)
    assert again == unpacked


@pytest.mark.parametrize("bytes_sent", [b"{]", b"", b"{} "])
def test_altered_bytes_are_refused_and_leave_no_file(snapshot, root, bytes_sent):
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


def test_files_left_by_a_crash_are_replaced(snapshot, root):
    make_files(root, **{f".{snapshot.key}.deadbeef__config": b"{", f"{snapshot.key}__config": b"{}"})
    unpacked = unpack(snapshot, small_chunks(snapshot), root)
    assert contents(unpacked.folder) == contents(snapshot.folder)
    assert [path.name for path in root.iterdir() if path.is_dir()] == [snapshot.key]


def test_only_one_of_many_concurrent_calls_writes(snapshot, root):
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


def release(folder):
    """Release the lock on a model, as the end of the process that uses it does."""
    node_cache._IN_USE.pop(folder).close()


def test_the_least_recently_used_models_are_deleted(tmp_path, root):
    models = [other_model(tmp_path, number) for number in range(4)]
    for age, model in zip((30, 10, 20), models, strict=False):
        folder = unpack(model, model.read_chunks, root).folder
        os.utime(folder, (time.time() - age,) * 2)
        release(folder)
    unpack(models[3], models[3].read_chunks, root, kept_bytes=15_000)
    assert [(root / model.key).exists() for model in models] == [False, True, True, True]
    release(root / models[3].key)
    unpack(models[0], models[0].read_chunks, root, kept_bytes=10_000)
    assert [(root / model.key).exists() for model in models] == [True, False, False, True]


@pytest.mark.slow
def test_a_model_in_use_is_not_deleted(tmp_path, root):
    """A model is in use by this process, or by another one until it ends, even if it is killed."""
    first, second, third = (other_model(tmp_path, number) for number in range(3))
    unpack(first, first.read_chunks, root)
    lock = root / f"{second.key}.use-lock"
    unpack(second, second.read_chunks, root)
    release(root / second.key)
    with subprocess.Popen([sys.executable, "-c", USER, lock], stdout=subprocess.PIPE) as user:
        user.stdout.readline()
        unpack(third, third.read_chunks, root, kept_bytes=1)
        assert (root / first.key).exists()
        assert (root / second.key).exists()
        user.kill()
    release(root / third.key)
    shutil.rmtree(root / third.key)
    unpack(third, third.read_chunks, root, kept_bytes=1)
    assert (root / first.key).exists()
    assert not (root / second.key).exists()


def test_a_full_disk_is_reported_before_anything_is_written(snapshot, root, monkeypatch):
    usage = type(shutil.disk_usage("/"))(100, 100, snapshot.size_bytes)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with raises_code(CodedError, "not-enough-room") as caught:
        unpack(snapshot, lambda file: pytest.fail("nothing to read"), root)
    assert all(named in str(caught.value) for named in (str(root), "10246", "TMPDIR"))


def test_the_nodes_folder_must_be_private_to_this_user(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    folder = node_folder()
    assert folder == tmp_path / f"embsweep-{os.getuid()}" / "models"
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    folder.parent.chmod(0o770)
    with raises_code(CodedError, "unsafe-folder"):
        node_folder()
    folder.parent.rmdir()
    (tmp_path / "other").mkdir(mode=0o700)
    folder.parent.symlink_to(tmp_path / "other")
    with raises_code(CodedError, "unsafe-folder"):
        node_folder()


@pytest.mark.slow
def test_a_real_model_is_equal_after_unpacking(root):
    import torch

    from embsweep.models.builders import build_model

    cfg = config(find_weights().parent)
    snapshot = find_snapshot(cfg)
    unpacked = build_model(localise(cfg, [unpack(snapshot, snapshot.read_chunks, root)]), "cpu")
    original = build_model(cfg, "cpu")
    assert all(torch.equal(*both) for both in zip(original.parameters(), unpacked.parameters(), strict=True))
    assert original.tokenizer.backend_tokenizer.to_str() == unpacked.tokenizer.backend_tokenizer.to_str()

"""Copies of base models in a shared folder: which files, once for equal contents, whole or not at all, checked."""

import errno
import shutil
import threading

import pytest
from tests.refusals import raises_code, raises_diagnostics

from embsweep.config.training import ModelConfig
from embsweep.core.errors import CodedError
from embsweep.core.files import require_intact
from embsweep.models import copies
from embsweep.models.builders import build_model
from embsweep.models.copies import copy_model, find_copy, select_files
from embsweep.models.embedded import PACKAGE, find_weights


def config(source=None, revision=None, kind="hub"):
    source = source and str(source)
    return ModelConfig(name="m", kind=kind, source=source, revision=revision, dim=384, max_seq_length=32)


def make_files(folder, **contents):
    for name, content in contents.items():
        path = folder / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def source(tmp_path):
    folder = make_files(tmp_path / "source", weights=bytes(range(256)) * 40, sub__more=b"more")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def root(tmp_path):
    (tmp_path / "models").mkdir()
    return tmp_path / "models"


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def folders(root):
    return [path.name for path in root.iterdir() if path.is_dir()]


@pytest.mark.parametrize(
    ("present", "copied"),
    [
        (["config.json", "model.safetensors", "pytorch_model.bin"], ["config.json", "model.safetensors"]),
        (["pytorch_model.bin", "training_args.bin", "colbert_linear.pt"], ["pytorch_model.bin"]),
        (["pytorch_model-00001-of-00002.bin", "optimizer.pt"], ["pytorch_model-00001-of-00002.bin"]),
        (["model.safetensors", "2_Dense/pytorch_model.bin"], ["2_Dense/pytorch_model.bin", "model.safetensors"]),
        (["onnx/model.onnx", "onnx/model.onnx_data", "tf_model.h5", "rust_model.ot", "flax_model.msgpack"], []),
        (["modeling.py", ".git/config", ".cache/x.json", ".gitattributes", "setup.sh", "manifest.json"], []),
        (["sentencepiece.bpe.model", "vocab.txt", "1_Pooling/config.json"], None),
    ],
)
def test_files_that_are_copied(present, copied):
    assert sorted(select_files(present)) == sorted(present if copied is None else copied)


def test_a_model_is_copied_once(source, root, monkeypatch):
    copy = copy_model(config(source), root)
    assert (copy.kind, copy.source, copy.revision) == ("hub", str(source), None)
    copied = contents(copy.folder)
    assert copied.pop("manifest.json")
    assert copied == contents(source)
    twin = shutil.copytree(source, source.with_name("twin"))
    monkeypatch.setattr(shutil, "copyfile", lambda *_: pytest.fail("copied again"))
    assert copy_model(config(source), root) == copy
    assert copy_model(config(twin), root).folder == copy.folder, "equal contents have one copy"


def test_another_content_is_another_copy(source, root):
    before = copy_model(config(source), root)
    (source / "weights").write_bytes(b"other")
    after = copy_model(config(source), root)
    assert after.folder != before.folder
    require_intact(before.folder)


@pytest.mark.parametrize("name", ["weights", "manifest.json"])
@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"x"), lambda path: path.unlink()])
def test_a_damaged_copy_is_replaced(source, root, name, damage):
    copy = copy_model(config(source), root)
    damage(copy.folder / name)
    assert copy_model(config(source), root) == copy
    require_intact(copy.folder)
    assert (copy.folder / "weights").read_bytes() == (source / "weights").read_bytes()


def test_an_interrupted_copy_is_removed(source, root):
    (key,) = [copy_model(config(source), root).folder.name]
    shutil.rmtree(root / key)
    make_files(root, **{f".{key}.deadbeef.tmp__weights": b"half"})
    copy_model(config(source), root)
    assert folders(root) == [key]


def test_a_full_disk_leaves_no_part_of_a_copy(source, root, monkeypatch):
    def fail(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", fail)
    with pytest.raises(OSError, match="No space left"):
        copy_model(config(source), root)
    assert folders(root) == []


def test_a_file_that_changes_during_the_copy_is_reported_and_copied_again(source, root, monkeypatch):
    original = shutil.copyfile

    def change_first(old, new):
        (source / "weights").write_bytes(b"changed")
        return original(old, new)

    with monkeypatch.context() as changing:
        changing.setattr(shutil, "copyfile", change_first)
        with raises_code(CodedError, "altered-file"):
            copy_model(config(source), root)
    assert (copy_model(config(source), root).folder / "weights").read_bytes() == b"changed"


def test_a_file_that_cannot_be_read(source, root):
    (source / "model.safetensors").symlink_to("nowhere")
    with raises_code(CodedError, "unreadable") as caught:
        copy_model(config(source), root)
    assert str(source / "model.safetensors") in str(caught.value)


def test_only_one_of_many_concurrent_calls_writes(source, root, monkeypatch):
    written, original = [], copies.write_folder
    monkeypatch.setattr(copies, "write_folder", lambda *given: (written.append(given), original(*given)))
    threads = [threading.Thread(target=copy_model, args=(config(source), root)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(written) == 1


def test_a_model_that_is_not_there_is_not_copied(tmp_path, root):
    with raises_diagnostics(("missing-file", "model.source")):
        copy_model(config(tmp_path / "absent"), root)
    with raises_diagnostics(("wrong-file-kind", "model.source")):
        copy_model(config(root), root)


def test_a_cached_model_is_copied_through_its_links(tmp_path, root, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("embsweep.models.hub.build_hub", lambda *_: None)  # the files are no real model
    repo = make_files(tmp_path / "models--org--m", refs__main=b"abc", blobs__1=b"{}", blobs__2=b"weights")
    commit = repo / "snapshots" / "abc"
    commit.mkdir(parents=True)
    (commit / "config.json").symlink_to("../../blobs/1")
    (commit / "model.safetensors").symlink_to("../../blobs/2")
    copy = copy_model(config("org/m"), root)
    assert (copy.folder / "model.safetensors").read_bytes() == b"weights"
    assert not (copy.folder / "model.safetensors").is_symlink()
    assert copy_model(config("org/m", "abc"), root).folder == copy.folder


def test_a_copy_is_found_by_kind_source_and_revision(source, root):
    copy = copy_model(config(source), root)
    assert find_copy(config(source).model_copy(update={"max_seq_length": 8}), [copy]) == copy.folder
    for other in (config(source, "abc"), config("org/other"), config(source, kind="static")):
        assert find_copy(other, [copy]) is None


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["hub", "minilm", "minilm_3_layers", "static"])
def test_a_model_of_the_copy_is_the_same(root, kind, tmp_path):
    """In every parameter and in its tokenizer; the path of the copy is in no file that is saved with the model."""
    import torch

    pytest.importorskip(PACKAGE)
    cfg = config(find_weights().parent if kind == "hub" else None, kind=kind)
    original = build_model(cfg, "cpu")
    model = build_model(cfg, "cpu", folder=copy_model(cfg, root).folder)
    assert all(torch.equal(*both) for both in zip(original.parameters(), model.parameters(), strict=True))
    assert original.encode("a river").tolist() == model.encode("a river").tolist()
    model.save_pretrained(str(tmp_path / "saved"))
    assert not [
        path for path in (tmp_path / "saved").rglob("*") if path.is_file() and str(root).encode() in path.read_bytes()
    ]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["minilm", "static"])
def test_altered_weights_of_a_copy_are_refused(root, kind):
    pytest.importorskip(PACKAGE)
    folder = copy_model(config(kind=kind), root).folder
    with (folder / "model.safetensors").open("r+b") as stream:
        stream.seek(5000)
        stream.write(b"altered")
    with raises_diagnostics(("altered-file", "model.kind")):
        build_model(config(kind=kind), "cpu", folder=folder)

"""A checkpoint is written atomically, lists its hashes, and is loaded only if they match."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from embsweep.core import files as folders
from embsweep.core.errors import CodedError
from embsweep.core.files import read_manifest
from embsweep.models.safety import PICKLES
from embsweep.training import checkpoint
from embsweep.training.checkpoint import check_checkpoint, load_checkpoint, save_checkpoint
from tests.refusals import raises_code


class FakeModel:
    """Saves three files, all of the same version, so that a mixture of two saves shows."""

    truncate_dim = None

    def __init__(self, version, suffix="safetensors"):
        self.version, self.suffix = str(version), suffix

    def save_pretrained(self, path, create_model_card):
        assert not create_model_card
        Path(path, "1_Pooling").mkdir(parents=True)
        for name in ("modules.json", f"model.{self.suffix}", "1_Pooling/config.json"):
            Path(path, name).write_text(self.version * 1000)


def _read_version(folder):
    check_checkpoint(folder)
    return (folder / "modules.json").read_text()[0]


def test_the_manifest_lists_every_file(tmp_path):
    folder = save_checkpoint(FakeModel(1), tmp_path / "deep" / "best")
    assert folder == tmp_path / "deep" / "best"
    assert set(read_manifest(folder)) == {"modules.json", "model.safetensors", "1_Pooling/config.json"}
    assert read_manifest(folder)["modules.json"]["size_bytes"] == 1000
    assert [path.name for path in folder.parent.iterdir()] == ["best"]


def test_a_second_save_replaces_the_first(tmp_path):
    folder = save_checkpoint(FakeModel(1), tmp_path / "best")
    (folder / "stray.txt").write_text("left over")
    save_checkpoint(FakeModel(2), folder)
    assert _read_version(folder) == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_file_system_that_cannot_exchange_names(tmp_path, monkeypatch):
    monkeypatch.setattr(folders, "_exchange", lambda first, second: False)
    save_checkpoint(FakeModel(1), tmp_path / "best")
    save_checkpoint(FakeModel(2), tmp_path / "best")
    assert _read_version(tmp_path / "best") == "2"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_a_save_that_fails_leaves_the_old_one(tmp_path, monkeypatch):
    folder = save_checkpoint(FakeModel(1), tmp_path / "best")
    monkeypatch.setattr(folders, "_write_manifest", lambda _: (_ for _ in ()).throw(OSError(28, "disk full")))
    with pytest.raises(OSError) as caught:
        save_checkpoint(FakeModel(2), folder)
    assert caught.value.errno == 28
    assert _read_version(folder) == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def test_leftovers_of_a_crash_are_removed_and_those_of_other_names_are_not(tmp_path):
    (tmp_path / ".best.0123abcd.tmp").mkdir()
    (tmp_path / ".last.0123abcd.tmp").mkdir()
    save_checkpoint(FakeModel(1), tmp_path / "best")
    assert sorted(path.name for path in tmp_path.iterdir()) == [".last.0123abcd.tmp", "best"]


def test_a_reader_always_finds_a_complete_checkpoint(tmp_path):
    folder = save_checkpoint(FakeModel(0), tmp_path / "best")
    errors, done = [], threading.Event()

    def watch():
        while not done.is_set():
            try:
                json.loads((folder / "manifest.json").read_text())
            except (OSError, ValueError) as error:
                errors.append(error)

    reader = threading.Thread(target=watch)
    reader.start()
    for version in range(1, 30):
        save_checkpoint(FakeModel(version % 10), folder)
    done.set()
    reader.join()
    assert not errors


_SAVE_ENDLESSLY = """
import sys
from pathlib import Path
from tests.training.test_checkpoint import FakeModel
from embsweep.training.checkpoint import save_checkpoint
for version in range(10**9):
    save_checkpoint(FakeModel(version % 10), Path(sys.argv[1]))
    print(version, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("delay_s", [0.0, 0.011, 0.037])
def test_a_killed_writer_leaves_a_complete_checkpoint(tmp_path, delay_s):
    folder = tmp_path / "best"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(Path(__file__).parents[2])])}
    command = [sys.executable, "-c", _SAVE_ENDLESSLY, str(folder)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE) as writer:
        for _ in range(5):
            assert writer.stdout.readline()
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
    _read_version(folder)
    save_checkpoint(FakeModel(7), folder)
    assert _read_version(folder) == "7"
    assert [path.name for path in tmp_path.iterdir()] == ["best"]


def _remove(folder):
    (folder / "model.safetensors").unlink()


def _alter(folder):
    text = (folder / "1_Pooling/config.json").read_text()
    (folder / "1_Pooling/config.json").write_text("x" + text[1:])


def _truncate(folder):
    os.truncate(folder / "model.safetensors", 999)


def _add(folder):
    (folder / "modeling.py").write_text("print('ran')")


def _drop_manifest(folder):
    (folder / "manifest.json").unlink()


def _truncate_manifest(folder):
    os.truncate(folder / "manifest.json", 40)


def _empty_manifest(folder):
    (folder / "manifest.json").write_text('{"files": {}}')


def _list_manifest(folder):
    (folder / "manifest.json").write_text("[]")


def _break_link(folder):
    (folder / "modules.json").unlink()
    (folder / "modules.json").symlink_to("nowhere")


@pytest.mark.parametrize(
    ("corrupt_with", "name", "code"),
    [
        (_remove, "model.safetensors", "missing-file"),
        (_alter, "1_Pooling/config.json", "altered-file"),
        (_truncate, "model.safetensors", "altered-file"),
        (_add, "modeling.py", "unlisted-file"),
        (_drop_manifest, "manifest.json", "missing-file"),
        (_truncate_manifest, "manifest.json", "unreadable"),
        (_empty_manifest, "manifest.json", "empty"),
        (_list_manifest, "manifest.json", "unreadable"),
        (_break_link, "modules.json", "wrong-file-kind"),
    ],
)
def test_the_corrupt_file_is_named(tmp_path, corrupt_with, name, code):
    folder = save_checkpoint(FakeModel(1), tmp_path / "best")
    check_checkpoint(folder)
    corrupt_with(folder)
    with raises_code(CodedError, code) as caught:
        load_checkpoint(folder)
    assert str(caught.value).startswith(f"{folder}/{name}: ")


@pytest.mark.parametrize("suffix", ["bin", "pkl", "pt"])
def test_a_pickle_is_never_saved(tmp_path, suffix):
    with raises_code(CodedError, "unsafe-model") as caught:
        save_checkpoint(FakeModel(1, suffix), tmp_path / "best")
    assert str(caught.value).startswith(f"model.{suffix}: ")
    assert not list(tmp_path.iterdir())


def test_a_pickle_is_refused_even_when_listed(tmp_path, monkeypatch):
    with monkeypatch.context() as lenient:
        lenient.setattr(checkpoint, "check_no_pickles", lambda _: None)
        folder = save_checkpoint(FakeModel(1, "bin"), tmp_path / "best")
    with raises_code(CodedError, "unsafe-model") as caught:
        check_checkpoint(folder)
    assert str(caught.value).startswith("model.bin: ")


def test_a_truncating_model_is_not_saved(tmp_path):
    model = FakeModel(1)
    model.truncate_dim = 64
    with raises_code(CodedError, "truncated"):
        save_checkpoint(model, tmp_path / "best")


@pytest.mark.slow
def test_a_real_model_is_unchanged_after_loading(tmp_path, table_model, capfd):
    import torch

    model = table_model([[0.1, -2.0], [3.0, 0.25]])
    folder = save_checkpoint(model, tmp_path / "best")
    assert not [path for path in folder.rglob("*") if path.suffix == ".md" or path.suffix in PICKLES]
    loaded = load_checkpoint(folder, "cpu")
    texts = ["w1 w0", "w1", "w0"]
    assert torch.equal(loaded.encode(texts, convert_to_tensor=True), model.encode(texts, convert_to_tensor=True))
    assert capfd.readouterr() == ("", "")

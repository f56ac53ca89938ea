"""No code of a model runs: each attack is planted in a model, which is then loaded from every possible source."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

from embsweep.cli.commands import app
from embsweep.config.training import ModelConfig
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.core.files import write_folder
from embsweep.models.builders import build_model, check_model
from embsweep.models.copies import copy_model
from embsweep.training.checkpoint import load_checkpoint
from tests.refusals import codes_and_locations, exit_diagnostics, raises_diagnostics
from tests.security.hostile import (
    ALL_ATTACKS,
    CODE_ATTACKS,
    change,
    name_shard,
    plant_foreign_module,
    plant_pickle,
    write_module,
)

pytestmark = pytest.mark.slow
SAMPLE = ["foreign_module", "auto_map", "unsafe_loading"]


def config(folder):
    return ModelConfig(name="m", kind="hub", source=str(folder), dim=4, max_seq_length=8)


def test_the_harmless_model_loads(victim, marker):
    assert check_model(config(victim)) == []
    assert build_model(config(victim), "cpu").encode(["law tax"]).shape == (1, 4)


def test_attacks_run_if_they_are_allowed_to(victim, marker):
    """MLflow's own loader allows them. Without this test the others would prove nothing."""
    import torch
    from sentence_transformers import SentenceTransformer

    plant_foreign_module(victim, marker)
    with pytest.raises(AttributeError, match="parameters"):  # the loaded object is not a module
        SentenceTransformer(str(victim), device="cpu", trust_remote_code=True).encode(["law"])
    assert marker.exists()
    marker.unlink()
    plant_pickle(victim, marker)
    with pytest.raises(RuntimeError):  # raised after the code has run
        torch.load(victim / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("attack", CODE_ATTACKS)
def test_a_hostile_base_model_is_refused(victim, marker, attack):
    ALL_ATTACKS[attack](victim, marker)
    assert codes_and_locations(check_model(config(victim))) == [("unsafe-model", "model.source")]
    with raises_diagnostics(("unsafe-model", "model.source")):
        build_model(config(victim), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", SAMPLE)
def test_a_hostile_base_model_is_neither_copied_nor_loaded_from_a_copy(victim, marker, tmp_path, attack):
    root = tmp_path / "models"
    root.mkdir()
    folder = copy_model(config(victim), root).folder
    for changed in (victim, folder):
        ALL_ATTACKS[attack](changed, marker)
    with raises_diagnostics(("unsafe-model", "model.source")):
        copy_model(config(victim), root)
    with raises_diagnostics(("unsafe-model", "model.source")):
        build_model(config(victim), "cpu", folder=folder)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["x.json", "model.safetensors"])
def test_a_named_pipe_is_not_opened(victim, name):
    """Opening it would block forever."""
    (victim / name).unlink(missing_ok=True)
    os.mkfifo(victim / name)
    (diagnostic,) = check_model(config(victim))
    assert diagnostic.code == "unsafe-model"
    assert name in diagnostic.message


def test_symlinks_to_files_are_accepted_as_in_the_hub_cache(victim, tmp_path):
    shutil.move(victim / "config.json", tmp_path / "blob")
    (victim / "config.json").symlink_to(tmp_path / "blob")
    assert check_model(config(victim)) == []


def test_a_pickle_with_code_in_a_base_model_is_refused(victim, marker):
    plant_pickle(victim, marker)
    with raises_diagnostics(("unsafe-model", "model.source")) as caught:
        build_model(config(victim), "cpu")
    assert "weights_only" not in str(caught.value), "torch advises to turn it off"
    assert not marker.exists()


def test_weights_in_several_files_load(victim):
    name_shard(victim, "model-00001-of-00001.safetensors")
    assert build_model(config(victim), "cpu").encode(["law"]).shape == (1, 4)


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_a_link_or_a_pipe_in_a_checkpoint_with_a_rewritten_manifest_is_refused(victim, tmp_path, kind):
    folder, weights = tmp_path / "best", tmp_path / "best" / "model.safetensors"
    write_folder(folder, lambda fresh: shutil.copytree(victim, fresh, dirs_exist_ok=True))
    weights.unlink()
    weights.symlink_to(victim / "model.safetensors") if kind == "link" else os.mkfifo(weights)
    with pytest.raises(EmbsweepError, match=r"model\.safetensors: is a link"):
        load_checkpoint(folder, "cpu")


def test_a_base_model_published_as_a_pickle_of_tensors_loads(victim):
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(victim / "model.safetensors"), victim / "pytorch_model.bin")
    (victim / "model.safetensors").unlink()
    assert build_model(config(victim), "cpu").encode(["law"]).shape == (1, 4)


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 90868376\n"
BROKEN = {
    "model.safetensors": [POINTER],
    "modules.json": ['[{"type": "sentence_transformers.models.Transformer"}]', "null", "[]"],
    "1_Pooling/config.json": [None, "[]"],
    "config.json": [
        {"hidden_size": 0},
        {"hidden_size": 8},
        {"hidden_size": "four"},
        {"dtype": "evil"},
        {"hidden_act": "evil"},
        "[]",
    ],
    "sentence_bert_config.json": ["[]", {"max_seq_length": "x"}],
    "tokenizer_config.json": ["[]"],
    "tokenizer.json": ["[]", "{}"],
}


@pytest.mark.parametrize(("name", "content"), [(name, content) for name in BROKEN for content in BROKEN[name]])
def test_a_broken_folder_is_a_diagnostic_without_traceback(victim, name, content):
    if content is None:
        (victim / name).unlink()
    elif isinstance(content, dict):
        change(victim / name, **content)
    else:
        (victim / name).write_text(content)
    try:
        build_model(config(victim), "cpu").encode(["law"])
    except InputError as error:
        assert {diagnostic.location for diagnostic in error.diagnostics} <= {"model.source", "model.dim"}


def test_a_memory_error_is_not_a_diagnostic_of_the_model(victim, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("embsweep.models.hub.load_model", fail)
    with pytest.raises(MemoryError):
        build_model(config(victim), "cpu")


def test_an_unused_python_file_in_a_model_folder_does_not_run(victim, marker):
    write_module(victim, marker)
    build_model(config(victim), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", ALL_ATTACKS)
def test_a_hostile_checkpoint_with_a_rewritten_manifest_is_refused(victim, marker, tmp_path, attack):
    ALL_ATTACKS[attack](victim, marker)
    folder = tmp_path / "trial" / "best"
    write_folder(folder, lambda fresh: shutil.copytree(victim, fresh, dirs_exist_ok=True))
    with pytest.raises(EmbsweepError):
        load_checkpoint(folder, "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", SAMPLE)
def test_a_hostile_model_on_the_command_line_is_refused(victim, marker, attack, outside_hydra):
    ALL_ATTACKS[attack](victim, marker)
    keys = [f"model.source={victim}", "model.dim=4", "data.packages=[stdlib]", "data.max_pairs=300"]
    result = CliRunner().invoke(app, ["evaluate", *keys])
    assert (result.exit_code, exit_diagnostics(result.exception)) == (2, [("unsafe-model", "model.source")])
    assert not marker.exists()


@pytest.mark.parametrize("attack", SAMPLE)
def test_a_hostile_model_in_the_hub_cache_is_refused(victim, marker, tmp_path, monkeypatch, attack):
    import huggingface_hub

    ALL_ATTACKS[attack](victim, marker)
    repo = tmp_path / "hub" / "models--org--m"
    commit = "a" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(victim, repo / "snapshots" / commit)
    (repo / "snapshots" / commit / "pytorch_model.bin").touch()  # by this file a cached copy counts as complete
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with raises_diagnostics(("unsafe-model", "model.source")):
        build_model(config("org/m"), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", [*SAMPLE, "pickle"])
def test_a_hostile_model_in_a_registry_with_rewritten_hashes_is_refused(tmp_path, victim, marker, store, attack):
    from embsweep.tracking.registry.files import hash_files, hash_manifest
    from embsweep.tracking.registry.load import fetch_version, find_version, load_registered
    from embsweep.tracking.registry.logged_model import MANIFEST_TAG, MODEL_FOLDER

    ALL_ATTACKS[attack](victim, marker)
    published = tmp_path / "published"
    shutil.copytree(victim, published / MODEL_FOLDER)
    (published / "MLmodel").write_text(json.dumps({"flavors": {}}))
    client, name = store.client, f"m-{attack}"
    client.create_registered_model(name)
    tags = {MANIFEST_TAG: hash_manifest(hash_files(published))}
    version = client.create_model_version(name, str(published), tags=tags)
    fetched = fetch_version(store, find_version(store, name, version.version), tmp_path / "fetched")
    assert fetched.error, "a promotion refuses this version"
    with pytest.raises(EmbsweepError):
        load_registered(store, name, version.version, device="cpu")
    assert not marker.exists()


def test_a_hostile_pickle_in_a_resume_state_does_not_run(make_config, marker, tmp_path):
    """An attacker who can write to the sweep's folder can rewrite hashes too; `weights_only` protects."""
    from embsweep.training.messages import TrialSpec
    from tests.security.hostile import write_pickle
    from tests.security.toy import toy_data
    from tests.training.recorder import Recorder, run_trial

    keys = ["model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", "eval.fractions=[0.5,1.0]"]
    job = TrialSpec(number=0, attempt=1, config=make_config(*keys).trial, folder=str(tmp_path / "trial"))

    class Stop(BaseException):
        pass

    class StoppingRecorder(Recorder):
        def report(self, report):
            raise Stop

    with pytest.raises(Stop):
        run_trial(job, StoppingRecorder(), toy_data())
    names = [path.name for path in job.state.iterdir() if path.suffix in (".pt", ".pth", ".bin")]
    assert "optimizer.pt" in names

    def rewrite(fresh):
        shutil.copytree(old, fresh, dirs_exist_ok=True, ignore=shutil.ignore_patterns("manifest.json"))
        for name in names:
            write_pickle(fresh / name, marker)

    old = shutil.copytree(job.state, tmp_path / "old")
    write_folder(job.state, rewrite)
    recorder = Recorder()
    run_trial(job.model_copy(update={"attempt": 2}), recorder, toy_data())
    assert not marker.exists()
    assert recorder.results[0].reason is None or "pickl" in recorder.results[0].reason.lower()
    assert "weights_only" not in (recorder.results[0].reason or "")

"""No code from a model, whichever way it comes in: each is planted, and nothing of it runs."""

import json
import os
import shutil

import pytest
from typer.testing import CliRunner

from embsweep.cli.commands import app
from embsweep.config.training import ModelConfig
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.core.files import write_folder
from embsweep.models.registry import build_model, check_model
from embsweep.training.checkpoint import load_checkpoint
from tests.refusals import codes_and_locations, exit_diagnostics, raises_diagnostics
from tests.security.hostile import CODE, EVERYTHING, change, plant_foreign_module, plant_pickle, write_module

pytestmark = pytest.mark.slow
SOME = ["foreign_module", "auto_map", "careless_loading"]


def config(folder):
    return ModelConfig(name="m", kind="hub", source=str(folder), dim=4, max_seq_length=8)


def test_the_sound_model_loads(victim, marker):
    assert check_model(config(victim)) == []
    assert build_model(config(victim), "cpu").encode(["law tax"]).shape == (1, 4)


def test_what_is_planted_runs_where_it_is_let(victim, marker):
    """As MLflow's own loader lets it: otherwise these tests would prove nothing."""
    import torch
    from sentence_transformers import SentenceTransformer

    plant_foreign_module(victim, marker)
    with pytest.raises(AttributeError, match="parameters"):  # what was loaded is no module
        SentenceTransformer(str(victim), device="cpu", trust_remote_code=True).encode(["law"])
    assert marker.exists()
    marker.unlink()
    plant_pickle(victim, marker)
    with pytest.raises(RuntimeError):  # said when it has run already
        torch.load(victim / "pytorch_model.bin", weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize("attack", CODE)
def test_as_a_base_model(victim, marker, attack):
    EVERYTHING[attack](victim, marker)
    assert codes_and_locations(check_model(config(victim))) == [("unsafe-model", "model.source")]
    with raises_diagnostics(("unsafe-model", "model.source")):
        build_model(config(victim), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("name", ["x.json", "model.safetensors"])
def test_a_pipe_is_not_opened(victim, name):
    """Whoever opens it waits for ever."""
    (victim / name).unlink(missing_ok=True)
    os.mkfifo(victim / name)
    (diagnostic,) = check_model(config(victim))
    assert diagnostic.code == "unsafe-model"
    assert name in diagnostic.message


def test_links_to_files_are_what_the_hubs_cache_is_made_of(victim, tmp_path):
    shutil.move(victim / "config.json", tmp_path / "blob")
    (victim / "config.json").symlink_to(tmp_path / "blob")
    assert check_model(config(victim)) == []


def test_a_base_models_pickle_is_read_for_tensors_and_nothing_else(victim, marker):
    plant_pickle(victim, marker)
    with raises_diagnostics(("unsafe-model", "model.source")):
        build_model(config(victim), "cpu")
    assert not marker.exists()


def test_a_base_model_published_as_an_honest_pickle(victim):
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
def test_a_broken_folder_is_a_diagnostic_and_no_traceback(victim, name, content):
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


def test_a_lack_of_memory_is_no_diagnostic_of_the_model(victim, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr("embsweep.models.hub.load_model", fail)
    with pytest.raises(MemoryError):
        build_model(config(victim), "cpu")


def test_a_file_of_code_beside_a_model_is_left_alone(victim, marker):
    write_module(victim, marker)
    build_model(config(victim), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", EVERYTHING)
def test_as_a_checkpoint_whose_manifest_was_rewritten(victim, marker, tmp_path, attack):
    EVERYTHING[attack](victim, marker)
    folder = tmp_path / "trial" / "best"
    write_folder(folder, lambda fresh: shutil.copytree(victim, fresh, dirs_exist_ok=True))
    with pytest.raises(EmbsweepError):
        load_checkpoint(folder, "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", SOME)
def test_through_the_command_line(victim, marker, attack, outside_hydra):
    EVERYTHING[attack](victim, marker)
    keys = [f"model.source={victim}", "model.dim=4", "data.packages=[stdlib]", "data.max_pairs=300"]
    done = CliRunner().invoke(app, ["evaluate", *keys])
    assert (done.exit_code, exit_diagnostics(done.exception)) == (2, [("unsafe-model", "model.source")])
    assert not marker.exists()


@pytest.mark.parametrize("attack", SOME)
def test_from_the_hubs_cache(victim, marker, tmp_path, monkeypatch, attack):
    import huggingface_hub

    EVERYTHING[attack](victim, marker)
    repo = tmp_path / "hub" / "models--org--m"
    commit = "a" * 40
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text(commit)
    shutil.copytree(victim, repo / "snapshots" / commit)
    (repo / "snapshots" / commit / "pytorch_model.bin").touch()  # what a complete copy is known by
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with raises_diagnostics(("unsafe-model", "model.source")):
        build_model(config("org/m"), "cpu")
    assert not marker.exists()


@pytest.mark.parametrize("attack", [*SOME, "pickle"])
def test_from_a_registry_whose_hashes_were_rewritten(tmp_path, victim, marker, store, attack):
    from embsweep.tracking.registry.files import hash_files, hash_manifest
    from embsweep.tracking.registry.load import fetch_version, find_version, load_registered
    from embsweep.tracking.registry.logged_model import MANIFEST_TAG, MODEL_FOLDER

    EVERYTHING[attack](victim, marker)
    published = tmp_path / "published"
    shutil.copytree(victim, published / MODEL_FOLDER)
    (published / "MLmodel").write_text(json.dumps({"flavors": {}}))
    client, name = store.client(), f"m-{attack}"
    client.create_registered_model(name)
    tags = {MANIFEST_TAG: hash_manifest(hash_files(published))}
    version = client.create_model_version(name, str(published), tags=tags)
    fetched = fetch_version(store, find_version(store, name, version.version), tmp_path / "fetched")
    assert fetched.error, "this is what a promotion refuses"
    with pytest.raises(EmbsweepError):
        load_registered(store, name, version.version, device="cpu")
    assert not marker.exists()


def test_a_state_with_a_hostile_pickle_does_not_run(make_config, marker, tmp_path):
    """Somebody could write to the sweep's folder: hashes are no protection, `weights_only` is."""
    from embsweep.training.messages import TrialSpec
    from embsweep.training.trial import run_trial
    from tests.security.hostile import write_pickle
    from tests.security.toy import toy_data
    from tests.training.recorder import Recorder

    keys = ["model=static", "matryoshka=from_384", "train=static", "train.batch_size=8", "eval.fractions=[0.5,1.0]"]
    job = TrialSpec(number=0, attempt=1, config=make_config(*keys).trial, folder=str(tmp_path / "trial"))

    class Stop(BaseException):
        pass

    class Dying(Recorder):
        def report(self, report):
            raise Stop

    with pytest.raises(Stop):
        run_trial(job, Dying(), toy_data())
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
    assert recorder.results[0].reason is None or "pickle" in recorder.results[0].reason.lower()

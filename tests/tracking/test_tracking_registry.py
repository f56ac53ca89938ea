"""Registration of a tiny real model (slow: importing sentence-transformers takes seconds)."""

import contextlib
import dataclasses
import importlib.metadata
import json
import sqlite3
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from tests.refusals import raises_code, raises_diagnostics
from tests.reports.evidence_samples import make_evidence

from embsweep.core.errors import CodedError
from embsweep.selection.evidence import WINNER
from embsweep.tracking.records import WinnerRecord
from embsweep.tracking.registry.files import UntrustedModel, hash_files, hash_manifest
from embsweep.tracking.registry.load import find_version, load_registered
from embsweep.tracking.registry.logged_model import CHECKPOINT_TAG, MANIFEST_TAG, MODEL_FOLDER, MODEL_ID_TAG
from embsweep.tracking.registry.register import register_winner
from embsweep.tracking.store import sqlite_file

pytestmark = pytest.mark.slow

TEXTS = ["law tax", "permit", "street law nothing"]


@pytest.fixture
def name(identity):
    return f"legal-{identity.study_id}"


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def checkpoint(model, tmp_path):
    folder = tmp_path / "trial" / "best"
    folder.parent.mkdir()
    model.save(str(folder), create_model_card=False)
    (folder / "training_args.bin").write_bytes(b"a pickle that must not be stored")
    return folder


@pytest.fixture
def facts(sweep):
    run_id = sweep.start_trial(3, {"train.learning_rate": "2e-05"})
    return WinnerRecord(run_id, "# the card\n", make_evidence())


@pytest.fixture
def registered(store, identity, checkpoint, model, facts, name):
    return register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)


def _files(client, version):
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(client.get_model_version_download_uri(version.name, version.version)))


def test_embeddings_of_a_loaded_version_are_the_same(empty_cwd, store, model, registered):
    loaded = load_registered(store, registered.name, "challenger")
    np.testing.assert_array_equal(loaded.encode(TEXTS), model.encode(TEXTS))
    assert np.abs(model.encode(TEXTS)).max() > 0
    assert list(empty_cwd.iterdir()) == []


def test_a_version_records_its_origin(client, identity, facts, registered):
    version = client.get_model_version_by_alias(registered.name, "challenger")
    assert registered.new
    assert registered.uri == f"models:/{registered.name}/{version.version}"
    assert version.run_id == facts.run_id
    assert version.tags["embsweep.study"] == identity.study_id
    assert version.tags["embsweep.base_model"] == "minilm"
    assert version.tags["embsweep.trial"] == "3"
    assert version.tags["embsweep.objective"] == f"{facts.evidence.on_validation(WINNER):.6f}"
    assert version.tags["test/dim_128/map_at_100"] == f"{facts.scores[128]:.6f}"
    shown = ", ".join(f"{facts.scores[dim]:.4f} at {dim}" for dim in (384, 128, 64))
    assert version.description.startswith(f"map@100 {shown} (test); trial 3 of legal on minilm")
    assert "README.md" in version.description
    assert len(version.description) < 1000, "MLflow's column holds 5,000 characters"
    logged = client.get_logged_model(version.tags[MODEL_ID_TAG])
    assert str(logged.status) == "READY"
    assert {metric.key: metric.value for metric in logged.metrics}["test/dim_64/map_at_100"] == facts.scores[64]
    assert client.get_run(facts.run_id).outputs.model_outputs[0].model_id == logged.model_id


def test_stored_files_are_data_and_recorded_by_hash(client, registered):
    folder = _files(client, registered)
    stored = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert not [name for name in stored if name.endswith((".bin", ".pt", ".pkl", ".py"))]
    assert f"{MODEL_FOLDER}/model.safetensors" in stored
    assert (folder / MODEL_FOLDER / "README.md").read_text() == "# the card\n"
    tags = client.get_model_version(registered.name, registered.version).tags
    listed = json.loads(client.get_logged_model(tags[MODEL_ID_TAG]).tags[MANIFEST_TAG])
    assert set(listed) == stored
    assert tags[MANIFEST_TAG] == hash_manifest(listed)
    required = (folder / "requirements.txt").read_text().splitlines()
    assert "torch==" + importlib.metadata.version("torch").split("+")[0] in required
    assert all("==" in line and "+" not in line for line in required)


def test_the_same_winner_is_one_version(store, client, identity, checkpoint, model, facts, name, registered):
    again = register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    assert again == dataclasses.replace(registered, new=False)
    assert len(client.search_model_versions(f"name = '{name}'")) == 1


def test_another_holdout_evaluation_of_the_same_weights_is_another_version(
    store, identity, checkpoint, model, facts, name
):
    def register(count):
        claimed = dataclasses.replace(facts, evidence=make_evidence(holdout_evaluations=count))
        return register_winner(store, identity, checkpoint, registered_name=name, facts=claimed, model=model)

    assert [register(count).version for count in (1, 2, 1)] == [1, 2, 1]


@pytest.mark.parametrize("broken", ["create_model_version", "log_model_artifacts", "set_registered_model_alias"])
def test_an_interrupted_registration_leaves_one_version_and_one_model(
    identity, store, client, checkpoint, model, facts, name, broken
):
    with mock.patch.object(type(client), broken, side_effect=KeyboardInterrupt), pytest.raises(KeyboardInterrupt):
        register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    version = register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    assert len(client.search_model_versions(f"name = '{name}'")) == 1
    assert client.get_registered_model(name).aliases == {"challenger": version.version}
    left = client.search_logged_models([store.experiment_id], f"source_run_id = '{facts.run_id}'")
    assert [str(model.status) for model in left] == ["READY"]
    load_registered(store, name, version.version)


def test_a_folder_that_only_the_database_names_is_not_deleted(
    identity, store, client, checkpoint, model, facts, name, tmp_path
):
    (tmp_path / "precious").touch()
    interrupt = mock.patch.object(type(client), "log_model_artifacts", side_effect=KeyboardInterrupt)
    with interrupt, pytest.raises(KeyboardInterrupt):
        register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    with contextlib.closing(sqlite3.connect(sqlite_file(store.uri))) as database, database:
        query = "UPDATE logged_models SET artifact_location = ? WHERE source_run_id = ?"
        assert database.execute(query, (str(tmp_path), facts.run_id)).rowcount == 1
    register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    assert (tmp_path / "precious").exists()


def test_a_version_that_a_slow_server_created_twice_is_one(store, client, identity, checkpoint, model, facts, name):
    """As if a request that was only slow had been sent again."""
    create = type(client).create_model_version

    def create_three(self, *args, **kwargs):
        return [create(self, *args, **kwargs) for _ in range(3)][2]

    with mock.patch.object(type(client), "create_model_version", create_three):
        version = register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    (found,) = client.search_model_versions(f"name = '{name}'")
    assert version.version == int(found.version)
    assert client.get_registered_model(name).aliases == {"challenger": found.version}


def test_registering_an_older_sweep_again_keeps_the_alias(
    store, client, identity, name, facts, checkpoint, model, registered
):
    newer = dataclasses.replace(identity, study_id=identity.study_id + "-newer")
    second = register_winner(store, newer, checkpoint, registered_name=name, facts=facts, model=model)
    assert second.version == registered.version + 1
    register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    assert client.get_registered_model(name).aliases["challenger"] == second.version


def test_two_names_share_one_stored_model(identity, store, client, checkpoint, model, facts, name, registered):
    other = register_winner(store, identity, checkpoint, registered_name=f"{name}-other", facts=facts, model=model)
    assert len(client.search_logged_models([store.experiment_id], f"source_run_id = '{facts.run_id}'")) == 1
    load_registered(store, registered.name, registered.version)
    load_registered(store, other.name, other.version)


def test_a_corrupt_upload_never_becomes_a_version(identity, client, store, checkpoint, model, facts, name):
    original = type(client).log_model_artifacts

    def lose_half(self, model_id, local_dir, artifact_path=None):
        original(self, model_id, local_dir, artifact_path)
        location = self.get_logged_model(model_id).artifact_location

        from mlflow.utils.file_utils import local_file_uri_to_path

        weights = Path(local_file_uri_to_path(location)) / MODEL_FOLDER / "model.safetensors"
        weights.write_bytes(weights.read_bytes()[:20])

    with (
        mock.patch.object(type(client), "log_model_artifacts", lose_half),
        raises_code(UntrustedModel, "altered-file") as caught,
    ):
        register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)
    assert f"{MODEL_FOLDER}/model.safetensors" in str(caught.value)
    assert not client.search_registered_models(f"name = '{name}'")
    (left,) = client.search_logged_models([store.experiment_id], f"source_run_id = '{facts.run_id}'")
    assert str(left.status) == "FAILED"


def test_a_rehearsal_gets_the_suffixed_name(store, identity, checkpoint, model, facts, name):
    rehearsal = dataclasses.replace(identity, rehearsal=True, rehearses="bge-m3")
    version = register_winner(store, rehearsal, checkpoint, registered_name=name, facts=facts, model=model)
    assert version.name == f"{name}-rehearsal"


@pytest.mark.parametrize("bad", ["a/b", "a:b", "", "it's", ".."])
def test_a_name_that_mlflow_refuses_is_bad_input(store, identity, checkpoint, model, facts, bad):
    with raises_diagnostics(("bad-name", "tracking.registered_model")):
        register_winner(store, identity, checkpoint, registered_name=bad, facts=facts, model=model)


def test_a_truncating_model_is_not_saved(store, identity, checkpoint, facts, name, model):
    model.truncate_dim = 4
    with raises_code(CodedError, "truncated"):
        register_winner(store, identity, checkpoint, registered_name=name, facts=facts, model=model)


def _plant_code(folder):
    marker = folder / "ran"
    (folder / MODEL_FOLDER / "evil.py").write_text(f"open({str(marker)!r}, 'w'); Evil = None")
    modules = folder / MODEL_FOLDER / "modules.json"
    listed = json.loads(modules.read_text())
    listed[0]["type"] = "evil.Evil"
    modules.write_text(json.dumps(listed))


def _plant_pickle(folder):
    (folder / MODEL_FOLDER / "pytorch_model.bin").write_bytes(b"cos\nsystem\n")


def _change_weights(folder):
    weights = folder / MODEL_FOLDER / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")


def _remove_weights(folder):
    (folder / MODEL_FOLDER / "model.safetensors").unlink()


@pytest.mark.parametrize("tamper", [_plant_code, _plant_pickle, _change_weights, _remove_weights])
def test_files_changed_after_registration_are_refused(store, client, registered, tamper):
    folder = _files(client, registered)
    tamper(folder)
    with raises_code(UntrustedModel, "altered-file"):
        load_registered(store, registered.name, registered.version)
    assert not (folder / "ran").exists()


def test_a_change_is_refused_even_if_the_list_of_files_was_changed_too(store, client, registered):
    folder = _files(client, registered)
    _change_weights(folder)
    tags = client.get_model_version(registered.name, registered.version).tags
    client.set_logged_model_tags(tags[MODEL_ID_TAG], {MANIFEST_TAG: json.dumps(hash_files(folder))})
    with raises_code(UntrustedModel, "altered-file"):
        load_registered(store, registered.name, registered.version)


def test_code_is_refused_even_if_the_hashes_match(store, client, registered):
    folder = _files(client, registered)
    _plant_code(folder)
    client.set_model_version_tag(
        registered.name, str(registered.version), MANIFEST_TAG, hash_manifest(hash_files(folder))
    )
    with raises_code(UntrustedModel, "unsafe-model") as caught:
        load_registered(store, registered.name, registered.version)
    assert f"{MODEL_FOLDER}/evil.py" in str(caught.value)
    assert not (folder / "ran").exists()


def test_a_version_without_hashes_is_refused(store, client, registered):
    client.delete_model_version_tag(registered.name, str(registered.version), MANIFEST_TAG)
    with raises_code(UntrustedModel, "no-hashes"):
        load_registered(store, registered.name, registered.version)


def test_an_unknown_version_is_refused_with_the_known_ones(store, registered):
    with raises_diagnostics(("unknown-name", registered.name)) as caught:
        find_version(store, registered.name, "champion")
    assert "[1]" in caught.value.diagnostics[0].expected
    assert "['challenger']" in caught.value.diagnostics[0].expected
    with raises_diagnostics(("unknown-name", "no-such-model")) as caught:
        find_version(store, "no-such-model", 1)
    assert registered.name in caught.value.diagnostics[0].expected


def test_the_checkpoint_is_not_changed(checkpoint, registered, client):
    version = client.get_model_version(registered.name, registered.version)
    assert version.tags[CHECKPOINT_TAG] == hash_manifest(hash_files(checkpoint))
    assert [path.name for path in checkpoint.parent.iterdir()] == ["best"]

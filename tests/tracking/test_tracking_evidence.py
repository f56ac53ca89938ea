"""Evidence in the registry: stored with the weights, covered by their hash, and its effect on versions and aliases."""

import dataclasses
import json
from pathlib import Path

import pytest
from tests.refusals import raises_code
from tests.reports.evidence_samples import make_evidence

from embsweep.tracking.records import WinnerRecord
from embsweep.tracking.registry.aliases import Decision, promote_version, read_aliases
from embsweep.tracking.registry.files import (
    EVIDENCE_FILE,
    UnreadableEvidence,
    UntrustedModel,
    hash_evidence,
    read_evidence,
    write_evidence,
)
from embsweep.tracking.registry.load import fetch_version, find_version, load_registered
from embsweep.tracking.registry.register import register_winner


def test_evidence_is_unchanged_after_loading(tmp_path):
    evidence = make_evidence()
    write_evidence(tmp_path, evidence)
    assert read_evidence(tmp_path) == evidence


def test_evidence_of_format_1_is_converted(tmp_path):
    """Format 1 has the keys `look`, `proof` and `rival`, which are renamed."""
    evidence = make_evidence()
    values = json.loads(evidence.model_dump_json())
    del values["evidence_format"]
    values |= {"format": 1, "look": values.pop("holdout_evaluations"), "proof": values.pop("verification")}
    for comparison in (*values["comparisons"], *values["verdict"]["comparisons"]):
        comparison["rival"] = comparison.pop("reference")
    assert evidence.comparisons
    (tmp_path / EVIDENCE_FILE).write_text(json.dumps(values))
    assert read_evidence(tmp_path) == evidence


@pytest.mark.parametrize(
    ("text", "code", "location"),
    [
        (None, "missing-file", ""),
        ('{"evidence_format": 3}', "bad-format", ": evidence_format: "),
        ('{"format": 1}', "bad-format", ": sweep: "),
        ('{"format": 1, "comparisons": [1], "verdict": {"comparisons": 2}}', "bad-format", ": sweep: "),
        ("{", "bad-format", ""),
        ("[]", "bad-format", ""),
        ("[" * 100_000, "bad-format", ""),
        (f'{{"format": 1, "a": {"[" * 100_000}', "bad-format", ""),
    ],
)
def test_evidence_of_another_format_is_refused(tmp_path, text, code, location):
    if text is not None:
        (tmp_path / EVIDENCE_FILE).write_text(text)
    with raises_code(UnreadableEvidence, code) as caught:
        read_evidence(tmp_path)
    assert location in str(caught.value)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["test", "validation"])
@pytest.mark.parametrize("name", ["winner", "base"])
def test_evidence_without_scores_of_a_dimension_is_refused(tmp_path, part, name):
    values = json.loads(make_evidence().model_dump_json())
    table = values[part][name]["scores"] if part == "test" else values[part][name]
    dim = min(table, key=int)
    del table[dim]
    (tmp_path / EVIDENCE_FILE).write_text(json.dumps(values))
    with raises_code(UnreadableEvidence, "bad-format") as caught:
        read_evidence(tmp_path)
    assert all(value in str(caught.value) for value in (part, "map@100", name, dim))


@pytest.mark.slow
@pytest.mark.parametrize("change", [{"dims": [99999, 64]}, {"objective": {"floors": {"99999": 0.1}}}])
def test_evidence_that_names_an_unknown_dimension_is_refused(tmp_path, change):
    values = json.loads(make_evidence().model_dump_json())
    for key, value in change.items():
        values[key] = {**values[key], **value} if isinstance(value, dict) else value
    (tmp_path / EVIDENCE_FILE).write_text(json.dumps(values))
    with raises_code(UnreadableEvidence, "bad-format") as caught:
        read_evidence(tmp_path)
    assert "99999" in str(caught.value)


@pytest.mark.slow
def test_the_hash_covers_the_claims_and_not_the_time_of_writing():
    evidence = make_evidence()
    later = make_evidence(
        created_at="2027", verification=evidence.verification.model_copy(update={"pid": 1, "difference": 2e-9})
    )
    assert hash_evidence(later) == hash_evidence(evidence)
    assert hash_evidence(make_evidence(holdout_evaluations=2)) != hash_evidence(evidence)


@pytest.fixture
def name(identity):
    return f"legal-{identity.study_id}"


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.fixture
def checkpoint(model, tmp_path):
    folder = tmp_path / "trial" / "best"
    model.save(str(folder), create_model_card=False)
    return folder


@pytest.fixture
def register(store, sweep, checkpoint, model, name):
    """`register(evidence)`: register the checkpoint with this evidence."""
    run_id = sweep.start_trial(3)

    def make(evidence):
        facts = WinnerRecord(run_id, "# the card\n", evidence)
        return register_winner(store, sweep.identity, checkpoint, registered_name=name, facts=facts, model=model)

    return make


def stored(client, version):
    from mlflow.utils.file_utils import local_file_uri_to_path

    return Path(local_file_uri_to_path(client.get_model_version_download_uri(version.name, version.version)))


def fetch(store, version, folder):
    return fetch_version(store, find_version(store, version.name, version.version), folder)


@pytest.mark.slow
def test_evidence_is_stored_with_the_weights_and_shown_in_tags(store, client, register, tmp_path):
    evidence = make_evidence(holdout_evaluations=2)
    version = register(evidence)
    fetched = fetch(store, version, tmp_path / "copy")
    assert (fetched.error, fetched.evidence_error) == (None, None)
    assert fetched.evidence == evidence
    tags = client.get_model_version(version.name, str(version.version)).tags
    shown = {
        key: tags[f"embsweep.{key}"]
        for key in ("complete", "verdict", "holdout_evaluations", "smallest_dim", "evidence")
    }
    assert shown == {
        "complete": "true",
        "verdict": "named",
        "holdout_evaluations": "2",
        "smallest_dim": str(evidence.smallest_dim),
        "evidence": hash_evidence(evidence),
    }
    load_registered(store, version.name, version.version)


@pytest.mark.slow
def test_altered_evidence_is_neither_used_nor_loaded(store, client, register, tmp_path):
    version = register(make_evidence(complete=False))
    path = stored(client, version) / EVIDENCE_FILE
    path.write_text(path.read_text().replace('"complete":false', '"complete":true'))
    fetched = fetch(store, version, tmp_path / "copy")
    assert (fetched.error.code, fetched.evidence_error.code) == ("altered-file", "altered-file")
    assert EVIDENCE_FILE in str(fetched.error)
    assert fetched.evidence is None
    with raises_code(UntrustedModel, "altered-file"):
        load_registered(store, version.name, version.version)


@pytest.mark.slow
def test_removed_evidence_is_an_altered_file(store, client, register, tmp_path):
    version = register(make_evidence())
    (stored(client, version) / EVIDENCE_FILE).unlink()
    fetched = fetch(store, version, tmp_path / "copy")
    assert (fetched.error.code, fetched.evidence_error.code) == ("altered-file", "altered-file")
    assert EVIDENCE_FILE in str(fetched.error)


@pytest.mark.slow
def test_evidence_is_still_used_if_the_weights_are_altered(store, client, register, tmp_path):
    version = register(make_evidence())
    weights = next(stored(client, version).rglob("model.safetensors"))
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x01")
    fetched = fetch(store, version, tmp_path / "copy")
    assert fetched.error.code == "altered-file"
    assert "model.safetensors" in str(fetched.error)
    assert EVIDENCE_FILE not in str(fetched.error)
    assert fetched.evidence == make_evidence()


@pytest.mark.slow
def test_a_version_with_missing_files_gives_a_diagnostic(store, client, register, tmp_path):
    import shutil

    version = register(make_evidence())
    shutil.rmtree(stored(client, version))
    fetched = fetch(store, version, tmp_path / "copy")
    assert (fetched.error.code, fetched.evidence_error.code) == ("unreadable", "unreadable")
    assert str(fetched.error).startswith(f"{version.name} version 1 ")


@pytest.mark.slow
def test_the_same_claims_are_one_version_and_other_claims_another(client, register):
    first = register(make_evidence())
    assert register(make_evidence(created_at="later")) == dataclasses.replace(first, new=False)
    extended = register(make_evidence(budget=16))
    assert (extended.version, extended.new) == (first.version + 1, True)
    assert int(client.get_registered_model(first.name).aliases["challenger"]) == extended.version


@pytest.mark.slow
def test_a_promoted_version_is_not_registered_again(store, client, register, name):
    version = register(make_evidence())
    promote_version(store, read_aliases(store, name), Decision("promoted", version.version, {}))
    assert register(make_evidence()) == dataclasses.replace(version, new=False)
    assert set(client.get_registered_model(name).aliases) == {"champion"}
    client.delete_registered_model_alias(name, "champion")
    register(make_evidence())
    assert client.get_registered_model(name).aliases == {}

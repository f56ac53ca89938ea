import re
from types import SimpleNamespace

import pytest
from tests.refusals import raises_code, raises_diagnostics

from embsweep.tracking.registry.aliases import HISTORY_TAG, read_aliases
from embsweep.tracking.registry.files import UntrustedModel, hash_files, hash_manifest, require_data_only, require_same
from embsweep.tracking.registry.load import _find_diagnostic, _listed_files
from embsweep.tracking.registry.logged_model import MANIFEST_TAG, MODEL_ID_TAG


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "MLmodel").write_text("a")
    (tmp_path / "sub" / "model.safetensors").write_bytes(b"b")
    return tmp_path


def test_every_file_is_hashed_under_its_relative_path(folder):
    hashes = hash_files(folder)
    assert list(hashes) == ["MLmodel", "sub/model.safetensors"]
    assert hashes["MLmodel"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # sha256 of "a"


def test_the_hash_of_all_files_changes_with_any_name(folder):
    before = hash_manifest(hash_files(folder))
    (folder / "MLmodel").rename(folder / "renamed.json")
    assert hash_manifest(hash_files(folder)) != before


@pytest.mark.parametrize(
    ("actual", "named"),
    [
        ({"1.json": "1", "2.json": "2", "3.json": "3"}, ["3.json"]),
        ({"1.json": "1"}, ["2.json"]),
        ({"1.json": "0", "2.json": "2"}, ["1.json"]),
        ({"1.json": "0", "3.json": "3"}, ["1.json", "2.json", "3.json"]),
    ],
)
def test_every_difference_is_named(actual, named):
    recorded = {"1.json": "1", "2.json": "2"}
    require_same(recorded, recorded)
    with raises_code(UntrustedModel, "altered-file") as caught:
        require_same(actual, recorded)
    assert sorted(re.findall(r"\d\.json", str(caught.value))) == named


@pytest.mark.parametrize("name", ["pytorch_model.bin", "code.py", "weights.pt", "x.pkl", "sub/lib.so", "noname"])
def test_only_data_files_are_accepted(folder, name):
    require_data_only(folder)
    (folder / name).write_text("x")
    with raises_code(UntrustedModel, "unsafe-model") as caught:
        require_data_only(folder)
    assert name in str(caught.value)


def find_diagnostic(folder):
    """Return the diagnostic of a version whose recorded hashes match its files."""
    actual = hash_files(folder)
    return _find_diagnostic("m version 1", folder, actual, actual, hash_manifest(actual))


def test_only_the_librarys_own_modules_are_accepted(folder):
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    assert find_diagnostic(folder) is None
    (folder / "modules.json").write_text('[{"type": "sentence_transformersx.Evil"}]')
    diagnostic = find_diagnostic(folder)
    assert diagnostic.code == "unsafe-model"
    assert "sentence_transformersx.Evil" in str(diagnostic)


@pytest.mark.parametrize("content", ["[{}]", "{", "[null]", "[1]", "[" * 100_000, '[{"type": null}]', "\x00"])
def test_an_invalid_list_of_modules_gives_a_diagnostic(folder, content):
    (folder / "modules.json").write_text(content)
    diagnostic = find_diagnostic(folder)
    assert diagnostic.code == "unsafe-model"
    assert "modules.json" in str(diagnostic)


@pytest.mark.parametrize("tag", ["{", "[1]", "null", "[" * 100_000])
def test_an_unreadable_list_of_files_counts_as_empty(tag):
    client = SimpleNamespace(get_logged_model=lambda _: SimpleNamespace(tags={MANIFEST_TAG: tag}))
    version = SimpleNamespace(tags={MODEL_ID_TAG: "m-1"})
    assert _listed_files(SimpleNamespace(client=client), version) == {}


@pytest.mark.parametrize("tag", ["{", "null", "3", "[null]", '["x"]', "[1e400]", "[" * 100_000])
def test_an_unreadable_history_is_reported(tag):
    model = SimpleNamespace(aliases={}, tags={HISTORY_TAG: tag})
    client = SimpleNamespace(get_registered_model=lambda _: model)
    with raises_diagnostics(("bad-format", "legal")) as caught:
        read_aliases(SimpleNamespace(client=client), "legal")
    assert HISTORY_TAG in caught.value.diagnostics[0].message


def test_a_symbolic_link_is_refused(folder):
    (folder / "link.json").symlink_to("/etc/hostname")
    with raises_code(UntrustedModel, "wrong-file-kind") as caught:
        hash_files(folder)
    assert "link.json" in str(caught.value)

from types import SimpleNamespace

import pytest

from embsweep.errors import InputError
from embsweep.tracking.loading import _find_fault, _listed_files
from embsweep.tracking.logged_model import MANIFEST_TAG, MODEL_ID_TAG
from embsweep.tracking.manifest import UntrustedModel, check_data_only, check_same, hash_files, hash_manifest
from embsweep.tracking.standing import HISTORY_TAG, read_standing


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "MLmodel").write_text("a")
    (tmp_path / "sub" / "model.safetensors").write_bytes(b"b")
    return tmp_path


def test_every_file_by_its_relative_path(folder):
    hashes = hash_files(folder)
    assert list(hashes) == ["MLmodel", "sub/model.safetensors"]
    assert hashes["MLmodel"] == "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb"  # sha256 of "a"


def test_one_hash_for_all_changes_with_any_name_or_content(folder):
    before = hash_manifest(hash_files(folder))
    (folder / "MLmodel").rename(folder / "renamed.json")
    assert hash_manifest(hash_files(folder)) != before


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ({"a": "1", "b": "2", "c": "3"}, "c was added"),
        ({"a": "1"}, "b was removed"),
        ({"a": "0", "b": "2"}, "a was changed"),
    ],
)
def test_every_difference_is_named(found, message):
    recorded = {"a": "1", "b": "2"}
    check_same(recorded, recorded)
    with pytest.raises(UntrustedModel, match=message):
        check_same(found, recorded)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "code.py", "weights.pt", "x.pkl", "sub/lib.so", "noname"])
def test_only_data_is_accepted(folder, name):
    check_data_only(folder)
    (folder / name).write_text("x")
    with pytest.raises(UntrustedModel, match="is not data"):
        check_data_only(folder)


def find_fault(folder):
    """What is wrong with a version whose hashes are those of its files."""
    found = hash_files(folder)
    return _find_fault("m version 1", folder, found, found, hash_manifest(found))


def test_only_the_librarys_own_modules_are_accepted(folder):
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    assert find_fault(folder) is None
    (folder / "modules.json").write_text('[{"type": "sentence_transformersx.Evil"}]')
    assert "sentence_transformersx.Evil" in find_fault(folder)


@pytest.mark.parametrize("content", ["[{}]", "{", "[null]", "[1]", "[" * 100_000, '[{"type": null}]', "\x00"])
def test_a_list_of_modules_that_is_none_is_a_fault(folder, content):
    (folder / "modules.json").write_text(content)
    assert "modules.json" in find_fault(folder)


@pytest.mark.parametrize("tag", ["{", "[1]", "null", "[" * 100_000])
def test_a_list_of_files_that_nobody_can_read_is_none(tag):
    client = SimpleNamespace(get_logged_model=lambda _: SimpleNamespace(tags={MANIFEST_TAG: tag}))
    version = SimpleNamespace(tags={MODEL_ID_TAG: "m-1"})
    assert _listed_files(SimpleNamespace(client=lambda: client), version) == {}


@pytest.mark.parametrize("tag", ["{", "null", "3", "[null]", '["x"]', "[1e400]", "[" * 100_000])
def test_a_history_that_nobody_can_read_is_told(tag):
    model = SimpleNamespace(aliases={}, tags={HISTORY_TAG: tag})
    client = SimpleNamespace(get_registered_model=lambda _: model)
    with pytest.raises(InputError, match=r"legal: the tag embsweep\.earlier_champions is no list of versions"):
        read_standing(SimpleNamespace(client=lambda: client), "legal")


def test_a_link_is_refused(folder):
    (folder / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(UntrustedModel, match="is a link"):
        hash_files(folder)

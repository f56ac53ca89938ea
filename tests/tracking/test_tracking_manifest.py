import pytest

from embsweep.tracking.manifest import UntrustedModel, check_data_only, check_same, hash_files, hash_manifest


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


def test_only_the_librarys_own_modules_are_accepted(folder):
    (folder / "modules.json").write_text('[{"type": "sentence_transformers.models.Transformer"}]')
    check_data_only(folder)
    (folder / "modules.json").write_text('[{"type": "sentence_transformersx.Evil"}]')
    with pytest.raises(UntrustedModel, match=r"sentence_transformersx\.Evil"):
        check_data_only(folder)


def test_a_link_is_refused(folder):
    (folder / "link.json").symlink_to("/etc/hostname")
    with pytest.raises(UntrustedModel, match="is a link"):
        hash_files(folder)

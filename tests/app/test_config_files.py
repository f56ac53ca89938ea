"""Configuration files with a mistake in them: named with their line, whoever composes them."""

import os

import pytest

from embsweep.app import composer
from embsweep.app.composer import check_folder, compose, config_loader, draft_values, to_values
from embsweep.app.config_files import MOST_VALUES, check_files, first_line, undecodable_faults
from embsweep.app.overrides import check_overrides
from embsweep.errors import InputError

GLOBAL = "# @package _global_\n"
LAUGHS = 'a: &a ["lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol"]\n' + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def their_own(tmp_path, monkeypatch):
    """`their_own(content)`: a copy of conf/ with a preset of the user's own, and its path."""
    import shutil

    shutil.copytree(composer.conf_dir(), tmp_path / "conf")
    monkeypatch.setattr(composer, "conf_dir", lambda: tmp_path / "conf")
    path = tmp_path / "conf" / "sweep" / "mine.yaml"

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "line", "problem"),
    [
        (GLOBAL + 'sweep:\n  name: "x\n', ":4", "unexpected end of stream"),
        (GLOBAL + "sweep:\n  name: x\n  name: y\n", ":4", "duplicate key name"),
        (GLOBAL + "sweep:\n\tname: x\n", ":3", "cannot start any token"),
        (GLOBAL + "sweep: {name: !!python/object/apply:os.system [id]}\n", ":2", "python/object/apply:os.system"),
        (GLOBAL + "sweep: {name: *nowhere}\n", ":2", "undefined alias"),
        ("a: b\x00c", "", "special characters"),
        (b"\xff\xfe\x00bad", "", "is no text"),
    ],
)
def test_the_file_and_the_line_are_named(their_own, content, line, problem):
    path = their_own(content)
    with config_loader() as loader, pytest.raises(InputError) as caught:
        compose(loader, ["+sweep=mine"])
    (fault,) = caught.value.faults
    assert fault.where == f"{path}{line}"
    assert problem in str(fault)


@pytest.mark.slow
def test_a_file_that_is_not_chosen_hinders_nobody(their_own):
    their_own(b"\xff\xfe\x00bad")
    with config_loader() as loader:
        assert compose(loader, ["+sweep=bgem3"]).sweep.name == "bgem3"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (GLOBAL + "defaults:\n  - override /model: nope\n", "Could not find 'model/nope'"),
        ("- a\n- b\n", "Cannot merge DictConfig with ListConfig"),
    ],
)
def test_a_preset_that_does_not_fit(their_own, content, problem):
    their_own(content)
    with config_loader() as loader, pytest.raises(InputError) as caught:
        check_overrides(loader, ["+sweep=mine"])
    (fault,) = caught.value.faults
    assert fault.where == "+sweep=mine"
    assert problem in str(fault)


@pytest.mark.parametrize("content", [LAUGHS, "a: &a [1, *a]\n"])
def test_aliases_that_unfold_without_end(tmp_path, content):
    (tmp_path / "sweep").mkdir()
    path = tmp_path / "sweep" / "theirs.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as caught:
        check_folder(tmp_path, ["+sweep=theirs"])
    (fault,) = caught.value.faults
    assert fault.where == str(path)
    assert "aliases" in str(fault)


def test_a_few_aliases_are_none_of_that(tmp_path):
    (tmp_path / "x.yaml").write_text(f"a: &a [{', '.join(['1'] * 1000)}]\nb: [{', '.join(['*a'] * 8)}]\n")
    assert MOST_VALUES > 8 * 1000
    check_files(tmp_path)


def test_a_byte_order_mark_would_hide_the_package_line(tmp_path):
    path = tmp_path / "x.yaml"
    path.write_text("\ufeff# @package _global_\nsweep: {name: x}\n", "utf-8")
    with pytest.raises(InputError, match="begins with a byte-order mark") as caught:
        check_files(tmp_path)
    assert [fault.where for fault in caught.value.faults] == [str(path)]


@pytest.mark.parametrize(
    "content",
    [
        GLOBAL + "hydra: null\n",
        GLOBAL + "sweep: {name: 0x_}\n",
        GLOBAL + f"sweep: {{name: {'9' * 5000}}}\n",
        GLOBAL + "sweep: {name: !!int abc}\n",
        GLOBAL + "sweep: {name: !!bool abc}\n",
        GLOBAL + "sweep: {name: !!timestamp abc}\n",
        GLOBAL + "defaults: {a: b}\n",
        GLOBAL + "defaults: null\n",
        GLOBAL + "defaults: [null]\n",
        GLOBAL + "defaults: [{override /model: 5}]\n",
        "# @package\nsweep: {name: x}\n",
        "5\n",
    ],
)
def test_what_hydra_and_yaml_stumble_over_is_a_fault(their_own, content):
    their_own(content)
    with config_loader() as loader, pytest.raises(InputError, match="the configuration: cannot be read"):
        compose(loader, ["+sweep=mine"])


def test_another_folders_file_that_is_no_text_is_named(tmp_path):
    (tmp_path / "sweep").mkdir()
    path = tmp_path / "sweep" / "theirs.yaml"
    path.write_bytes(b"a: \xe9\n")
    with pytest.raises(InputError) as caught:
        check_folder(tmp_path, ["+sweep=theirs"])
    assert [fault.where for fault in caught.value.faults] == [str(path)]


def test_there_is_a_fault_where_no_file_is_found_to_blame(loader):
    (fault,) = undecodable_faults(loader)
    assert "is no text" in fault.problem


def test_a_pipe_among_the_files_is_not_opened(tmp_path):
    (tmp_path / "sweep").mkdir()
    os.mkfifo(tmp_path / "sweep" / "pipe.yaml")
    (tmp_path / "sweep" / "theirs.yaml").write_bytes(b"a: \xe9\n")
    with pytest.raises(InputError, match=r"theirs\.yaml: is no text"):
        check_folder(tmp_path, ["+sweep=theirs"])


@pytest.mark.slow
def test_overrides_with_interpolations_compose(loader):
    assert to_values(compose(loader, ["train.epochs=${train.batch_size}"]))["train"]["epochs"] == 16


@pytest.mark.slow
def test_every_interpolation_that_leads_nowhere_is_told(loader):
    tree = compose(loader, ["train.epochs=${nope}", "train.warmup=${train.warmup}", "train.batch_size=8"])
    values, faults = draft_values(tree)
    assert (values["train"]["epochs"], values["train"]["batch_size"]) == ("???", 8)
    assert sorted(fault.where for fault in faults) == ["train.epochs", "train.warmup"]


def test_an_error_without_words_has_its_name():
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("while composing:\n  it broke\n  here")) == "while composing: it broke"

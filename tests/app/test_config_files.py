"""Configuration files with a mistake in them: named with their line, whoever composes them."""

import pytest

from embsweep.app import composer
from embsweep.app.composer import check_folder, compose, config_loader, first_line
from embsweep.app.config_files import MOST_VALUES, check_sizes
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


def test_a_file_that_is_not_chosen_hinders_nobody(their_own):
    their_own(b"\xff\xfe\x00bad")
    with config_loader() as loader:
        assert compose(loader, ["+sweep=bgem3"]).sweep.name == "bgem3"


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
    (tmp_path / "x.yaml").write_text(f"a: &a [{', '.join(['1'] * 1000)}]\nb: [{', '.join(['*a'] * 90)}]\n")
    assert MOST_VALUES > 90 * 1000
    check_sizes(tmp_path)


def test_an_error_without_words_has_its_name():
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("while composing:\n  it broke\n  here")) == "while composing: it broke"

"""Invalid configuration files: the diagnostic names file and line in every function that composes them."""

import os

import pytest

from embsweep.cli.composition import compose as composer
from embsweep.cli.composition.compose import compose, config_loader, resolve_partially, to_values
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.cli.composition.validation import first_line, undecodable_diagnostics
from tests.refusals import codes_and_locations, raises_diagnostics

GLOBAL = "# @package _global_\n"


@pytest.fixture
def write_preset(tmp_path, monkeypatch):
    """Return a function that writes a user's preset to a copy of conf/ and returns its path: write_preset(content)."""
    import shutil

    shutil.copytree(composer.conf_dir(), tmp_path / "conf")
    monkeypatch.setattr(composer, "conf_dir", lambda: tmp_path / "conf")
    path = tmp_path / "conf" / "sweep" / "mine.yaml"

    def write(content):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "line", "code", "named"),
    [
        (GLOBAL + 'sweep:\n  name: "x\n', ":4", "bad-format", ""),
        (GLOBAL + "sweep:\n  name: x\n  name: y\n", ":4", "bad-format", " name"),
        (GLOBAL + "sweep:\n\tname: x\n", ":3", "bad-format", r"'\t'"),
        (GLOBAL + "sweep: {name: !!python/object/apply:os.system [id]}\n", ":2", "bad-format", "apply:os.system"),
        (GLOBAL + "sweep: {name: *nowhere}\n", ":2", "bad-format", "'nowhere'"),
        ("a: b\x00c", "", "bad-format", ""),
        (b"\xff\xfe\x00bad", "", "not-utf8", ""),
    ],
)
def test_the_file_and_the_line_are_named(write_preset, content, line, code, named):
    path = write_preset(content)
    with config_loader() as loader, raises_diagnostics((code, f"{path}{line}")) as caught:
        compose(loader, ["+sweep=mine"])
    assert named in caught.value.diagnostics[0].message


@pytest.mark.slow
def test_an_invalid_file_that_is_not_chosen_is_ignored(write_preset):
    write_preset(b"\xff\xfe\x00bad")
    with config_loader() as loader:
        assert compose(loader, ["+sweep=bgem3"]).sweep.name == "bgem3"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("content", "named"),
    [(GLOBAL + "defaults:\n  - override /model: nope\n", "'model/nope'"), ("- a\n- b\n", "ListConfig")],
)
def test_a_preset_that_hydra_refuses(write_preset, content, named):
    write_preset(content)
    with config_loader() as loader, raises_diagnostics(("refused-by-hydra", "+sweep=mine")) as caught:
        parse_command_line(loader, ["+sweep=mine"])
    assert named in str(caught.value)


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
def test_content_that_crashes_hydra_or_yaml_is_a_diagnostic(write_preset, content):
    write_preset(content)
    with config_loader() as loader, raises_diagnostics(("bad-format", "the configuration")):
        compose(loader, ["+sweep=mine"])


def test_an_undecodable_file_in_another_folder_is_named(tmp_path):
    (tmp_path / "sweep").mkdir()
    path = tmp_path / "sweep" / "theirs.yaml"
    path.write_bytes(b"a: \xe9\n")
    with config_loader(tmp_path) as loader, raises_diagnostics(("not-utf8", str(path))):
        compose(loader, ["+sweep=theirs"])


def test_an_undecodable_file_that_cannot_be_found_is_a_diagnostic(loader):
    assert codes_and_locations(undecodable_diagnostics(loader)) == [("not-utf8", "a configuration file")]


def test_a_named_pipe_among_the_files_is_not_opened(tmp_path):
    (tmp_path / "sweep").mkdir()
    os.mkfifo(tmp_path / "sweep" / "pipe.yaml")
    path = tmp_path / "sweep" / "theirs.yaml"
    path.write_bytes(b"a: \xe9\n")
    with config_loader(tmp_path) as loader, raises_diagnostics(("not-utf8", str(path))):
        compose(loader, ["+sweep=theirs"])


@pytest.mark.slow
def test_overrides_with_interpolations_compose(loader):
    assert to_values(compose(loader, ["train.epochs=${train.batch_size}"]))["train"]["epochs"] == 16


@pytest.mark.slow
def test_every_unresolved_interpolation_is_reported(loader):
    tree = compose(loader, ["train.epochs=${nope}", "train.warmup=${train.warmup}", "train.batch_size=8"])
    values, diagnostics = resolve_partially(tree)
    assert (values["train"]["epochs"], values["train"]["batch_size"]) == ("???", 8)
    assert sorted(codes_and_locations(diagnostics)) == [("unresolved", "train.epochs"), ("unresolved", "train.warmup")]


def test_an_error_without_a_message_is_shown_by_its_type():
    assert first_line(ValueError()) == "ValueError"
    assert first_line(ValueError("while composing:\n  it broke\n  here")) == "while composing: it broke"

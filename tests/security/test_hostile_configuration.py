"""No code from a configuration: from the command line, from files, from sweeps of a key."""

import contextlib

import pytest
from omegaconf import OmegaConf

from embsweep.cli.composition.compose import check_no_targets, compose, find_targets, group_options
from embsweep.cli.composition.overrides import check_overrides
from embsweep.cli.composition.validation import CALL_KEYS
from embsweep.core.errors import InputError
from tests.refusals import codes_and_locations, raises_diagnostics


def apart(*values):
    """A way that one like it in the fast part stands for."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "+loss._target_=os.system",
        apart("loss._target_=os.system"),
        apart("++train.x._target_=os.system"),
        "+train._partial_=true",
        apart("+train._args_=[1]"),
        apart("+model._recursive_=false"),
        apart("+model._convert_=all"),
        "+train={_target_: os.system}",
        "train={a: [{_target_: os.system}]}",
        "hydra.sweeper._target_=os.system",
        apart("hydra.launcher._target_=os.system"),
        apart("+hydra.callbacks.x._target_=os.system"),
        apart("+hydra.callbacks={x: {_target_: os.system}}"),
        "hydra.callbacks={x: {_target_: os.system}}",
        "hydra.sweeper.params={train._target_: os.system}",
        apart("+hydra.job_logging={handlers: {h: {class: os.system}}}"),
        "hydra.job_logging={handlers: {h: {'()': os.system}}}",
        apart("+hydra.hydra_logging.handlers.h={'()': os.system}"),
        "train.optimizer=choice({_target_: os.system},{_target_: os.abort})",
    ],
)
def test_on_the_command_line(loader, line):
    good, diagnostics = check_overrides(loader, [line, "train.epochs=1"])
    assert good == ["train.epochs=1"]
    assert diagnostics
    (called,) = [diagnostic for diagnostic in diagnostics if diagnostic.code == "forbidden-call"] or [None]
    assert called is None or "_target_" in called.location or called.location.split(".")[0] in line


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(CALL_KEYS))
def test_in_any_file_at_any_depth(loader, key):
    for where in ("hydra.callbacks.x", "train", "data.split", "hydra.sweeper.params"):
        tree = compose(loader, [])
        OmegaConf.set_struct(tree, False)
        OmegaConf.update(tree, f"{where}.{key}", "os.system", force_add=True)
        with raises_diagnostics(("forbidden-call", f"{where}.{key}")):
            check_no_targets(tree)


@pytest.mark.slow
def test_in_a_file_of_a_search_path(loader, tmp_path):
    (tmp_path / "sweep").mkdir()
    marker = tmp_path / "marker"
    (tmp_path / "sweep" / "evil.yaml").write_text(
        f"# @package _global_\nhydra:\n  callbacks:\n    x: {{_target_: builtins.open, _args_: [{marker}, w]}}\n"
    )
    where = "hydra.callbacks.x"
    with raises_diagnostics(("forbidden-call", f"{where}._target_"), ("forbidden-call", f"{where}._args_")):
        compose(loader, [f"hydra.searchpath=[file://{tmp_path}]", "+sweep=evil"])
    assert not marker.exists()


HIDDEN = "'${{oc.create:{{_target_: builtins.open, _args_: [{marker}, w]}}}}'"
ESCAPED = "'\\${{oc.create:{{_target_: builtins.open, _args_: [{marker}, w]}}}}'"


@pytest.fixture
def theirs(loader, tmp_path):
    """`theirs(text)`: composes a preset of another folder with that content."""
    (tmp_path / "sweep").mkdir()

    def compose_theirs(text, *overrides):
        (tmp_path / "sweep" / "theirs.yaml").write_text("# @package _global_\n" + text)
        return compose(loader, [f"hydra.searchpath=[file://{tmp_path}]", "+sweep=theirs", *overrides])

    return compose_theirs


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"hydra: {{{{callbacks: {{{{x: {HIDDEN}}}}}}}}}", "hydra.callbacks.x"),
        apart(f"foo: {{{{x: {HIDDEN}}}}}\nhydra: {{{{callbacks: '${{{{foo}}}}'}}}}", "hydra.callbacks"),
        apart(
            "foo: {{'()': open}}\nhydra: {{hydra_logging: {{formatters: '${{foo}}'}}}}",
            "hydra.hydra_logging.formatters",
        ),
        ("hydra: {{job_logging: {{formatters: {{f: {{format: 'ext://this.s'}}}}}}}}", "hydra.job_logging.formatters"),
        apart("hydra: {{sweeper: {{_target_: '${{oc.env:HOME}}'}}}}", "hydra.sweeper._target_"),
        apart("hydra: {{sweeper: {{_recursive_: true}}}}", "hydra.sweeper._recursive_"),
        ("hydra: {{job: {{env_set: {{PYTHONPATH: x}}}}}}", "hydra.job.env_set.PYTHONPATH"),
        apart("hydra: {{job: {{env_copy: [HOME]}}}}", "hydra.job.env_copy"),
        apart("hydra: {{job: {{chdir: true}}}}", "hydra.job.chdir"),
        apart("hydra: {{run: {{dir: elsewhere}}}}", "hydra.run.dir"),
        apart("hydra: {{sweep: {{dir: elsewhere}}}}", "hydra.sweep.dir"),
        apart("hydra: {{output_subdir: x}}", "hydra.output_subdir"),
        ("hydra: {{overrides: {{hydra: [hydra.run.dir=x]}}}}", "hydra.overrides.hydra"),
    ],
)
def test_a_preset_does_not_say_how_hydra_runs(theirs, marker, text, where):
    with pytest.raises(InputError) as caught:
        theirs(text.format(marker=marker))
    code = "forbidden-call" if where.rpartition(".")[2] in CALL_KEYS else "not-settable"
    assert (code, where) in [
        (kind, found[: len(where)]) for kind, found in codes_and_locations(caught.value.diagnostics)
    ]
    assert not marker.exists()


@pytest.mark.slow
def test_the_command_line_does(theirs):
    tree = theirs("hydra: {mode: RUN, verbose: true, sweeper: {params: {train.epochs: '1,2'}}}", "hydra.run.dir=x")
    assert (tree.hydra.run.dir, tree.hydra.verbose, dict(tree.hydra.sweeper.params)) == (
        "x",
        True,
        {"train.epochs": "1,2"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("text", [HIDDEN, ESCAPED])
def test_nothing_is_built_of_a_space(theirs, marker, text):
    from hydra.core.plugins import Plugins

    value = text.format(marker=marker)
    tree = theirs(f"hydra: {{sweeper: {{params: {{train.epochs: {value}}}}}}}")
    with contextlib.suppress(Exception):
        Plugins.instance()._instantiate(tree.hydra.sweeper)
    assert not marker.exists()


@pytest.mark.slow
def test_what_comes_with_embsweep_calls_nothing_but_its_own(loader):
    presets = group_options(loader, "sweep")
    assert {"bgem3", "quickstart"} <= set(presets)
    for option in presets:
        assert compose(loader, [f"+sweep={option}"]).sweep.name == option


def test_what_is_found():
    tree = {"a": [{"_target_": "x"}], "hydra": {"job_logging": {"h": {"()": "y", "level": 1}}}, "class": "z"}
    assert list(find_targets(tree)) == [("a.0._target_", "x"), ("hydra.job_logging.h.()", "y")]

"""No code runs from a configuration: command line, files, search spaces."""

import contextlib

import pytest
from omegaconf import OmegaConf

from embsweep.cli.composition.compose import check_no_targets, compose, find_targets, group_options
from embsweep.cli.composition.overrides import check_overrides
from embsweep.cli.composition.validation import CALL_KEYS
from embsweep.core.errors import InputError
from tests.refusals import codes_and_locations, raises_diagnostics


def slow(*values):
    """Mark a case as slow: a similar case is among the fast ones."""
    return pytest.param(*values, marks=pytest.mark.slow)


@pytest.mark.slow
@pytest.mark.parametrize(
    "line",
    [
        "+loss._target_=os.system",
        slow("loss._target_=os.system"),
        slow("++train.x._target_=os.system"),
        "+train._partial_=true",
        slow("+train._args_=[1]"),
        slow("+model._recursive_=false"),
        slow("+model._convert_=all"),
        "+train={_target_: os.system}",
        "train={a: [{_target_: os.system}]}",
        "hydra.sweeper._target_=os.system",
        slow("hydra.launcher._target_=os.system"),
        slow("+hydra.callbacks.x._target_=os.system"),
        slow("+hydra.callbacks={x: {_target_: os.system}}"),
        "hydra.callbacks={x: {_target_: os.system}}",
        "hydra.sweeper.params={train._target_: os.system}",
        slow("+hydra.job_logging={handlers: {h: {class: os.system}}}"),
        "hydra.job_logging={handlers: {h: {'()': os.system}}}",
        slow("+hydra.hydra_logging.handlers.h={'()': os.system}"),
        "train.optimizer=choice({_target_: os.system},{_target_: os.abort})",
    ],
)
def test_call_keys_on_the_command_line_are_refused(loader, line):
    valid, diagnostics = check_overrides(loader, [line, "train.epochs=1"])
    assert valid == ["train.epochs=1"]
    assert diagnostics
    (call,) = [diagnostic for diagnostic in diagnostics if diagnostic.code == "forbidden-call"] or [None]
    assert call is None or "_target_" in call.location or call.location.split(".")[0] in line


@pytest.mark.slow
@pytest.mark.parametrize("key", sorted(CALL_KEYS))
def test_call_keys_at_any_depth_are_refused(loader, key):
    for where in ("hydra.callbacks.x", "train", "data.split", "hydra.sweeper.params"):
        tree = compose(loader, [])
        OmegaConf.set_struct(tree, False)
        OmegaConf.update(tree, f"{where}.{key}", "os.system", force_add=True)
        with raises_diagnostics(("forbidden-call", f"{where}.{key}")):
            check_no_targets(tree)


@pytest.mark.slow
def test_call_keys_in_a_file_of_a_search_path_are_refused(loader, tmp_path):
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
def compose_preset(loader, tmp_path):
    """Return a function that composes a preset with this content in another folder: compose_preset(text)."""
    (tmp_path / "sweep").mkdir()

    def write_and_compose(text, *overrides):
        (tmp_path / "sweep" / "theirs.yaml").write_text("# @package _global_\n" + text)
        return compose(loader, [f"hydra.searchpath=[file://{tmp_path}]", "+sweep=theirs", *overrides])

    return write_and_compose


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "where"),
    [
        (f"hydra: {{{{callbacks: {{{{x: {HIDDEN}}}}}}}}}", "hydra.callbacks.x"),
        slow(f"foo: {{{{x: {HIDDEN}}}}}\nhydra: {{{{callbacks: '${{{{foo}}}}'}}}}", "hydra.callbacks"),
        slow(
            "foo: {{'()': open}}\nhydra: {{hydra_logging: {{formatters: '${{foo}}'}}}}",
            "hydra.hydra_logging.formatters",
        ),
        ("hydra: {{job_logging: {{formatters: {{f: {{format: 'ext://this.s'}}}}}}}}", "hydra.job_logging.formatters"),
        slow("hydra: {{sweeper: {{_target_: '${{oc.env:HOME}}'}}}}", "hydra.sweeper._target_"),
        slow("hydra: {{sweeper: {{_recursive_: true}}}}", "hydra.sweeper._recursive_"),
        ("hydra: {{job: {{env_set: {{PYTHONPATH: x}}}}}}", "hydra.job.env_set.PYTHONPATH"),
        slow("hydra: {{job: {{env_copy: [HOME]}}}}", "hydra.job.env_copy"),
        slow("hydra: {{job: {{chdir: true}}}}", "hydra.job.chdir"),
        slow("hydra: {{run: {{dir: other}}}}", "hydra.run.dir"),
        slow("hydra: {{sweep: {{dir: other}}}}", "hydra.sweep.dir"),
        slow("hydra: {{output_subdir: x}}", "hydra.output_subdir"),
        ("hydra: {{overrides: {{hydra: [hydra.run.dir=x]}}}}", "hydra.overrides.hydra"),
    ],
)
def test_a_preset_cannot_configure_how_hydra_runs(compose_preset, marker, text, where):
    with pytest.raises(InputError) as caught:
        compose_preset(text.format(marker=marker))
    code = "forbidden-call" if where.rpartition(".")[2] in CALL_KEYS else "not-settable"
    assert (code, where) in [
        (kind, location[: len(where)]) for kind, location in codes_and_locations(caught.value.diagnostics)
    ]
    assert not marker.exists()


@pytest.mark.slow
def test_the_command_line_can_configure_how_hydra_runs(compose_preset):
    tree = compose_preset(
        "hydra: {mode: RUN, verbose: true, sweeper: {params: {train.epochs: '1,2'}}}", "hydra.run.dir=x"
    )
    assert (tree.hydra.run.dir, tree.hydra.verbose, dict(tree.hydra.sweeper.params)) == (
        "x",
        True,
        {"train.epochs": "1,2"},
    )


@pytest.mark.slow
@pytest.mark.parametrize("text", [HIDDEN, ESCAPED])
def test_hydra_instantiates_nothing_from_a_space(compose_preset, marker, text):
    from hydra.core.plugins import Plugins

    value = text.format(marker=marker)
    tree = compose_preset(f"hydra: {{sweeper: {{params: {{train.epochs: {value}}}}}}}")
    with contextlib.suppress(Exception):
        Plugins.instance()._instantiate(tree.hydra.sweeper)
    assert not marker.exists()


@pytest.mark.slow
def test_packaged_presets_are_accepted(loader):
    presets = group_options(loader, "sweep")
    assert {"bgem3", "quickstart"} <= set(presets)
    for option in presets:
        assert compose(loader, [f"+sweep={option}"]).sweep.name == option


def test_find_targets_lists_keys_that_call_code():
    tree = {"a": [{"_target_": "x"}], "hydra": {"job_logging": {"h": {"()": "y", "level": 1}}}, "class": "z"}
    assert list(find_targets(tree)) == [("a.0._target_", "x"), ("hydra.job_logging.h.()", "y")]

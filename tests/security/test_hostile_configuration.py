"""No code runs from a configuration: command line, files, search spaces."""

import contextlib

import pytest

from embsweep.cli.composition.compose import compose, group_options
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.cli.composition.request import parse_request
from tests.refusals import raises_diagnostics


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
        "+train={_target_: os.system}",
        "train={a: [{_target_: os.system}]}",
        "hydra.sweeper._target_=os.system",
        slow("hydra.launcher._target_=os.system"),
        slow("+hydra.callbacks.x._target_=os.system"),
        "hydra.callbacks={x: {_target_: os.system}}",
        slow("+hydra.job_logging={handlers: {h: {class: os.system}}}"),
        "+hydra.job_logging={handlers: {h: {'()': os.system}}}",
        slow("+hydra.hydra_logging.handlers.h={'()': os.system}"),
        "+hydra.job.env_set={PYTHONPATH: x}",
    ],
)
def test_what_would_call_code_is_refused_on_the_command_line(loader, line):
    found = parse_command_line(loader, [line, "train.epochs=1"])
    assert [override.input_line for override in found.valid] == ["train.epochs=1"]
    assert len(found.diagnostics) == 1


@pytest.mark.slow
def test_another_logging_configuration_is_refused(loader):
    with raises_diagnostics(("not-settable", "hydra.job_logging")):
        parse_command_line(loader, ["hydra/job_logging=default"])


@pytest.mark.slow
def test_an_option_that_names_a_callable_is_not_a_valid_value(loader):
    """Nothing is built from our own keys, so that a callable is a mapping where a text belongs."""
    request, _ = parse_request(loader, ["train.optimizer=choice({_target_: os.system},adamw_torch)"], "")
    (optimizer,) = request.space
    with raises_diagnostics(("unknown-option", "train.optimizer")):
        request.configure({"train.optimizer": optimizer.options[0]})


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
        ("hydra: {{callbacks: {{x: {{_target_: builtins.open, _args_: [{marker}, w]}}}}}}", "hydra.callbacks"),
        (f"hydra: {{{{callbacks: {{{{x: {HIDDEN}}}}}}}}}", "hydra.callbacks"),
        slow(f"foo: {{{{x: {HIDDEN}}}}}\nhydra: {{{{callbacks: '${{{{foo}}}}'}}}}", "hydra.callbacks"),
        slow("foo: {{'()': open}}\nhydra: {{hydra_logging: {{formatters: '${{foo}}'}}}}", "hydra.hydra_logging"),
        ("hydra: {{job_logging: {{formatters: {{f: {{format: 'ext://this.s'}}}}}}}}", "hydra.job_logging"),
        slow("hydra: {{sweeper: {{_target_: '${{oc.env:HOME}}'}}}}", "hydra.sweeper"),
        slow("hydra: {{sweeper: {{_recursive_: true}}}}", "hydra.sweeper"),
        slow("hydra: {{launcher: {{_target_: os.system}}}}", "hydra.launcher"),
        ("hydra: {{job: {{env_set: {{PYTHONPATH: x}}}}}}", "hydra.job.env_set"),
    ],
)
def test_a_preset_cannot_configure_how_hydra_runs(compose_preset, marker, text, where):
    with raises_diagnostics(("not-settable", where)):
        compose_preset(text.format(marker=marker))
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

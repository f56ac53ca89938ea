"""`python run_sweep.py`: choice of the sweep, exit codes, and the commands printed for resuming and for the UI."""

import shlex
import sys
from pathlib import Path

import pytest

from embsweep.cli.composition.compose import compose, to_values
from embsweep.cli.composition.request import read_request, single_request
from embsweep.cli.main import _command, _ui_command, with_default_sweep
from embsweep.config import build_config
from embsweep.config.search_space import SearchSpace
from embsweep.core.errors import SweepRefused, TooManyFailures
from embsweep.reports.view import Result
from embsweep.sweep.request import SweepRequest
from tests.refusals import raises_diagnostics
from tests.reports.evidence_samples import rehearsal


@pytest.mark.parametrize(
    ("arguments", "is_default"),
    [
        ([], True),
        (["train.epochs=3"], True),
        (["sweep.name=mine"], True),
        (["+sweep=bgem3"], False),
        (["sweep=bgem3"], False),
        (["++sweep=bgem3", "train.epochs=3"], False),
        (["hydra.mode=RUN"], False),
        (["hydra.mode=RUN", "train.epochs=3"], False),
    ],
)
def test_quickstart_is_the_default_sweep(arguments, is_default):
    assert with_default_sweep(arguments) == [*arguments, *(["+sweep=quickstart"] if is_default else [])]


@pytest.mark.slow
def test_a_sweep_is_started_with_the_requested_values(call, started):
    assert call("+sweep=bgem3", "train.epochs=2", "train.batch_size=8,16").code == 0
    (request,) = started
    assert {d.key for d in request.space} >= {"train.batch_size", "loss"}
    assert request.values["train"]["epochs"] == 2
    assert request.values["sweep"]["name"] == "bgem3"


@pytest.mark.slow
def test_quickstart_alone(call, started):
    assert call().code == 0
    assert started[0].values["sweep"]["name"] == "quickstart"


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["-m", "--multirun"])
def test_multirun_flag_changes_nothing(call, started, flag):
    assert call(flag, "+sweep=bgem3").code == 0
    assert started[0].values["sweep"]["name"] == "bgem3"


@pytest.mark.slow
def test_one_trial(call, started):
    assert call("hydra.mode=RUN", "train.epochs=2").code == 0
    (request,) = started
    assert (len(request.space), request.recipe) == (0, {})
    assert request.values["search"]["trials"] == 1
    assert request.configure({}) == build_config(request.values)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--cfg", "job"], "name: quickstart"),
        (["--cfg", "job", "+sweep=bgem3"], "name: bgem3"),
        (["--help"], "matryoshka: coarse"),
        (["--info", "defaults"], "quickstart"),
    ],
)
def test_informational_flags_run_nothing(call, started, arguments, words):
    result = call(*arguments)
    assert words in result.out
    assert result.code == 0
    assert started == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code"),
    [(SweepRefused("other-sweep", "differs"), 2), (TooManyFailures("3 of 4"), 3), (KeyboardInterrupt(), 130)],
)
def test_exit_code_of_an_error_that_ends_a_sweep(call_past_hydra, monkeypatch, error, code):
    def end(_):
        raise error

    monkeypatch.setattr("embsweep.cli.main._run", end)
    result = call_past_hydra("+sweep=bgem3")
    assert result.code == code
    assert "Traceback" not in result.err


@pytest.mark.slow
def test_interrupted_sweep_prints_the_command_that_resumes_it(call_past_hydra, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("embsweep.cli.main._run", interrupt)
    result = call_past_hydra("+sweep=bgem3", "train.learning_rate=tag(log,interval(1e-6,1e-4))", "sweep.fresh=true")
    command = shlex.split(result.err.split("resume with: ")[1])
    assert command[1:] == ["run_sweep.py", "+sweep=bgem3", "train.learning_rate=tag(log,interval(1e-6,1e-4))"]


def test_command_never_repeats_fresh(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["run_sweep.py", "+sweep=x", "sweep.fresh=true", "sweep.name=a b"])
    assert _command().endswith("run_sweep.py +sweep=x 'sweep.name=a b'")


@pytest.mark.slow
def test_the_diagnostics_of_the_space_and_of_the_data_are_listed_together(call_past_hydra, started):
    result = call_past_hydra(
        "+sweep=bgem3", "train.epochs=range(3,3)", "scale=rehearsal", "data=beir", "data.path=/nope"
    )
    assert result.code == 2
    assert result.diagnostics == [("too-few", "train.epochs"), ("missing-file", "data.path")]
    assert result.listed_locations == ["train.epochs", "data.path"]
    assert started == []


def test_run_prints_the_result_of_the_sweep(loader, monkeypatch, capsys):
    import embsweep.reports.summary
    import embsweep.sweep.run
    from embsweep.cli.main import _run

    request = read_request(loader, ["+sweep=bgem3"], "the command")
    result, calls = Result(rehearsal(), "registered"), []
    monkeypatch.setattr(embsweep.sweep.run, "run_sweep", lambda received, _: (calls.append(received), result)[1])
    monkeypatch.setattr(
        embsweep.reports.summary,
        "print_result",
        lambda _, result, commands: calls.append((result, commands.sweep, shlex.split(commands.promote)[1:])),
    )
    _run(request)
    assert calls == [request, (result, "the command", ["promote", "bgem3-rehearsal"])]


LOCAL = ["ui", "--storage", "/a/b", "--uri", "sqlite:////a/b/mlflow.db"]


@pytest.mark.parametrize(
    ("path", "store", "variable", "command"),
    [
        (None, None, None, ["ui"]),
        ("/a/b", None, None, ["ui", "--storage", "/a/b"]),
        (None, "postgresql://***@host/db", None, ["ui", "--uri", "postgresql://***@host/db"]),
        ("/a/b", None, "http://host:5000", LOCAL),
    ],
    ids=["local", "in a folder", "database", "not the store of the environment"],
)
def test_command_that_opens_the_interface(set_env, path, store, variable, command):
    set_env(MLFLOW_TRACKING_URI=variable)
    shown = _ui_command(SweepRequest({"storage": {"path": path}}, SearchSpace(), {}, "", Path("/repository")), store)
    assert shlex.split(shown)[1:] == command


def test_the_interface_of_a_server_is_its_address():
    request = SweepRequest({"storage": {"path": None}}, SearchSpace(), {}, "", Path("/repository"))
    assert _ui_command(request, "http://host:5000") == "open http://host:5000"


def values_of(loader, *overrides):
    return to_values(compose(loader, overrides))


def name_of(loader, *overrides):
    return single_request(values_of(loader, *overrides), "").values["sweep"]["name"]


@pytest.mark.slow
def test_the_name_of_a_single_trial_depends_on_its_configuration(loader):
    plain = name_of(loader)
    assert plain.startswith("single-")
    assert name_of(loader, "train.epochs=3") != plain
    assert name_of(loader, "data=beir", "data.path=x") != plain
    assert name_of(loader, "objective=worst") != plain


@pytest.mark.slow
def test_the_name_of_a_single_trial_ignores_keys_that_do_not_affect_scores(loader):
    assert name_of(loader) == name_of(loader, "search.trials=7", "runner=inline", "tracking.experiment=other")


@pytest.mark.slow
def test_a_single_trial_is_a_valid_sweep_of_one(loader):
    config = build_config(single_request(values_of(loader, "sweep.name=mine"), "").values)
    assert config.search.trials == 1
    assert config.sweep.name.startswith("mine-")


@pytest.mark.slow
def test_values_of_an_interpolation(loader):
    assert values_of(loader, "train.epochs=${train.batch_size}")["train"]["epochs"] == 16
    with raises_diagnostics(("unresolved", "train.epochs")):
        values_of(loader, "train.epochs=${nope}")

"""No code from a configuration: from the command line, from files, from sweeps of a key."""

import pytest
from omegaconf import OmegaConf

from embsweep.app.composer import CALL_KEYS, check_no_calls, compose, find_calls
from embsweep.app.overrides import check_overrides
from embsweep.errors import InputError


@pytest.mark.parametrize(
    "line",
    [
        "+loss._target_=os.system",
        "loss._target_=os.system",
        "++train.x._target_=os.system",
        "+train._partial_=true",
        "+train._args_=[1]",
        "+model._recursive_=false",
        "+model._convert_=all",
        "+train={_target_: os.system}",
        "train={a: [{_target_: os.system}]}",
        "hydra.sweeper._target_=os.system",
        "hydra.launcher._target_=os.system",
        "+hydra.callbacks.x._target_=os.system",
        "+hydra.callbacks={x: {_target_: os.system}}",
        "hydra.callbacks={x: {_target_: os.system}}",
        "hydra.sweeper.params={train._target_: os.system}",
        "+hydra.job_logging={handlers: {h: {class: os.system}}}",
        "hydra.job_logging={handlers: {h: {'()': os.system}}}",
        "+hydra.hydra_logging.handlers.h={'()': os.system}",
        "train.optimizer=choice({_target_: os.system},{_target_: os.abort})",
    ],
)
def test_on_the_command_line(loader, line):
    good, faults = check_overrides(loader, [line, "train.epochs=1"])
    assert good == ["train.epochs=1"]
    assert faults
    (called,) = [fault for fault in faults if "call" in fault.problem] or [None]
    assert called is None or "_target_" in called.where or called.where.split(".")[0] in line


@pytest.mark.parametrize("key", sorted(CALL_KEYS))
def test_in_any_file_at_any_depth(loader, key):
    for where in ("hydra.callbacks.x", "train", "data.split", "hydra.sweeper.params"):
        tree = compose(loader, [])
        OmegaConf.set_struct(tree, False)
        OmegaConf.update(tree, f"{where}.{key}", "os.system", force_add=True)
        with pytest.raises(InputError, match="names something to call"):
            check_no_calls(tree)


def test_in_a_file_of_a_search_path(loader, tmp_path):
    (tmp_path / "sweep").mkdir()
    marker = tmp_path / "marker"
    (tmp_path / "sweep" / "evil.yaml").write_text(
        f"# @package _global_\nhydra:\n  callbacks:\n    x: {{_target_: pathlib.Path.touch, self: {marker}}}\n"
    )
    with pytest.raises(InputError, match=r"hydra\.callbacks\.x\._target_: names something to call"):
        compose(loader, [f"hydra.searchpath=[file://{tmp_path}]", "+sweep=evil"])
    assert not marker.exists()


def test_what_comes_with_embsweep_calls_nothing_but_its_own(loader):
    for option in loader.list_groups("") and ("bgem3", "quickstart", "es_boe"):
        compose(loader, [f"+sweep={option}"])


def test_what_is_found():
    tree = {"a": [{"_target_": "x"}], "hydra": {"job_logging": {"h": {"()": "y", "level": 1}}}, "class": "z"}
    assert list(find_calls(tree)) == [("a.0._target_", "x"), ("hydra.job_logging.h.()", "y")]

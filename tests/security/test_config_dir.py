"""Configuration folders of other users, and Hydra's other options that read files: none of their code runs.

Normal runs test them in this process, nightly runs in a new process for each option.
"""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import call, outside_hydra  # noqa: F401 - `python run_sweep.py` in this process
from tests.security.hostile import Payload

ROOT = Path(__file__).resolve().parents[2]
CALLBACK = "hydra:\n  callbacks:\n    x: {{_target_: builtins.open, _args_: [{marker}, w]}}\n"
TARGET = "hydra:\n  callbacks:\n    x: {{_target_: embsweep_test_payload.Transformer}}\n"
HIDDEN = "hydra:\n  callbacks:\n    x: '${{oc.create:{{_target_: embsweep_test_payload.Transformer}}}}'\n"
SPACE = "hydra: {sweeper: {params: {train.epochs: '${oc.create:{_target_: embsweep_test_payload.Transformer}}'}}}\n"
LOGGING = "hydra:\n  hydra_logging: {{version: 1, formatters: {{f: {{'()': embsweep_test_payload.Transformer}}}}}}\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "code", "where"),
    [
        (TARGET, "not-settable", "hydra.callbacks"),
        (HIDDEN, "not-settable", "hydra.callbacks"),
        (LOGGING, "not-settable", "hydra.hydra_logging"),
        (SPACE, "bad-space", "hydra.sweeper.params.train.epochs"),
    ],
)
def test_a_preset_of_another_folder_is_refused(call, tmp_path, payload, marker, text, code, where):  # noqa: F811
    (tmp_path / "sweep").mkdir()
    body = text if text == SPACE else text.format(marker=marker)
    (tmp_path / "sweep" / "theirs.yaml").write_text("# @package _global_\n" + body)
    result = call("--config-dir", str(tmp_path), "+sweep=theirs", f"storage.path={tmp_path}", "data=files")
    assert result.code == 2
    assert (code, where) in result.diagnostics
    assert where in result.listed_locations
    assert not marker.exists()


@pytest.mark.parametrize("option", ["config-path", "config-name", "experimental-rerun"])
def test_another_main_file_and_a_pickle_are_refused(call, tmp_path, marker, option):  # noqa: F811
    (tmp_path / "config.yaml").write_text(CALLBACK.format(marker=marker))
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Payload(marker)))
    value = {"config-path": tmp_path, "config-name": "theirs", "experimental-rerun": tmp_path / "config.pickle"}[option]
    result = call(f"--{option}", str(value), "--config-dir", str(tmp_path))
    assert (result.code, result.diagnostics) == (2, [("not-settable", f"--{option}")])
    assert not marker.exists()


def run(tmp_path, options, *overrides):
    """Run the command with options first: argparse accepts positional arguments in one place only."""
    environment = {"PYTHONPATH": str(tmp_path / "library"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, str(ROOT / "run_sweep.py"), *options, f"storage.path={tmp_path}", *overrides]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return result.returncode, result.stdout + result.stderr


@pytest.mark.nightly
@pytest.mark.parametrize("text", [TARGET, CALLBACK, LOGGING, HIDDEN])
@pytest.mark.parametrize("option", ["--multirun", "--cfg=job"])
def test_a_preset_of_another_folder_is_refused_in_a_new_process(tmp_path, payload, marker, text, option):
    (tmp_path / "sweep").mkdir()
    body = "# @package _global_\n" + text.format(marker=marker)
    (tmp_path / "sweep" / "theirs.yaml").write_text(body)
    code, output = run(tmp_path, ["--config-dir", str(tmp_path), option], "+sweep=theirs")
    assert code == 2, output
    assert "  - hydra." in output, output
    assert not marker.exists()


@pytest.mark.nightly
def test_a_space_of_another_folder_is_refused_in_a_new_process(tmp_path, payload, marker):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "theirs.yaml").write_text("# @package _global_\n" + SPACE)
    code, output = run(tmp_path, ["--config-dir", str(tmp_path)], "+sweep=theirs", "data=files", "data.pairs=/nope.csv")
    assert (code, "  - hydra.sweeper.params.train.epochs: " in output) == (2, True), output
    assert not marker.exists()


@pytest.mark.nightly
def test_another_main_file_is_refused_in_a_new_process(tmp_path, payload, marker):
    (tmp_path / "config.yaml").write_text(TARGET.format())
    for options in (["--config-path", str(tmp_path)], ["--config-name", "theirs", "--config-dir", str(tmp_path)]):
        code, output = run(tmp_path, options)
        assert (code, f"  - {options[0]}: " in output) == (2, True), output
    assert not marker.exists()


@pytest.mark.nightly
def test_a_rerun_from_a_pickle_is_refused_in_a_new_process(tmp_path, payload, marker):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.pickle").write_bytes(pickle.dumps(Payload(marker)))
    code, output = run(tmp_path, ["--experimental-rerun", str(tmp_path / ".hydra" / "config.pickle")])
    assert (code, "  - --experimental-rerun: " in output) == (2, True), output
    assert not marker.exists()

"""A folder of configuration that somebody else wrote, and Hydra's other ways to read files: nothing in them runs."""

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from .hostile import Payload

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
CALLBACK = "hydra:\n  callbacks:\n    x: {{_target_: builtins.open, _args_: [{marker}, w]}}\n"
TARGET = "hydra:\n  callbacks:\n    x: {{_target_: embsweep_test_payload.Transformer}}\n"
HIDDEN = "hydra:\n  callbacks:\n    x: '${{oc.create:{{_target_: embsweep_test_payload.Transformer}}}}'\n"
SPACE = "hydra: {sweeper: {params: {train.epochs: '${oc.create:{_target_: embsweep_test_payload.Transformer}}'}}}\n"
LOGGING = "hydra:\n  hydra_logging: {{version: 1, formatters: {{f: {{'()': embsweep_test_payload.Transformer}}}}}}\n"


def run(tmp_path, options, *overrides):
    """Options come first: argparse takes positional arguments from one place only."""
    environment = {"PYTHONPATH": str(tmp_path / "library"), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    command = [sys.executable, str(ROOT / "run_sweep.py"), *options, f"storage.path={tmp_path}", *overrides]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False, env=environment)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("text", [TARGET, CALLBACK, LOGGING, HIDDEN])
@pytest.mark.parametrize("option", ["--multirun", "--cfg=job"])
def test_a_preset_of_another_folder(tmp_path, victim, marker, text, option):
    (tmp_path / "sweep").mkdir()
    body = "# @package _global_\n" + text.format(marker=marker)
    (tmp_path / "sweep" / "theirs.yaml").write_text(body)
    code, said = run(tmp_path, ["--config-dir", str(tmp_path), option], "+sweep=theirs")
    assert code == 2, said
    assert "names something to call" in said or "cannot be set by a preset" in said, said
    assert not marker.exists()


def test_a_space_of_another_folder(tmp_path, victim, marker):
    (tmp_path / "sweep").mkdir()
    (tmp_path / "sweep" / "theirs.yaml").write_text("# @package _global_\n" + SPACE)
    code, said = run(tmp_path, ["--config-dir", str(tmp_path)], "+sweep=theirs", "data=files", "data.pairs=/nope.csv")
    assert (code, "hydra.sweeper.params.train.epochs: cannot be read" in said) == (2, True), said
    assert not marker.exists()


def test_another_main_file(tmp_path, victim, marker):
    (tmp_path / "config.yaml").write_text(TARGET.format())
    for options in (["--config-path", str(tmp_path)], ["--config-name", "theirs", "--config-dir", str(tmp_path)]):
        code, said = run(tmp_path, options)
        assert (code, "is not for embsweep" in said) == (2, True), said
    assert not marker.exists()


def test_a_run_to_repeat_is_a_pickle(tmp_path, victim, marker):
    (tmp_path / ".hydra").mkdir()
    (tmp_path / ".hydra" / "config.pickle").write_bytes(pickle.dumps(Payload(marker)))
    code, said = run(tmp_path, ["--experimental-rerun", str(tmp_path / ".hydra" / "config.pickle")])
    assert (code, "is not for embsweep" in said) == (2, True), said
    assert not marker.exists()

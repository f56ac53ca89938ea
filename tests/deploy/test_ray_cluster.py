"""deploy/ray-cluster.yaml against the schema and the checks of Ray's own cluster launcher."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.shipped import ROOT, SHELLCHECK, cluster_config


@pytest.fixture(scope="module")
def config():
    return cluster_config()


@pytest.mark.slow
def test_launcher_accepts_it(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


@pytest.mark.slow
def test_launcher_refuses_a_key_that_it_does_not_know(config):
    """The check above can fail."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError):
        validate_config(prepare_config({**config, "setup_command": []}))


def test_every_command_is_sound_shell(config):
    keys = ("setup_commands", "head_start_ray_commands", "worker_start_ray_commands")
    script = "\n".join(["#!/usr/bin/env bash", *(command for key in keys for command in config[key])])
    # SC2016: the head expands $PATH when its shell starts. RAY_HEAD_IP is set by the launcher.
    done = subprocess.run(
        [SHELLCHECK, "--exclude=SC2016", "--severity=warning", "-"],
        input=script,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.stdout + done.stderr == ""


def test_the_package_reaches_every_machine_whole(config):
    """All that pyproject.toml needs to install it lies where the setup commands look for it."""
    local = {source for target, source in config["file_mounts"].items() if target.startswith("~/embsweep/")}
    assert {"src", "conf", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "run_sweep.py"} == local
    assert all((ROOT / source).exists() for source in local)
    assert all(Path(target).name == source for target, source in config["file_mounts"].items() if source in local)


def test_every_start_asks_for_the_token_that_is_copied(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[key][-1]

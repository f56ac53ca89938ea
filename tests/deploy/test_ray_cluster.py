"""deploy/ray-cluster.yaml against the schema and the checks of Ray's own cluster launcher."""

import subprocess
from pathlib import Path

import pytest

from tests.deploy.shipped import ROOT, SHELLCHECK, cluster_config


@pytest.fixture(scope="module")
def config():
    return cluster_config()


@pytest.mark.slow
def test_launcher_accepts_the_configuration(config):
    from ray.autoscaler._private.util import prepare_config, validate_config

    prepared = prepare_config(config)
    validate_config(prepared)
    assert prepared["max_workers"] == len(config["provider"]["worker_ips"])


@pytest.mark.slow
def test_launcher_refuses_an_unknown_key(config):
    """Checks that the test above can fail."""
    from jsonschema import ValidationError
    from ray.autoscaler._private.util import prepare_config, validate_config

    with pytest.raises(ValidationError):
        validate_config(prepare_config({**config, "setup_command": []}))


def test_every_command_passes_shellcheck(config):
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


def test_all_files_of_the_package_are_mounted_on_every_machine(config):
    """All that pyproject.toml needs for the installation is at the path that the setup commands use."""
    local = {source for target, source in config["file_mounts"].items() if target.startswith("~/embsweep/")}
    assert {"src", "conf", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "run_sweep.py"} == local
    assert all((ROOT / source).exists() for source in local)
    assert all(Path(target).name == source for target, source in config["file_mounts"].items() if source in local)


def test_every_start_command_requires_the_token_that_is_mounted(config):
    assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
    assert config["setup_commands"][0] == "chmod 600 ~/.ray/auth_token"
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[key][-1]

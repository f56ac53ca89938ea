"""The files of deploy/ parse, have known keys, and agree with each other; nothing is started."""

import configparser
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from tests.deploy.shipped import DEPLOY, ROOT, SHELLCHECK, UNITS, cluster_config, joined_lines, rayjob_documents, read

ANALYZE = shutil.which("systemd-analyze")
RAY_CLUSTER_KEYS = {
    *("cluster_name", "provider", "auth", "file_mounts", "rsync_exclude", "rsync_filter", "initialization_commands"),
    *("setup_commands", "head_setup_commands", "worker_setup_commands", "head_start_ray_commands"),
    *("worker_start_ray_commands", "min_workers", "max_workers", "upscaling_speed", "idle_timeout_minutes"),
}
JOB_KEYS = {
    *("activeDeadlineSeconds", "backoffLimit", "entrypoint", "rayClusterSpec", "runtimeEnvYAML", "submissionMode"),
    *("shutdownAfterJobFinishes", "submitterPodTemplate", "ttlSecondsAfterFinished", "suspend"),
}


@pytest.mark.parametrize("script", sorted(DEPLOY.glob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse_and_pass_shellcheck(script):
    subprocess.run(["bash", "-n", script], check=True, timeout=10)
    checked = subprocess.run(
        [SHELLCHECK, "--enable=quote-safe-variables", script], capture_output=True, text=True, check=False
    )
    assert checked.stdout + checked.stderr == ""


def test_python_files_compile():
    for file in DEPLOY.glob("*.py"):
        compile(file.read_text(), file, "exec")


def test_the_launchers_file_has_known_keys_and_mounts_what_the_package_needs():
    config = cluster_config()
    assert set(config) <= RAY_CLUSTER_KEYS
    mounted = {source for target, source in config["file_mounts"].items() if target.startswith("~/embsweep/")}
    assert {"src", "conf", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "run_sweep.py"} == mounted
    for key in ("head_start_ray_commands", "worker_start_ray_commands"):
        assert "RAY_AUTH_MODE=token" in config[key][-1]


def test_the_rayjob_has_known_keys_and_requires_the_token():
    documents = rayjob_documents()
    assert set(documents) == {"PersistentVolumeClaim", "NetworkPolicy", "RayJob"}
    job = documents["RayJob"]["spec"]
    assert set(job) <= JOB_KEYS
    assert job["rayClusterSpec"]["rayVersion"] == version("ray")
    assert job["rayClusterSpec"]["authOptions"] == {"mode": "token", "secretName": "embsweep-ray-token"}


@pytest.mark.parametrize("name", UNITS)
def test_units_require_the_token_and_the_storage(name, tmp_path):
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str
    parser.read_string("\n".join(joined_lines(read(name))))
    assert "RAY_AUTH_MODE=token" in parser["Service"]["Environment"].split()
    assert parser["Unit"]["RequiresMountsFor"] == parser["Service"]["ReadWritePaths"] == "/srv/embsweep"
    if ANALYZE:
        unit = tmp_path / name  # with this environment's `ray`: systemd checks that the program exists
        ray = f"{Path(sys.executable).with_name('ray')} "
        unit.write_text(read(name).replace("/opt/embsweep/.venv/bin/ray ", ray))
        checked = subprocess.run([ANALYZE, "verify", unit], capture_output=True, text=True, check=False, timeout=60)
        assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_the_image_has_all_files_that_the_package_is_built_from():
    lines = [line for line in joined_lines(read("Dockerfile")) if line and not line.startswith("#")]
    copied = {source for line in lines if line.startswith("COPY ") for source in line.split()[1:-1]}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {package.partition("/")[0] for package in wheel["packages"]} | set(wheel["force-include"])
    assert needed <= copied
    assert all((ROOT / source).exists() for source in copied)
    assert any(re.search(r"^FROM python:3\.11-", line) for line in lines)

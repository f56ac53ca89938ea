"""deploy/Dockerfile contains what the package needs to be installed, and what KubeRay expects of an image."""

import re
import tomllib

from tests.deploy.shipped import ROOT, joined_lines, rayjob_documents, read

LINES = [line for line in joined_lines(read("Dockerfile")) if line and not line.startswith("#")]
COPIED = [source for line in LINES if line.startswith("COPY ") for source in line.split()[1:-1]]


def test_every_copied_file_exists():
    assert COPIED
    assert [source for source in COPIED if not (ROOT / source).exists()] == []


def test_all_files_that_the_package_is_built_from_are_copied():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "constraints.txt", project["project"]["readme"], *project["project"]["license-files"]}
    needed |= {package.partition("/")[0] for package in wheel["packages"]} | set(wheel["force-include"])
    assert needed <= set(COPIED)


def test_extras_exist():
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    text = read("Dockerfile") + read("ray-cluster.yaml") + (ROOT / "docs/cluster.md").read_text()
    named = {name for names in re.findall(r'"\.\[([\w,]+)\]"', text) for name in names.split(",")}
    assert "cluster" in named
    assert named <= set(extras)


def test_python_version_is_that_of_the_package():
    (base,) = [line for line in LINES if line.startswith("FROM ")]
    assert re.search(r"python:3\.11-", base)


def test_image_runs_as_the_user_of_the_pods():
    pod = rayjob_documents()["RayJob"]["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]
    assert LINES[-1] == f"USER {pod['securityContext']['runAsUser']}"


def test_run_sweep_is_at_the_path_in_the_jobs_entrypoint():
    entrypoint = rayjob_documents()["RayJob"]["spec"]["entrypoint"].split()
    (workdir,) = [line.split()[1] for line in LINES if line.startswith("WORKDIR ")]
    assert entrypoint[1] == f"{workdir}/run_sweep.py"


def test_wget_is_installed_for_probes():
    assert any("apt-get install" in line and "wget" in line.split() for line in LINES)

"""Every command in deploy/ and docs/cluster.md is accepted by its program."""

import re

import pytest
from typer.testing import CliRunner

from embsweep.cli.composition.compose import to_values
from embsweep.cli.composition.overrides import parse_command_line
from embsweep.config import build_config
from tests.deploy.shipped import DEPLOY, ROOT, commands

SWEEPS = commands("run_sweep.py")
STARTS = commands("ray start")
SUBMITS = commands("ray job submit")


def test_commands_are_found():
    assert len(SWEEPS) >= 5
    assert len(STARTS) >= 6
    assert SUBMITS


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SWEEPS, ids=" ".join)
def test_sweep_composes_and_validates(loader, arguments):
    line = parse_command_line(loader, arguments)
    assert line.diagnostics == ()
    config = build_config(to_values(line.tree))
    assert config.runner.kind == "cluster"


@pytest.mark.slow
@pytest.mark.parametrize("arguments", STARTS, ids=" ".join)
def test_ray_start_accepts_its_options(arguments):
    from ray.scripts.scripts import start

    start.make_context("ray start", list(arguments))


@pytest.mark.slow
@pytest.mark.parametrize("arguments", SUBMITS, ids=" ".join)
def test_ray_job_submit_accepts_its_options_and_runs_a_sweep(arguments):
    from ray.dashboard.modules.job.cli import submit

    entrypoint = submit.make_context("ray job submit", list(arguments)).params["entrypoint"]
    assert any(part.endswith("run_sweep.py") for part in entrypoint)


def test_no_head_exposes_its_dashboard_to_the_network():
    heads = [arguments for arguments in STARTS if "--head" in arguments]
    assert len(heads) >= 3
    for arguments in heads:
        hosts = [a.partition("=")[2] for a in arguments if a.startswith("--dashboard-host")]
        assert hosts in (["127.0.0.1"], ["localhost"], []), arguments  # none: loopback is Ray's default


@pytest.mark.parametrize("arguments", commands("embsweep"), ids=" ".join)
def test_embsweep_accepts_its_commands(arguments):
    from embsweep.cli.commands import app

    done = CliRunner().invoke(app, [*arguments[:1], "--help"])
    assert done.exit_code == 0
    for option in (a for a in arguments if a.startswith("--")):
        assert option.partition("=")[0] in done.output


def test_documents_name_files_that_exist():
    text = (ROOT / "docs/cluster.md").read_text() + (DEPLOY / "README.md").read_text()
    named = set(re.findall(r"\bdeploy/[\w./-]+\w", text))
    assert named
    assert [name for name in sorted(named) if not (ROOT / name).exists()] == []

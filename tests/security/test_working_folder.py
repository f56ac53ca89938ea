"""Nothing runs that comes with the working folder, which may be unpacked data of others."""

import os
import subprocess
import sys

import pytest

from embsweep.tracking.environment import describe_git, describe_origin
from embsweep.tracking.ui import ui_command

GIT = ("git", "-c", "user.name=x", "-c", "user.email=x@example.org", "-c", "commit.gpgsign=false")

TRACE = "from pathlib import Path; Path('trace').touch(); raise SystemExit(9)"

SPAWN = """
import os
from embsweep.core.environment import set_default_environment
from embsweep.core.subprocess import run_in_subprocess

if __name__ == "__main__":
    set_default_environment()
    assert run_in_subprocess(os.path.basename, "a/b") == "b"
"""


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "a.txt").write_text("one")
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "first"]):
        subprocess.run([*GIT, *command], cwd=tmp_path, check=True)
    (tmp_path / "a.txt").write_text("two")
    return tmp_path


def set_filter(repository, program):
    subprocess.run(["git", "config", "filter.x.clean", str(program)], cwd=repository, check=True)
    (repository / ".gitattributes").write_text("*.txt filter=x")


def set_monitor(repository, program):
    subprocess.run(["git", "config", "core.fsmonitor", str(program)], cwd=repository, check=True)


def add_hook(repository, program):
    (repository / ".git/hooks").mkdir(exist_ok=True)
    (repository / ".git/hooks/post-index-change").symlink_to(program)


@pytest.mark.parametrize(("prepare", "dirty"), [(set_filter, "unknown"), (set_monitor, "unknown"), (add_hook, "true")])
def test_git_runs_no_program_that_a_repository_names(repository, prepare, dirty):
    program, trace = repository / "program", repository / "trace"
    program.write_text(f"#!/bin/sh\ntouch '{trace}'\ncat\n")
    program.chmod(0o700)
    prepare(repository, program)
    assert describe_origin(repository)["embsweep.git.dirty"] == dirty
    assert f"dirty: {dirty}" in describe_git(repository)
    assert not trace.exists()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["multiprocessing", "uvicorn"])
def test_new_processes_import_nothing_from_it(tmp_path, name):
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / f"{name}.py").write_text(TRACE)
    (tmp_path / "program.py").write_text(SPAWN)
    command = [sys.executable, str(tmp_path / "program.py")] if name == "multiprocessing" else ui_command(0)
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    subprocess.run(command, cwd=tmp_path / "work", env=environment, check=False, capture_output=True, timeout=100)
    assert not (tmp_path / "work/trace").exists()

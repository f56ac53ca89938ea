"""deploy/slurm.sh with SLURM's commands faked by small scripts; once with a real Ray cluster on this machine."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.deploy.shipped import DEPLOY

pytestmark = pytest.mark.nightly

FAKES = Path(__file__).with_name("fake_slurm")
JOB_ID = 4711


@dataclass
class Job:
    """A job as `sbatch` would start it, and the commands that it called."""

    folder: Path
    environment: dict[str, str]
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    @property
    def calls(self):
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def start(self, *arguments, **environment):
        process = subprocess.Popen(
            ["bash", DEPLOY / "slurm.sh", *arguments],
            env={**self.environment, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments, **environment):
        process = self.start(*arguments, **environment)
        output, _ = process.communicate(timeout=20)
        return process.returncode, output

    def wait_for(self, call, timeout_s=10):
        deadline = time.monotonic() + timeout_s
        while call not in self.calls:
            assert time.monotonic() < deadline, self.calls
            time.sleep(0.02)


@pytest.fixture
def folder():
    """A folder with a short path: Ray's sockets may be below it."""
    path = Path(tempfile.mkdtemp(prefix="sl", dir="/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def job(folder):
    binaries = folder / "venv" / "bin"
    binaries.mkdir(parents=True)
    for name in ("ray", "python"):
        shutil.copy(FAKES / name, binaries / name)
    environment = {
        "PATH": f"{FAKES}:{os.environ['PATH']}",
        "HOME": str(folder),
        "CALLS": str(folder / "calls"),
        "SCRATCH": str(folder / "s"),
        "REAL_PYTHON": sys.executable,
        "DRIVER_CODE": "0",
        "SLURM_JOB_ID": str(JOB_ID),
        "SLURM_JOB_NODELIST": "node[1-3]",
        "SLURM_JOB_NUM_NODES": "3",
        "SLURM_CPUS_PER_TASK": "2",
        "SLURM_SUBMIT_DIR": str(folder),
        "EMBSWEEP_STORAGE": str(folder / "storage"),
        "EMBSWEEP_VENV": str(folder / "venv"),
        "EMBSWEEP_SCRATCH": str(folder),
    }
    made = Job(folder, environment)
    yield made
    for process in made.started:
        if process.poll() is None:  # the test failed
            os.killpg(process.pid, signal.SIGKILL)


def only(calls, start):
    return [call for call in calls if call.startswith(start)]


def test_starts_head_then_workers_then_the_sweep(job):
    code, output = job.run("+sweep=bgem3", "search.trials=3")
    assert (code, output) == (0, "")
    head, workers, _ = only(job.calls, "srun")
    assert "--nodes=1 --ntasks=1 --nodelist=localhost" in head
    assert "start --head --port=24711" in head
    assert "--include-dashboard=false" in head
    assert "--nodes=2 --ntasks=2 --relative=1" in workers
    assert "start --address=localhost:24711" in workers
    assert only(job.calls, "python") == [
        "python deploy/wait_for_nodes.py localhost:24711 1",
        "python deploy/wait_for_nodes.py localhost:24711 3",
        "python run_sweep.py +sweep=bgem3 search.trials=3 runner=cluster runner.address=localhost:24711"
        f" storage.path={job.folder}/storage",
    ]


def test_arguments_of_the_sweep_compose(job, loader):
    from embsweep.cli.composition.overrides import parse_command_line

    job.run("+sweep=quickstart")
    arguments = only(job.calls, "python run_sweep.py")[0].split()[2:]
    assert parse_command_line(loader, arguments).diagnostics == ()


def test_every_node_gets_a_token_that_only_this_user_can_read(job):
    job.run()
    nodes = only(job.calls, "ray start")
    assert len(nodes) == 3
    assert all(node.endswith("token=token,600,64") for node in nodes)
    assert list((job.folder / "storage").iterdir()) == []


def test_an_old_token_of_the_same_job_is_not_kept(job):
    """A job that SLURM requeues keeps its number."""
    old = job.folder / "storage" / f".ray-token-{JOB_ID}"
    old.parent.mkdir()
    old.write_text("old")
    old.chmod(0o644)
    job.run()
    assert all(node.endswith("token=token,600,64") for node in only(job.calls, "ray start"))


@pytest.mark.parametrize("code", [0, 2, 3])
def test_ends_the_nodes_and_exits_with_the_code_of_the_sweep(job, code):
    assert job.run(DRIVER_CODE=str(code))[0] == code
    assert job.calls.count("ray ended") == 3
    assert only(job.calls, "srun")[-1].endswith(f"rm -rf {job.folder}/ray-{JOB_ID}")
    assert "--nodes=3 --ntasks=3" in only(job.calls, "srun")[-1]


def test_one_node_is_head_and_worker(job):
    assert job.run(SLURM_JOB_NUM_NODES="1")[0] == 0
    assert len(only(job.calls, "ray start")) == 1


def test_sweep_is_interrupted_before_the_time_limit(job):
    process = job.start(DRIVER_CODE="wait")
    job.wait_for("driver waits")
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=20)
    assert process.returncode == 130
    assert job.calls.count("ray ended") == 3


def test_no_sweep_is_started_if_a_node_is_missing(job):
    assert job.run(NODES_CODE="1")[0] == 1
    assert only(job.calls, "python run_sweep.py") == []
    assert job.calls.count("ray ended") == 1


@pytest.mark.parametrize(
    ("missing", "message"),
    [("EMBSWEEP_STORAGE", "a folder that every node sees"), ("SLURM_JOB_ID", "run it with sbatch")],
)
def test_a_missing_variable_is_reported(job, missing, message):
    del job.environment[missing]
    code, output = job.run()
    assert code == 1
    assert message in output
    assert job.calls == []


_DRIVER = """
import json, os, sys
import ray
named = dict(argument.split("=", 1) for argument in sys.argv[1:])
ray.init(address=named["runner.address"], log_to_driver=False, logging_level="ERROR")
found = {"alive": sum(node["Alive"] for node in ray.nodes()), "cpus": ray.cluster_resources()["CPU"]}
open(os.path.join(named["storage.path"], "found.json"), "w").write(json.dumps(found))
sys.exit(3)
"""


@pytest.mark.ray
def test_with_real_ray_nodes(job):
    """Head and two workers on this machine: the driver sees them, its exit code is the job's, no process is left."""
    (job.folder / "run_sweep.py").write_text(_DRIVER)
    (job.folder / "deploy").symlink_to(DEPLOY)
    process = job.start(
        EMBSWEEP_VENV=str(Path(sys.executable).parents[1]), SLURM_CPUS_PER_TASK="1", RAY_USAGE_STATS_ENABLED="0"
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 3, output
    found = (job.folder / "storage" / "found.json").read_text()
    assert found == '{"alive": 3, "cpus": 3.0}'
    assert _processes_below(job.folder) == []


def _processes_below(folder):
    """Return the command lines of processes that contain the folder."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if f"{folder}/" in line or f"{folder}." in line:
            lines.append(line)
    return lines


@pytest.mark.ray
def test_waiting_for_nodes_ends_if_no_node_joins():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = [sys.executable, DEPLOY / "wait_for_nodes.py", f"127.0.0.1:{port}", "1", "1"]
    done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f"0 of 1 nodes have joined 127.0.0.1:{port}" in done.stderr

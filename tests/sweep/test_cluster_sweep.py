"""A sweep of two-worker trials on a cluster of three nodes, one of which is lost in its midst."""

import os
import re
import subprocess
import sys

import pytest

from embsweep.search.ledger import read_ledger

from ..runner.clusters import NodeStart, started_cluster
from .conftest import ROOT, Ran, run_sweep

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(900)]

SWEEP = (
    *("data.packages=[stdlib]", "data.max_pairs=900", "eval.fractions=[0.25,0.5,1.0]", "confirm=none"),
    *("search=random", "search.trials=3", "sweep.name=cluster", "train.epochs=3", "runner.workers_per_trial=2"),
    # one point of the space learns far better than any other: stopping and order of arrival cannot hide it
    *("train.learning_rate=choice(1e-2,1e-6)", "train.batch_size=64", "train.warmup=0.1", "matryoshka=from_384"),
    *("matryoshka.weight_power=0.0",),
)


def run_on_cluster(storage, cluster, on_line):
    """The command, its output read as it comes: `on_line` may act on a line."""
    command = [sys.executable, str(ROOT / "run_sweep.py"), f"storage.path={storage}", *SWEEP]
    command += ["runner=cluster", f"runner.address={cluster.address}", "runner.max_concurrent=2"]
    env = {**os.environ, "HOME": str(cluster.home), "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": cluster.token}
    lines = []
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        for line in process.stdout:
            lines.append(re.sub(r"\x1b\[[0-9;]*m", "", line))
            on_line(line)
    return Ran(process.returncode, "".join(lines))


def read_trials(storage):
    return read_ledger(storage / "sweeps/cluster/study.db")[1]


def test_a_node_is_lost_and_nothing_else(tmp_path):
    killed = []
    with started_cluster(NodeStart(cpus=2), NodeStart(cpus=2), NodeStart(cpus=2)) as cluster:

        def kill_one(line):
            if " at 25%" in line and not killed:
                cluster.kill_node(2)
                killed.append(2)

        ran = run_on_cluster(tmp_path / "cluster", cluster, kill_one)
    assert ran.code == 0, ran.output
    assert killed
    alone = run_sweep(tmp_path / "local", *SWEEP, "runner=local")
    assert alone.code == 0, alone.output

    trials, reference = read_trials(tmp_path / "cluster"), read_trials(tmp_path / "local")
    assert [t.number for t in trials] == [t.number for t in reference] == [0, 1, 2]
    assert all(t.state in ("complete", "stopped") for t in trials), [t.attributes.get("reason") for t in trials]
    assert [t.params for t in trials] == [t.params for t in reference]
    best, expected = (max(found, key=lambda t: t.best) for found in (trials, reference))
    assert best.number == expected.number
    assert best.best == pytest.approx(expected.best, abs=2e-3)
    assert all(t.attributes["workers"] == 2 for t in trials)
    assert "raylet" not in ran.output, "Ray's daemons speak to the log"

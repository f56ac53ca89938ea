"""A sweep of two-worker trials on a cluster of three nodes, one of which is lost in its midst."""

import contextlib
import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations

import pytest

from embsweep.search.read import read_ledger
from embsweep.sweep import run
from embsweep.sweep.scheduler import SweepScheduler
from tests.runners.clusters import QUICK_TO_NOTICE, NodeStart, node_of, started_cluster, utils_cluster

pytestmark = [pytest.mark.ray, pytest.mark.nightly]

SWEEP = (
    # one point of the space learns far better than any other: stopping and order of arrival cannot hide it
    *(
        "model=static",
        "search=grid",
        "search.trials=3",
        "train.learning_rate=choice(3e-3,1e-5,1e-6)",
        "sweep.name=cluster",
    ),
    *("eval.fractions=[0.25,0.5,1.0]", "train.epochs=4", "train.warmup=0.1", "matryoshka=from_384"),
    # 54 pairs in whole batches: two workers leave out an incomplete one
    *("matryoshka.weight_power=0.0", "train.batch_size=18", "train.batch_sampler=batch_sampler"),
)
CPUS = (0, 2, 2)
"""Of the head, which holds the driver and trains nothing, and of two nodes with room for one trial each."""

ASKED = ["river", "engine", "piano", "desert", "court", "bakery", "glacier", "tunnel", "violin", "harvest"]
KEPT = ["copper", "salmon", "velvet", "thunder", "orchid", "saddle", "marble", "lantern", "walnut", "comet"]


@pytest.fixture(scope="module")
def cipher_texts(tmp_path_factory):
    """Ninety questions in other words than their passages: which word stands for which must be learned."""
    path = tmp_path_factory.mktemp("data") / "ciphers.jsonl"
    words = random.Random(0).sample(list(combinations(range(len(ASKED)), 3)), 90)
    rows = [{"question": _spell(ASKED, three), "passage": _spell(KEPT, reversed(three))} for three in words]
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


def _spell(words, numbers):
    return " ".join(words[number] for number in numbers)


@dataclass(frozen=True)
class Lossy:
    """A cluster of three nodes; `lose(pid)` ends the node of that process at once, unless it is the head."""

    address: str
    lose: Callable[[int], bool]


@contextlib.contextmanager
def three_processes():
    """`ray start` three times, with a token."""
    with started_cluster(*(NodeStart(cpus=n, env=QUICK_TO_NOTICE) for n in CPUS)) as cluster, cluster.driving():

        def lose(pid):
            place = node_of(pid, [process.pid for process in cluster.processes])
            if place:
                cluster.kill_node(place)
            return bool(place)

        yield Lossy(cluster.address, lose)


@contextlib.contextmanager
def three_of_ray_itself():
    """`ray.cluster_utils.Cluster`, without a token."""
    with utils_cluster(*({"num_cpus": n, "env_vars": QUICK_TO_NOTICE} for n in CPUS)) as cluster:

        def lose(pid):
            nodes = cluster.worker_nodes
            place = node_of(pid, [node.all_processes["raylet"][0].process.pid for node in nodes])
            if place is not None:
                cluster.remove_node(list(nodes)[place], allow_graceful=False)
            return place is not None

        yield Lossy(cluster.address, lose)


@pytest.fixture(scope="module")
def reference(launch_in, cipher_texts, tmp_path_factory):
    """The trials of the same sweep on this machine alone, one after the other, one worker each."""
    import ray

    storage = tmp_path_factory.mktemp("local")
    ray.shutdown()  # an earlier test's
    with pytest.MonkeyPatch.context() as patch:
        leave_uncrowned(patch)
        launch_in(storage, *SWEEP, f"data.pairs={cipher_texts}", "runner=local", "runner.max_concurrent=1")
    ray.shutdown()
    return read_trials(storage)


def leave_uncrowned(patch):
    """End the sweep with its last trial: the proof of its winner takes a process of its own."""
    patch.setattr(run, "finalize_sweep", lambda *_: None)


def read_trials(storage):
    return read_ledger(storage / "sweeps/cluster/study.db")[1]


@dataclass
class Watch:
    """What the desk heard of each trial, and the trial whose node was ended, with the process it was."""

    reports: dict
    lost: tuple = ()


def lose_in_mid_trial(patch, lose):
    """End the node of the first trial that is told to go on, before it hears so."""
    watch, report = Watch({}), SweepScheduler.on_trial_result

    def reporting(scheduler, number, said):
        should_stop = report(scheduler, number, said)
        watch.reports.setdefault(number, []).append(said)
        pid = scheduler.ledger.record(number).attributes["pid"]
        if not watch.lost and not should_stop and said.fraction < 1.0 and lose(pid):
            watch.lost = (number, pid)
        return should_stop

    patch.setattr(SweepScheduler, "on_trial_result", reporting)
    return watch


@pytest.mark.parametrize("three_nodes", [three_processes, three_of_ray_itself])
def test_a_node_is_lost_and_nothing_else(launch, cipher_texts, tmp_path, reference, monkeypatch, capfd, three_nodes):
    with three_nodes() as cluster, monkeypatch.context() as patch:
        watch = lose_in_mid_trial(patch, cluster.lose)
        if three_nodes is three_of_ray_itself:
            leave_uncrowned(patch)
        place = (f"runner.address={cluster.address}", "runner.workers_per_trial=2", "runner.max_concurrent=2")
        result, output = launch(*SWEEP, f"data.pairs={cipher_texts}", "runner=cluster", *place)
    trials = read_trials(tmp_path)

    number, pid = watch.lost
    assert (trials[number].attempt, trials[number].losses) == (2, 1)
    assert trials[number].attributes["pid"] != pid
    first, again = watch.reports[number][:2]
    assert first == again, "it goes on from what its dead process had written: the time is that of the first"
    assert f"trial {number} was lost" in output

    assert [t.number for t in trials] == [t.number for t in reference] == [0, 1, 2]
    assert all(t.state in ("complete", "stopped") for t in trials), [t.attributes.get("reason") for t in trials]
    assert [t.params for t in trials] == [t.params for t in reference]
    best, expected = (max(found, key=lambda t: t.best) for found in (trials, reference))
    assert best.number == expected.number
    assert best.best == pytest.approx(expected.best, abs=2e-3)
    assert best.best > 10 * min(t.best for t in reference), "it has learned what cannot be guessed"
    assert all(t.attributes["workers"] == 2 for t in trials)
    assert result is None or result.registered, "the winner was proved, and MLflow knows it"
    assert "raylet" not in output + "".join(capfd.readouterr()), "Ray's daemons speak to the log"

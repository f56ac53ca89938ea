"""A sweep of two-worker trials on a cluster of three nodes, one of which is lost during a trial."""

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
from tests.runners.clusters import QUICK_TO_NOTICE, NodeStart, node_of, started_cluster

pytestmark = [pytest.mark.ray, pytest.mark.nightly]

SWEEP = (
    # one point of the space learns far better than any other, whatever is stopped and in whatever order reports arrive
    *(
        "model=static",
        "search=grid",
        "search.trials=3",
        "train.learning_rate=choice(3e-3,1e-5,1e-6)",
        "sweep.name=cluster",
    ),
    *("eval.fractions=[0.25,0.5,1.0]", "train.epochs=4", "train.warmup=0.1", "matryoshka=from_384"),
    # 54 pairs in full batches: two workers skip an incomplete one
    *("matryoshka.weight_power=0.0", "train.batch_size=18", "train.batch_sampler=batch_sampler"),
)
CPUS = (0, 2, 2)
"""CPUs of the head, which runs the driver and no trials, and of two nodes with capacity for one trial each."""

QUESTION_WORDS = ["river", "engine", "piano", "desert", "court", "bakery", "glacier", "tunnel", "violin", "harvest"]
PASSAGE_WORDS = ["copper", "salmon", "velvet", "thunder", "orchid", "saddle", "marble", "lantern", "walnut", "comet"]


@pytest.fixture(scope="module")
def cipher_texts(tmp_path_factory):
    """Ninety questions in other words than their passages: the translation of each word must be learned."""
    path = tmp_path_factory.mktemp("data") / "ciphers.jsonl"
    words = random.Random(0).sample(list(combinations(range(len(QUESTION_WORDS)), 3)), 90)
    rows = [
        {"question": _spell(QUESTION_WORDS, three), "passage": _spell(PASSAGE_WORDS, reversed(three))}
        for three in words
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    return path


def _spell(words, numbers):
    return " ".join(words[number] for number in numbers)


@dataclass(frozen=True)
class LossyCluster:
    """A cluster of three nodes; `lose(pid)` kills the node of that process, unless it is the head."""

    address: str
    lose: Callable[[int], bool]


@contextlib.contextmanager
def three_nodes():
    """Start three nodes with `ray start`, with a token."""
    with started_cluster(*(NodeStart(cpus=n, env=QUICK_TO_NOTICE) for n in CPUS)) as cluster, cluster.driving():

        def lose(pid):
            index = node_of(pid, [process.pid for process in cluster.processes])
            if index:
                cluster.kill_node(index)
            return bool(index)

        yield LossyCluster(cluster.address, lose)


@pytest.fixture(scope="module")
def reference(launch_in, cipher_texts, tmp_path_factory):
    """The trials of the same sweep on this machine only, one after the other, with one worker each."""
    import ray

    storage = tmp_path_factory.mktemp("local")
    ray.shutdown()  # an earlier test's
    with pytest.MonkeyPatch.context() as patch:
        skip_finalization(patch)
        launch_in(storage, *SWEEP, f"data.pairs={cipher_texts}", "runner=local", "runner.max_concurrent=1")
    ray.shutdown()
    return read_trials(storage)


def skip_finalization(patch):
    """End the sweep with its last trial: the verification of its winner takes a process of its own."""
    patch.setattr(run, "finalize_sweep", lambda *_: None)


def read_trials(storage):
    return read_ledger(storage / "sweeps/cluster/study.db")[1]


@dataclass
class Observed:
    """Reports received by the scheduler, and number and process id of the trial whose node was killed."""

    reports: dict
    lost: tuple = ()


def lose_during_a_trial(patch, lose):
    """Kill the node of the first trial that is not stopped at a report, before it receives that decision."""
    observed, on_trial_result = Observed({}), SweepScheduler.on_trial_result

    def observe(scheduler, number, report):
        should_stop = on_trial_result(scheduler, number, report)
        observed.reports.setdefault(number, []).append(report)
        pid = scheduler.ledger.record(number).attributes["pid"]
        if not observed.lost and not should_stop and report.fraction < 1.0 and lose(pid):
            observed.lost = (number, pid)
        return should_stop

    patch.setattr(SweepScheduler, "on_trial_result", observe)
    return observed


def test_a_lost_node_changes_no_result(launch, cipher_texts, tmp_path, reference, monkeypatch, capfd):
    with three_nodes() as cluster, monkeypatch.context() as patch:
        observed = lose_during_a_trial(patch, cluster.lose)
        runner = (f"runner.address={cluster.address}", "runner.workers_per_trial=2", "runner.max_concurrent=2")
        result, output = launch(*SWEEP, f"data.pairs={cipher_texts}", "runner=cluster", *runner)
    trials = read_trials(tmp_path)

    number, pid = observed.lost
    assert (trials[number].attempt, trials[number].losses) == (2, 1)
    assert trials[number].attributes["pid"] != pid
    first, again = observed.reports[number][:2]
    assert first == again, "it resumes from the state of its dead process: the time is that of the first report"
    assert f"trial {number} was lost" in output

    assert [t.number for t in trials] == [t.number for t in reference] == [0, 1, 2]
    assert all(t.state in ("complete", "stopped") for t in trials), [t.attributes.get("reason") for t in trials]
    assert [t.params for t in trials] == [t.params for t in reference]
    best, expected = (max(found, key=lambda t: t.best) for found in (trials, reference))
    assert best.number == expected.number
    assert best.best == pytest.approx(expected.best, abs=2e-3)
    assert best.best > 10 * min(t.best for t in reference), "it has learned the translation"
    assert all(t.facts["workers"] == 2 for t in trials)
    assert result.registered, "the winner was verified and registered in MLflow"
    assert "raylet" not in output + "".join(capfd.readouterr()), "Ray's daemons write to the log only"

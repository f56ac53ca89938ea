"""A cluster that loses the node of a trial, and one that loses its last node for trials."""

import time

import psutil
import pytest

from embsweep.core.errors import CodedError
from embsweep.runners.resources import Slots
from tests.doubles import FakeScheduler, scripted_trial
from tests.refusals import raises_code

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SLOTS = Slots(count=2, cpus=1, gpus=0.0)


@pytest.fixture(scope="module")
def cluster():
    from tests.runners.clusters import QUICK_TO_NOTICE, NodeStart, started_cluster

    with started_cluster(NodeStart(cpus=0, env=QUICK_TO_NOTICE)) as started, started.driving():
        yield started


@pytest.fixture
def make_runner(cluster, tmp_path):
    from embsweep.config.sweep import RunnerConfig
    from embsweep.runners.cluster.runner import ClusterRunner

    def make(**options):
        runner = ClusterRunner(RunnerConfig(kind="cluster", address=cluster.address), tmp_path, **options)
        runner.use(SLOTS, tmp_path / "scratch")
        return runner

    return make


def keep_nodes(cluster, count):
    """Set the number of nodes, each with capacity for one trial, whatever an earlier test has left."""
    from tests.runners.clusters import QUICK_TO_NOTICE, NodeStart

    living = [index for index, process in enumerate(cluster.processes) if index and process.poll() is None]
    for index in living[count:]:
        cluster.kill_node(index)
    cluster.add_nodes(*(NodeStart(env=QUICK_TO_NOTICE),) * (count - len(living)))


def lose_node_of(cluster, pid):
    from tests.runners.clusters import node_of

    cluster.kill_node(node_of(pid, [process.pid for process in cluster.processes]))
    end = time.monotonic() + 60
    while psutil.pid_exists(pid) and time.monotonic() < end:
        time.sleep(0.05)  # until then the trial could take another step


def test_the_trial_of_a_lost_node_resumes_on_another(cluster, make_runner, make_sweep_scheduler):
    keep_nodes(cluster, 2)
    scheduler = make_sweep_scheduler(3)
    on_trial_result, lost = scheduler.on_trial_result, []

    def lose_the_first(number, report):
        should_stop = on_trial_result(number, report)
        if not lost:
            lost.append(number)
            lose_node_of(cluster, scheduler.ledger.record(number).attributes["pid"])
        return should_stop

    scheduler.on_trial_result = lose_the_first
    make_runner().run(scheduler, scripted_trial(at_once=2))
    (number,) = lost
    records = scheduler.ledger.trials
    assert [record.state for record in records] == ["complete"] * 3
    assert [record.losses for record in records] == [int(record.number == number) for record in records]
    assert all([report.step for report in record.reports] == [1, 2, 3, 4] for record in records)


class LosingScheduler(FakeScheduler):
    """A scheduler that calls `lose` with the process of a trial as soon as it has started."""

    def on_trial_start(self, number, started):
        super().on_trial_start(number, started)
        self.lose(started.pid)


def test_the_loss_of_the_last_node_ends_the_sweep_with_the_reason(cluster, make_runner, make_config, tmp_path):
    keep_nodes(cluster, 1)
    scheduler = LosingScheduler(make_config().trial, tmp_path, 3)
    scheduler.lose = lambda pid: lose_node_of(cluster, pid)
    begun = time.monotonic()
    with raises_code(CodedError, "not-enough-room"):
        make_runner(patience_s=2.0).run(scheduler, scripted_trial(dict.fromkeys(range(3), "wait")))
    assert time.monotonic() - begun > 2.0
    assert not scheduler.results, "no trial fails because of it"

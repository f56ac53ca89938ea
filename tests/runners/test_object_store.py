"""Data of a sweep in the object store: sent once per node, opened once per process, only referenced by a trial."""

import pickle
from functools import partial

import pytest
import ray
from ray.cluster_utils import Cluster

from embsweep.runners.ray.object_store import put_trial_fn

pytestmark = [pytest.mark.ray, pytest.mark.nightly]

MIB = 2**20
TEXTS = tuple(f"text {number} " * 20 for number in range(2000))


@pytest.fixture(scope="module")
def process():
    """A process on another node than the driver. Its class is local, so that Ray serialises it by value."""
    cluster = Cluster()
    for name in ("driver", "other"):
        cluster.add_node(num_cpus=1, object_store_memory=100 * MIB, resources={name: 1})
    ray.init(address=cluster.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")

    @ray.remote(resources={"other": 1})
    class Process:
        def do(self, function, *arguments):
            return function(*arguments)

    yield Process.remote()
    ray.shutdown()
    cluster.shutdown()


def test_a_trial_function_contains_only_a_reference(process):
    trial_fn = put_trial_fn(partial(print, data=TEXTS))
    context = ray._private.worker.global_worker.get_serialization_context()
    assert len(context.serialize(trial_fn).to_bytes()) < 5000 < len(pickle.dumps(TEXTS))


def test_arguments_are_opened_once_in_a_process_until_the_next_sweep(process):
    def run(job, reporter, data, factor):
        reporter.append((job, data[1], factor, id(data)))

    def call(*trial_fns):
        received = []
        for trial_fn in trial_fns:
            trial_fn("job", received)
        return received

    first, second = (put_trial_fn(partial(run, data=TEXTS, factor=factor)) for factor in (3, 4))
    results = ray.get(process.do.remote(call, first, first, second))
    assert [result[:3] for result in results] == [("job", TEXTS[1], factor) for factor in (3, 3, 4)]
    assert results[0] == results[1], "the next trial reuses them"

    def count():
        from embsweep.runners.ray import object_store

        return object_store._get.cache_info().currsize

    assert ray.get(process.do.remote(count)) == 1, "the texts of an earlier sweep are freed"

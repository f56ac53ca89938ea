"""Data of a sweep in the object store: shipped once per node, opened once per process, only referenced by a trial."""

import pickle
from functools import partial

import numpy as np
import pytest
import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from embsweep.models.snapshot import read_snapshot
from embsweep.models.token_table import TokenTable, compute_keys
from embsweep.runners.ray.object_store import get_all, put_all, put_trial_fn

pytestmark = [pytest.mark.ray, pytest.mark.nightly]

MIB = 2**20
TEXTS = tuple(f"text {number} " * 20 for number in range(2000))
NODES = 3


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A head with the driver and two more nodes, each with a temporary folder of its own, like separate machines."""
    cluster = Cluster()
    for number in range(NODES):
        folder = tmp_path_factory.mktemp(f"node{number}")
        cluster.add_node(num_cpus=2, object_store_memory=100 * MIB, env_vars={"TMPDIR": str(folder)})
    ray.init(address=cluster.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def table():
    ids = np.arange(200_000, dtype=np.int32)
    offsets = np.arange(0, 200_001, 100, dtype=np.int64)
    return TokenTable("f", np.sort(compute_keys(TEXTS)), offsets, ids, np.zeros(0, np.uint8))


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory):
    """A snapshot larger than a node's object store."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    rng = np.random.default_rng(0)
    (folder / "model.safetensors").write_bytes(rng.bytes(150 * MIB))
    return read_snapshot(folder, source="org/model")


def options_for(number):
    """Return options that place an actor on that node and no other."""
    node = ray.nodes()[number]["NodeID"]
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False), "num_cpus": 1}


def other_nodes():
    driver = ray.get_runtime_context().get_node_id()
    return [number for number, node in enumerate(ray.nodes()) if node["NodeID"] != driver]


def make_process(number):
    """Start a process on a node. Its class is local, so that Ray serialises it by value."""

    @ray.remote
    class Process:
        def do(self, trial_fn, *arguments):
            return trial_fn(*arguments)

    return Process.options(**options_for(number)).remote()


def test_references_are_opened_once_in_a_process(cluster, table):
    references = put_all({"data": TEXTS, "tables": (table,)}, to_other_machines=True)
    process = make_process(other_nodes()[0])

    def inspect(references):
        first, second = get_all(references), get_all(references)
        return first, all(first[name] is second[name] for name in first), id(first["data"])

    opened, are_same, identity = ray.get(process.do.remote(inspect, references))
    assert are_same
    assert opened["data"] == TEXTS
    assert pickle.dumps(opened["tables"][0]) == pickle.dumps(table)
    assert ray.get(process.do.remote(inspect, references))[2] == identity, "the next trial reuses them"


def test_arrays_are_not_copied_into_a_process(cluster, table):
    references = put_all({"tables": (table,)}, to_other_machines=True)

    def inspect(references):
        ids = get_all(references)["tables"][0].ids
        return ids.flags.writeable, ids.flags.owndata

    assert ray.get(make_process(other_nodes()[0]).do.remote(inspect, references)) == (False, False), (
        "it is in the store"
    )


def test_contents_of_an_earlier_sweep_are_released(cluster):
    first, second = (put_all({"data": (name,)}, to_other_machines=True) for name in "ab")

    def inspect(first, second):
        from embsweep.runners.ray import object_store

        return [object_store.get_all(each)["data"] for each in (first, second, first)], len(object_store._opened)

    assert ray.get(make_process(0).do.remote(inspect, first, second)) == ([("a",), ("b",), ("a",)], 1)


def test_a_trial_function_contains_only_references(cluster, table, snapshot):
    trial_fn = put_trial_fn(partial(print, data=TEXTS, tables=(table,), models=(snapshot,)), to_other_machines=True)
    context = ray._private.worker.global_worker.get_serialization_context()
    assert len(context.serialize(trial_fn).to_bytes()) < 5000 < len(pickle.dumps(TEXTS)), "a few references"


def test_a_trial_function_gets_its_arguments(cluster):
    def run(job, reporter, data, factor):
        reporter.append((job, data[1], factor))

    def call(trial_fn):
        received = []
        trial_fn("job", received)
        return received

    trial_fn = put_trial_fn(partial(run, data=TEXTS, factor=3), to_other_machines=True)
    assert ray.get(make_process(1).do.remote(call, trial_fn)) == [("job", TEXTS[1], 3)]


def locate(references):
    """Return a function, serialised by value, that reports the path and contents of the model in a process."""

    def inspect(references):
        from embsweep.models.node_cache import node_folder
        from embsweep.models.snapshot import read_snapshot

        (opened,) = get_all(references)["models"]
        written = [path.stat().st_ino for path in sorted(opened.folder.iterdir())]
        return opened, read_snapshot(opened.folder, source="org/model").key, node_folder(), written

    return inspect


def test_models_larger_than_the_store_are_unpacked_once_per_node(cluster, snapshot):
    references = put_all({"models": (snapshot,)}, to_other_machines=True)
    here, *others = [number for number in range(NODES) if number not in other_nodes()] + other_nodes()
    inspect = locate(references)

    (opened, key, _, _) = ray.get(make_process(here).do.remote(inspect, references))
    assert (opened, key) == (snapshot, snapshot.key), "the driver's own node reads the original files"

    processes = [make_process(number) for number in others for _ in range(2)]
    results = ray.get([process.do.remote(inspect, references) for process in processes])
    for opened, key, root, _ in results:
        assert key == snapshot.key
        assert opened.folder == root / snapshot.key
    assert len({root for _, _, root, _ in results}) == 2, "each node has its own folder"
    assert results[0] == results[1], "written once for both processes"
    assert results[2] == results[3]


def test_models_are_read_from_their_own_folder_on_one_machine(cluster, snapshot):
    references = put_all({"models": (snapshot,)}, to_other_machines=False)
    (opened, *_) = ray.get(make_process(other_nodes()[0]).do.remote(locate(references), references))
    assert opened == snapshot

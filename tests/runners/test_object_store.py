"""What travels with a sweep: once to a node, once into a process, and only references with a trial."""

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
    """A head with the driver and two more nodes, each with a temporary folder of its own, as machines have."""
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
    """More than a node's object store takes at once."""
    folder = tmp_path_factory.mktemp("model")
    (folder / "config.json").write_text("{}")
    chance = np.random.default_rng(0)
    (folder / "model.safetensors").write_bytes(chance.bytes(150 * MIB))
    return read_snapshot(folder, source="org/model")


def place(number):
    """On that node and no other."""
    node = ray.nodes()[number]["NodeID"]
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False), "num_cpus": 1}


def other_nodes():
    driver = ray.get_runtime_context().get_node_id()
    return [number for number, node in enumerate(ray.nodes()) if node["NodeID"] != driver]


def make_process(number):
    """A warm process on a node; a class made here, so that Ray ships it by value."""

    @ray.remote
    class Process:
        def do(self, trial_fn, *arguments):
            return trial_fn(*arguments)

    return Process.options(**place(number)).remote()


def test_opened_once_in_a_process(cluster, table):
    parcel = put_all({"data": TEXTS, "tables": (table,)}, to_other_machines=True)
    process = make_process(other_nodes()[0])

    def look(parcel):
        first, second = get_all(parcel), get_all(parcel)
        return first, all(first[name] is second[name] for name in first), id(first["data"])

    found, are_same, identity = ray.get(process.do.remote(look, parcel))
    assert are_same
    assert found["data"] == TEXTS
    assert pickle.dumps(found["tables"][0]) == pickle.dumps(table)
    assert ray.get(process.do.remote(look, parcel))[2] == identity, "the next trial pays nothing"


def test_arrays_are_not_copied_into_a_process(cluster, table):
    parcel = put_all({"tables": (table,)}, to_other_machines=True)

    def look(parcel):
        ids = get_all(parcel)["tables"][0].ids
        return ids.flags.writeable, ids.flags.owndata

    assert ray.get(make_process(other_nodes()[0]).do.remote(look, parcel)) == (False, False), "it lies in the store"


def test_an_earlier_sweeps_contents_are_let_go(cluster):
    first, second = (put_all({"data": (name,)}, to_other_machines=True) for name in "ab")

    def look(first, second):
        from embsweep.runners.ray import object_store

        return [object_store.get_all(parcel)["data"] for parcel in (first, second, first)], len(object_store._opened)

    assert ray.get(make_process(0).do.remote(look, first, second)) == ([("a",), ("b",), ("a",)], 1)


def test_with_a_trial_go_only_references(cluster, table, snapshot):
    trial_fn = put_trial_fn(partial(print, data=TEXTS, tables=(table,), models=(snapshot,)), to_other_machines=True)
    context = ray._private.worker.global_worker.get_serialization_context()
    assert len(context.serialize(trial_fn).to_bytes()) < 5000 < len(pickle.dumps(TEXTS)), "a few references"


def test_a_work_gets_its_arguments(cluster):
    def run(job, reporter, data, factor):
        reporter.append((job, data[1], factor))

    def hear(trial_fn):
        received = []
        trial_fn("job", received)
        return received

    trial_fn = put_trial_fn(partial(run, data=TEXTS, factor=3), to_other_machines=True)
    assert ray.get(make_process(1).do.remote(hear, trial_fn)) == [("job", TEXTS[1], 3)]


def locate(parcel):
    """By value: where the model lies in a process, and what is in it."""

    def look(parcel):
        from embsweep.models.node_cache import node_folder
        from embsweep.models.snapshot import read_snapshot

        (found,) = get_all(parcel)["models"]
        written = [path.stat().st_ino for path in sorted(found.folder.iterdir())]
        return found, read_snapshot(found.folder, source="org/model").key, node_folder(), written

    return look


def test_models_are_unpacked_once_a_node_and_beyond_the_stores_size(cluster, snapshot):
    parcel = put_all({"models": (snapshot,)}, to_other_machines=True)
    here, *others = [number for number in range(NODES) if number not in other_nodes()] + other_nodes()
    look = locate(parcel)

    (found, key, _, _) = ray.get(make_process(here).do.remote(look, parcel))
    assert (found, key) == (snapshot, snapshot.key), "the driver's own node reads what is there"

    processes = [make_process(number) for number in others for _ in range(2)]
    results = ray.get([process.do.remote(look, parcel) for process in processes])
    for found, key, root, _ in results:
        assert key == snapshot.key
        assert found.folder == root / snapshot.key
    assert len({root for _, _, root, _ in results}) == 2, "each node its own folder"
    assert results[0] == results[1], "written once for both processes"
    assert results[2] == results[3]


def test_models_are_read_where_they_lie_on_one_machine(cluster, snapshot):
    parcel = put_all({"models": (snapshot,)}, to_other_machines=False)
    (found, *_) = ray.get(make_process(other_nodes()[0]).do.remote(locate(parcel), parcel))
    assert found == snapshot

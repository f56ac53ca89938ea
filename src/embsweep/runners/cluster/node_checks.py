"""Compare the facts that a cluster's nodes report with the driver's, and return diagnostics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from embsweep.core.errors import Diagnostic
from embsweep.runners.cluster.node_probe import PACKAGES, NodeInfo

MAX_SKEW_S = 5.0

_WHERE = "runner.address"
_SAME = "install the driver's versions on every node, or start its Ray from the same environment"
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


@dataclass(frozen=True)
class Node:
    """A live node of the cluster. `gpu_kinds` and `gpu_memory_bytes` have one entry per visible GPU."""

    name: str
    address: str
    cpus: float
    gpus: float
    gpu_kinds: tuple[str, ...]
    gpu_memory_bytes: tuple[int, ...]


@dataclass(frozen=True)
class ClockSample:
    """A node's time `there`, requested at `sent`, arrived at `received` (driver's clock); seconds since the epoch."""

    sent: float
    there: float
    received: float


def name_nodes(places: Mapping[str, tuple[str, str]]) -> dict[str, str]:
    """Return `host (address)` for each node id → (host, address); with a part of the id if several share a host.

    >>> name_nodes({"3fa2c0de99": ("gpu1", "10.0.0.3")})
    {'3fa2c0de99': 'gpu1 (10.0.0.3)'}
    """
    hosts = Counter(host for host, _ in places.values())
    return {
        identity: f"{host} ({address}, node {identity[:8]})" if hosts[host] > 1 else f"{host} ({address})"
        for identity, (host, address) in places.items()
    }


def check_versions(name: str, there: NodeInfo, here: NodeInfo) -> Iterator[Diagnostic]:
    """Check that a node has the driver's Python (x.y), packages and embsweep source files.

    The part after a version's `+` (`2.13.0+cu130`) may differ: it names the device that torch was built for.
    """
    if _minor(there["python"]) != _minor(here["python"]):
        yield Diagnostic(
            "other-version", _WHERE, f"node {name} has another Python", there["python"], here["python"], _SAME
        )
    if there["source"] is None:
        yield Diagnostic(
            "not-installed", _WHERE, f"node {name} has no embsweep", None, here["packages"]["embsweep"], _SAME
        )
    for package in PACKAGES:
        found, wanted = there["packages"][package], here["packages"][package]
        if package == "embsweep" and found is None:
            continue  # present as plain files of a runtime environment: its digest decides
        if found is None:
            yield Diagnostic("not-installed", _WHERE, f"node {name} has no {package}", None, wanted, _SAME)
        elif wanted is not None and found.partition("+")[0] != wanted.partition("+")[0]:
            yield Diagnostic("other-version", _WHERE, f"node {name} has another {package}", found, wanted, _SAME)
    if there["source"] not in (None, here["source"]) and _is_same_release(there, here):
        problem = f"node {name} has other source files of the same embsweep"
        yield Diagnostic("other-version", _WHERE, problem, _short(there["source"]), _short(here["source"]), _SAME)


def _minor(version: str) -> list[str]:
    return version.split(".")[:2]


def _is_same_release(there: NodeInfo, here: NodeInfo) -> bool:
    return there["packages"]["embsweep"] in (None, here["packages"]["embsweep"])


def _short(digest: str | None) -> str:
    return f"sha256 {(digest or '')[:12]}"


def check_shared_storage(name: str, there: NodeInfo, *, storage: str, has_arrived: bool) -> Iterator[Diagnostic]:
    """Check that the node reads the driver's file and writes one that the driver finds (`has_arrived`)."""
    folder = there["folder"]
    if folder is None:
        return
    hint = "mount one shared folder at this path on every node"
    shared = "a folder that every node reads and writes"
    if folder["nonce"] is None and not folder["exists"]:
        yield Diagnostic("not-shared", "storage.path", f"node {name} has no such folder", storage, shared, hint)
    elif folder["nonce"] is None:
        problem = f"node {name} has another folder at this path: the driver's file is not in it ({folder['error']})"
        yield Diagnostic("not-shared", "storage.path", problem, storage, shared, hint)
    elif folder["error"]:
        problem = f"node {name} cannot write to it ({folder['error']})"
        yield Diagnostic(
            "not-writable",
            "storage.path",
            problem,
            storage,
            shared,
            "mount it writable, for the user that runs Ray there",
        )
    elif not has_arrived:
        problem = f"node {name} has another folder at this path: what it writes does not reach the driver"
        yield Diagnostic("not-shared", "storage.path", problem, storage, shared, hint)


def check_tracking(who: str, there: NodeInfo, uri: str | None) -> Iterator[Diagnostic]:
    """Check that the tracking server answers from everywhere; its address is shown without user and password."""
    error = there["tracking_error"]
    if error is None or uri is None:
        return
    is_loopback = urlsplit(uri).hostname in _LOOPBACK
    hint = "give the server's address as other machines see it" if is_loopback else "start it, or open the way to it"
    problem = f"does not answer from {who} ({error})"
    yield Diagnostic(
        "unreachable", "tracking.uri", problem, without_credentials(uri), "a server that every node reaches", hint
    )


def without_credentials(uri: str) -> str:
    """Return the URI without user, password, query and fragment; a password may hold an unquoted slash or hash."""
    scheme, separator, rest = uri.partition("://")
    parts = urlsplit(f"{scheme}{separator}{rest.rpartition('@')[2]}")
    return urlunsplit((parts.scheme, parts.netloc, parts.path, "", ""))


def find_health_url(uri: str | None) -> str | None:
    """Return the health URL of an MLflow server, None if there is no server (a database, a folder)."""
    if uri is None or urlsplit(uri).scheme not in ("http", "https"):
        return None
    return without_credentials(uri).rstrip("/") + "/health"


def compute_skew_s(reading: ClockSample) -> float:
    """Return by how much the node's clock is at least ahead of the driver's (negative: behind), in seconds.

    The clock was read at some time between request and reply: half the round trip is uncertainty and not counted.
    """
    offset = reading.there - (reading.sent + reading.received) / 2
    uncertainty = (reading.received - reading.sent) / 2
    min_skew = max(abs(offset) - uncertainty, 0.0)
    return min_skew if offset > 0 else -min_skew


def check_clock(name: str, reading: ClockSample) -> Iterator[Diagnostic]:
    """Check that clocks differ by at most MAX_SKEW_S, because timestamps of trials are compared across nodes."""
    skew_s = compute_skew_s(reading)
    if abs(skew_s) > MAX_SKEW_S:
        side = "ahead of" if skew_s > 0 else "behind"
        problem = f"the clock of node {name} is {abs(skew_s):.1f} s {side} the driver's"
        yield Diagnostic(
            "clock-skew", _WHERE, problem, None, f"within {MAX_SKEW_S:g} s", "let chrony or systemd-timesyncd keep it"
        )


def check_authentication(requires_token: bool, remote: Sequence[str]) -> Iterator[Diagnostic]:
    """Refuse a cluster without token, which lets anyone run code, if it has a node on another machine."""
    if not requires_token and remote:
        yield Diagnostic(
            "open-cluster",
            _WHERE,
            f"the cluster requires no token, and {', '.join(remote)} can be reached over the network",
            None,
            "a cluster with token authentication",
            "start Ray on every node with RAY_AUTH_MODE=token and the same token (ray get-auth-token --generate)",
        )


def usable_gpus(seen: Iterable[tuple[str, int]], count: float) -> list[tuple[str, int]]:
    """Return the GPUs that the node offers; if it was started with fewer than its machine has, the smallest."""
    gpus = list(seen)
    return gpus if len(gpus) <= count else sorted(gpus, key=lambda gpu: gpu[1])[: int(count)]


def describe_mixed_gpus(nodes: Sequence[Node]) -> str | None:
    """Return a line about GPUs of several kinds, None if all are alike."""
    kinds = Counter(
        f"{kind} with {size / 2**30:.0f} GiB"
        for node in nodes
        for kind, size in zip(node.gpu_kinds, node.gpu_memory_bytes, strict=True)
    )
    if len(kinds) < 2:
        return None
    parts = ", ".join(f"{count} × {kind}" for kind, count in sorted(kinds.items()))
    return f"GPUs of several kinds: {parts}; trials' times and the largest batch depend on where they run"

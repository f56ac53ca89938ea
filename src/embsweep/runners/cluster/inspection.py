"""Inspect a running Ray cluster before anything is started on it, and collect everything that is wrong with it."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from embsweep.core.codes import Code
from embsweep.core.errors import Diagnostic, InputError
from embsweep.core.gpu_checks import check_views
from embsweep.core.gpus import parse_views
from embsweep.runners.cluster.probe import Answer, Facts, collect_facts
from embsweep.runners.resources import Machine

log = logging.getLogger(__name__)

_WHERE = "runner.address"
_ADDRESS = re.compile(r"(?P<host>[^\s/:]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")
_CONNECT_TIMEOUT_S = 5.0
_HEAD_TIMEOUT_S = 10
_ANSWER_TIMEOUT_S = 80.0


def inspect_cluster(address: str, storage: Path) -> tuple[Machine, ...]:
    """Ask every living node of the cluster for its facts, compare them with this process's, and return the machines.

    Args:
        address: The address of the cluster's head.
        storage: The storage folder, which every node must be able to read and write.

    Raises:
        InputError: If anything is wrong, within about 80 s; it has a diagnostic for every problem, with the node.
    """
    try:
        storage.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".probe-", dir=storage) as folder:
            here = collect_facts(folder, "driver")
            answers = _ask(address, folder)
    except OSError as error:
        problem, expected = f"the driver cannot write to it ({error.strerror})", "a folder that every node can write to"
        raise InputError(Diagnostic("not-writable", "storage.path", problem, str(storage), expected)) from error
    diagnostics = [*check_token(answers), *(d for answer in answers for d in check_node(answer, here, str(storage)))]
    if diagnostics:
        raise InputError(diagnostics)
    return tuple(_to_machine(answer) for answer in answers)


def find_address(given: str | None) -> str:
    """Return the address of a cluster's head: `runner.address`, else RAY_ADDRESS.

    Raises:
        InputError: If neither is set or it is not the address of a head.
    """
    address = given or os.environ.get("RAY_ADDRESS")
    source = "" if given else " (from RAY_ADDRESS)"
    if not address:
        raise _address_error(
            "missing-value", "no cluster is named, neither here nor in RAY_ADDRESS", None, "runner=local needs none"
        )
    if not _ADDRESS.fullmatch(address):
        raise _address_error(
            "bad-address",
            f"is not the address of a cluster's head{source}",
            address,
            "a sweep does not run through Ray Client (ray://), but on a node of the cluster or by `ray job submit`",
        )
    return address


def _address_error(code: Code, problem: str, address: str | None, hint: str) -> InputError:
    return InputError(
        Diagnostic(code, _WHERE, problem, address, "host:port of the cluster's head, such as 10.0.0.1:6379", hint)
    )


def _ask(address: str, folder: str) -> list[Answer]:
    """Return the answers of the nodes, from a process that joins the cluster and leaves it again."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        hint = "`ray start --head` starts a cluster, `ray status --address=…` shows whether one answers"
        raise _address_error("unreachable", f"nothing answers there ({error})", address, hint) from None
    command = [sys.executable, "-m", "embsweep.runners.cluster.probe", address, folder]
    environment = {**os.environ, "RAY_gcs_server_request_timeout_seconds": str(_HEAD_TIMEOUT_S)}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=True
        )
    except subprocess.TimeoutExpired:
        reason = f"no answer in {_ANSWER_TIMEOUT_S:g} s"
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        about_token = (line.rpartition("RPC error: ")[2] for line in lines if "AuthToken" in line)
        reason = next(about_token, lines[-1])
    else:
        answers: list[Answer] = json.loads(done.stdout.splitlines()[-1])
        return answers
    expected = "a cluster of the same Ray and Python, with a node on this machine and the token of this process"
    hint = f"`ray status --address={address}` on this machine shows the same error"
    raise InputError(Diagnostic("unreachable", _WHERE, f"cannot be joined ({reason})", address, expected, hint))


def check_node(answer: Answer, here: Facts, storage: str) -> Iterator[Diagnostic]:
    """Check that a node answers, has the driver's versions, and can write to the storage folder."""
    name, there = answer["name"], answer["facts"]
    if there is None:
        hint = "`ray status` shows it; end the node, or start it again"
        yield Diagnostic("unreachable", _WHERE, f"node {name} {answer['problem']}", hint=hint)
        return
    for package, wanted in here["versions"].items():
        found = there["versions"][package]
        if _comparable(package, found) != _comparable(package, wanted):
            problem = f"node {name} has {'another' if found else 'no'} {package}"
            hint = "install the driver's versions on every node, or start its Ray from the same environment"
            yield Diagnostic("other-version" if found else "not-installed", _WHERE, problem, found, wanted, hint)
    if there["gpus"]:
        driver, view = parse_views(there["gpus"])
        yield from check_views(driver, view, owner=f"node {name}", visible=len(driver.gpus) if driver else 0)
    if there["folder_error"]:
        problem = f"node {name} does not share it, or cannot write to it ({there['folder_error']})"
        hint = "mount one shared folder at this path on every node, writable for the user that runs Ray there"
        yield Diagnostic("not-shared", "storage.path", problem, storage, "a folder that every node can write to", hint)


def _comparable(package: str, version: str | None) -> str | None:
    """Return a version without torch's device (`+cu130`), and Python's without its last part, which Ray compares."""
    if version is None:
        return None
    return version.rpartition(".")[0] if package == "Python" else version.partition("+")[0]


def check_token(answers: Sequence[Answer]) -> Iterator[Diagnostic]:
    """Refuse a cluster that requires no token, which lets anyone run code, unless it is all on this machine.

    In that case this process must not use a token either, or it would reject the nodes.
    """
    remote = [answer["name"] for answer in answers if not _is_local_address(answer["address"])]
    if all(answer["facts"] is None or answer["facts"]["requires_token"] for answer in answers):
        return
    if not remote and os.environ.get("RAY_AUTH_MODE") != "token":
        log.warning("the cluster requires no token: RAY_AUTH_MODE=token closes it")
        return
    reached = f"{', '.join(remote)} can be reached over the network" if remote else "this process uses one"
    hint = "start Ray on every node with RAY_AUTH_MODE=token and the same token (ray get-auth-token --generate)"
    if not remote:
        hint += "; RAY_AUTH_MODE=disabled joins this one, whose nodes are all on this machine"
    problem, expected = f"the cluster requires no token, and {reached}", "a cluster with token authentication"
    yield Diagnostic("open-cluster", _WHERE, problem, None, expected, hint)


def _is_local_address(address: str) -> bool:
    """Return whether a socket can be bound to the address, which only succeeds for this machine's own."""
    try:
        socket.create_server((address, 0), family=socket.AF_INET6 if ":" in address else socket.AF_INET).close()
    except OSError:
        return False
    return True


def _to_machine(answer: Answer) -> Machine:
    """Return a node's CPUs and GPUs, with all GPUs of its machine; there may be more of them than it offers."""
    text = answer["facts"]["gpus"] if answer["facts"] else ""
    return Machine(answer["cpus"], answer["gpus"], parse_views(text)[1].gpus if text else ())

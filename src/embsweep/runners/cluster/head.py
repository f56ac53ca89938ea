"""Probe a cluster's head before this process joins: is it reachable, is it Ray, does it require a token."""

from __future__ import annotations

import json
import os
import platform
import re
import socket
import subprocess
import sys
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from embsweep.config.sweep import RunnerConfig
from embsweep.core.codes import Code
from embsweep.core.environment import given
from embsweep.core.errors import Diagnostic, InputError
from embsweep.runners.cluster.auth import MODE_VARIABLE, has_token

_ADDRESS = re.compile(r"(?P<host>[^\s/:]+|\[[0-9a-fA-F:.]+\]):(?P<port>\d{1,5})")
_CONNECT_TIMEOUT_S = 5.0
_ANSWER_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Head:
    """Address of a cluster's head, and whether it requires a token."""

    address: str
    requires_token: bool


def probe_head(config: RunnerConfig) -> Head:
    """Return the head that this process can join.

    Raises:
        InputError: If it cannot be joined; within 20 s if nothing answers.
    """
    address = find_address(config)
    _check_port_open(address)
    answer = _query(address, "disabled")
    requires_token = "refused" in answer
    if requires_token or given(MODE_VARIABLE) == "token":
        answer = _ask_with_token(address)
    _check_answer(address, answer)
    return Head(address, requires_token)


def find_address(config: RunnerConfig) -> str:
    """Return `runner.address`, else RAY_ADDRESS.

    Raises:
        InputError: If neither is set or it is not the address of a head.
    """
    address = config.address or os.environ.get("RAY_ADDRESS")
    source = "" if config.address else " (from RAY_ADDRESS)"
    if not address:
        raise _head_error(
            "missing-value", "no cluster is named, neither here nor in RAY_ADDRESS", None, "runner=local needs none"
        )
    if address.startswith("ray://"):
        hint = "run the sweep on a node of the cluster, or with `ray job submit`"
        raise _head_error("bad-address", f"a sweep cannot run through Ray Client{source}", address, hint)
    if not _ADDRESS.fullmatch(address):
        raise _head_error("bad-address", f"is not the address of a cluster{source}", address)
    return address


def _head_error(code: Code, problem: str, address: str | None, hint: str | None = None) -> InputError:
    expected = "host:port of the cluster's head, such as 10.0.0.1:6379"
    return InputError(Diagnostic(code, "runner.address", problem, address, expected, hint))


def _check_port_open(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        hint = "`ray start --head` starts a cluster, `ray status --address=…` shows whether one answers"
        raise _head_error("unreachable", f"nothing answers there ({error})", address, hint) from None


def _query(address: str, mode: str) -> dict[str, Any]:
    """Return the head's answer to a process that sends a token (mode `token`) or none (`disabled`)."""
    command = [sys.executable, "-m", "embsweep.runners.cluster.head_probe", address]
    environment = {**os.environ, MODE_VARIABLE: mode}
    try:
        done = subprocess.run(  # noqa: S603
            command, env=environment, capture_output=True, text=True, timeout=_ANSWER_TIMEOUT_S, check=True
        )
        answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        problem = f"something answers there, but not as the head of a Ray cluster would in {_ANSWER_TIMEOUT_S:g} s"
        hint = "its port is 6379 unless `ray start --head --port=…` set another; 8265 and 10001 are other services"
        raise _head_error("unreachable", problem, address, hint) from None
    except (subprocess.CalledProcessError, ValueError, IndexError) as error:
        last = (getattr(error, "stderr", "") or str(error)).strip().splitlines()[-1:]
        raise _head_error("unreachable", f"the head's answer was not understood ({''.join(last)})", address) from None
    return answer


def _ask_with_token(address: str) -> dict[str, Any]:
    mode = given(MODE_VARIABLE) or "token"
    if mode != "token":
        problem = f"the cluster at {address} requires a token, and this process may send none"
        raise InputError(Diagnostic("bad-token", MODE_VARIABLE, problem, mode, "token, or unset"))
    if not has_token():
        raise _token_error(f"none was found, and the cluster at {address} requires one")
    answer = _query(address, "token")
    if "refused" in answer:
        raise _token_error(f"the cluster at {address} does not accept it")
    return answer


def _token_error(problem: str) -> InputError:
    hint = "give it in RAY_AUTH_TOKEN, in the file RAY_AUTH_TOKEN_PATH or in ~/.ray/auth_token"
    return InputError(
        Diagnostic("bad-token", "the cluster's token", problem, None, "the token that the head was started with", hint)
    )


def _check_answer(address: str, answer: dict[str, Any]) -> None:
    diagnostics = []
    if not answer["is_same_release"]:
        there = f"Ray {answer['ray']}, Python {answer['python']}"
        here = f"Ray {version('ray')}, Python {platform.python_version()}"
        problem = f"the cluster at {address} runs other versions than this process"
        diagnostics.append(
            Diagnostic("other-version", "runner.address", problem, there, here, "start both from the same versions")
        )
    if not answer["has_node_here"]:
        problem = f"this machine is no node of the cluster at {address}, and only a node can drive it"
        hint = f"`ray start --address={address}` here (with --num-cpus=0 it trains nothing), or `ray job submit`"
        diagnostics.append(Diagnostic("not-a-node", "runner.address", problem, None, None, hint))
    if diagnostics:
        raise InputError(diagnostics)

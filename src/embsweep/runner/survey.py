"""Asking every living node of a cluster at once, each in a worker process of its own."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import ray
from ray import cloudpickle
from ray.exceptions import GetTimeoutError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from embsweep.runner import probe
from embsweep.runner.node_checks import ClockReading

CLOCK_TIMEOUT_S = 5.0


@dataclass(frozen=True)
class Answer:
    """What a node said and what its clock showed; or the `problem` that kept it from answering."""

    facts: probe.Facts | None = None
    clock: ClockReading | None = None
    problem: str | None = None


def survey_nodes(
    identities: Iterable[str], *, folder: str | None, health_url: str | None, timeout_s: float
) -> dict[str, Answer]:
    """Node id → answer, of all together within `timeout_s` (and CLOCK_TIMEOUT_S for a node that falls silent then)."""
    cloudpickle.register_pickle_by_value(probe)  # type: ignore[no-untyped-call]  # a node may have another, or none
    try:
        look = ray.remote(probe.probe)
        asked = {i: look.options(**_on_node(i)).remote(folder, i, health_url) for i in identities}
        ray.wait(list(asked.values()), num_returns=len(asked), timeout=timeout_s)
        answers = {identity: _collect(reference, timeout_s) for identity, reference in asked.items()}
        return {**answers, **_read_clocks({i: answer for i, answer in answers.items() if answer.facts})}
    finally:
        cloudpickle.unregister_pickle_by_value(probe)  # type: ignore[no-untyped-call]


def _on_node(identity: str) -> dict[str, Any]:
    """A task there and nowhere else, however busy the node is."""
    strategy = NodeAffinitySchedulingStrategy(identity, soft=False)
    return {"num_cpus": 0, "max_retries": 0, "scheduling_strategy": strategy}


def _collect(reference: Any, timeout_s: float) -> Answer:
    try:
        return Answer(facts=ray.get(reference, timeout=0))
    except GetTimeoutError:
        ray.cancel(reference, force=True)
        return Answer(problem=f"did not answer in {timeout_s:g} s")
    except RayError as error:
        return Answer(problem=f"could not be asked ({_describe(error)})")


def _read_clocks(answers: Mapping[str, Answer]) -> dict[str, Answer]:
    """A second task reads each clock: its process is warm, so that the round trip is short. All nodes side by side."""
    with ThreadPoolExecutor(max(1, len(answers))) as pool:
        return dict(zip(answers, pool.map(_with_clock, answers, answers.values()), strict=True))


def _with_clock(identity: str, answer: Answer) -> Answer:
    ask = ray.remote(probe.read_clock).options(**_on_node(identity)).remote
    sent = time.time()
    try:
        there = ray.get(ask(), timeout=CLOCK_TIMEOUT_S)
    except RayError as error:  # a timeout is one, too
        return Answer(problem=f"fell silent ({_describe(error)})")
    return Answer(answer.facts, ClockReading(sent, there, time.time()))


def _describe(error: RayError) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[-1].strip()}" if lines else type(error).__name__

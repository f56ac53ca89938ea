"""Run one trial in several worker processes of one process group.

Tune reserves the resources of all workers together with the process that reports for them, and releases them when that
trial ends or dies. Only the first worker's messages are forwarded to Tune; if one worker fails, all of them end.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import ray
from ray.exceptions import RayActorError, RayError, RayTaskError
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from embsweep.core.distributed import ProcessGroup, current_group
from embsweep.core.errors import EmbsweepError, describe_exception
from embsweep.runners.attempt import describe_broken_context, run_attempt
from embsweep.runners.base import TrialFn
from embsweep.runners.ray.collective_faults import explain_setup_fault, find_first_words, is_connection_lost
from embsweep.runners.ray.environment import pin_threads, thread_variables
from embsweep.runners.resources import Slots
from embsweep.training.messages import (
    MESSAGE,
    Message,
    Outcome,
    Reporter,
    TrialReport,
    TrialResult,
    TrialSpec,
    TrialStarted,
)

_POLL_S, _END_TIMEOUT_S = 0.5, 60.0
_COLLECTIVE_TIMEOUT = timedelta(hours=1)
"""Timeout of a collective: the others wait while the first worker writes a state to a shared disk between two steps."""

_CAUSE_TIMEOUT_S = 5.0
"""Longest wait for the other workers after one has failed: it may only be the first to notice that another one died."""

_PROCESS_DIED = "a worker process of the trial died (killed, out of memory, crashed, or its machine is gone)"


class WorkerLost(EmbsweepError):
    """Raised if a process of the group ended, or cannot continue; the trial itself has not failed."""


class PeerLost(WorkerLost):
    """Raised by a worker that lost its connection to another one, whose end is the cause."""


def run_group(trial_fn: TrialFn, job: TrialSpec, reporter: Reporter, slots: Slots) -> None:
    """Run a trial in `slots.workers` processes of one process group, inside the placement group of this process.

    A trial that fails in any of them is FAILED with the reason of the worker that failed first. The processes are new
    for each trial, so that a CUDA error that breaks one of them is a lost worker.

    Args:
        trial_fn: The function that runs the trial; every worker calls it.
        job: The trial to run.
        reporter: Receives the messages of the first worker, in this process and the calling thread.
        slots: The resources of the trial.

    Raises:
        WorkerLost: If a worker process died, or the workers could not be started, before the trial ended.
    """
    mailbox = _start(_Mailbox, 0, num_cpus=0)
    workers = [_start(_Worker, rank + 1, **_worker_options(slots, rank)) for rank in range(slots.workers)]
    try:
        address = ray.get(workers[0].find_address.remote())
        running = [worker.train.remote(trial_fn, job.model_dump_json(), address, mailbox) for worker in workers]
        _forward_messages(mailbox, running, reporter)
    except RayActorError as error:
        raise WorkerLost(_PROCESS_DIED) from error
    except RayError as error:
        cause = error.cause if isinstance(error, RayTaskError) else error
        if isinstance(cause, WorkerLost):
            raise cause from error
        raise WorkerLost(f"a worker of the trial could not continue: {describe_exception(cause)}") from error
    finally:
        for actor in (*workers, mailbox):
            ray.kill(actor)


def _start(actor: Any, bundle: int, **options: Any) -> Any:
    """Start an actor in a bundle of this process's placement group: 0 is that of this process."""
    group: Any = ray.util.get_current_placement_group()
    strategy = PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle)
    return actor.options(scheduling_strategy=strategy, **options).remote()


def _worker_options(slots: Slots, rank: int) -> dict[str, Any]:
    """Return resources and environment of a worker; it sees its own GPU only, as the only process of its node would."""
    variables = {
        **thread_variables(slots.cpus_per_worker),
        **{"RANK": str(rank), "WORLD_SIZE": str(slots.workers), "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1"},
        "ACCELERATE_TORCH_DEVICE": "cuda:0" if slots.gpus else "cpu",
    }
    return {
        "num_cpus": slots.cpus_per_worker,
        "num_gpus": slots.gpus_per_worker,
        "runtime_env": {"env_vars": variables},
    }


def _forward_messages(mailbox: Any, running: list[Any], reporter: Reporter) -> None:
    """Pass the workers' messages to `reporter` and return its answers, until the trial has a result.

    Raises:
        RayError: If a worker fails or dies before.
    """
    raise_at = math.inf
    receivers: dict[type[Message], Callable[[Any], bool | None]] = {
        TrialStarted: reporter.start,
        TrialReport: reporter.report,
        TrialResult: reporter.finish,
    }
    while True:
        text = ray.get(mailbox.collect.remote(_POLL_S))
        if text is not None:
            message = MESSAGE.validate_json(text)
            mailbox.answer.remote(bool(receivers[type(message)](message)))
            if isinstance(message, TrialResult):
                break
            continue
        ended = ray.wait(running, num_returns=len(running), timeout=0)[0]
        failure = _find_failure(ended)
        if failure is not None:
            raise_at = min(raise_at, time.monotonic() + _CAUSE_TIMEOUT_S)
            if isinstance(failure, RayActorError) or len(ended) == len(running) or time.monotonic() >= raise_at:
                raise failure
    if message.outcome is not Outcome.FAILED:
        # They end too, unless one fails after its last collective; after a failure, they wait for the failed one.
        ray.wait(running, num_returns=len(running), timeout=_END_TIMEOUT_S)


def _find_failure(ended: list[Any]) -> RayError | None:
    """Return the failure of the workers that have ended: a cause, if there is one, before a lost connection."""
    failures: list[RayError] = []
    for task in ended:
        try:
            ray.get(task)
        except RayError as error:
            failures.append(error)
    return min(
        failures, key=lambda error: (not isinstance(error, RayActorError), isinstance(error, PeerLost)), default=None
    )


@ray.remote
class _Worker:
    """One process of the group; its rank is in its environment."""

    def find_address(self) -> dict[str, str]:
        """Return torch's variables of the address at which this process, the first of the group, waits for the others.

        accelerate, too, reads them for trials on CPUs.
        """
        with socket.socket() as probe:
            probe.bind(("", 0))
            return {
                "MASTER_ADDR": ray.util.get_node_ip_address(),  # type: ignore[no-untyped-call]
                "MASTER_PORT": str(probe.getsockname()[1]),
            }

    def train(self, trial_fn: TrialFn, job: str, address: Mapping[str, str], mailbox: Any) -> None:
        """Join the group and run the trial.

        Raises:
            WorkerLost: If the connection to another worker was lost, or CUDA failed in this process.
        """
        import torch.distributed

        pin_threads(int(os.environ["OMP_NUM_THREADS"]))
        os.environ.update(address)
        torch.distributed.init_process_group(
            "nccl" if torch.cuda.is_available() and os.environ["ACCELERATE_TORCH_DEVICE"] != "cpu" else "gloo",
            timeout=_COLLECTIVE_TIMEOUT,
        )
        reporter = _GroupReporter(current_group(), mailbox)
        run_attempt(trial_fn, TrialSpec.model_validate_json(job), reporter)
        if reporter.loss is not None:
            raise reporter.loss


@dataclass
class _GroupReporter:
    """Reporter of each worker: the first one sends all messages, with its answers broadcast; the others only failures.

    `loss` is a failure that is not the trial's own: another worker caused it, or this process is of no more use.
    """

    group: ProcessGroup
    mailbox: Any
    loss: WorkerLost | None = None

    def start(self, started: TrialStarted) -> None:
        if self.group.is_first:
            self._post(started)

    def report(self, report: TrialReport) -> bool:
        return self.group.broadcast(self.group.is_first and self._post(report))

    def finish(self, result: TrialResult) -> None:
        if result.outcome is not Outcome.FAILED:
            if self.group.is_first:
                self._post(result)
            return
        reason = result.reason or ""
        explained = explain_setup_fault(reason)
        if explained is not None:
            self._post(replace(result, reason=explained, context_broken=False))
        elif is_connection_lost(reason):
            self.loss = PeerLost(f"the connection between the workers broke: {find_first_words(reason)}")
        elif result.context_broken:
            self.loss = WorkerLost(describe_broken_context(result))
        else:
            self._post(result)

    def _post(self, message: Message) -> bool:
        return bool(ray.get(self.mailbox.post.remote(MESSAGE.dump_json(message).decode())))


@ray.remote
class _Mailbox:
    """Queue between the workers of a trial, which wait for each answer, and the process that reports to Tune."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[str] = asyncio.Queue()
        self._answers: asyncio.Queue[bool] = asyncio.Queue()

    async def post(self, text: str) -> bool:
        """Send a message and wait for its answer."""
        await self._messages.put(text)
        return await self._answers.get()

    async def collect(self, timeout_s: float) -> str | None:
        """Return the next message, or None if none arrives in time."""
        try:
            return await asyncio.wait_for(self._messages.get(), timeout_s)
        except TimeoutError:
            return None

    async def answer(self, should_stop: bool) -> None:
        """Answer the message collected last."""
        await self._answers.put(should_stop)

"""Run one trial on several Ray Train workers.

Only the first worker's messages are forwarded to Tune; if one worker fails, Ray Train ends all of them.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import ray
import ray.train
from ray.exceptions import RayActorError
from ray.train.torch import TorchConfig, TorchTrainer
from ray.train.v2._internal.callbacks.placement_group_callback import PlacementGroupCleanerCallback
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError
from ray.train.v2.api.config import FailureConfig
from ray.train.v2.api.exceptions import ControllerError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from embsweep.core.distributed import ProcessGroup, current_group
from embsweep.core.errors import EmbsweepError
from embsweep.runners.attempt import run_attempt
from embsweep.runners.base import TrialFn
from embsweep.runners.ray.environment import pin_threads, thread_variables
from embsweep.runners.resources import WorkerPlacement
from embsweep.training.failures import format_error
from embsweep.training.messages import (
    Message,
    Outcome,
    Reporter,
    TrialReport,
    TrialResult,
    TrialSpec,
    TrialStarted,
    from_text,
    to_text,
)

_POLL_S = 0.5
_COLLECTIVE_TIMEOUT_S = 3600
"""Timeout of a collective: the others wait while the first worker writes a state to a shared disk between two steps."""

_START_ATTEMPTS = 10
"""Failed attempts to start the worker processes before the trial counts as lost."""

_PEER_LOST_MESSAGES = ("gloo/transport", "DistBackendError", "DistNetworkError", "ncclRemoteError")
"""Parts of torch's error texts in a worker that lost a peer; only errors of torch's own collectives contain them."""


class _Trainer(TorchTrainer):
    """A `TorchTrainer` without Ray's cleaner of placement groups; `workarounds` has the reason."""

    def _create_default_callbacks(self) -> list[Any]:
        callbacks = super()._create_default_callbacks()  # type: ignore[misc]
        return [one for one in callbacks if not isinstance(one, PlacementGroupCleanerCallback)]


class WorkerLost(EmbsweepError):
    """Raised if a process of the group, or its node, died; the trial itself has not failed."""


class _TrialFailedInWorker(EmbsweepError):
    """Raised in a worker whose trial failed; carries its result to the process that reports to Tune."""

    @property
    def result(self) -> TrialResult:
        """The result of the trial in that worker."""
        found: TrialResult = self.args[0]
        return found


def run_group(trial_fn: TrialFn, job: TrialSpec, reporter: Reporter, place: WorkerPlacement) -> None:
    """Run a trial in `place.slots.workers` processes of one process group.

    A trial that fails in any of them is FAILED with the reason of the first failed worker.

    Args:
        trial_fn: The function that runs the trial; every worker calls it.
        job: The trial to run.
        reporter: Receives the messages of the first worker, in this process and the calling thread.
        place: Resources, Ray's folder and process-group backend of the trial.

    Raises:
        WorkerLost: If a worker process died, or the workers could not be started, before the trial ended.
    """
    slots = place.slots
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    mailbox = _MessageActor.options(num_cpus=0, scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    trainer = _Trainer(
        _work_in_group,
        train_loop_config={
            "trial_fn": trial_fn,
            "job": job.model_dump_json(),
            "mailbox": mailbox,
            "threads": slots.cpus_per_worker,
        },
        torch_config=TorchConfig(backend=place.backend, timeout_s=_COLLECTIVE_TIMEOUT_S),
        scaling_config=ray.train.ScalingConfig(
            num_workers=slots.workers,
            use_gpu=slots.gpus > 0,
            resources_per_worker={"CPU": slots.cpus_per_worker, **({"GPU": 1} if slots.gpus else {})},
        ),
        run_config=ray.train.RunConfig(
            name=f"{job.number:04d}-{time.time_ns()}",
            storage_path=str(place.scratch / "groups"),
            worker_runtime_env={"env_vars": thread_variables(slots.cpus_per_worker)},  # type: ignore[call-arg]
            failure_config=FailureConfig(
                max_failures=0, max_preemption_failures=0, controller_failure_limit=_START_ATTEMPTS
            ),
        ),
    )
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(trainer.fit)
        try:
            is_over = _forward_messages(mailbox, training, reporter)
        except BaseException:
            ray.kill(mailbox)  # the first worker waits for its answer: it fails, and the others with it
            raise
        error = training.exception()
    if not is_over:
        reporter.finish(_to_result(error))


def _forward_messages(mailbox: Any, training: Future[Any], reporter: Reporter) -> bool:
    """Pass the first worker's messages to `reporter` and return its answers; True if one was the trial's result."""
    is_over = False
    while (text := ray.get(mailbox.collect.remote(_POLL_S))) is not None or not training.done():
        if text is None:
            continue
        message = from_text(text)
        is_over = is_over or isinstance(message, TrialResult)
        mailbox.answer.remote(_dispatch(message, reporter))
    return is_over


def _dispatch(message: Message, reporter: Reporter) -> bool:
    if isinstance(message, TrialReport):
        return reporter.report(message)
    if isinstance(message, TrialStarted):
        reporter.start(message)
    else:
        reporter.finish(message)
    return False


def _to_result(error: BaseException | None) -> TrialResult:
    """Return the result of a trial whose first worker reported none. Raise WorkerLost if a process died."""
    if error is None:
        return TrialResult.failed("its first worker ended without a result")
    if isinstance(error, ControllerError):
        raise WorkerLost(f"its workers could not be started: {error.controller_failure}")
    failures = [_unwrap(failure) for failure in getattr(error, "worker_failures", {}).values()]
    trial_errors = [failure for failure in failures if not isinstance(failure, _WORKER_LOST_ERRORS)]
    if not trial_errors:
        raise WorkerLost("a worker process of the trial died (killed, out of memory, crashed, or its machine is gone)")
    first = trial_errors[0]
    return first.result if isinstance(first, _TrialFailedInWorker) else TrialResult.failed(format_error(first))


def _unwrap(failure: BaseException) -> BaseException:
    """Return the exception of a worker without Ray Train's wrapper."""
    inner: BaseException = getattr(failure, "_base_exc", failure)
    return inner


_WORKER_LOST_ERRORS = (WorkerHealthCheckFailedError, RayActorError, WorkerLost)


def _work_in_group(config: dict[str, Any]) -> None:
    """Run the trial in one worker. A failed one raises, so that Ray Train ends the others, which wait for it."""
    pin_threads(config["threads"])
    reporter = _GroupReporter(current_group(), config["mailbox"])
    run_attempt(config["trial_fn"], TrialSpec.model_validate_json(config["job"]), reporter)
    if reporter.failure is not None:
        raise reporter.failure


class _GroupReporter:
    """Reporter of each worker: only the first worker sends messages, and its answer is broadcast to all."""

    def __init__(self, group: ProcessGroup, mailbox: Any) -> None:
        self._group = group
        self._mailbox = mailbox
        self.failure: EmbsweepError | None = None

    def start(self, started: TrialStarted) -> None:
        self._post(started)

    def report(self, report: TrialReport) -> bool:
        return self._group.broadcast(self._post(report))

    def finish(self, result: TrialResult) -> None:
        if result.outcome is Outcome.FAILED:
            reason = result.reason or "no reason given"
            if any(part in reason for part in _PEER_LOST_MESSAGES):
                self.failure = WorkerLost(reason)
                return  # the failed peer reports the cause; this worker only lost its connection
            self.failure = _TrialFailedInWorker(result)
        self._post(result)

    def _post(self, message: Message) -> bool:
        if not self._group.is_first:
            return False
        answer: bool = ray.get(self._mailbox.post.remote(to_text(message)))
        return answer


@ray.remote
class _MessageActor:
    """Queue between the first worker of a trial, which waits for each answer, and the process that reports to Tune."""

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

"""Tracking of a running sweep through the outbox: an outage of MLflow neither loses records nor blocks the sweep."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter

from embsweep.core.errors import TrackingUnavailable
from embsweep.core.redaction import redact
from embsweep.selection.scores import Scores
from embsweep.tracking.outbox import Entry, Outbox
from embsweep.tracking.publisher import OutboxPublisher
from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.runs import RunRef, SweepRun
from embsweep.tracking.values import flatten_params
from embsweep.training.messages import TrialReport, TrialResult

FLUSH_TIMEOUT_S = 120.0
"""Seconds that the end of a sweep waits for MLflow while it does not answer."""

CLOSE_TIMEOUT_S = 5.0

_TYPES: dict[str, TypeAdapter[Any]] = {
    "child": TypeAdapter(RunRef),
    "report": TypeAdapter(TrialReport),
    "result": TypeAdapter(TrialResult),
    "scores": TypeAdapter(Scores | None),
    "facts": TypeAdapter(DatasetRecord),
}
"""Types of the arguments that are not plain JSON, by name of the argument."""


class Tracker:
    """Asynchronous form of `SweepRun`: each method writes a record to the outbox, and a thread sends it to MLflow.

    A record is on disk when the method returns. Sending it twice changes nothing in MLflow. Use the tracker as a
    context manager; the publisher's thread runs inside the context.

    Args:
        folder: Folder of the outbox.
        connect: Opens the sweep's run; called in the publisher's thread, again for each record until it succeeds.
        say: Receives messages for the user, also from the publisher's thread.
    """

    def __init__(self, folder: Path, connect: Callable[[], SweepRun], say: Callable[[str], None]) -> None:
        self._outbox = Outbox(folder)
        self._appended_before = self._outbox.appended
        self._connect = connect
        self._run: SweepRun | None = None
        self._run_ids: dict[RunRef, str] = {}
        self._say = say
        self._publisher = OutboxPublisher(self._outbox, self._publish, say)

    def __enter__(self) -> Self:
        if self._outbox.unreadable:
            self._say(f"{self._outbox.unreadable} MLflow records are corrupt and were moved to {self._outbox.corrupt}.")
        if len(self._outbox):
            self._say(f"{len(self._outbox)} MLflow records are pending from a previous run.")
        self._publisher.start()
        self._put("reopen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._publisher.stop(CLOSE_TIMEOUT_S)

    @property
    def record_count(self) -> int:
        """Number of records appended so far, including those of earlier processes."""
        return self._outbox.appended

    def has_lost_records(self, record_count: int) -> bool:
        """Return whether records of earlier processes are lost, possibly before they reached MLflow.

        `record_count` is the number of records that earlier processes have counted.
        """
        return self._appended_before < record_count

    def start_trial(
        self, child: RunRef, attempt: int, params: Mapping[str, Any], *, started_at: float | None = None
    ) -> None:
        """Record the start of a trial's attempt; see `SweepRun.start_trial`.

        Args:
            child: Trial.
            attempt: Number of the attempt.
            params: Whole configuration of the trial.
            started_at: Start of the attempt in seconds since the epoch, now by default.
        """
        started_ms = _now_ms() if started_at is None else round(started_at * 1000)
        self._put("start_trial", child=child, attempt=attempt, params=flatten_params(params), started_ms=started_ms)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """Record parameters of the sweep; see `SweepRun.log_params`."""
        self._put("log_params", params=flatten_params(params))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Record tags of the sweep's run; see `SweepRun.set_tags`."""
        self._put("set_tags", tags=dict(tags))

    def log_facts(self, child: RunRef, facts: Mapping[str, Any]) -> None:
        """Record values of a trial other than scores; see `SweepRun.log_facts`."""
        plain = {key: value if isinstance(value, int | float) else str(value) for key, value in facts.items()}
        self._put("log_facts", child=child, values=plain)

    def log_report(self, child: RunRef, report: TrialReport) -> None:
        """Record a report of a trial; see `SweepRun.log_report`."""
        self._put("log_report", child=child, report=report)

    def finish_trial(self, child: RunRef, result: TrialResult, scores: Scores | None = None) -> None:
        """Record the end of a trial; see `SweepRun.finish_trial`.

        Args:
            child: Trial.
            result: Result of the trial.
            scores: Best scores, used if the result has none.
        """
        self._put("finish_trial", child=child, result=result, scores=scores)

    def log_baseline(self, scores: Scores, *, bm25_map: float | None = None) -> None:
        """Record the scores of the baseline and of BM25; see `SweepRun.log_baseline`."""
        self._put("log_baseline", scores=scores, bm25_map=bm25_map)

    def log_dataset(self, facts: DatasetRecord) -> None:
        """Record the description of the data; see `SweepRun.log_dataset`."""
        self._put("log_dataset", facts=facts)

    def log_artifact_text(self, name: str, text: str) -> None:
        """Record a text as an artifact of the sweep's run; see `SweepRun.log_artifact_text`."""
        self._put("log_artifact_text", name=name, text=text)

    def finish(self, summary: Mapping[str, float], *, trials: int) -> None:
        """Record the end of the sweep; see `SweepRun.finish`."""
        self._put("finish", summary=dict(summary), trials=trials, ended_ms=_now_ms())

    def close(self, *, interrupted: bool) -> None:
        """Record the early end of the sweep; see `SweepRun.close`.

        Waits up to 5 s for delivery; what is still pending is sent when the sweep resumes.
        """
        self._put("close", interrupted=interrupted, ended_ms=_now_ms())
        self._outbox.wait_empty(CLOSE_TIMEOUT_S)

    def flush(self, patience_s: float | None = None) -> SweepRun:
        """Wait until every record is delivered, and return the sweep's run.

        Raises:
            TrackingUnavailable: If MLflow has not answered for `patience_s` seconds, 120 by default.
        """
        if not self._publisher.wait(FLUSH_TIMEOUT_S if patience_s is None else patience_s) or self._run is None:
            raise TrackingUnavailable(
                f"MLflow does not answer ({self._publisher.message}). Every trial is kept, and {len(self._outbox)} "
                f"records are pending in {self._outbox.folder}; nothing was registered. Once it answers, the same "
                "command sends them and finishes the sweep."
            )
        return self._run

    def run_id(self, child: RunRef) -> str:
        """Return the id of a trial's run after all records are delivered; if the run was deleted, create it again.

        Raises:
            TrackingUnavailable: If MLflow does not answer; see `flush`.
        """
        return self._find_run_id(self.flush(), child)

    def _put(self, call: str, **arguments: Any) -> None:
        self._outbox.append({"call": call, "arguments": _redact({k: _to_json(k, v) for k, v in arguments.items()})})

    def _publish(self, entry: Entry) -> None:
        run = self._run = self._run or self._connect()
        arguments = {name: _from_json(name, value) for name, value in entry["arguments"].items()}
        if entry["call"] == "start_trial":
            self._run_ids[arguments["child"]] = run.start_trial(**arguments)
            return
        if "child" in arguments:
            arguments["run_id"] = self._find_run_id(run, arguments.pop("child"))
        getattr(run, entry["call"])(**arguments)

    def _find_run_id(self, run: SweepRun, child: RunRef) -> str:
        if child not in self._run_ids:
            self._run_ids[child] = run.find_trial(child) or run.start_trial(child, 1, {})
        return self._run_ids[child]


def _to_json(name: str, value: Any) -> Any:
    return _TYPES[name].dump_python(value, mode="json") if name in _TYPES else value


def _from_json(name: str, value: Any) -> Any:
    return _TYPES[name].validate_python(value) if name in _TYPES else value


def _redact(value: Any) -> Any:
    """Mask secrets in all texts of a JSON value: the outbox is on disk, and must not contain any."""
    match value:
        case str():
            return redact(value)
        case dict():
            return {key: _redact(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_redact(inner) for inner in value]
        case _:
            return value


def _now_ms() -> int:
    return round(time.time() * 1000)

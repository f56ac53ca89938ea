"""What a sweep tells MLflow while it runs: nothing is lost and nobody waits, whatever MLflow does."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from pydantic import TypeAdapter

from embsweep.core.errors import TrackingUnavailable
from embsweep.core.redaction import redact
from embsweep.evaluation.evaluator import Scores
from embsweep.tracking.outbox import Entry, Outbox
from embsweep.tracking.publisher import OutboxPublisher
from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.runs import RunRef, SweepRun
from embsweep.tracking.values import flatten_params
from embsweep.training.messages import TrialReport, TrialResult

FLUSH_TIMEOUT_S = 120.0
"""How long the end of a sweep waits for an MLflow that does not answer."""

CLOSE_TIMEOUT_S = 5.0

_TYPES: dict[str, TypeAdapter[Any]] = {
    "child": TypeAdapter(RunRef),
    "report": TypeAdapter(TrialReport),
    "result": TypeAdapter(TrialResult),
    "scores": TypeAdapter(Scores | None),
    "facts": TypeAdapter(DatasetRecord),
}
"""Arguments that are no plain JSON, by name."""


class Tracker:
    """One method for each thing that a sweep has to tell; each is on disk when it returns, and reaches MLflow later.

    `connect` opens the sweep's run; it is called again as long as it fails. Telling the same thing twice changes
    nothing in MLflow. A context: inside it the courier runs.
    """

    def __init__(self, folder: Path, connect: Callable[[], SweepRun], say: Callable[[str], None]) -> None:
        self._outbox = Outbox(folder)
        self._found = self._outbox.appended
        self._connect = connect
        self._run: SweepRun | None = None
        self._run_ids: dict[RunRef, str] = {}
        self._say = say
        self._courier = OutboxPublisher(self._outbox, self._publish, say)

    def __enter__(self) -> Self:
        if self._outbox.unreadable:
            self._say(
                f"{self._outbox.unreadable} records for MLflow were torn or altered and are set aside in "
                f"{self._outbox.torn}."
            )
        if len(self._outbox):
            self._say(f"{len(self._outbox)} records for MLflow wait from before.")
        self._courier.start()
        self._put("reopen")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._courier.stop(CLOSE_TIMEOUT_S)

    @property
    def record_count(self) -> int:
        """How many records there have been, those of earlier processes included."""
        return self._outbox.appended

    def has_lost_records(self, record_count: int) -> bool:
        """Whether some of the `record_count` records of earlier processes are lost, perhaps before MLflow had them."""
        return self._found < record_count

    def start_trial(
        self, child: RunRef, attempt: int, params: Mapping[str, Any], *, started_at: float | None = None
    ) -> None:
        """See `SweepRun.start_trial`; `started_at` in seconds since the epoch, now by default."""
        started_ms = _now_ms() if started_at is None else round(started_at * 1000)
        self._put("start_trial", child=child, attempt=attempt, params=flatten_params(params), started_ms=started_ms)

    def log_params(self, params: Mapping[str, Any]) -> None:
        """See `SweepRun.log_params`."""
        self._put("log_params", params=flatten_params(params))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """See `SweepRun.set_tags`."""
        self._put("set_tags", tags=dict(tags))

    def log_facts(self, child: RunRef, facts: Mapping[str, Any]) -> None:
        """See `SweepRun.log_facts`."""
        plain = {key: value if isinstance(value, int | float) else str(value) for key, value in facts.items()}
        self._put("log_facts", child=child, values=plain)

    def log_report(self, child: RunRef, report: TrialReport) -> None:
        """See `SweepRun.log_report`."""
        self._put("log_report", child=child, report=report)

    def finish_trial(self, child: RunRef, result: TrialResult, scores: Scores | None = None) -> None:
        """See `SweepRun.finish_trial`."""
        self._put("finish_trial", child=child, result=result, scores=scores)

    def log_baseline(self, scores: Scores, *, bm25_map: float | None = None) -> None:
        """See `SweepRun.log_baseline`."""
        self._put("log_baseline", scores=scores, bm25_map=bm25_map)

    def log_dataset(self, facts: DatasetRecord) -> None:
        """See `SweepRun.log_dataset`."""
        self._put("log_dataset", facts=facts)

    def log_artifact_text(self, name: str, text: str) -> None:
        """See `SweepRun.log_artifact_text`."""
        self._put("log_artifact_text", name=name, text=text)

    def finish(self, summary: Mapping[str, float], *, trials: int) -> None:
        """See `SweepRun.finish`."""
        self._put("finish", summary=dict(summary), trials=trials, ended_ms=_now_ms())

    def close(self, *, interrupted: bool) -> None:
        """See `SweepRun.close`. What MLflow does not take within seconds is told when the sweep goes on."""
        self._put("close", interrupted=interrupted, ended_ms=_now_ms())
        self._outbox.wait_empty(CLOSE_TIMEOUT_S)

    def flush(self, patience_s: float | None = None) -> SweepRun:
        """Wait until MLflow knows everything; the run then. TrackingUnavailable where it stays away for so long."""
        if not self._courier.wait(FLUSH_TIMEOUT_S if patience_s is None else patience_s) or self._run is None:
            raise TrackingUnavailable(
                f"MLflow does not answer ({self._courier.message}). Every trial is kept, and {len(self._outbox)} "
                f"records wait in {self._outbox.folder}; nothing was registered. Once it answers, the same command "
                "hands them over and finishes the sweep."
            )
        return self._run

    def run_id(self, child: RunRef) -> str:
        """The id of a trial's run, for who has settled; a run that somebody deleted is made anew."""
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
    """The outbox lies on disk: no secret may get into it."""
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

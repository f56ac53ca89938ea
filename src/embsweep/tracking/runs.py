"""MLflow runs of a sweep: one for the sweep, and a child run per trial.

Every run is searched for by its tags before it is created.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embsweep.core.redaction import redact
from embsweep.selection.scores import Scores
from embsweep.tracking.records import DatasetRecord, SweepIdentity
from embsweep.tracking.requests import MetricBatch, dataset_input, find_run, find_runs, log_missing_params, write
from embsweep.tracking.store import Store
from embsweep.tracking.values import flatten_params, report_metrics, score_metrics, to_name
from embsweep.training.messages import Outcome, TrialReport, TrialResult

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


@dataclass(frozen=True)
class RunRef:
    """Reference to a child run: `number` is that of a trial of the search, or of a run of another `role`."""

    number: int
    name: str
    role: str = "trial"


_SWEEP_KEY = ("embsweep.role", "embsweep.sweep", "embsweep.study")
_TRIAL_KEY = ("mlflow.parentRunId", "embsweep.role", "embsweep.trial")
_REASON_CHARS = 2000
_ATTEMPT_TAGS = ("embsweep.outcome", "embsweep.reason", "embsweep.non_finite")


def open_sweep_run(store: Store, identity: SweepIdentity) -> SweepRun:
    """Open the run of a sweep, and set it to RUNNING; create it if there is none with this identity."""
    client = store.client()
    wanted = dict(zip(_SWEEP_KEY, ("sweep", identity.name, identity.study_id), strict=True))
    run = find_run(store, client, wanted)
    if run is None:
        tags = identity.tags | wanted | {"mlflow.source.name": "embsweep"}
        created = client.create_run(store.experiment_id, tags=tags, run_name=identity.name)
        run = find_run(store, client, wanted) or created  # if a slow server created two, later calls find the same one
    elif run.info.status != "RUNNING":
        client.update_run(run.info.run_id, status="RUNNING")
    return SweepRun(store, identity, client, run)


class SweepRun:
    """Writer of one sweep's runs in MLflow. Only the driver's process writes.

    Timestamps of metrics are derived from the logged data, so that logging the same data again changes nothing.
    """

    def __init__(self, store: Store, identity: SweepIdentity, client: MlflowClient, run: Run) -> None:
        self.store = store
        self.identity = identity
        self.run_id: str = run.info.run_id
        self._start_ms: int = run.info.start_time
        self._client = client
        self._attempt_ms: dict[str, int] = {}

    def find_trial(self, child: RunRef) -> str | None:
        """Return the id of a trial's run, None if it has none."""
        run = find_run(self.store, self._client, self._identity_tags(child))
        return None if run is None else str(run.info.run_id)

    def start_trial(
        self, child: RunRef, attempt: int, params: Mapping[str, Any], *, started_ms: int | None = None
    ) -> str:
        """Open the run of a trial, and set it to RUNNING.

        If the run exists, a new attempt changes only its status and the tags of the attempt, and adds missing
        parameters.

        Args:
            child: Trial.
            attempt: Number of the attempt.
            params: Whole configuration of the trial, logged as parameters.
            started_ms: Start of the attempt in ms since the epoch, now by default.

        Returns:
            The id of the run.
        """
        started_ms = _now_ms() if started_ms is None else started_ms
        run = find_run(self.store, self._client, self._identity_tags(child))
        if run is None:
            run = self._create_trial(child, attempt, started_ms)
        elif run.data.tags.get("embsweep.attempt") != str(attempt) or run.info.status != "RUNNING":
            run = self._restart_trial(run, attempt, started_ms)
        run_id: str = run.info.run_id
        self._attempt_ms[run_id] = int(run.data.tags["embsweep.attempt_started_ms"])
        log_missing_params(self._client, run_id, flatten_params(params), run.data.params)
        return run_id

    def log_params(self, params: Mapping[str, Any], *, run_id: str | None = None) -> None:
        """Log parameters of the sweep's run (or of one of its child runs), nested ones under dotted keys."""
        run = self._client.get_run(run_id or self.run_id)
        log_missing_params(self._client, run.info.run_id, flatten_params(params), run.data.params)

    def set_tags(self, tags: Mapping[str, str], *, run_id: str | None = None) -> None:
        """Set tags of the sweep's run (or of one of its child runs), secrets masked."""
        write(self._client, run_id or self.run_id, tags={name: redact(value) for name, value in tags.items()})

    def log_facts(self, run_id: str, values: Mapping[str, Any]) -> None:
        """Log values of a trial other than scores: numbers as metrics, anything else as tags `embsweep.…`."""
        numbers = {to_name(k): float(v) for k, v in values.items() if isinstance(v, int | float)}
        texts = {f"embsweep.{to_name(k)}": redact(str(v)) for k, v in values.items() if to_name(k) not in numbers}
        write(self._client, run_id, MetricBatch(numbers, self._started_ms(run_id)), tags=texts)

    def log_report(self, run_id: str, report: TrialReport) -> None:
        """Log one report in one request: every metric at every dimension, at the report's step.

        Values that are not finite are not logged; the tag `embsweep.non_finite` lists their names.
        """
        write(self._client, run_id, MetricBatch(report_metrics(report), round(report.reported_at * 1000), report.step))

    def finish_trial(self, run_id: str, result: TrialResult, scores: Scores | None = None) -> None:
        """Log the end of a trial: its best scores under `best/…`, its outcome and its final status.

        A stopped trial is FINISHED with the tag `embsweep.outcome=stopped`, a failed one FAILED with its reason.
        Duplicates of the run are deleted.

        Args:
            run_id: Run of the trial.
            result: Result of the trial.
            scores: Best scores, used if the result has none.
        """
        at_ms = round(result.ended_at * 1000)
        best = score_metrics(result.best_scores or scores or {}, "best")
        tags = {"embsweep.outcome": result.outcome.value}
        if result.reason:
            tags["embsweep.reason"] = redact(result.reason)[:_REASON_CHARS]
        write(self._client, run_id, MetricBatch(best, at_ms), tags=tags)
        if result.best_objective is not None:
            self._set_final_value(run_id, "best_objective", float(result.best_objective), at_ms)
        status = "FAILED" if result.outcome is Outcome.FAILED else "FINISHED"
        self._client.set_terminated(run_id, status=status, end_time=at_ms)
        self._delete_duplicates(self._client.get_run(run_id), _TRIAL_KEY)

    def log_baseline(self, scores: Scores, *, bm25_map: float | None = None) -> None:
        """Log the baseline's scores under `baseline/…`, and BM25's MAP@100 as `bm25/map_at_100`."""
        values = score_metrics(scores, "baseline") | ({} if bm25_map is None else {"bm25/map_at_100": float(bm25_map)})
        write(self._client, self.run_id, MetricBatch(values, self._start_ms))

    def log_dataset(self, facts: DatasetRecord, *, run_id: str | None = None) -> None:
        """Log the data as an MLflow dataset of the sweep's run (or of a trial's): name, digest, source and sizes."""
        self._client.log_inputs(run_id or self.run_id, datasets=[dataset_input(facts)])

    def log_artifact_text(self, name: str, text: str, *, run_id: str | None = None) -> None:
        """Log a text as an artifact file, secrets masked; an existing file is replaced.

        Args:
            name: Path of the artifact in the run.
            text: Content of the file.
            run_id: Run to log to, the sweep's by default.
        """
        self._client.log_text(run_id or self.run_id, redact(text), name)

    def finish(self, summary: Mapping[str, float], *, trials: int = 0, ended_ms: int | None = None) -> None:
        """Log the summary of the sweep as metrics of its run, set the run to FINISHED, and delete its duplicates.

        Args:
            summary: Metrics of the sweep.
            trials: Number of trials that the summary covers. It is the step of the metrics: MLflow shows the value of
                the highest step, regardless of timestamps.
            ended_ms: End of the sweep in ms since the epoch, now by default.
        """
        ended_ms = _now_ms() if ended_ms is None else ended_ms
        write(self._client, self.run_id, MetricBatch(dict(summary), ended_ms, trials))
        self._client.set_terminated(self.run_id, status="FINISHED", end_time=ended_ms)
        self._delete_duplicates(self._client.get_run(self.run_id), _SWEEP_KEY)

    def close(self, *, interrupted: bool, ended_ms: int | None = None) -> None:
        """Set the run of a sweep that ends early, and its running trials, to KILLED (if interrupted) or FAILED.

        `reopen` sets the sweep's run to RUNNING again.
        """
        ended_ms = _now_ms() if ended_ms is None else ended_ms
        status = "KILLED" if interrupted else "FAILED"
        for trial in find_runs(self.store, self._client, {"mlflow.parentRunId": self.run_id}, status="RUNNING"):
            self._client.set_terminated(trial.info.run_id, status=status, end_time=ended_ms)
        self._client.set_terminated(self.run_id, status=status, end_time=ended_ms)

    def reopen(self) -> None:
        """Set the run of a resumed sweep to RUNNING."""
        self._client.update_run(self.run_id, status="RUNNING")

    def _set_final_value(self, run_id: str, metric: str, value: float, at_ms: int) -> None:
        """Make `value` the one that MLflow shows: that of the highest step and, within it, of the latest timestamp.

        An earlier attempt may have logged a higher step than the final one, and the clock may have been set back.
        """
        points = self._client.get_metric_history(run_id, metric)
        shown = max(points, key=lambda point: (point.step, point.timestamp), default=None)
        if shown is None or shown.value != value:
            write(self._client, run_id, MetricBatch({metric: value}, at_ms, shown.step + 1 if shown else 0))

    def _delete_duplicates(self, run: Run, key: Sequence[str]) -> None:
        """Delete other runs with the same values of the tags `key`; repeating a slow request may create them."""
        wanted = {name: run.data.tags[name] for name in key}
        for duplicate in find_runs(self.store, self._client, wanted):
            if duplicate.info.run_id != run.info.run_id:
                self._client.set_terminated(duplicate.info.run_id, status="KILLED")
                self._client.delete_run(duplicate.info.run_id)

    def _identity_tags(self, child: RunRef) -> dict[str, str]:
        """Return the tags that identify a trial's run."""
        return dict(zip(_TRIAL_KEY, (self.run_id, child.role, str(child.number)), strict=True))

    def _create_trial(self, child: RunRef, attempt: int, started_ms: int) -> Run:
        fixed = {"mlflow.source.name": "embsweep"}
        created = self._client.create_run(
            self.store.experiment_id,
            start_time=started_ms,
            tags=self.identity.tags | fixed | _attempt_tags(attempt, started_ms) | self._identity_tags(child),
            run_name=child.name,
        )
        return find_run(self.store, self._client, self._identity_tags(child)) or created

    def _restart_trial(self, run: Run, attempt: int, started_ms: int) -> Run:
        run_id = run.info.run_id
        for tag in _ATTEMPT_TAGS:
            if tag in run.data.tags:
                self._client.delete_tag(run_id, tag)
        write(self._client, run_id, tags=_attempt_tags(attempt, started_ms))
        self._client.update_run(run_id, status="RUNNING")
        return self._client.get_run(run_id)

    def _started_ms(self, run_id: str) -> int:
        if run_id not in self._attempt_ms:
            tags = self._client.get_run(run_id).data.tags
            self._attempt_ms[run_id] = int(tags["embsweep.attempt_started_ms"])
        return self._attempt_ms[run_id]


def _attempt_tags(attempt: int, started_ms: int) -> dict[str, str]:
    return {"embsweep.attempt": str(attempt), "embsweep.attempt_started_ms": str(started_ms)}


def _now_ms() -> int:
    return round(time.time() * 1000)

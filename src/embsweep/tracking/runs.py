"""MLflow runs of a sweep, one for the sweep and a child run per trial: what they must contain, and how it gets there.

`RunState` is the whole content of a run, derived from the ledger. `RunWriter` makes MLflow's run equal to it, with what
is missing there, and last sets the tag `embsweep.digest`: a run with a state's digest has all of that state. Writing
the same state again, after a crash or a lost answer, changes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.redaction import redact
from embsweep.tracking.connection import answer_or_none
from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.requests import MetricBatch, dataset_input, find_runs, log_missing_params, write
from embsweep.tracking.store import Store
from embsweep.tracking.views import EXPERIMENT_TAGS

if TYPE_CHECKING:
    from mlflow.entities import Run

DIGEST_TAG = "embsweep.digest"
"""Tag of a run: digest of the state of the ledger that the run contains."""

RUNNING, SCHEDULED = "RUNNING", "SCHEDULED"
"""Status of an open run: it runs, or it is paused and may go on."""

_STUDY_TAG, _ROLE_TAG, _TRIAL_TAG, _PARENT_TAG = (
    "embsweep.study",
    "embsweep.role",
    "embsweep.trial",
    "mlflow.parentRunId",
)
_NON_FINITE_TAG = "embsweep.non_finite"
_TAG_CHARS = 5000


RunKey = tuple[str, int | None]
"""Role and number of a run in its sweep; the sweep's own run is `SWEEP`."""

SWEEP: RunKey = ("sweep", None)

NOTE_TAG = "mlflow.note.content"
EXPERIMENT_PLACE, RUN_PLACE, OWN_RUN_PLACE = "{experiment}", "{run}", "{self}"
"""Places of a note in which `RunWriter` puts the ids of the experiment, of the run that the note links to, and its own.
"""

NOTE_END = "*embsweep rewrites this text; without this line it stays as it is.*"
OWN_TAGS_TAG = "embsweep.tags"
"""Tag of a run: names of the tags that the user has given it, with commas, so that later ones replace them."""


@dataclass(frozen=True)
class RunRef:
    """Reference to a child run by the key of its `RunState`: its number as a trial, or as a run of another role."""

    key: RunKey
    name: str


@dataclass(frozen=True)
class RunState:
    """Everything that MLflow must say about one run of a sweep.

    `key` and the sweep's `study` identify the run. Times are in ms since the epoch. `metrics` are written at their own
    times and steps, so that writing them again changes nothing; `final` are the values of an ended run that MLflow must
    show, whatever step earlier attempts have reached. `texts` are artifacts, by path; `files` are artifacts that are
    copied from the sweep's folder, by name with their sha256 when they were recorded. `experiment_tags` are set on the
    experiment if it lacks them. `note` is the run's description, unless a person has written another one; `linked` has
    key, name and start of the run to which it links. Values that are not finite are not written, only the names of
    their metrics.
    """

    key: RunKey
    study: str
    name: str
    status: str
    started_ms: int
    ended_ms: int | None = None
    params: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    metrics: tuple[MetricBatch, ...] = ()
    final: Mapping[str, float] = field(default_factory=dict)
    dataset: DatasetRecord | None = None
    texts: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    experiment_tags: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    linked: RunState | None = None

    @property
    def is_open(self) -> bool:
        """True if the run has not ended."""
        return self.status in (RUNNING, SCHEDULED)

    @cached_property
    def digest(self) -> str:
        """Digest of the whole state."""
        text = json.dumps(dataclasses.asdict(self), sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @property
    def identity_tags(self) -> dict[str, str]:
        """Tags by which the run is found."""
        role, number = self.key
        return {_STUDY_TAG: self.study, _ROLE_TAG: role} | ({} if number is None else {_TRIAL_TAG: str(number)})

    @property
    def all_tags(self) -> dict[str, str]:
        """The tags, with the names of the metrics that have a value that is not finite."""
        points = [point for batch in self.metrics for point in batch.values.items()]
        bad = {name for name, value in points if not math.isfinite(value)}
        return {**self.tags, **({_NON_FINITE_TAG: ", ".join(sorted(bad))[:_TAG_CHARS]} if bad else {})}


class RunWriter:
    """Writer of one sweep's runs in an MLflow store. Only one process may write a sweep's runs at a time.

    Args:
        store: The store, with its experiment.
        study: Id of the sweep's study, the value of the tag `embsweep.study`.
        folder: The sweep's folder, from which files are copied; None copies none.
    """

    def __init__(self, store: Store, study: str, folder: Path | None = None) -> None:
        self.store, self.folder = store, folder
        self.run_ids: dict[RunKey, str] = {}
        self._known: dict[RunKey, RunState] = {}
        self._experiment_tags: set[str] = set()
        found = find_runs(store, {_STUDY_TAG: study})
        for run in sorted(found, key=lambda run: DIGEST_TAG not in run.data.tags):
            known = _to_state(run)
            self._known.setdefault(known.key, known)  # the others are duplicates
            self.run_ids.setdefault(known.key, run.info.run_id)

    @property
    def digests(self) -> dict[RunKey, str]:
        """Digest of the state that each run contains in MLflow."""
        return {key: known.tags.get(DIGEST_TAG, "") for key, known in self._known.items()}

    def write(self, state: RunState) -> None:
        """Make a run in MLflow equal to its state; create it if there is none. The sweep's own run comes first."""
        known = self._known.get(state.key) or self._create(state)
        run_id = self.run_ids[state.key]
        digest = {DIGEST_TAG: state.digest}
        tags = {**state.all_tags, **self._parent(state), **self._note(state, known)} | (digest if state.is_open else {})
        log_missing_params(self.store.client, run_id, state.params, known.params)
        earlier = known.tags.get(OWN_TAGS_TAG, "").split(",")
        for tag in known.tags.keys() - {*tags, *state.identity_tags, DIGEST_TAG}:
            if tag.startswith("embsweep.") or tag in earlier:  # of an earlier attempt, or of an earlier start
                self.store.client.delete_tag(run_id, tag)
        if state.is_open and known.status != state.status:
            self.store.client.update_run(run_id, status=state.status)
        self._write_artifacts(run_id, state, known)
        self._write_experiment(state)
        changed = {name: value for name, value in tags.items() if known.tags.get(name) != value}
        write(self.store.client, run_id, *(new for new in state.metrics if new not in known.metrics), tags=changed)
        if not state.is_open:
            self._end(run_id, state)
            write(self.store.client, run_id, tags=digest)
        self._known[state.key] = dataclasses.replace(state, tags={**tags, **digest})

    def _create(self, state: RunState) -> RunState:
        tags = {"mlflow.source.name": "embsweep"} | state.identity_tags | self._parent(state)
        self.store.client.create_run(
            self.store.experiment_id, start_time=state.started_ms, tags=tags, run_name=state.name
        )
        run = find_runs(self.store, state.identity_tags)[0]  # a slow server may have created two
        self.run_ids[state.key] = run.info.run_id
        return _to_state(run)

    def _parent(self, state: RunState) -> dict[str, str]:
        return {} if state.key == SWEEP else {_PARENT_TAG: self.run_ids[SWEEP]}

    def _note(self, state: RunState, known: RunState) -> dict[str, str]:
        """Return the note with the ids of this store, or the one that a person has written."""
        found = known.tags.get(NOTE_TAG)
        if not state.note or (found is not None and not found.rstrip().endswith(NOTE_END)):
            return {} if found is None else {NOTE_TAG: found}
        linked = state.linked
        if linked is not None and linked.key not in self._known:
            self._known[linked.key] = self._create(linked)
        text = state.note.replace(EXPERIMENT_PLACE, self.store.experiment_id)
        text = text.replace(OWN_RUN_PLACE, self.run_ids[state.key])
        text = text if linked is None else text.replace(RUN_PLACE, self.run_ids[linked.key])
        return {NOTE_TAG: f"{text}\n\n{NOTE_END}"}

    def _write_artifacts(self, run_id: str, state: RunState, known: RunState) -> None:
        if state.dataset is not None and known.dataset != state.dataset:
            self.store.client.log_inputs(run_id, datasets=[dataset_input(state.dataset)])
        for path, text in state.texts.items():
            if known.texts.get(path) != text:
                self.store.client.log_text(run_id, redact(text), path)
        for name, digest in state.files.items():
            if self.folder is not None and known.files.get(name) != digest and (self.folder / name).is_file():
                self.store.client.log_artifact(run_id, str(self.folder / name))

    def _write_experiment(self, state: RunState) -> None:
        """Set the experiment's tags that are missing; those that it has may have been changed by people."""
        missing = state.experiment_tags.keys() - self._experiment_tags
        if not missing:
            return
        known = self.store.client.get_experiment(self.store.experiment_id).tags
        for name, value in (EXPERIMENT_TAGS | dict(state.experiment_tags)).items():
            if name not in known:
                answer_or_none(
                    functools.partial(
                        self.store.client.set_experiment_tag, self.store.experiment_id, name, redact(value)
                    ),
                    "PERMISSION_DENIED",  # on a server with accounts, who may write runs need not own the experiment
                )
        self._experiment_tags |= missing

    def _end(self, run_id: str, state: RunState) -> None:
        """Set final values and status, and delete duplicates, which a repeated slow request may have created."""
        for name, value in state.final.items():
            self._set_final_value(run_id, name, value, state.ended_ms or 0)
        self.store.client.set_terminated(run_id, status=state.status, end_time=state.ended_ms)
        for duplicate in find_runs(self.store, state.identity_tags):
            if duplicate.info.run_id != run_id:
                self.store.client.set_terminated(duplicate.info.run_id, status="KILLED")
                self.store.client.delete_run(duplicate.info.run_id)

    def _set_final_value(self, run_id: str, metric: str, value: float, at_ms: int) -> None:
        """Make `value` the one that MLflow shows: that of the highest step and, within it, of the latest timestamp.

        An earlier attempt may have logged a higher step than the final one, and the clock may have been set back.
        """
        points = self.store.client.get_metric_history(run_id, metric)
        shown = max(points, key=lambda point: (point.step, point.timestamp), default=None)
        if shown is None or shown.value != value:
            write(self.store.client, run_id, MetricBatch({metric: value}, at_ms, shown.step + 1 if shown else 0))


def _to_state(run: Run) -> RunState:
    """Return what a search for runs shows of a run: not its metrics' history, dataset and artifacts."""
    tags = run.data.tags
    number = tags.get(_TRIAL_TAG)
    return RunState(
        key=(tags[_ROLE_TAG], None if number is None else int(number)),
        study=tags[_STUDY_TAG],
        name=run.info.run_name,
        status=run.info.status,
        started_ms=run.info.start_time,
        params=run.data.params,
        tags=tags,
    )

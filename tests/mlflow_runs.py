"""Comparison of MLflow's runs with the states that they must have: every run once, every point once."""

import math
from collections import defaultdict

from embsweep.tracking.runs import DIGEST_TAG, RUNNING, SWEEP, RunState, RunWriter


def find_all_runs(client, experiment_id, study):
    """Return the runs of a study, by role and number."""
    found = defaultdict(list)
    for run in client.search_runs([experiment_id], f"tags.`embsweep.study` = '{study}'", max_results=5000):
        number = run.data.tags.get("embsweep.trial")
        found[run.data.tags["embsweep.role"], None if number is None else int(number)].append(run)
    return found


def find_differences(client, experiment_id, states, *, exact=None):
    """Return what MLflow says otherwise than `states`, which are all of one sweep, as a list of sentences.

    Args:
        client: Client of MLflow.
        experiment_id: Experiment of the runs.
        states: The states.
        exact: Metrics that must have no point besides those of the states, by default all.
    """
    runs = find_all_runs(client, experiment_id, states[0].study)
    problems = [f"run {key} is not in the ledger" for key in runs.keys() - {state.key for state in states}]
    for state in states:
        if len(runs[state.key]) != 1:
            problems.append(f"{state.name} has {len(runs[state.key])} runs in MLflow")
            continue
        (run,) = runs[state.key]
        parent = {} if state.key == SWEEP else {"mlflow.parentRunId": runs[SWEEP][0].info.run_id}
        problems += [f"{state.name}: {text}" for text in _compare(client, run, state, parent, exact)]
    return problems


def _compare(client, run, state, parent, exact):
    if run.info.status != state.status:
        yield f"{run.info.status} in MLflow, {state.status} in the ledger"
    if run.info.run_name != state.name:
        yield f"the name {run.info.run_name!r} in MLflow"
    if not state.is_open and run.info.end_time != state.ended_ms:
        yield f"ended at {run.info.end_time} in MLflow, {state.ended_ms} in the ledger"
    if dict(run.data.params) != dict(state.params):
        yield f"parameters {run.data.params} in MLflow, {state.params} in the ledger"
    wanted = state.all_tags | state.identity_tags | parent | {DIGEST_TAG: state.digest}
    own = {name for name in run.data.tags if name.startswith("embsweep.")}
    if own - wanted.keys() or not run.data.tags.items() >= wanted.items():
        yield f"tags {run.data.tags} in MLflow, {wanted} in the ledger"
    yield from _compare_points(client, run, state, exact)


def _compare_points(client, run, state, exact):
    points = defaultdict(set)
    for batch in state.metrics:
        for name, value in batch.values.items():
            if math.isfinite(value):
                points[name].add((batch.step, batch.at_ms, float(value)))
    final = {} if state.is_open else state.final
    for name in sorted(points.keys() | final.keys() | run.data.metrics.keys()):
        logged = [
            (point.step, point.timestamp, point.value) for point in client.get_metric_history(run.info.run_id, name)
        ]
        more = sorted({point for point in logged if point not in points[name]})
        if name in final and [(point[1], point[2]) for point in more] == [(state.ended_ms, final[name])]:
            more = []
        if not points[name] <= set(logged) or len(logged) != len(set(logged)) or (more and name in (exact or [name])):
            yield f"points of {name}: {sorted(logged)} in MLflow, {sorted(points[name])} in the ledger"
        if name in final and run.data.metrics[name] != final[name]:
            yield f"MLflow shows {run.data.metrics[name]} for {name}, not {final[name]}"


class SampleSweep:
    """A sweep's run in MLflow, for tests of what belongs to runs: artifacts, models, versions."""

    def __init__(self, store, identity):
        self.store, self.identity = store, identity
        self.writer = RunWriter(store, identity.study_id)
        self.run_id = self._write(SWEEP, identity.name, {})

    def start_trial(self, number, params=None):
        """Create the run of a trial, and return its id."""
        return self._write(("trial", number), f"trial {number}", params or {})

    def _write(self, key, name, params):
        self.writer.write(
            RunState(key, self.identity.study_id, name, RUNNING, 1, params=params, tags=self.identity.tags)
        )
        return self.writer.run_ids[key]

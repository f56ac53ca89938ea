"""Invariants that must hold after any fault, checked in the ledger, in MLflow and on disk."""

import json
import math
from collections import Counter, defaultdict

import optuna
from embsweep.tracking.outbox import count_waiting

from embsweep.search.record import to_record
from tests.chaos.sandbox import NAME

STUDIES = {"sweep": "trial", "confirmation": "confirmation"}
"""Study in the ledger → role of its runs in MLflow."""


def check_invariants(sandbox, reference=None, *, code=0, trials=None):
    """Return the violated invariants of the finished sweep in `sandbox`, as a list of sentences.

    `reference` are the facts (`read_facts`) of the same sweep without faults; `code` is the exit code of the last run.
    """
    problems = [] if code == 0 else [f"exit code {code}"]
    studies = _read_studies(sandbox)
    records = studies["sweep"]
    if trials is not None and len(records) != trials:
        problems.append(f"{len(records)} trials instead of {trials}")
    points = [tuple(sorted(record.params.items())) for record in records]
    problems += [f"{count} trials are the same point" for count in Counter(points).values() if count > 1]
    for study, found in studies.items():
        problems += [f"{study} {r.number} is {r.state} in the ledger" for r in found if not r.is_finished]
    facts = read_facts(sandbox)
    if reference is not None:
        problems += [
            f"{key}: {facts[key]} and not {reference[key]}" for key in reference if facts[key] != reference[key]
        ]
    return [*problems, *_check_mlflow(sandbox, studies), *_check_repeated(sandbox, studies), *_check_disk(sandbox)]


def read_facts(sandbox):
    """Return all results of a finished sweep that no fault may change.

    The number of holdout evaluations may change: one that was killed before its record was complete counts as well.
    """
    facts = {}
    for study, records in _read_studies(sandbox).items():
        for r in records:
            log = [(row["fraction"], row["objective"]) for row in r.attributes.get("reports", [])]
            facts[f"{study} {r.number}"] = (r.state, dict(r.params), r.best, log)
    path = sandbox.folder / "evidence.json"
    if path.exists():
        evidence = json.loads(path.read_text())
        facts["winner"] = evidence["verdict"]["winner"]
        facts["validation"] = evidence["validation"]
        facts["test"] = {name: reading["scores"] for name, reading in evidence["test"].items()}
    return facts


def _read_studies(sandbox):
    storage = optuna.storages.RDBStorage(f"sqlite:///{sandbox.ledger}")
    try:
        names = {summary.study_name for summary in optuna.get_all_study_summaries(storage)}
        return {
            name: [
                to_record(trial)
                for trial in optuna.load_study(storage=storage, study_name=name).get_trials(deepcopy=False)
                if trial.state != optuna.trial.TrialState.WAITING
            ]
            for name in STUDIES
            if name in names
        }
    finally:
        storage.engine.dispose()


def _check_mlflow(sandbox, studies):
    client = sandbox.open_mlflow()
    experiment = client.get_experiment_by_name("embsweep").experiment_id
    runs = client.search_runs([experiment], max_results=5000)
    problems = [
        f"run {r.info.run_name} is {r.info.status} in MLflow" for r in runs if r.info.status in ("RUNNING", "KILLED")
    ]
    by_role = defaultdict(list)
    for run in runs:
        by_role[run.data.tags["embsweep.role"]].append(run)
    if len(by_role["sweep"]) != 1:
        problems.append(f"{len(by_role['sweep'])} runs of the sweep in MLflow")
    for study, role in STUDIES.items():
        problems += _check_runs(client, role, by_role[role], studies.get(study, []))
    return [*problems, *_check_registry(client, experiment)]


def _check_runs(client, role, runs, records):
    numbers = Counter(int(run.data.tags["embsweep.trial"]) for run in runs)
    problems = [f"{role} {number} has {count} runs in MLflow" for number, count in numbers.items() if count > 1]
    if set(numbers) != {record.number for record in records}:
        problems.append(f"runs of {role} in MLflow: {sorted(numbers)}, in the ledger: {[r.number for r in records]}")
    known = {int(run.data.tags["embsweep.trial"]): run for run in runs}
    for record in records:
        run = known.get(record.number)
        if run is None:
            continue
        wanted = "FAILED" if record.state == "failed" else "FINISHED"
        if run.info.status != wanted:
            problems.append(f"{role} {record.number} is {record.state} in the ledger, {run.info.status} in MLflow")
        if record.state == "failed" and run.data.tags.get("embsweep.reason") != record.attributes.get("reason"):
            problems.append(f"{role} {record.number}: another reason in MLflow")
        if run.data.tags["embsweep.attempt"] != str(record.attempt):
            problems.append(
                f"{role} {record.number}: attempt {run.data.tags['embsweep.attempt']}, not {record.attempt}"
            )
        points = [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, "objective")]
        logged = [(row["step"], row["objective"]) for row in record.attributes.get("reports", [])]
        if sorted(points) != sorted(logged):
            problems.append(f"{role} {record.number}: points in MLflow {points}, evaluations in the ledger {logged}")
    return problems


def _check_registry(client, experiment):
    versions = client.search_model_versions(f"name = '{NAME}'")
    problems = [] if len(versions) == 1 else [f"{len(versions)} registered versions"]
    logged = client.search_logged_models([experiment])
    if len(logged) != len(versions) or any(str(model.status) != "READY" for model in logged):
        problems.append(f"logged models: {[str(model.status) for model in logged]}")
    aliases = client.get_registered_model(NAME).aliases if versions else {}
    if versions and aliases != {"challenger": int(versions[0].version)}:
        problems.append(f"aliases {aliases}")
    return problems


def _check_repeated(sandbox, studies):
    """Check that no attempt repeats more than one interval of earlier attempts.

    Attempts that restarted from the beginning may repeat all of them.
    """
    known, problems, allowed = defaultdict(set), [], defaultdict(lambda: 1)
    for study, records in studies.items():
        for record in records:
            folder = str(sandbox.folder / ("trials" if study == "sweep" else study) / f"{record.number:04d}")
            if "restarted" in record.attributes:
                allowed[folder] = math.inf
    lines = [json.loads(line) for line in sandbox.trace.read_text().splitlines()] if sandbox.trace.exists() else []
    repeated = Counter()
    for line in lines:
        interval = (line["from"], line["to"])
        if interval in known[line["folder"]]:
            repeated[line["folder"], line["attempt"]] += 1
        known[line["folder"]].add(interval)
    for (folder, attempt), count in repeated.items():
        if count > allowed[folder]:
            problems.append(f"attempt {attempt} of {folder} repeated {count} intervals")
    return problems


def _check_disk(sandbox):
    """Check that no partly written weights, no states of finished trials and no undelivered records are left."""
    folders = [path for path in sandbox.folder.rglob("*") if path.is_dir()]
    leftovers = [path for path in folders if path.name == "state" or path.suffix in (".tmp", ".old")]
    leftovers += list(sandbox.folder.rglob(".registering-*"))
    problems = [f"left behind: {path.relative_to(sandbox.folder)}" for path in leftovers]
    waiting = count_waiting(sandbox.folder / "outbox")
    return [*problems, *([f"{waiting} records are pending in the outbox"] if waiting else [])]

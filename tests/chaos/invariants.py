"""Invariants that must hold after any fault, checked in the ledger, in MLflow and on disk."""

import json
import math
from collections import Counter, defaultdict

from embsweep.search.read import read_phases
from embsweep.sweep.projection import project_ledger
from embsweep.tracking.sync import count_pending
from tests.chaos.sandbox import NAME
from tests.mlflow_runs import find_differences


def check_invariants(sandbox, reference=None, *, code=0, trials=None):
    """Return the violated invariants of the finished sweep in `sandbox`, as a list of sentences.

    `reference` are the facts (`read_facts`) of the same sweep without faults; `code` is the exit code of the last run.
    """
    problems = [] if code == 0 else [f"exit code {code}"]
    studies = read_phases(sandbox.ledger)
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
    for study, records in read_phases(sandbox.ledger).items():
        for r in records:
            log = [(report.fraction, report.objective) for report in r.reports]
            facts[f"{study} {r.number}"] = (r.state, dict(r.params), r.best, log)
    path = sandbox.folder / "evidence.json"
    if path.exists():
        evidence = json.loads(path.read_text())
        facts["winner"] = evidence["verdict"]["winner"]
        facts["validation"] = evidence["validation"]
        facts["test"] = {name: reading["scores"] for name, reading in evidence["test"].items()}
    return facts


def _check_mlflow(sandbox, studies):
    """Check that MLflow says what the ledger says, and that this is the end of every run."""
    client = sandbox.open_mlflow()
    experiment = client.get_experiment_by_name("embsweep").experiment_id
    states = project_ledger(sandbox.ledger)
    problems = [f"{state.name} is {state.status}" for state in states if state.status in ("RUNNING", "KILLED")]
    if len(states) != 1 + sum(len(records) for records in studies.values()):
        problems.append(f"{len(states)} runs instead of one per record in the ledger and one of the sweep")
    problems += find_differences(client, experiment, states, exact=("objective",))
    return [*problems, *_check_registry(client, experiment)]


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
            if "restarted" in record.facts:
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
    """Check that no partly written weights, no states of finished trials and no pending runs are left."""
    folders = [path for path in sandbox.folder.rglob("*") if path.is_dir()]
    leftovers = [path for path in folders if path.name == "state" or path.suffix in (".tmp", ".old")]
    leftovers += list(sandbox.folder.rglob(".registering-*"))
    problems = [f"left behind: {path.relative_to(sandbox.folder)}" for path in leftovers]
    pending = count_pending(sandbox.folder / "mlflow.json", project_ledger(sandbox.ledger))
    return [*problems, *([f"{pending} runs are pending for MLflow"] if pending else [])]

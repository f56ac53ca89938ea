"""Gather what the report of a sweep says from its ledger and files, whatever its state, and write the report."""

from __future__ import annotations

import json
import logging
import shlex
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from embsweep.core.errors import CodedError, describe_exception
from embsweep.core.files import atomic_write, hash_file
from embsweep.core.names import rehearsal_name
from embsweep.core.redaction import redact
from embsweep.reports.html.page import Commands, Provenance, QueryText, ReportData, State
from embsweep.search.ledger import Ledger
from embsweep.search.read import explain_damage, read_ledger
from embsweep.search.record import TrialRecord
from embsweep.selection.evidence import WINNER, Evidence
from embsweep.selection.objective import describe_objective
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import REPORT, read_identity
from embsweep.sweep.search_history import read_search_history
from embsweep.sweep.test_queries import load_test_queries
from embsweep.sweep.winner import load_evidence
from embsweep.tracking.runs import RUNNING

log = logging.getLogger(__name__)

CONFIGURATION = "config/resolved.yaml"
_FILES = {
    CONFIGURATION: "Configuration",
    "config/requested.yaml": "Configuration before scaling",
    "environment/git.txt": "Git",
    "environment/machine.txt": "Machine",
    "environment/packages.txt": "Installed packages",
}
_REASONS, _REASON_CHARS = 5, 300


def gather_report(folder: SweepFolder, *, default_storage: Path, texts: bool = True) -> ReportData:
    """Return what the report of a sweep says. The ledger is only read.

    Args:
        folder: The folder of the sweep.
        default_storage: Storage folder that commands use without `--storage`.
        texts: Whether texts of the data may be shown; without `report.texts` of the sweep they never are.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the ledger cannot be read, or nothing is recorded yet.
    """
    with explain_damage(folder.ledger):
        found = read_ledger(folder.ledger)
        if found is None or "tracking" not in found[0]:
            raise CodedError("empty", f"sweep '{folder.name}' has recorded nothing yet")
        metadata, records = found
        stored = metadata.get("result")
        evidence = None if stored is None else load_evidence(folder, stored)
        may_show = texts and _allows_texts(metadata)
        return ReportData(
            name=folder.name,
            title=metadata["title"],
            objective=metadata["objective"],
            state=_describe_state(metadata, records),
            commands=describe_commands(folder, metadata, default_storage),
            provenance=_describe_provenance(metadata, evidence),
            written_at=time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            evidence=evidence,
            history=read_search_history(folder),
            texts=_load_texts(folder, evidence) if may_show else {},
            has_texts=may_show,
            configuration=_read_configuration(metadata),
        )


def write_report(folder: SweepFolder, *, default_storage: Path, output: Path | None = None, texts: bool = True) -> Path:
    """Write the report of a sweep and return its path. The ledger is not changed.

    Args:
        folder: The folder of the sweep.
        default_storage: Storage folder that commands use without `--storage`.
        output: The file, by default `report.html` in the sweep's folder.
        texts: Whether texts of the data may be shown.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the ledger cannot be read, or nothing is recorded yet.
        EmbsweepError: If the charts cannot be drawn.
        OSError: If the file cannot be written.
    """
    from embsweep.reports.html.render import render_report

    page = render_report(gather_report(folder, default_storage=default_storage, texts=texts))
    path = output or folder.report
    atomic_write(path, page)
    return path


def write_comparison(
    folders: tuple[SweepFolder, SweepFolder], *, default_storage: Path, output: Path | None = None
) -> Path:
    """Write two sweeps side by side and return the path. Their ledgers are not changed; no text of the data is shown.

    Args:
        folders: The folders of the sweeps.
        default_storage: Storage folder that commands use without `--storage`.
        output: The file, by default `report-and-<second>.html` in the first sweep's folder.

    Raises:
        SweepRefused: If a ledger has another format.
        CodedError: If a ledger cannot be read, or nothing is recorded yet.
        EmbsweepError: If the chart cannot be drawn.
        OSError: If the file cannot be written.
    """
    from embsweep.reports.html.render import render_comparison

    one, other = (gather_report(folder, default_storage=default_storage, texts=False) for folder in folders)
    path = output or folders[0].root / f"report-and-{folders[1].name}.html"
    atomic_write(path, render_comparison(one, other))
    return path


def try_report(
    folder: SweepFolder, ledger: Ledger, *, default_storage: Path, texts: bool, say: Callable[[str], None]
) -> Path | None:
    """Write the report at the end of a sweep and record its digest for MLflow; say if that fails, and go on.

    Args:
        folder: The folder of the sweep.
        ledger: The ledger of the search.
        default_storage: Storage folder that commands use without `--storage`.
        texts: Whether texts of the data may be shown, `report.texts`.
        say: Receives the message.
    """
    try:
        path = write_report(folder, default_storage=default_storage, texts=texts)
        ledger.set_metadata(**{REPORT: {"sha256": hash_file(path), **_report_key(ledger.metadata, texts=texts)}})
    except Exception as error:  # no sweep should fail because of a page that can be written at any time
        log.exception("the report was not written")
        say(f"The report was not written ({describe_exception(error)}); `embsweep report {folder.name}` tries again.")
        return None
    return path


def is_current(folder: SweepFolder, metadata: Mapping[str, Any], *, texts: bool) -> bool:
    """Return whether there is a report of a sweep's present result.

    Args:
        folder: The folder of the sweep.
        metadata: Metadata of the search's study.
        texts: Whether texts of the data may be shown, `report.texts`.
    """
    recorded, key = metadata.get(REPORT, {}), _report_key(metadata, texts=texts)
    return folder.report.is_file() and all(recorded.get(name) == value for name, value in key.items())


def _report_key(metadata: Mapping[str, Any], *, texts: bool) -> dict[str, Any]:
    return {"texts": texts, "evidence_sha256": metadata.get("result", {}).get("evidence_sha256")}


def describe_commands(folder: SweepFolder, metadata: Mapping[str, Any], default_storage: Path) -> Commands:
    """Return complete command lines for a sweep.

    Args:
        folder: The folder of the sweep.
        metadata: Metadata of the search's study.
        default_storage: Storage folder that commands use without `--storage`.
    """
    tracking = metadata["tracking"]
    storage = [] if folder.storage.resolve() == default_storage.resolve() else ["--storage", str(folder.storage)]
    uri = tracking["store"]["uri"]
    name = tracking["registered_model"]
    name = rehearsal_name(name) if read_identity(metadata).rehearsal else name
    return Commands(
        sweep=tracking["tags"]["embsweep.command"],
        status=shlex.join(["embsweep", "status", folder.name, *storage]),
        promote=shlex.join(["embsweep", "promote", name, *storage, *(["--uri", uri] if uri else [])]),
    )


def _describe_state(metadata: Mapping[str, Any], records: Sequence[TrialRecord]) -> State:
    able = [record for record in records if record.best is not None and record.state != "failed"]
    best = max(able, key=lambda record: (record.best or 0.0, -record.number), default=None)
    counts: dict[str, int] = dict(Counter(record.state for record in records))
    failed = [record for record in records if record.state == "failed"]
    stored = metadata.get("result")
    return State(
        status=metadata.get("status", RUNNING),
        finished=sum(record.is_finished for record in records),
        requested=metadata["requested_trials"],
        counts=counts,
        baseline=(metadata.get("baseline") or {}).get("objective"),
        best=None if best is None else best.best,
        best_trial=None if best is None else best.number,
        reasons=tuple(
            (r.number, redact(str(r.attributes.get("reason", "no reason given")))[:_REASON_CHARS])
            for r in failed[:_REASONS]
        ),
        is_outdated=stored is not None and stored.get("counts", counts) != counts,
    )


def _allows_texts(metadata: Mapping[str, Any]) -> bool:
    return bool(_read_configuration(metadata).get("report", {}).get("texts", True))


def _read_configuration(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    found = yaml.safe_load(metadata["tracking"]["texts"].get(CONFIGURATION, ""))
    return found if isinstance(found, dict) else {}


def _load_texts(folder: SweepFolder, evidence: Evidence | None) -> dict[int, QueryText]:
    """Return the texts of the test queries by position, if their file is of this evidence."""
    found = load_test_queries(folder)
    if found is None or evidence is None or found.total != len(evidence.groups):
        return {}
    return {query.position: QueryText(redact(query.query), redact(query.passage)) for query in found.queries}


def _describe_provenance(metadata: Mapping[str, Any], evidence: Evidence | None) -> Provenance:
    texts = metadata["tracking"]["texts"]
    return Provenance(
        facts=tuple((label, redact(str(value))) for label, value in _list_facts(metadata, evidence)),
        findings=tuple(_list_findings(texts.get("audit/audit.json", "{}"))),
        files=tuple((label, texts[name]) for name, label in _FILES.items() if name in texts),
    )


def _list_findings(text: str) -> Iterator[tuple[str, str, str, str]]:
    for finding in json.loads(text).get("findings", ()):
        severity = f"waived {finding['severity']}" if finding["waived"] else finding["severity"]
        yield severity, finding["name"], finding["message"], finding.get("fix") or ""


def _list_facts(metadata: Mapping[str, Any], evidence: Evidence | None) -> Iterator[tuple[str, object]]:
    tracking = metadata["tracking"]
    data, store, tags = tracking["dataset"], tracking["store"], tracking.get("run_tags", {})
    yield "data", data["name"]
    yield "data fingerprint", data["fingerprint"]
    yield "data sizes", ", ".join(f"{size:,} {name.replace('_', ' ')}" for name, size in data["sizes"].items())
    yield "objective", metadata["objective"]
    yield "base model", read_identity(metadata).base_model
    yield "search space", "; ".join(f"{key}: {value}" for key, value in tracking["params"]["space"].items()) or "none"
    yield "git commit", describe_commit(tags)
    yield "study", metadata["study_id"]
    yield "started", _format_time(tracking["started_at"])
    if "ended_at" in metadata and metadata.get("status") != RUNNING:
        yield "ended", _format_time(metadata["ended_at"])
    yield "MLflow", f"{store['uri'] or 'mlflow.db of the storage folder'}, experiment {store['experiment']}"
    if (result := metadata.get("result")) is not None:
        yield "registered", result["registered"]
    if evidence is not None:
        yield from _list_result_facts(evidence)


def _list_result_facts(evidence: Evidence) -> Iterator[tuple[str, object]]:
    check, training = evidence.verification, evidence.training
    yield "weights", f"{training.run}, on {training.facts.get('device', 'an unknown device')}"
    yield "winner's parameters", ", ".join(f"{key}={value}" for key, value in training.params.items()) or "the recipe's"
    yield "verified", f"reloaded in a fresh process on {check.device}, every metric within {check.difference:.1g}"
    yield "objective on validation", f"{evidence.on_validation(WINNER):.4f} ({describe_objective(evidence.objective)})"
    yield "evaluations of the test split", evidence.holdout_evaluations
    yield "versions", ", ".join(f"{name} {number}" for name, number in evidence.versions.items())


_CHANGES = {"true": "with changes that are not committed", "false": "no other changes"}


def describe_commit(tags: Mapping[str, str]) -> str:
    """Return the commit that a sweep was started from, and whether files differed, from the tags of its run."""
    commit = tags.get("mlflow.source.git.commit")
    if commit is None:
        return "none: not started in a git work tree"
    return f"{commit}, {_CHANGES.get(tags.get('embsweep.git.dirty', ''), 'not known whether files had changed')}"


def _format_time(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))

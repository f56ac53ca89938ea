"""Finish a sweep after its last run: verify the winner, evaluate it on the test split, document and register it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embsweep.config import Config
from embsweep.core.files import atomic_write
from embsweep.core.names import tracked_metric
from embsweep.data.collection import RetrievalSet
from embsweep.reports.view import Result
from embsweep.search.ledger import Ledger
from embsweep.search.search import SearchLedger
from embsweep.selection.evidence import BASE, RECIPE, RUNNER_UP, WINNER, ConfirmedRecord, Evidence, VerdictRecord
from embsweep.sweep.confirmation import Confirmation
from embsweep.sweep.context import SweepContext
from embsweep.sweep.evidence import build_evidence, count_states, select_run
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.holdout import evaluate_on_test
from embsweep.sweep.note import describe_result
from embsweep.sweep.projection import project_ledger, read_identity
from embsweep.sweep.scheduler import MANIFEST_SHA256
from embsweep.sweep.test_queries import load_test_queries, save_test_queries
from embsweep.tracking.connection import retry
from embsweep.tracking.records import WinnerRecord
from embsweep.tracking.registry.register import RegisteredVersion, register_winner
from embsweep.tracking.store import Store
from embsweep.training.checkpoint import load_checkpoint
from embsweep.training.verification import RecordedScores


def finalize_sweep(context: SweepContext, confirmation: Confirmation) -> Result:
    """Verify, evaluate, document and register the winner; then store the result in the ledger and return it.

    Raises:
        VerificationFailed: If weights do not reproduce their recorded scores; nothing is registered then.
        TrackingUnavailable: If MLflow does not answer for too long. The same command continues from there.
    """
    verdict = confirmation.verdict
    names = name_finalists(verdict, confirmation.finalists, has_recipe=context.has_recipe)
    runs = {name: select_run(context, confirmation, trial) for name, trial in names.items()}
    recorded = [
        RecordedScores(
            name, run.weights, run.record.scores, run.record.attributes.get(MANIFEST_SHA256), run.record.device
        )
        for name, run in runs.items()
    ]
    test = evaluate_on_test(context, recorded, names)
    winner, ended_at = runs[WINNER], time.time()
    if winner.record.state == "stopped":
        warning = f"the weights of {winner.child.name} are from a run that was stopped at {winner.record.fraction:.0%}"
        verdict = verdict.model_copy(update={"warnings": (*verdict.warnings, warning)})
    evidence = build_evidence(context, verdict, winner, test)
    run_id = context.tracking.run_id(winner.child.key)
    version = register(context.tracking.flush().store, context.ledger.metadata, winner.weights, evidence, run_id)
    result = _build_result(evidence, describe_version(version), context.ledger, context.recipe)
    save_test_queries(context.folder, evidence, context.prepared.splits.test, texts=context.recipe.report.texts)
    digest = _save_evidence(context.folder, evidence)
    context.ledger.set_metadata(
        status="FINISHED",
        ended_at=ended_at,
        result={
            "winner": verdict.winner,
            "objective": winner.objective,
            "run": list(winner.child.key),
            "weights": winner.weights.relative_to(context.folder.root).as_posix(),
            "registered": result.registered,
            "evidence_sha256": digest,
            "summary": _summary(evidence),
            "test": describe_result(evidence),
            **_result_key(context.ledger, context.recipe),
        },
    )
    context.tracking.put(*project_ledger(context.folder.ledger))
    context.tracking.flush()
    return result


def describe_version(version: RegisteredVersion) -> str:
    """Return the URI of a registered version with its alias, as the result of a sweep shows it."""
    return f"{version.uri} (alias challenger: models:/{version.name}@challenger)"


def load_result(ledger: SearchLedger, folder: SweepFolder, recipe: Config) -> Result | None:
    """Return the stored result if it is valid for all trials and for the confirmation, gate and registered model.

    Args:
        ledger: The ledger of the search.
        folder: The folder of the sweep.
        recipe: The scaled configuration.

    Returns:
        The result, or None if there is no valid one. The result before an interrupted extension of the sweep is not
        valid, nor is one whose evidence file was altered.
    """
    stored = ledger.metadata.get("result")
    if stored is None or any(stored.get(key) != value for key, value in _result_key(ledger, recipe).items()):
        return None
    evidence = load_evidence(folder, stored)
    return None if evidence is None else _build_result(evidence, stored["registered"], ledger, recipe)


def update_result(
    result: Result, ledger: SearchLedger, folder: SweepFolder, recipe: Config, test: RetrievalSet
) -> Result:
    """Apply `data.slice` and `report.texts` to a stored result; nothing is evaluated or registered again.

    The registered version keeps the slices that it was registered with.

    Args:
        result: The stored result.
        ledger: The ledger of the search.
        folder: The folder of the sweep.
        recipe: The scaled configuration.
        test: The test split of the same data.

    Returns:
        The result with the evidence as it is now.
    """
    evidence, is_changed = result.evidence, result.evidence.slices != test.slices
    if is_changed:
        data = evidence.data.model_copy(update={"config": recipe.data.model_dump(mode="json")})
        evidence = evidence.model_copy(update={"slices": test.slices, "data": data})
        stored = {**ledger.metadata["result"], "evidence_sha256": _save_evidence(folder, evidence)}
        ledger.set_metadata(result=stored)
    if is_changed or not recipe.report.texts or load_test_queries(folder) is None:
        save_test_queries(folder, evidence, test, texts=recipe.report.texts)
    return replace(result, evidence=evidence)


def _save_evidence(folder: SweepFolder, evidence: Evidence) -> str:
    """Write the evidence and return the file's SHA-256."""
    text = evidence.model_dump_json(indent=1).encode()
    atomic_write(folder.evidence, text)
    return hashlib.sha256(text).hexdigest()


def _build_result(evidence: Evidence, registered: str, ledger: SearchLedger, recipe: Config) -> Result:
    store = ledger.metadata["tracking"]["store"]["uri"]
    return Result(evidence, registered, store, is_whole_space=ledger.budget < recipe.search.trials)


def load_evidence(folder: SweepFolder, stored: Mapping[str, Any]) -> Evidence | None:
    """Return the evidence of a stored result, None if its file is missing or was altered.

    Args:
        folder: The folder of the sweep.
        stored: The result in the ledger's metadata.
    """
    try:
        text = folder.evidence.read_bytes()
        is_same = hashlib.sha256(text).hexdigest() == stored["evidence_sha256"]
        return Evidence.model_validate_json(text) if is_same else None
    except (OSError, ValidationError):
        return None


def _result_key(ledger: Ledger, recipe: Config) -> dict[str, Any]:
    """Return what a result depends on besides the sweep's identity; if any of it changes, the result is not valid."""
    return {
        "counts": count_states(ledger),
        "confirm": recipe.confirm.model_dump(mode="json"),
        "gate": recipe.gate.model_dump(mode="json"),
        "registered_model": recipe.tracking.registered_model,
    }


def name_finalists(verdict: VerdictRecord, finalists: Iterable[int], *, has_recipe: bool) -> dict[str, int]:
    """Map each name that is used on the test split to its trial.

    The names are the winner, the recipe, the runner-up (the best of the others), and `trial N` for the rest.

    Args:
        verdict: The choice of the winner, with the confirmed objectives.
        finalists: Trial numbers of the finalists.
        has_recipe: Whether trial 0 is the recipe.
    """
    order = {facts.trial: _confirmed_objective(facts) for facts in verdict.confirmed}
    others = sorted((n for n in finalists if n != verdict.winner), key=lambda n: (-order[n], n))
    names = {WINNER: verdict.winner}
    if has_recipe and 0 in others:
        names[RECIPE] = 0
        others.remove(0)
    if others:
        names[RUNNER_UP] = others[0]
    return {**names, **{f"trial {number}": number for number in others[1:]}}


def _confirmed_objective(facts: ConfirmedRecord) -> float:
    """Return the mean objective of the fresh runs; without any, that of the search."""
    return sum(facts.confirmed) / len(facts.confirmed) if facts.confirmed else facts.searched or 0.0


def register(
    store: Store, metadata: Mapping[str, Any], weights: Path, evidence: Evidence, run_id: str
) -> RegisteredVersion:
    """Register the winner, unless it is registered; see `register_winner`.

    Args:
        store: Store of the registry.
        metadata: Metadata of the search's study.
        weights: Folder of the winner's weights.
        evidence: Evidence about the winner.
        run_id: MLflow run of the winner.
    """
    from embsweep.reports.card.build import build_card

    identity, name = read_identity(metadata), metadata["tracking"]["registered_model"]
    model = load_checkpoint(weights, "cpu")  # it is not run here
    facts = WinnerRecord(run_id, build_card(evidence, model), evidence)
    return retry(
        lambda: register_winner(store, identity, weights, registered_name=name, facts=facts, model=model),
        "the winner was not registered",
    )


def _summary(evidence: Evidence) -> dict[str, float]:
    """Return the metrics of the sweep's MLflow run.

    They are the objective's metric on test at every dimension and for every stored precision, and the objectives.
    """
    test = {
        tracked_metric(dim, evidence.metric, prefix=prefix): by_metric[evidence.metric]
        for name, prefix in ((WINNER, "test"), (BASE, "test_baseline"))
        for dim, by_metric in evidence.test[name].scores.items()
    }
    objectives = {
        "best_objective": evidence.on_validation(WINNER),
        "baseline_objective": evidence.on_validation(BASE),
        "test_objective": evidence.objectives[WINNER],
        "optimism": evidence.optimism,
    }
    return {**objectives, **test, **_summarize_stored(evidence)}


def _summarize_stored(evidence: Evidence) -> dict[str, float]:
    """Return the metric of each stored precision, and the time of a search without rescoring.

    float32 has a time only: its metric is that of the test split.
    """
    found = {}
    for record in evidence.quantization:
        kind = f"{record.precision}_rescored" if record.rescored else record.precision
        if record.precision != "float32":
            found[tracked_metric(record.dim, evidence.metric, prefix=f"test_{kind}")] = record.score.mean
        if not record.rescored:
            found[tracked_metric(record.dim, "search_ms", prefix=f"test_{kind}")] = record.search_ms
    return found

"""After the last trial: the winner is read back from disk, measured once on the test split, and registered."""

from __future__ import annotations

import dataclasses
from collections import Counter
from typing import Any

from embsweep.decide.scores import scores_from_json, scores_to_json
from embsweep.report.view import Result
from embsweep.search.ledger import Ledger
from embsweep.sweep.baseline import Baseline, measure_baseline
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.preflight import Prepared
from embsweep.tracking.facts import WinnerFacts
from embsweep.tracking.registry import RegisteredVersion, register_winner
from embsweep.tracking.runs import SweepRun
from embsweep.trial.checkpoint import load_checkpoint
from embsweep.trial.evaluator import evaluate_model

_SCORES = ("validation", "base_validation", "test", "base_test")


def crown_winner(prepared: Prepared, ledger: Ledger, number: int, folder: SweepFolder, tracking: SweepRun) -> Result:
    """Test, register and record the winning trial. The result is in the ledger when this returns."""
    checkpoint = folder.trial(number) / "best"
    config, test_set = prepared.recipe.trial, prepared.splits.test
    model = load_checkpoint(checkpoint)
    test = evaluate_model(model, test_set, config.eval_dims, batch_size=config.eval.batch_size).scores
    base_test = _test_baseline(prepared, ledger)
    record = ledger.record(number)
    if record.best is None:
        raise ValueError(f"trial {number} has no objective")
    facts = WinnerFacts(
        run_id=record.attributes["run_id"],
        trial=number,
        objective=record.best,
        metric=config.objective.metric,
        scores=test,
    )
    name = prepared.recipe.tracking.registered_model or prepared.recipe.sweep.name
    version = register_winner(tracking, checkpoint, registered_name=name, facts=facts, model=model)
    baseline = Baseline.from_json(ledger.notes["baseline"])
    result = Result(
        winner=number,
        params=record.params,
        objective=record.best,
        baseline_objective=baseline.objective,
        validation=scores_from_json(record.attributes["scores"]),
        base_validation=baseline.scores,
        test=test,
        base_test=base_test.scores,
        bm25_validation=baseline.bm25,
        bm25_test=base_test.bm25,
        registered=_describe(version),
        is_rehearsal=prepared.scale.is_rehearsal,
        counts=_count(ledger),
    )
    ledger.note(result=_to_json(result))
    tracking.finish(_summary(result))
    return result


def load_result(ledger: Ledger) -> Result | None:
    """The result that speaks for every trial of the ledger; one that an interrupted extension left behind is none."""
    found: dict[str, Any] | None = ledger.notes.get("result")
    if found is None or found["counts"] != _count(ledger):
        return None
    return Result(**{**found, **{name: scores_from_json(found[name]) for name in _SCORES}})


def _count(ledger: Ledger) -> dict[str, int]:
    return dict(Counter(record.state for record in ledger.trials))


def _test_baseline(prepared: Prepared, ledger: Ledger) -> Baseline:
    """The base model on the test split; read once a sweep, however often it is extended."""
    known = ledger.notes.get("baseline_test")
    if known is not None:
        return Baseline.from_json(known)
    measured = measure_baseline(prepared.recipe.trial, prepared.splits.test)
    ledger.note(baseline_test=measured.to_json())
    return measured


def _to_json(result: Result) -> dict[str, Any]:
    plain = {field.name: getattr(result, field.name) for field in dataclasses.fields(result)}
    return {**plain, **{name: scores_to_json(plain[name]) for name in _SCORES}}


def _summary(result: Result) -> dict[str, float]:
    metric = "map_at_100"
    test = {f"test/dim_{dim}/{metric}": by_metric["map@100"] for dim, by_metric in result.test.items()}
    base = {f"test_baseline/dim_{dim}/{metric}": s["map@100"] for dim, s in result.base_test.items()}
    return {"best_objective": result.objective, "baseline_objective": result.baseline_objective, **test, **base}


def _describe(version: RegisteredVersion) -> str:
    return f"{version.uri} (alias challenger: models:/{version.name}@challenger)"

"""From the ledger, the confirmation and the test reading to the evidence about the winner."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

from embsweep.audit.report import to_facts
from embsweep.config.training import ObjectiveConfig
from embsweep.data.groups import label_groups
from embsweep.decide.comparison import Comparison
from embsweep.decide.evidence import BASE, BM25, WINNER, DataFacts, Evidence, LogRow, TrainingFacts, VerdictFacts
from embsweep.decide.objective import compute_objective, resolve_floors
from embsweep.decide.significance import compare_models, find_smallest_dim
from embsweep.search.ledger import Ledger
from embsweep.space import describe
from embsweep.sweep.context import SweepContext
from embsweep.sweep.record import split_sizes
from embsweep.sweep.retell import reports_of
from embsweep.sweep.served import ServedRun
from embsweep.sweep.testing import TestResult
from embsweep.trial.reporter import Report

_PACKAGES = ("embsweep", "sentence-transformers", "transformers", "torch", "accelerate", "datasets", "tokenizers")
_FACTS = (
    *("device", "bf16", "fp16", "attention", "gradient_checkpointing"),
    *("train_pairs", "workers", "in_batch_negatives", "effective_batch"),
)


def build_evidence(context: SweepContext, verdict: VerdictFacts, served: ServedRun, test: TestResult) -> Evidence:
    """All that will be claimed of the winner, in one value."""
    recipe, splits = context.recipe, context.prepared.splits
    groups = label_groups(splits.test.relevant)
    winner = test.readings[WINNER]
    profile = resolve_floors(recipe.objective, test.readings[BASE].scores)
    objectives = {name: compute_objective(reading.scores, profile) for name, reading in test.readings.items()}
    return Evidence(
        sweep=context.folder.name,
        study=context.ledger.notes["study_id"],
        base_model=recipe.model.name,
        rehearsal=context.prepared.scale.is_rehearsal,
        rehearses=context.prepared.asked.model.name if context.prepared.scale.is_rehearsal else None,
        complete=context.ledger.is_spent,
        budget=context.ledger.budget,
        counts=count_states(context.ledger),
        space={dimension.key: describe(dimension) for dimension in context.request.space},
        dims=recipe.trial.eval_dims,
        objective=recipe.objective,
        gate=recipe.gate,
        data=_data_facts(context),
        audit=to_facts(context.prepared.audit),
        training=_training_facts(context, served),
        verdict=verdict,
        proof=test.proofs[WINNER],
        look=test.look,
        groups=groups,
        validation=_validation_scores(context, served),
        objectives=objectives,
        test=dict(test.readings),
        comparisons=_compare(test, groups, profile, seed=recipe.search.seed),
        optimism=served.objective - objectives[WINNER],
        smallest_dim=find_smallest_dim(winner.per_query, groups, alpha=recipe.gate.alpha, seed=recipe.search.seed),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        created_at=test.at,
    )


def count_states(ledger: Ledger) -> dict[str, int]:
    """How many trials of the search ended in which state."""
    return dict(Counter(record.state for record in ledger.trials))


def _compare(test: TestResult, groups: Sequence[int], profile: ObjectiveConfig, *, seed: int) -> tuple[Comparison, ...]:
    rivals = {name: reading.per_query for name, reading in test.readings.items() if name != WINNER}
    return compare_models(test.readings[WINNER].per_query, rivals, groups, config=profile, seed=seed)


def _validation_scores(context: SweepContext, served: ServedRun) -> dict[str, Any]:
    bm25 = {dim: dict(context.baseline.bm25) for dim in context.recipe.trial.eval_dims}
    return {WINNER: _plain(served.scores), BASE: _plain(context.baseline.scores), BM25: bm25}


def _plain(scores: Mapping[int, Mapping[str, float]]) -> dict[int, dict[str, float]]:
    return {dim: dict(by_metric) for dim, by_metric in scores.items()}


def _data_facts(context: SweepContext) -> DataFacts:
    splits = context.prepared.splits
    return DataFacts(
        name=splits.name,
        fingerprint=splits.fingerprint,
        sizes=split_sizes(splits),
        config=context.recipe.data.model_dump(mode="json"),
        merged=splits.notes,
    )


def _training_facts(context: SweepContext, served: ServedRun) -> TrainingFacts:
    record = served.record
    reports = reports_of(record)
    saved = max(reports, key=lambda report: (report.objective, -report.fraction), default=None)
    return TrainingFacts(
        trial=served.trial,
        run=served.name,
        params=dict(context.ledger.record(served.trial).params),
        config=served.config.trial,
        log=tuple(_log_row(report, served.config.objective.metric, is_saved=report is saved) for report in reports),
        facts={key: record.attributes[key] for key in _FACTS if key in record.attributes},
    )


def _log_row(report: Report, metric: str, *, is_saved: bool) -> LogRow:
    columns = {name: getattr(report, name) for name in ("fraction", "epoch", "step", "loss", "objective")}
    values = {dim: by_metric[metric] for dim, by_metric in report.scores.items()}
    return LogRow(**columns, values=values, is_saved=is_saved)

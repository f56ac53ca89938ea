"""Build the evidence about the winner from the ledger, the confirmation and the holdout evaluation.

A configuration is represented by one of its runs: the one with the best validation objective.
"""

from __future__ import annotations

import platform
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from embsweep.audit.report import to_facts
from embsweep.config import Config
from embsweep.config.search_space import describe
from embsweep.core.errors import EmbsweepError
from embsweep.data.groups import label_groups
from embsweep.search.ledger import Ledger
from embsweep.search.record import STUDY, TrialRecord
from embsweep.selection.evidence import (
    BASE,
    BM25,
    WINNER,
    DataRecord,
    Evidence,
    LogRow,
    TrainingRecord,
    VerdictRecord,
)
from embsweep.selection.objective import compute_objective, resolve_floors
from embsweep.selection.statistics.significance import compare_models, find_smallest_dim
from embsweep.sweep.confirmation import Confirmation, confirmation_config, confirmation_phase
from embsweep.sweep.context import SweepContext
from embsweep.sweep.holdout import HoldoutEvaluation
from embsweep.sweep.projection import run_ref
from embsweep.sweep.run_metadata import split_sizes
from embsweep.tracking.runs import RunRef


@dataclass(frozen=True)
class SelectedRun:
    """One run of a configuration: `trial` is the configuration's number in the search, `record` the run's own record.

    `child` refers to the run's MLflow run, `weights` is the folder of its best weights.
    """

    trial: int
    child: RunRef
    record: TrialRecord
    weights: Path
    config: Config

    @property
    def objective(self) -> float:
        """Best objective of the run on the validation split."""
        return float(self.record.best or 0.0)


def select_run(context: SweepContext, confirmation: Confirmation, trial: int) -> SelectedRun:
    """Return the run of a configuration with the best validation objective, among those whose weights are on disk.

    Of equal runs, the search's own comes first, then the earlier one. Runs on folds do not count: they were trained on
    other data. A recipe that the search stopped early can thus be represented by a fresh run of the whole schedule.

    Args:
        context: The sweep.
        confirmation: The result of the confirmation phase, with the fresh runs.
        trial: The configuration's number in the search.

    Raises:
        EmbsweepError: If no run of the configuration has weights on disk.
    """
    record = context.ledger.record(trial)
    own = SelectedRun(
        trial, run_ref(STUDY, record), record, context.folder.trial(trial) / "best", context.configure(record.params)
    )
    phase = confirmation_phase(context)
    fresh = [
        SelectedRun(
            trial,
            run_ref(phase.study, record),
            record,
            phase.trial_dir(record.number) / "best",
            confirmation_config(context, record),
        )
        for record in confirmation.fresh
        if record.params["trial"] == trial and record.state == "complete" and "fold" not in record.params
    ]
    able = [run for run in (own, *fresh) if run.weights.is_dir() and run.record.best is not None]
    if not able:
        raise EmbsweepError(f"trial {trial}: its weights are missing ({own.weights})")
    return max(able, key=lambda run: run.objective)


_PACKAGES = ("embsweep", "sentence-transformers", "transformers", "torch", "accelerate", "datasets", "tokenizers")
_FACTS = (
    *("device", "bf16", "fp16", "attention", "gradient_checkpointing"),
    *("query_prompt", "document_prompt"),
    *("train_pairs", "workers", "in_batch_negatives", "effective_batch"),
)


def build_evidence(
    context: SweepContext, verdict: VerdictRecord, served: SelectedRun, test: HoldoutEvaluation
) -> Evidence:
    """Return everything that is reported about the winner as one value.

    Args:
        context: The sweep.
        verdict: The choice of the winner, with its warnings.
        served: The winner's run whose weights are registered.
        test: Scores of the winner and of its references on the test split.
    """
    recipe, splits = context.recipe, context.prepared.splits
    groups = label_groups(splits.test.relevant)
    winner = test.evaluations[WINNER]
    profile = resolve_floors(recipe.objective, test.evaluations[BASE].scores)
    objectives = {name: compute_objective(found.scores, profile) for name, found in test.evaluations.items()}
    return Evidence(
        sweep=context.folder.name,
        study=context.ledger.metadata["study_id"],
        base_model=recipe.model.name,
        rehearsal=context.prepared.scale.is_rehearsal,
        rehearses=context.prepared.requested.model.name if context.prepared.scale.is_rehearsal else None,
        complete=context.ledger.is_exhausted,
        budget=context.ledger.budget,
        counts=count_states(context.ledger),
        space={dimension.key: describe(dimension) for dimension in context.request.space},
        dims=recipe.trial.eval_dims,
        objective=recipe.objective,
        gate=recipe.gate,
        data=DataRecord(
            name=splits.name,
            fingerprint=splits.fingerprint,
            sizes=split_sizes(splits),
            config=recipe.data.model_dump(mode="json"),
            merged=splits.notes,
        ),
        audit=to_facts(context.prepared.audit),
        training=_build_training_record(context, served),
        verdict=verdict,
        verification=test.verifications[WINNER],
        holdout_evaluations=test.count,
        groups=groups,
        validation={
            WINNER: served.record.scores,
            BASE: context.baseline.scores,
            BM25: dict.fromkeys(recipe.trial.eval_dims, context.baseline.bm25),
        },
        objectives=objectives,
        test=test.evaluations,
        comparisons=compare_models(
            winner.per_query,
            {name: evaluation.per_query for name, evaluation in test.evaluations.items() if name != WINNER},
            groups,
            config=profile,
            seed=recipe.search.seed,
        ),
        optimism=served.objective - objectives[WINNER],
        smallest_dim=find_smallest_dim(winner.per_query, groups, alpha=recipe.gate.alpha, seed=recipe.search.seed),
        slices=splits.test.slices,
        quantization=test.quantization.get(WINNER, ()),
        versions={"python": platform.python_version(), **{name: version(name) for name in _PACKAGES}},
        created_at=test.at,
    )


def count_states(ledger: Ledger) -> dict[str, int]:
    """Return the number of trials of the search in each state."""
    return dict(Counter(record.state for record in ledger.trials))


def _build_training_record(context: SweepContext, served: SelectedRun) -> TrainingRecord:
    record, metric = served.record, served.config.objective.metric
    saved = record.saved
    return TrainingRecord(
        trial=served.trial,
        run=served.child.name,
        params=context.request.space.without_inactive(context.ledger.record(served.trial).params),
        config=served.config.trial,
        log=tuple(
            LogRow(
                fraction=report.fraction,
                epoch=report.epoch,
                step=report.step,
                loss=report.loss,
                objective=report.objective,
                values={dim: by_metric[metric] for dim, by_metric in report.scores.items()},
                is_saved=report is saved,
            )
            for report in record.reports
        ),
        facts={key: record.facts[key] for key in _FACTS if key in record.facts},
    )

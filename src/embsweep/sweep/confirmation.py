"""Confirmation phase: run the finalists again with fresh seeds and choose the winner in view of the seed variance."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import TooManyFailures
from embsweep.data.collection import RetrievalSet
from embsweep.data.groups import label_groups
from embsweep.runners.base import Runner
from embsweep.search.record import TrialRecord
from embsweep.selection.candidate import Candidate
from embsweep.selection.evidence import VerdictRecord
from embsweep.selection.scores import PerQuery
from embsweep.selection.verdict import select_winner
from embsweep.sweep.confirmation_runs import load_run, run_confirmation
from embsweep.sweep.context import SweepContext
from embsweep.sweep.phase import rank_finished_trials
from embsweep.training.trial import TrialData


@dataclass(frozen=True)
class Confirmation:
    """Result of the confirmation phase: the verdict, the finalists' trial numbers and the records of the fresh runs."""

    verdict: VerdictRecord
    finalists: tuple[int, ...]
    fresh: tuple[TrialRecord, ...]


def confirm_finalists(context: SweepContext, runner: Runner) -> Confirmation:
    """Run the finalists again with fresh seeds and choose the winner; resume an interrupted confirmation.

    With `confirm.seeds` 0, or with a single finalist, nothing is run again and the search scores alone decide.

    Raises:
        TooManyFailures: If each finalist had a run that failed.
    """
    finalists = choose_finalists(context)
    folds = [TrialData(fold.train, fold.validation) for fold in context.prepared.folds]
    fresh: tuple[TrialRecord, ...] = ()
    if context.recipe.confirm.seeds and len(finalists) > 1:
        fresh = run_confirmation(context, runner, finalists, folds)
    sets = [fold.validation for fold in folds] or [context.prepared.splits.validation]
    candidates = [_to_candidate(context, number, fresh, sets) for number in finalists]
    _check_any_succeeded(candidates, fresh)
    verdict = select_winner(
        candidates,
        _label_all(sets),
        objective=_verdict_objective(context),
        alpha=context.recipe.confirm.alpha,
        seed=context.recipe.search.seed,
        searched=[r.best for r in context.ledger.trials if r.state != "failed" and r.best is not None],
    )
    return Confirmation(verdict, finalists, fresh)


def _verdict_objective(context: SweepContext) -> ObjectiveConfig:
    """Return the objective; with cross-validation, without the floors that refer to the base model.

    The base model is not evaluated on the folds. Its floors are checked on the validation and test splits only.
    """
    floors = context.recipe.objective.floors
    if floors is None or not context.prepared.folds:
        return context.objective
    numbers = {dim: floor for dim, floor in floors.items() if floor != "base"}
    return context.objective.model_copy(update={"floors": numbers or None})


def _check_any_succeeded(candidates: Sequence[Candidate], fresh: Sequence[TrialRecord]) -> None:
    if all(candidate.failures for candidate in candidates):
        reasons = dict.fromkeys(
            str(r.attributes.get("reason", "no reason given")) for r in fresh if r.state == "failed"
        )
        listed = "\n".join(f"  {reason}" for reason in reasons)
        raise TooManyFailures(
            f"every finalist failed in the confirmation; nothing was registered. The same command retries them.\n"
            f"{listed}"
        )


def choose_finalists(context: SweepContext) -> tuple[int, ...]:
    """Return the `confirm.finalists` best trials of the search, and trial 0 if it is the recipe and can win."""
    ranked = [c.number for c in rank_finished_trials(context.ledger.trials, context.folder.trials)]
    best = ranked[: context.recipe.confirm.finalists]
    return tuple(best if 0 in best or 0 not in ranked or not context.has_recipe else [*best, 0])


def _to_candidate(
    context: SweepContext, number: int, fresh: Sequence[TrialRecord], sets: Sequence[RetrievalSet]
) -> Candidate:
    record = context.ledger.record(number)
    config = context.configure(record.params)
    own = [r for r in fresh if r.params["trial"] == number]
    seeds = dict.fromkeys(r.params["seed"] for r in own if r.state == "complete")
    runs = [_concat_folds(context, [r for r in own if r.params["seed"] == seed]) for seed in seeds]
    return Candidate(
        trial=number,
        params=dict(record.params),
        is_recipe=context.has_recipe and number == 0,
        cost=(config.model.dim, config.model.max_seq_length, config.train.epochs),
        searched=record.best,
        runs=tuple(run for run in runs if run is not None),
        failures=sum(r.state != "complete" for r in own),
    )


def _concat_folds(context: SweepContext, records: Sequence[TrialRecord]) -> PerQuery | None:
    """Return each query's score under one seed, the folds in order one after the other; None if a run failed."""
    if any(record.state != "complete" for record in records):
        return None
    ordered = sorted(records, key=lambda record: record.params.get("fold", 0))
    parts = [load_run(context, record) for record in ordered]
    return {dim: np.concatenate([part[dim] for part in parts]) for dim in parts[0]}


def _label_all(sets: Sequence[RetrievalSet]) -> np.ndarray:
    """Return the passage group of each query of all sets; the labels of different sets are disjoint."""
    labels = [np.array(label_groups(one.relevant)) for one in sets]
    offsets = np.cumsum([0, *(len(group) + 1 for group in labels)])
    return np.concatenate([group + offset for group, offset in zip(labels, offsets, strict=False)])

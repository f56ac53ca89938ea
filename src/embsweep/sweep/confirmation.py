"""The finalists run again with fresh seeds, and one of them is chosen: by more than the luck of one seed."""

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
from embsweep.selection.evidence import VerdictRecord
from embsweep.selection.scores import PerQuery
from embsweep.selection.verdict import Candidate, select_winner
from embsweep.sweep.confirmation_runs import load_run, run_confirmation
from embsweep.sweep.context import SweepContext
from embsweep.sweep.phase import rank_finished_trials
from embsweep.training.trial import TrialData


@dataclass(frozen=True)
class Confirmation:
    """The verdict, and the records of all runs that speak for each trial: its own first, then the fresh ones."""

    verdict: VerdictRecord
    finalists: tuple[int, ...]
    fresh: tuple[TrialRecord, ...]


def confirm_finalists(context: SweepContext, runner: Runner) -> Confirmation:
    """Run the finalists again and decide. Resumes what was interrupted; without seeds the search alone decides."""
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
    """The base model was not read on the folds: floors that name it are left to validation and test there."""
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
            f"every finalist failed when it was run again; nothing was registered. The same command tries them again.\n"
            f"{listed}"
        )


def choose_finalists(context: SweepContext) -> tuple[int, ...]:
    """The best trials of the search, `confirm.finalists` of them, and the recipe."""
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
    """Each query's score in one seed's run; with folds, theirs one after the other. None where a fold failed."""
    if any(record.state != "complete" for record in records):
        return None
    ordered = sorted(records, key=lambda record: record.params.get("fold", 0))
    parts = [load_run(context, record) for record in ordered]
    return {dim: np.concatenate([part[dim] for part in parts]) for dim in parts[0]}


def _label_all(sets: Sequence[RetrievalSet]) -> np.ndarray:
    """The passage group of each query of all sets; no group stands in two of them."""
    labels = [np.array(label_groups(one.relevant)) for one in sets]
    offsets = np.cumsum([0, *(len(group) + 1 for group in labels)])
    return np.concatenate([group + offset for group, offset in zip(labels, offsets, strict=False)])

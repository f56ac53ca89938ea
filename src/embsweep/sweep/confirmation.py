"""Confirmation phase: run the finalists again with fresh seeds and choose the winner in view of the seed variance.

The runs are planned; the valid ones of an earlier process are reused.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

import numpy as np

from embsweep.config import Config
from embsweep.config.search_space import Value
from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import EmbsweepError, InputError, TooManyFailures
from embsweep.data.collection import RetrievalSet
from embsweep.data.groups import label_groups
from embsweep.evaluation.per_query import load_per_query
from embsweep.search.confirmation import ConfirmationLedger, Point, was_dropped
from embsweep.search.read import read_phases
from embsweep.search.record import TrialRecord
from embsweep.search.storage import open_storage
from embsweep.selection.candidate import Candidate
from embsweep.selection.evidence import VerdictRecord
from embsweep.selection.scores import PerQuery
from embsweep.selection.verdict import select_winner
from embsweep.sweep.context import SweepContext, run_phase
from embsweep.sweep.projection import run_ref
from embsweep.sweep.scheduler import Phase, rank_trials
from embsweep.training.trial import TrialData


@dataclass(frozen=True)
class Confirmation:
    """Result of the confirmation phase: the verdict, the finalists' trial numbers and the records of the fresh runs."""

    verdict: VerdictRecord
    finalists: tuple[int, ...]
    fresh: tuple[TrialRecord, ...]


def confirm_finalists(context: SweepContext) -> Confirmation:
    """Run the finalists again with fresh seeds and choose the winner; resume an interrupted confirmation.

    With `confirm.seeds` 0, or with a single finalist, nothing is run again and the search scores alone decide.

    Raises:
        TooManyFailures: If each finalist had a run that failed.
    """
    finalists = choose_finalists(context)
    folds = [TrialData(fold.train, fold.validation) for fold in context.prepared.folds]
    fresh: tuple[TrialRecord, ...] = ()
    if context.recipe.confirm.seeds and len(finalists) > 1:
        fresh = run_confirmation(context, finalists, folds)
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
    ranked = rank_trials(context.ledger.trials, context.folder.trials)
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


ParamKey = tuple[tuple[str, Value], ...]


def draw_seeds(count: int, search_seed: int, used: Collection[int]) -> list[int]:
    """Draw training seeds that no trial of the search has used; deterministic for a given search seed.

    Args:
        count: Number of seeds.
        search_seed: The seed of the search.
        used: Training seeds to leave out.
    """
    drawn = (
        int(hashlib.sha256(f"confirmation {search_seed} {position}".encode()).hexdigest()[:7], 16)
        for position in itertools.count()
    )
    return list(itertools.islice((seed for seed in drawn if seed not in used), count))


def find_used_seeds(
    records: Iterable[TrialRecord], configure: Callable[[Mapping[str, Value]], Config]
) -> frozenset[int]:
    """Return the training seeds of all trials, in whatever state they ended."""
    seeds: set[int] = set()
    for record in records:
        with suppress(InputError):  # an invalid point was never trained
            seeds.add(configure(record.params).train.seed)
    return frozenset(seeds)


def run_confirmation(
    context: SweepContext, finalists: Sequence[int], folds: Sequence[TrialData]
) -> tuple[TrialRecord, ...]:
    """Run each finalist with each fresh seed, on each fold if there are any; resume what was interrupted.

    Args:
        context: The sweep.
        finalists: Trial numbers of the finalists.
        folds: Training and validation data of each fold; empty without cross-validation.

    Returns:
        The latest record of each planned run.
    """
    points = _plan_points(context, finalists, len(folds))
    phase = confirmation_phase(context)
    earlier = read_phases(context.folder.ledger).get(phase.study, ())
    again = _find_invalid_runs(context, earlier, points)
    ledger = ConfirmationLedger(open_storage(context.folder.ledger), phase.study, points, again=again)
    context.progress.say(
        f"Confirmation: {len(finalists)} configurations with {context.recipe.confirm.seeds} fresh seeds each"
        + (f" on each of {len(folds)} folds" if folds else "")
        + f", {len(points)} runs of the full schedule."
    )
    title = {"name": f"{context.folder.name}, confirmation", "requested_trials": len(points)}
    splits = context.prepared.splits
    data = TrialData(splits.train, splits.validation, tuple(folds))
    notes = {**context.ledger.metadata, **title}
    run_phase(context, ledger, phase, partial(confirmation_config, context), data, notes)
    return _latest(ledger.trials, points)


def _latest(records: Sequence[TrialRecord], points: Sequence[Point]) -> tuple[TrialRecord, ...]:
    """Return the latest run of each point that has been run."""
    known = _by_point(records)
    return tuple(known[key] for point in points if (key := _key(point)) in known)


def _by_point(records: Iterable[TrialRecord]) -> dict[ParamKey, TrialRecord]:
    """Return the latest run of each point, by point; a point may have been run several times."""
    return {_key(record.params): record for record in records if not was_dropped(record)}


def _key(params: Mapping[str, Value]) -> ParamKey:
    return tuple(sorted(params.items()))


def _find_invalid_runs(context: SweepContext, records: Sequence[TrialRecord], points: Sequence[Point]) -> set[int]:
    """Return the numbers of earlier runs to repeat: their scores are corrupt, or each finalist has a failed run.

    Any other failure is final: a repetition after the verdict could change it and register a second winner.
    """
    over = [record for record in _latest(records, points) if record.is_finished]
    failed = [record for record in over if record.state == "failed"]
    has_too_many_failures = len(over) == len(points) and {r.params["trial"] for r in failed} == {
        p["trial"] for p in points
    }
    corrupt = [record for record in over if record.state == "complete" and _is_corrupt(context, record)]
    repeated = [record.params for record in (*corrupt, *(failed if has_too_many_failures else ()))]
    return {record.number for record in records if record.params in repeated}


def _is_corrupt(context: SweepContext, record: TrialRecord) -> bool:
    try:
        load_run(context, record)
    except EmbsweepError as error:
        context.progress.say(f"{run_ref(confirmation_phase(context).study, record).name} is run again: {error}")
        return True
    return False


def _plan_points(context: SweepContext, finalists: Sequence[int], folds: int) -> list[Point]:
    """Return one point per run; all finalists with the first seed come before any with the second."""
    seeds = draw_seeds(
        context.recipe.confirm.seeds,
        context.recipe.search.seed,
        find_used_seeds(context.ledger.trials, context.configure),
    )
    points: list[Point] = [{"trial": trial, "seed": seed} for seed in seeds for trial in finalists]
    return [{**point, "fold": fold} for point in points for fold in range(folds)] if folds else points


def confirmation_config(context: SweepContext, record: TrialRecord) -> Config:
    """Return the configuration of the trial that a confirmation run repeats, with the run's fresh seed."""
    config = context.configure(context.ledger.record(int(record.params["trial"])).params)
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": int(record.params["seed"])})})


def confirmation_phase(context: SweepContext) -> Phase:
    """Return the confirmation phase, which keeps the best weights of each configuration.

    Weights of runs on folds are not kept: they were trained on other data.
    """
    with_folds = bool(context.prepared.folds)
    name = f"confirmation-{len(context.prepared.folds)}-folds" if with_folds else "confirmation"
    runs = context.folder.root / name

    def kept(records: Sequence[TrialRecord]) -> set[int]:
        last = _by_point(record for record in records if record.is_finished).values()
        trials = {record.number: record.params["trial"] for record in last}
        ranked = [] if with_folds else rank_trials(last, runs)
        return set({trials[number]: number for number in reversed(ranked)}.values())

    return Phase(name, runs, kept, context.recipe.sweep.max_attempts)


def load_run(context: SweepContext, record: TrialRecord) -> PerQuery:
    """Load each query's score in a run from disk.

    Raises:
        EmbsweepError: If the file cannot be read or does not match the scores in the ledger.
    """
    path = confirmation_phase(context).trial_dir(record.number) / "per_query.npz"
    return load_per_query(path, record.scores, context.objective.metric)

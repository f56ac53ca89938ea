"""Runs of the confirmation phase: plan them, reuse the valid ones of an earlier process, and load their scores."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from embsweep.config import Config
from embsweep.config.search_space import Value
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.evaluation.per_query import load_per_query
from embsweep.runners.base import Runner
from embsweep.search.confirmation import ConfirmationLedger, Point, was_dropped
from embsweep.search.read import read_phases
from embsweep.search.record import TrialRecord
from embsweep.selection.scores import PerQuery
from embsweep.sweep.checkpoints import quarantine_corrupt
from embsweep.sweep.context import SweepContext, build_trial_fn
from embsweep.sweep.listeners import show_events, track_events
from embsweep.sweep.phase import Phase, rank_finished_trials
from embsweep.sweep.scheduler import SweepScheduler
from embsweep.training.trial import TrialData

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
    context: SweepContext, runner: Runner, finalists: Sequence[int], folds: Sequence[TrialData]
) -> tuple[TrialRecord, ...]:
    """Run each finalist with each fresh seed, on each fold if there are any; resume what was interrupted.

    Args:
        context: The sweep.
        runner: Executes the runs.
        finalists: Trial numbers of the finalists.
        folds: Training and validation data of each fold; empty without cross-validation.

    Returns:
        The latest record of each planned run.
    """
    points = _plan_points(context, finalists, len(folds))
    phase = confirmation_phase(context)
    ledger = _open_ledger(context, phase, points)
    context.progress.say(
        f"Confirmation: {len(finalists)} configurations with {context.recipe.confirm.seeds} fresh seeds each"
        + (f" on each of {len(folds)} folds" if folds else "")
        + f", {len(points)} runs of the full schedule."
    )
    title = {"name": f"{context.folder.name}, confirmation", "requested_trials": len(points)}
    listeners = (
        show_events(context.progress, ledger, {**context.ledger.metadata, **title}),
        track_events(context.tracking, context.ledger, phase.study),
    )
    scheduler = SweepScheduler(ledger, partial(confirmation_config, context), phase, listeners)
    splits = context.prepared.splits
    data = TrialData(splits.train, splits.validation, tuple(folds))
    scheduler.delete_checkpoints()
    runner.run(scheduler, build_trial_fn(context, data))
    quarantine_corrupt(ledger, phase, context.progress)
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
        context.progress.say(f"{confirmation_phase(context).tracking_run(record).name} is run again: {error}")
        return True
    return False


def _plan_points(context: SweepContext, finalists: Sequence[int], folds: int) -> list[Point]:
    """Return one point per run; all finalists with the first seed come before any with the second."""
    used = find_used_seeds(context.ledger.trials, context.configure)
    seeds = draw_seeds(context.recipe.confirm.seeds, context.recipe.search.seed, used)
    points: list[Point] = [{"trial": trial, "seed": seed} for seed in seeds for trial in finalists]
    return [{**point, "fold": fold} for point in points for fold in range(folds)] if folds else points


def _open_ledger(context: SweepContext, phase: Phase, points: Sequence[Point]) -> ConfirmationLedger:
    earlier = read_phases(context.folder.ledger).get(phase.study, ())
    again = _find_invalid_runs(context, earlier, points)
    return ConfirmationLedger.open(context.folder.ledger, phase.study, points, again=again)


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
        best: dict[Value, int] = {}
        for ranked in [] if with_folds else rank_finished_trials(last, runs):
            best.setdefault(trials[ranked.number], ranked.number)
        return set(best.values())

    def fold(record: TrialRecord) -> int | None:
        return int(record.params["fold"]) if with_folds else None

    return Phase(name, runs, kept, context.recipe.sweep.max_attempts, fold=fold)


def load_run(context: SweepContext, record: TrialRecord) -> PerQuery:
    """Load each query's score in a run from disk.

    Raises:
        EmbsweepError: If the file cannot be read or does not match the scores in the ledger.
    """
    path = confirmation_phase(context).trial_dir(record.number) / "per_query.npz"
    return load_per_query(path, record.scores, context.objective.metric)

"""The finalists run again with fresh seeds, and one of them is chosen: by more than the luck of one seed."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from embsweep.config import Config
from embsweep.config.machinery import SearchConfig, StoppingConfig
from embsweep.config.training import ObjectiveConfig
from embsweep.data.collection import RetrievalSet
from embsweep.data.groups import label_groups
from embsweep.decide.evidence import VerdictFacts
from embsweep.decide.scores import PerQuery, scores_from_json
from embsweep.decide.verdict import Candidate, decide_verdict
from embsweep.errors import TooManyFailures
from embsweep.runner.desk import Runner
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.search.record import TrialRecord
from embsweep.space import IntRange, Value
from embsweep.sweep.context import SweepContext
from embsweep.sweep.desk import SweepDesk
from embsweep.sweep.stage import Stage, find_contenders
from embsweep.sweep.torn import set_torn_aside
from embsweep.sweep.work import build_work
from embsweep.tracking.runs import Child
from embsweep.trial.reading import load_values
from embsweep.trial.train import TrialData

_MANY = 2**31 - 1


@dataclass(frozen=True)
class Confirmation:
    """The verdict, and the records of all runs that speak for each trial: its own first, then the fresh ones."""

    verdict: VerdictFacts
    finalists: tuple[int, ...]
    fresh: tuple[TrialRecord, ...]


def confirm_finalists(context: SweepContext, runner: Runner) -> Confirmation:
    """Run the finalists again and decide. Resumes what was interrupted; without seeds the search alone decides."""
    finalists = choose_finalists(context)
    folds = [TrialData(fold.train, fold.validation) for fold in context.prepared.folds]
    fresh: tuple[TrialRecord, ...] = ()
    if context.recipe.confirm.seeds and len(finalists) > 1:
        fresh = _run_again(context, runner, finalists, folds)
    sets = [fold.validation for fold in folds] or [context.prepared.splits.validation]
    candidates = [_to_candidate(context, number, fresh, sets) for number in finalists]
    _check_able(candidates, fresh)
    verdict = decide_verdict(
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


def _check_able(candidates: Sequence[Candidate], fresh: Sequence[TrialRecord]) -> None:
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
    ranked = [c.number for c in find_contenders(context.ledger.trials, context.folder.trials)]
    best = ranked[: context.recipe.confirm.finalists]
    return tuple(best if 0 in best or 0 not in ranked or not context.has_recipe else [*best, 0])


def fresh_seeds(count: int, search_seed: int, used: Sequence[int]) -> list[int]:
    """Training seeds that no trial of the search has had; the same for the same search."""
    drawn = (
        int(hashlib.sha256(f"confirmation {search_seed} {position}".encode()).hexdigest()[:7], 16)
        for position in itertools.count()
    )
    return list(itertools.islice((seed for seed in drawn if seed not in used), count))


def _run_again(
    context: SweepContext, runner: Runner, finalists: Sequence[int], folds: Sequence[TrialData]
) -> tuple[TrialRecord, ...]:
    points = _plan_points(context, finalists, len(folds))
    stage = confirmation_stage(context)
    ledger = _open_ledger(context, stage, points)
    context.progress.say(
        f"Confirmation: {len(finalists)} configurations again with {context.recipe.confirm.seeds} fresh seeds"
        + (f" on each of {len(folds)} folds" if folds else "")
        + f", {len(points)} runs of whole schedules."
    )
    desk = SweepDesk(
        ledger,
        context.tracking,
        context.progress,
        partial(configure_again, context),
        stage,
        context.objective.metric,
    )
    splits = context.prepared.splits
    data = TrialData(splits.train, splits.validation, tuple(folds))
    desk.catch_up()
    runner.run(desk, build_work(context, data))
    set_torn_aside(ledger, stage, context.progress)
    latest = {tuple(sorted(record.params.items())): record for record in ledger.trials}
    return tuple(latest[key] for point in points if (key := tuple(sorted(point.items()))) in latest)


def _plan_points(context: SweepContext, finalists: Sequence[int], folds: int) -> list[dict[str, Value]]:
    """One point a run: all configurations with the first seed come before any with the second."""
    used = [context.configure(context.ledger.record(number).params).train.seed for number in finalists]
    seeds = fresh_seeds(context.recipe.confirm.seeds, context.recipe.search.seed, used)
    points: list[dict[str, Value]] = [{"trial": trial, "seed": seed} for seed in seeds for trial in finalists]
    return [{**point, "fold": fold} for point in points for fold in range(folds)] if folds else points


def _open_ledger(context: SweepContext, stage: Stage, points: Sequence[dict[str, Value]]) -> Ledger:
    """A study of its own beside the search's: these runs must not teach the sampler."""
    ledger = Ledger.open(
        context.folder.ledger,
        space=tuple(IntRange(key, 0, _MANY) for key in points[0]),
        search=SearchConfig(sampler="grid", trials=_MANY, seed=0, recipe_first=False),
        pruner=build_pruner(StoppingConfig(kind="none"), 1.0),
        study=stage.name,
    )
    ledger.queue_only(points)
    notes = context.ledger.notes
    ledger.note(**{key: notes[key] for key in ("headline", "objective", "slots")})
    ledger.note(name=f"{context.folder.name}, confirmation", baseline=notes["baseline"], asked=ledger.budget)
    return ledger


def configure_again(context: SweepContext, record: TrialRecord) -> Config:
    """The configuration of the trial that a run of the confirmation repeats, under its fresh seed."""
    config = context.configure(context.ledger.record(int(record.params["trial"])).params)
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": int(record.params["seed"])})})


def confirmation_stage(context: SweepContext) -> Stage:
    """Keeps each configuration's best weights; those of folds have seen other data and are not kept."""
    with_folds = bool(context.prepared.folds)
    name = f"confirmation-{len(context.prepared.folds)}-folds" if with_folds else "confirmation"
    runs = context.folder.root / name

    def child(record: TrialRecord) -> Child:
        fold = f", fold {record.params['fold']}" if with_folds else ""
        return Child(
            record.number, f"confirmation of trial {record.params['trial']}, seed {record.params['seed']}{fold}", name
        )

    def kept(records: Sequence[TrialRecord]) -> set[int]:
        by_number = {record.number: record for record in records}
        best: dict[Value, int] = {}
        for contender in [] if with_folds else find_contenders(records, runs):
            best.setdefault(by_number[contender.number].params["trial"], contender.number)
        return set(best.values())

    def fold(record: TrialRecord) -> int | None:
        return int(record.params["fold"]) if with_folds else None

    return Stage(name, runs, child, kept, context.recipe.sweep.max_attempts, fold=fold)


def _to_candidate(
    context: SweepContext, number: int, fresh: Sequence[TrialRecord], sets: Sequence[RetrievalSet]
) -> Candidate:
    record = context.ledger.record(number)
    config = context.configure(record.params)
    own = [r for r in fresh if r.params["trial"] == number]
    seeds = dict.fromkeys(r.params["seed"] for r in own if r.state == "complete")
    runs = [_join_folds(context, [r for r in own if r.params["seed"] == seed]) for seed in seeds]
    return Candidate(
        trial=number,
        params=dict(record.params),
        is_recipe=context.has_recipe and number == 0,
        cost=(config.model.dim, config.model.max_seq_length, config.train.epochs),
        searched=record.best,
        runs=tuple(run for run in runs if run is not None),
        failures=sum(r.state != "complete" for r in own),
    )


def _join_folds(context: SweepContext, records: Sequence[TrialRecord]) -> PerQuery | None:
    """Each query's score in one seed's run; with folds, theirs one after the other. None where a fold failed."""
    if any(record.state != "complete" for record in records):
        return None
    ordered = sorted(records, key=lambda record: record.params.get("fold", 0))
    parts = [_load(context, record) for record in ordered]
    return {dim: np.concatenate([part[dim] for part in parts]) for dim in parts[0]}


def _load(context: SweepContext, record: TrialRecord) -> PerQuery:
    path = confirmation_stage(context).folder(record.number) / "values.npz"
    return load_values(path, scores_from_json(record.attributes["scores"]), context.objective.metric)


def _label_all(sets: Sequence[RetrievalSet]) -> np.ndarray:
    """The passage group of each query of all sets; no group stands in two of them."""
    labels = [np.array(label_groups(one.relevant)) for one in sets]
    offsets = np.cumsum([0, *(len(group) + 1 for group in labels)])
    return np.concatenate([group + offset for group, offset in zip(labels, offsets, strict=False)])

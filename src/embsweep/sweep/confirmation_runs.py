"""The runs of the confirmation: which there are, which of an earlier process count, and what they left on disk."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from embsweep.config import Config
from embsweep.config.search_space import IntRange, Value
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.core.errors import EmbsweepError, InputError
from embsweep.evaluation.per_query import load_values
from embsweep.runners.base import Runner
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.search.record import TrialRecord
from embsweep.selection.scores import PerQuery, scores_from_json
from embsweep.sweep.checkpoints import set_torn_aside
from embsweep.sweep.context import SweepContext, build_work
from embsweep.sweep.phase import Stage, find_contenders
from embsweep.sweep.scheduler import SweepDesk
from embsweep.tracking.runs import Child
from embsweep.training.trial import TrialData

_MANY = 2**31 - 1
_SEED = "train.seed"
Point = tuple[tuple[str, Value], ...]


def fresh_seeds(count: int, search_seed: int, used: Collection[int]) -> list[int]:
    """Training seeds that no trial of the search has had; the same for the same search."""
    drawn = (
        int(hashlib.sha256(f"confirmation {search_seed} {position}".encode()).hexdigest()[:7], 16)
        for position in itertools.count()
    )
    return list(itertools.islice((seed for seed in drawn if seed not in used), count))


def find_used_seeds(
    records: Iterable[TrialRecord], configure: Callable[[Mapping[str, Value]], Config]
) -> frozenset[int]:
    """Training seeds of all trials, whatever became of them.

    A configuration takes a fifth of a second to compose. The seed is a swept key itself, or one of the swept groups
    sets it, or it is the same for all: so one trial of each choice of groups is composed.
    """
    swept: set[int] = set()
    by_groups: dict[Point, int] = {}
    for record in records:
        groups = _key({key: value for key, value in record.params.items() if "." not in key})
        if _SEED in record.params:
            swept.add(int(record.params[_SEED]))
        elif groups not in by_groups:
            with suppress(InputError):  # a point that is not valid has never trained
                by_groups[groups] = configure(record.params).train.seed
    return frozenset(swept | set(by_groups.values()))


def run_again(
    context: SweepContext, runner: Runner, finalists: Sequence[int], folds: Sequence[TrialData]
) -> tuple[TrialRecord, ...]:
    """Every run that was asked for, finished: each finalist with each fresh seed, on each fold where there are some."""
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
    )
    splits = context.prepared.splits
    data = TrialData(splits.train, splits.validation, tuple(folds))
    desk.catch_up()
    runner.run(desk, build_work(context, data))
    set_torn_aside(ledger, stage, context.progress)
    return _latest(ledger.trials, points)


def _latest(records: Sequence[TrialRecord], points: Sequence[Mapping[str, Value]]) -> tuple[TrialRecord, ...]:
    """The last run of each point that has had one."""
    known = _by_point(records)
    return tuple(known[key] for point in points if (key := _key(point)) in known)


def _by_point(records: Iterable[TrialRecord]) -> dict[Point, TrialRecord]:
    """The last run of each point: one may have been repeated."""
    return {_key(record.params): record for record in records}


def _key(params: Mapping[str, Value]) -> Point:
    return tuple(sorted(params.items()))


def _find_repeated(context: SweepContext, ledger: Ledger, points: Sequence[Mapping[str, Value]]) -> set[int]:
    """Numbers of earlier runs that do not count: what they measured is torn, or no finalist has come through.

    Any other failure stands: run again after the verdict, it could change that and register a second winner.
    """
    over = [record for record in _latest(ledger.trials, points) if record.is_finished]
    failed = [record for record in over if record.state == "failed"]
    is_hopeless = len(over) == len(points) and {r.params["trial"] for r in failed} == {p["trial"] for p in points}
    torn = [record for record in over if record.state == "complete" and _is_torn(context, record)]
    repeated = [record.params for record in (*torn, *(failed if is_hopeless else ()))]
    return {record.number for record in ledger.trials if record.params in repeated}


def _is_torn(context: SweepContext, record: TrialRecord) -> bool:
    try:
        load_run(context, record)
    except EmbsweepError as error:
        context.progress.say(f"{confirmation_stage(context).child(record).name} is run again: {error}")
        return True
    return False


def _plan_points(context: SweepContext, finalists: Sequence[int], folds: int) -> list[dict[str, Value]]:
    """One point a run: all configurations with the first seed come before any with the second."""
    used = find_used_seeds(context.ledger.trials, context.configure)
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
    ledger.queue_only(points, again=_find_repeated(context, ledger, points))
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
        last = _by_point(record for record in records if record.is_finished).values()
        trials = {record.number: record.params["trial"] for record in last}
        best: dict[Value, int] = {}
        for contender in [] if with_folds else find_contenders(last, runs):
            best.setdefault(trials[contender.number], contender.number)
        return set(best.values())

    def fold(record: TrialRecord) -> int | None:
        return int(record.params["fold"]) if with_folds else None

    return Stage(name, runs, child, kept, context.recipe.sweep.max_attempts, fold=fold)


def load_run(context: SweepContext, record: TrialRecord) -> PerQuery:
    """Each query's score in a run, from disk. EmbsweepError where that is not what was recorded of it."""
    path = confirmation_stage(context).folder(record.number) / "values.npz"
    return load_values(path, scores_from_json(record.attributes["scores"]), context.objective.metric)

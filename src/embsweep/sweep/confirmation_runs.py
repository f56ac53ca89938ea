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
from embsweep.evaluation.per_query import load_per_query
from embsweep.runners.base import Runner
from embsweep.search.ledger import Ledger
from embsweep.search.pruners import build_pruner
from embsweep.search.record import TrialRecord
from embsweep.selection.scores import PerQuery, scores_from_json
from embsweep.sweep.checkpoints import quarantine_corrupt
from embsweep.sweep.context import SweepContext, build_trial_fn
from embsweep.sweep.phase import Phase, rank_finished_trials
from embsweep.sweep.scheduler import SweepScheduler
from embsweep.tracking.runs import RunRef
from embsweep.training.trial import TrialData

_UNBOUNDED = 2**31 - 1
_SEED = "train.seed"
ParamKey = tuple[tuple[str, Value], ...]


def draw_seeds(count: int, search_seed: int, used: Collection[int]) -> list[int]:
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
    by_groups: dict[ParamKey, int] = {}
    for record in records:
        groups = _key({key: value for key, value in record.params.items() if "." not in key})
        if _SEED in record.params:
            swept.add(int(record.params[_SEED]))
        elif groups not in by_groups:
            with suppress(InputError):  # a point that is not valid has never trained
                by_groups[groups] = configure(record.params).train.seed
    return frozenset(swept | set(by_groups.values()))


def run_confirmation(
    context: SweepContext, runner: Runner, finalists: Sequence[int], folds: Sequence[TrialData]
) -> tuple[TrialRecord, ...]:
    """Every run that was asked for, finished: each finalist with each fresh seed, on each fold where there are some."""
    points = _plan_points(context, finalists, len(folds))
    phase = confirmation_phase(context)
    ledger = _open_ledger(context, phase, points)
    context.progress.say(
        f"Confirmation: {len(finalists)} configurations again with {context.recipe.confirm.seeds} fresh seeds"
        + (f" on each of {len(folds)} folds" if folds else "")
        + f", {len(points)} runs of whole schedules."
    )
    scheduler = SweepScheduler(
        ledger,
        context.tracking,
        context.progress,
        partial(confirmation_config, context),
        phase,
    )
    splits = context.prepared.splits
    data = TrialData(splits.train, splits.validation, tuple(folds))
    scheduler.resume()
    runner.run(scheduler, build_trial_fn(context, data))
    quarantine_corrupt(ledger, phase, context.progress)
    return _latest(ledger.trials, points)


def _latest(records: Sequence[TrialRecord], points: Sequence[Mapping[str, Value]]) -> tuple[TrialRecord, ...]:
    """The last run of each point that has had one."""
    known = _by_point(records)
    return tuple(known[key] for point in points if (key := _key(point)) in known)


def _by_point(records: Iterable[TrialRecord]) -> dict[ParamKey, TrialRecord]:
    """The last run of each point: one may have been repeated."""
    return {_key(record.params): record for record in records}


def _key(params: Mapping[str, Value]) -> ParamKey:
    return tuple(sorted(params.items()))


def _find_invalid_runs(context: SweepContext, ledger: Ledger, points: Sequence[Mapping[str, Value]]) -> set[int]:
    """Numbers of earlier runs that do not count: what they measured is torn, or no finalist has come through.

    Any other failure stands: run again after the verdict, it could change that and register a second winner.
    """
    over = [record for record in _latest(ledger.trials, points) if record.is_finished]
    failed = [record for record in over if record.state == "failed"]
    has_too_many_failures = len(over) == len(points) and {r.params["trial"] for r in failed} == {
        p["trial"] for p in points
    }
    torn = [record for record in over if record.state == "complete" and _is_corrupt(context, record)]
    repeated = [record.params for record in (*torn, *(failed if has_too_many_failures else ()))]
    return {record.number for record in ledger.trials if record.params in repeated}


def _is_corrupt(context: SweepContext, record: TrialRecord) -> bool:
    try:
        load_run(context, record)
    except EmbsweepError as error:
        context.progress.say(f"{confirmation_phase(context).tracking_run(record).name} is run again: {error}")
        return True
    return False


def _plan_points(context: SweepContext, finalists: Sequence[int], folds: int) -> list[dict[str, Value]]:
    """One point a run: all configurations with the first seed come before any with the second."""
    used = find_used_seeds(context.ledger.trials, context.configure)
    seeds = draw_seeds(context.recipe.confirm.seeds, context.recipe.search.seed, used)
    points: list[dict[str, Value]] = [{"trial": trial, "seed": seed} for seed in seeds for trial in finalists]
    return [{**point, "fold": fold} for point in points for fold in range(folds)] if folds else points


def _open_ledger(context: SweepContext, phase: Phase, points: Sequence[dict[str, Value]]) -> Ledger:
    """A study of its own beside the search's: these runs must not teach the sampler."""
    ledger = Ledger.open(
        context.folder.ledger,
        space=tuple(IntRange(key, 0, _UNBOUNDED) for key in points[0]),
        search=SearchConfig(sampler="grid", trials=_UNBOUNDED, seed=0, recipe_first=False),
        pruner=build_pruner(StoppingConfig(kind="none"), 1.0),
        study=phase.name,
    )
    ledger.replace_queue(points, again=_find_invalid_runs(context, ledger, points))
    notes = context.ledger.metadata
    ledger.set_metadata(**{key: notes[key] for key in ("title", "objective", "slots")})
    ledger.set_metadata(
        name=f"{context.folder.name}, confirmation", baseline=notes["baseline"], requested_trials=ledger.budget
    )
    return ledger


def confirmation_config(context: SweepContext, record: TrialRecord) -> Config:
    """The configuration of the trial that a run of the confirmation repeats, under its fresh seed."""
    config = context.configure(context.ledger.record(int(record.params["trial"])).params)
    return config.model_copy(update={"train": config.train.model_copy(update={"seed": int(record.params["seed"])})})


def confirmation_phase(context: SweepContext) -> Phase:
    """Keeps each configuration's best weights; those of folds have seen other data and are not kept."""
    with_folds = bool(context.prepared.folds)
    name = f"confirmation-{len(context.prepared.folds)}-folds" if with_folds else "confirmation"
    runs = context.folder.root / name

    def child(record: TrialRecord) -> RunRef:
        fold = f", fold {record.params['fold']}" if with_folds else ""
        return RunRef(
            record.number, f"confirmation of trial {record.params['trial']}, seed {record.params['seed']}{fold}", name
        )

    def kept(records: Sequence[TrialRecord]) -> set[int]:
        last = _by_point(record for record in records if record.is_finished).values()
        trials = {record.number: record.params["trial"] for record in last}
        best: dict[Value, int] = {}
        for contender in [] if with_folds else rank_finished_trials(last, runs):
            best.setdefault(trials[contender.number], contender.number)
        return set(best.values())

    def fold(record: TrialRecord) -> int | None:
        return int(record.params["fold"]) if with_folds else None

    return Phase(name, runs, child, kept, context.recipe.sweep.max_attempts, fold=fold)


def load_run(context: SweepContext, record: TrialRecord) -> PerQuery:
    """Each query's score in a run, from disk. EmbsweepError where that is not what was recorded of it."""
    path = confirmation_phase(context).trial_dir(record.number) / "per_query.npz"
    return load_per_query(path, scores_from_json(record.attributes["scores"]), context.objective.metric)

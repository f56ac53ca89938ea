"""Preflight checks: collect everything that is wrong with a request, within seconds and before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embsweep.audit.findings import to_diagnostic, validate_waivers
from embsweep.audit.report import AuditReport
from embsweep.audit.run import audit_data
from embsweep.config import Config, check_trainable
from embsweep.config.model import ModelConfig
from embsweep.config.rehearsal import Rehearsal, plan_rehearsal
from embsweep.config.search_space import SearchSpace, boundary_values
from embsweep.core.errors import Diagnostic, EmbsweepError, InputError, SweepRefused
from embsweep.core.gpus import has_usable_gpu
from embsweep.core.names import rehearsal_name
from embsweep.data.collection import Collection, Splits
from embsweep.data.splits import split_collection, split_folds
from embsweep.models.builders import check_model
from embsweep.runners.base import Runner
from embsweep.runners.factory import open_runner
from embsweep.runners.resources import Machine, Slots, find_weakest_gpu
from embsweep.sweep.checks.gpu_memory import check_gpu_memory, find_largest_trial
from embsweep.sweep.checks.hardware import validate_hardware
from embsweep.sweep.checks.inputs import (
    attempt,
    deduplicate,
    find_storage,
    is_storage_shared,
    parse_config,
    parse_data,
    validate_chosen_model,
    validate_storage,
)
from embsweep.sweep.checks.points import PointCheck, check_batch, count_passages
from embsweep.sweep.checks.search_space import in_space, validate_space
from embsweep.sweep.folder import SweepFolder, open_model_cache
from embsweep.sweep.request import SweepRequest
from embsweep.tracking.location import Location, choose_location


@dataclass(frozen=True)
class PreflightResult:
    """A request that has passed every check. `requested` is the recipe before scaling, `recipe` after it.

    `points` checks and identifies points of the space. `location` says where the records go; `recipe` has it.
    `runner` has planned `slots`; the sweep closes it. `folds` holds the splits of the confirmation's cross-validation;
    it is empty without one.
    """

    requested: Config
    recipe: Config
    scale: Rehearsal
    slots: Slots
    splits: Splits
    audit: AuditReport
    storage: Path
    runner: Runner
    points: PointCheck
    location: Location
    machines: tuple[Machine, ...] = ()
    folds: tuple[Splits, ...] = ()


def check_not_running(request: SweepRequest) -> None:
    """Check that no other process runs the requested sweep; leave every other problem to `check_request`.

    This comes first, because `check_request` takes longer than a user should wait for this answer.

    A rehearsal runs under a name of its own. With `scale.mode` auto, the machine's GPUs decide which of the two names
    applies; they are counted only if a sweep of one of the names is running. On a cluster, the preflight checks decide
    instead, because they inspect its nodes.

    Raises:
        SweepRefused: If another process runs the sweep; the message names it.
    """
    names = _candidate_names(request.values)
    refusals = {name: refusal for name in names if (refusal := _find_running(request, name))}
    if refusals and len(names) > 1:
        if request.values.get("runner", {}).get("kind") == "cluster":
            return
        names = names[:1] if has_usable_gpu() else names[1:]  # importing torch takes seconds
    for name in names:
        if name in refusals:
            raise refusals[name]


def _find_running(request: SweepRequest, name: str) -> SweepRefused | None:
    storage = find_storage(request.values, request.default_storage)
    folder = SweepFolder(storage, name, is_storage_shared(request.values))
    if not (folder.storage / "sweeps" / f".{name}.lock").exists():
        return None
    try:
        with folder.hold():
            return None
    except SweepRefused as refusal:
        return refusal
    except InputError:  # the preflight checks report it together with all other problems
        return None


def _candidate_names(values: Mapping[str, Any]) -> list[str]:
    """Return the names that the sweep may have: at full scale, in rehearsal, or both; none if it is misconfigured."""
    sweep, scale = values.get("sweep"), values.get("scale")
    name = sweep.get("name") if isinstance(sweep, Mapping) else None
    if not isinstance(name, str) or "/" in name or not isinstance(scale, Mapping):
        return []
    both = {"full": [name], "rehearsal": [rehearsal_name(name)], "auto": [name, rehearsal_name(name)]}
    return both.get(str(scale.get("mode")), [])


def check_request(request: SweepRequest, earlier: Iterable[Diagnostic] = ()) -> PreflightResult:
    """Check the configuration, the search space, the data, the model and the machines.

    Nothing is created except the cache of a data set.

    Args:
        request: The request.
        earlier: Diagnostics that were found before, in the command line.

    Raises:
        InputError: If anything is wrong, with all diagnostics, `earlier` included.
    """
    diagnostics = list(earlier)
    requested, found = parse_config(request.values, diagnostics, check_trainable)
    diagnostics.extend(found)
    diagnostics.extend(validate_space(request, diagnostics))
    storage = find_storage(request.values, request.default_storage)
    diagnostics.extend(validate_storage(request.values, storage))
    if requested is None:
        diagnostics.extend(parse_data(request.values, storage, is_valid=not diagnostics)[1])
        diagnostics.extend(_validate_model_alone(request.values, diagnostics))
        raise InputError(deduplicate(diagnostics))
    runner = open_runner(requested.runner, storage)
    try:
        return _check_config(request, requested, storage, runner, diagnostics)
    except BaseException:
        runner.close()
        raise


def _check_config(
    request: SweepRequest, requested: Config, storage: Path, runner: Runner, diagnostics: list[Diagnostic]
) -> PreflightResult:
    machines, found = attempt(runner.machines)
    diagnostics.extend(found)
    scale = plan_rehearsal(
        requested.scale.mode,
        has_gpu=not machines or any(machine.gpus for machine in machines),  # an unusable cluster: the full scale
        longest_epochs=_longest_epochs(requested, request.space),
        caps=requested.scale.rehearsal,
    )
    recipe = scale.apply(requested)
    location, found = attempt(_choose_location, recipe, storage)
    diagnostics.extend(found)
    recipe = recipe if location is None else recipe.model_copy(update={"tracking": location.tracking})
    diagnostics.extend(validate_chosen_model(recipe.model, diagnostics))
    diagnostics.extend(_validate_swept_models(request, scale, recipe.model))
    scratch, trials = SweepFolder(storage, recipe.sweep.name).scratch, recipe.search.trials
    slots, found = attempt(runner.plan, recipe.runner, machines, trials, scratch) if machines else (None, [])
    diagnostics.extend(found)
    if slots is not None and machines is not None:
        diagnostics.extend(validate_hardware(request, scale, recipe, slots, machines))
    collection, found = parse_data(request.values, storage, is_valid=not diagnostics)
    diagnostics.extend([*found, *validate_waivers(recipe.audit.waive)])
    if collection is None:
        raise InputError(deduplicate(diagnostics))
    splits, found = attempt(split_collection, collection, recipe.data.split, recipe.data.max_pairs)
    diagnostics.extend([*found, *(_validate_splits(recipe, splits) if splits is not None else ())])
    if splits is None:
        raise InputError(deduplicate(diagnostics))
    folds, found = _parse_folds(recipe, collection) if not diagnostics else ((), [])
    diagnostics.extend(found)
    audit = audit_data(collection, splits, config=recipe.audit, model=recipe.model, train=recipe.train)
    diagnostics.extend(map(to_diagnostic, audit.unwaived))
    if diagnostics or slots is None or location is None:
        raise InputError(deduplicate(diagnostics))
    points = PointCheck(request, scale, tuple(count_passages(cut) for cut in (splits, *folds)))
    _require_batches(points)
    points.require_possible(is_grid=recipe.search.sampler == "grid", seed=recipe.search.seed)
    _require_tracking(recipe, storage, location.key)
    weakest = find_weakest_gpu(machines or ())
    if memory_diagnostics := check_gpu_memory(
        find_largest_trial(request, scale, weakest),
        splits,
        slots,
        call=runner.call,
        model_cache=open_model_cache(storage, is_shared=recipe.storage.shared) if runner.is_remote else None,
        weakest=weakest,
    ):
        raise InputError(memory_diagnostics)
    return PreflightResult(
        requested, recipe, scale, slots, splits, audit, storage, runner, points, location, machines or (), folds
    )


def _validate_model_alone(values: Mapping[str, Any], diagnostics: Iterable[Diagnostic]) -> list[Diagnostic]:
    """Check the model of a configuration that is invalid in other parts, unless a rehearsal would replace the model."""
    mode = values.get("scale", {}).get("mode")
    if mode == "rehearsal" or (mode == "auto" and not has_usable_gpu()):
        return []
    try:
        return validate_chosen_model(ModelConfig.model_validate(values.get("model")), diagnostics)
    except ValidationError:
        return []


def _validate_swept_models(request: SweepRequest, scale: Rehearsal, checked: ModelConfig) -> Iterator[Diagnostic]:
    """Check the models of the space that are not yet `checked`: each option of the dimensions that change the model."""
    known = {checked.model_dump_json()}
    for dimension in request.space:
        for value in boundary_values(dimension) if dimension.key.split(".")[0] == "model" else ():
            config, _ = attempt(request.configure, {dimension.key: value})  # invalid ones are reported with the space
            model = scale.apply(config).model if config is not None else checked
            if model.model_dump_json() not in known:
                known.add(model.model_dump_json())
                yield from (in_space(diagnostic, dimension, value) for diagnostic in check_model(model))


def _validate_splits(recipe: Config, splits: Splits) -> Iterator[Diagnostic]:
    if len(splits.train) < 2:
        yield Diagnostic("too-few-pairs", "data", "too few pairs to train on", len(splits.train), "at least 2")
    yield from check_batch(recipe, count_passages(splits))


def _parse_folds(recipe: Config, collection: Collection) -> tuple[tuple[Splits, ...], list[Diagnostic]]:
    """Split training and validation data again for the confirmation, if it cross-validates; otherwise return none."""
    if recipe.confirm.folds is None:
        return (), []
    data, count = recipe.data, recipe.confirm.folds
    folds, found = attempt(split_folds, collection, data.split, data.max_pairs, count)
    counts = [count_passages(fold) for fold in folds or ()]
    return folds or (), [*found, *(diagnostic for count in counts for diagnostic in check_batch(recipe, count))]


def _require_batches(points: PointCheck) -> None:
    """Raise InputError if a boundary value of the space requires batches that the data cannot fill."""
    diagnostics = [
        in_space(diagnostic, dimension, value)
        for dimension in points.request.space
        if dimension.key.split(".")[0] == "train"
        for value in boundary_values(dimension)
        for diagnostic in points.find_batch_errors({dimension.key: value})
    ]
    if diagnostics:
        raise InputError(deduplicate(diagnostics))


def _choose_location(recipe: Config, storage: Path) -> Location:
    """Choose the MLflow store, that of an earlier start of the sweep unless the configuration names one."""
    ledger = SweepFolder(storage, recipe.sweep.name).ledger
    metadata: Mapping[str, Any] = {}
    if ledger.exists() and not recipe.sweep.fresh:
        from embsweep.search.read import read_metadata

        with suppress(EmbsweepError):  # the sweep reports it when it opens the ledger
            metadata = read_metadata(ledger)
    return choose_location(recipe.tracking, storage, metadata.get("tracking", {}).get("store"))


def _require_tracking(recipe: Config, storage: Path, key: str) -> None:
    """Raise InputError if an existing MLflow store cannot be used; a new local store is created later by the sweep.

    An unreachable store is accepted if the sweep has been started before or if `tracking.must_answer` is false: its
    ledger holds everything until MLflow answers.
    """
    if recipe.tracking.uri is None and not (storage / "mlflow.db").exists():
        return
    from embsweep.tracking.store import StoreUnreachable, open_store  # importing MLflow takes seconds

    try:
        open_store(storage, uri=recipe.tracking.uri, experiment=recipe.tracking.experiment_name, is_first=True, key=key)
    except StoreUnreachable:
        has_begun = SweepFolder(storage, recipe.sweep.name).ledger.exists() and not recipe.sweep.fresh
        if recipe.tracking.must_answer and not has_begun:
            raise


def _longest_epochs(recipe: Config, space: SearchSpace) -> float:
    swept = [d for d in space if d.key == "train.epochs"]
    return max(float(value) for value in (recipe.train.epochs, *(v for d in swept for v in boundary_values(d))))

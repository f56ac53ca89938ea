"""Preflight checks: collect everything that is wrong with a request, within seconds and before anything starts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from embsweep.audit.findings import check_waivers, to_diagnostic
from embsweep.audit.report import AuditReport
from embsweep.audit.run import audit_data
from embsweep.config import Config, build_config, check_trainable
from embsweep.config.rehearsal import Rehearsal, plan_rehearsal
from embsweep.config.search_space import Space, boundary_values
from embsweep.config.training import ModelConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection, Splits
from embsweep.data.splits import split_collection, split_folds
from embsweep.runners.resources import Machine, Slots, find_smallest_gpu, inspect_machine, plan_slots
from embsweep.runners.select import close_runner, list_machines
from embsweep.sweep.checks.gpu_memory import check_gpu_memory
from embsweep.sweep.checks.inputs import (
    check_chosen_model,
    check_storage,
    checked_config,
    checked_data,
    deduplicate,
    find_storage,
)
from embsweep.sweep.checks.search_space import check_space, in_space
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.request import SweepRequest


@dataclass(frozen=True)
class PreflightResult:
    """A request that has passed every check. `requested` is the recipe before scaling, `recipe` after it.

    `folds` holds the splits of the confirmation's cross-validation; it is empty without one.
    """

    requested: Config
    recipe: Config
    scale: Rehearsal
    slots: Slots
    splits: Splits
    audit: AuditReport
    storage: Path
    folds: tuple[Splits, ...] = ()


def check_request(request: SweepRequest, earlier: Iterable[Diagnostic] = ()) -> PreflightResult:
    """Check the configuration, the search space, the data, the model and the machines.

    Nothing is created except the cache of a data set. If the configuration names a cluster, it is joined, and left
    again if a check fails.

    Args:
        request: The request.
        earlier: Diagnostics that were found before, in the command line.

    Raises:
        InputError: If anything is wrong, with all diagnostics, `earlier` included.
    """
    try:
        return _check_request(request, list(earlier))
    except BaseException:
        close_runner(request.values)
        raise


def _check_request(request: SweepRequest, diagnostics: list[Diagnostic]) -> PreflightResult:
    requested = checked_config(request.values, diagnostics, check_trainable)
    check_space(request, diagnostics)
    storage = find_storage(request.values, request.default_storage)
    diagnostics.extend(check_storage(request.values, storage))
    if requested is None:
        checked_data(request.values, storage, diagnostics)
        diagnostics.extend(_check_model_alone(request.values, inspect_machine(), diagnostics))
        raise InputError(deduplicate(diagnostics))
    machines = _checked_machines(requested, storage, diagnostics)
    scale = plan_rehearsal(
        requested.scale.mode,
        has_gpu=any(machine.gpus for machine in machines),
        longest_epochs=_longest_epochs(requested, request.space),
        caps=requested.scale.rehearsal,
    )
    recipe = scale.apply(requested)
    diagnostics.extend(check_chosen_model(recipe.model, diagnostics))
    slots = _checked_slots(recipe, machines, diagnostics)
    collection = checked_data(request.values, storage, diagnostics)
    splits = _checked_splits(recipe, collection, diagnostics)
    folds = _checked_folds(recipe, collection, diagnostics)
    audit = _checked_audit(recipe, collection, splits, diagnostics)
    if diagnostics or slots is None or splits is None or audit is None:
        raise InputError(deduplicate(diagnostics))
    _check_swept_batches(request, scale, (splits, *folds))
    _check_tracking(recipe, storage)
    smallest = find_smallest_gpu(machines)
    if memory_diagnostics := check_gpu_memory(request, scale, splits, slots, smallest_bytes=smallest):
        raise InputError(memory_diagnostics)
    return PreflightResult(requested, recipe, scale, slots, splits, audit, storage, folds)


def _check_model_alone(
    values: Mapping[str, Any], machine: Machine, diagnostics: Iterable[Diagnostic]
) -> list[Diagnostic]:
    """Check the model of a configuration that is invalid in other parts, unless a rehearsal would replace the model."""
    mode = values.get("scale", {}).get("mode")
    if mode == "rehearsal" or (mode == "auto" and not machine.gpus):
        return []
    try:
        return check_chosen_model(ModelConfig.model_validate(values.get("model")), diagnostics)
    except ValidationError:
        return []


def _checked_splits(recipe: Config, collection: Collection | None, diagnostics: list[Diagnostic]) -> Splits | None:
    if collection is None:
        return None
    try:
        splits = split_collection(collection, recipe.data.split, recipe.data.max_pairs)
    except InputError as error:
        diagnostics.extend(error.diagnostics)
        return None
    if len(splits.train) < 2:
        diagnostics.append(
            Diagnostic("too-few-pairs", "data", "too few pairs to train on", len(splits.train), "at least 2")
        )
    diagnostics.extend(_check_batch(recipe, splits))
    return splits


def _checked_folds(recipe: Config, collection: Collection | None, diagnostics: list[Diagnostic]) -> tuple[Splits, ...]:
    """Split training and validation data again for the confirmation, if it cross-validates; otherwise return none."""
    if collection is None or recipe.confirm.folds is None or diagnostics:
        return ()
    try:
        folds = split_folds(collection, recipe.data.split, recipe.data.max_pairs, recipe.confirm.folds)
    except InputError as error:
        diagnostics.extend(error.diagnostics)
        return ()
    diagnostics.extend(diagnostic for fold in folds for diagnostic in _check_batch(recipe, fold))
    return folds


def _checked_audit(
    recipe: Config, collection: Collection | None, splits: Splits | None, diagnostics: list[Diagnostic]
) -> AuditReport | None:
    diagnostics.extend(check_waivers(recipe.audit.waive))
    if collection is None or splits is None:
        return None
    report = audit_data(collection, splits, config=recipe.audit, model=recipe.model, train=recipe.train)
    diagnostics.extend(map(to_diagnostic, report.unwaived))
    return report


def _check_batch(config: Config, splits: Splits) -> Iterator[Diagnostic]:
    """Check that the workers can share a batch evenly, and that the training data can fill a batch.

    If several queries have the same passage, a batch without duplicates has at most one row per passage. The trainer
    would nevertheless count an epoch as rows / batch_size steps, and most rows would not be used.
    """
    train, workers = config.train, config.runner.workers_per_trial
    if train.batch_size % workers:
        problem = f"is not divisible by the {workers} workers of a trial"
        yield Diagnostic("not-divisible", "train.batch_size", problem, train.batch_size, f"a multiple of {workers}")
    passages = len({pair.positive for pair in splits.train})
    if train.batch_sampler != "batch_sampler" and train.batch_size > passages:
        problem = f"no batch without duplicates can be larger than the {passages} training passages"
        yield Diagnostic(
            "out-of-range",
            "train.batch_size",
            problem,
            train.batch_size,
            f"2 to {passages}, or another train.batch_sampler",
        )


def _check_swept_batches(request: SweepRequest, scale: Rehearsal, cuts: Sequence[Splits]) -> None:
    """Raise InputError if a boundary value of the space requires batches that the data cannot fill."""
    diagnostics = [
        in_space(diagnostic, dimension, value)
        for dimension in request.space
        if dimension.key.split(".")[0] == "train"
        for value in boundary_values(dimension)
        for config in (scale.apply(build_config(request.compose({dimension.key: value}))),)
        for splits in cuts
        for diagnostic in _check_batch(config, splits)
    ]
    if diagnostics:
        raise InputError(deduplicate(diagnostics))


def _checked_machines(requested: Config, storage: Path, diagnostics: list[Diagnostic]) -> tuple[Machine, ...]:
    """Return the machines that the sweep may use; none if the cluster is unusable, so that other checks still run."""
    try:
        return list_machines(requested, storage)
    except InputError as error:
        diagnostics.extend(error.diagnostics)
        return ()


def _checked_slots(recipe: Config, machines: Sequence[Machine], diagnostics: list[Diagnostic]) -> Slots | None:
    if not machines:
        return None
    try:
        return plan_slots(recipe.runner, machines, recipe.search.trials)
    except InputError as error:
        diagnostics.extend(error.diagnostics)
        return None


def _check_tracking(recipe: Config, storage: Path) -> None:
    """Raise InputError if an existing MLflow store cannot be used; a new local store is created later by the sweep.

    An unreachable store is accepted if the sweep has been started before or if `tracking.must_answer` is false: its
    ledger holds everything until MLflow answers.
    """
    if recipe.tracking.uri is None and not (storage / "mlflow.db").exists():
        return
    from embsweep.tracking.store import StoreUnreachable, open_store  # importing MLflow takes seconds

    try:
        open_store(storage, uri=recipe.tracking.uri, experiment=recipe.tracking.experiment, is_first=True)
    except StoreUnreachable:
        has_begun = SweepFolder(storage, recipe.sweep.name).ledger.exists() and not recipe.sweep.fresh
        if recipe.tracking.must_answer and not has_begun:
            raise


def _longest_epochs(recipe: Config, space: Space) -> float:
    swept = [d for d in space if d.key == "train.epochs"]
    return max(float(value) for value in (recipe.train.epochs, *(v for d in swept for v in boundary_values(d))))

"""Everything that can be found wrong before anything starts, found at once and within seconds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from embsweep.config import Config, build_config, check_trainable
from embsweep.config.source import DataConfig
from embsweep.config.training import ModelConfig
from embsweep.data.collection import Collection, Splits
from embsweep.data.load import load_collection
from embsweep.data.split import split_collection
from embsweep.errors import Fault, InputError
from embsweep.model.base import check_model
from embsweep.runner.slots import Machine, Slots, inspect_machine, plan_slots
from embsweep.space import Choice, Dimension, Space, Value, describe, end_points, grid_values
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.identity import flatten
from embsweep.sweep.request import Compose, SweepRequest
from embsweep.sweep.scale import Scale, decide_scale

_MISSING = "???"


@dataclass(frozen=True)
class Prepared:
    """A request that has passed every check. `asked` is the recipe before scaling, `recipe` after."""

    asked: Config
    recipe: Config
    scale: Scale
    slots: Slots
    splits: Splits
    storage: Path


def check_request(request: SweepRequest, earlier: Iterable[Fault] = ()) -> Prepared:
    """Check the configuration, the space, the data, the model and the machine.

    InputError with all faults, `earlier` ones (of the command line) among them. Nothing is created but the
    cache of a data set.
    """
    faults = list(earlier)
    asked = _checked_config(request.values, faults)
    _check_space(request, faults)
    storage = _storage(request)
    collection = _checked_data(request.values, storage, faults)
    machine = inspect_machine()
    if asked is None:
        faults.extend(_check_model_alone(request.values, machine))
        raise InputError(_distinct(faults))
    scale = decide_scale(
        asked.scale.mode,
        has_gpu=machine.gpus > 0,
        longest_epochs=_longest_epochs(asked, request.space),
        caps=asked.scale.rehearsal,
    )
    recipe = scale.apply(asked)
    faults.extend(check_model(recipe.model))
    slots = _checked_slots(recipe, machine, faults)
    splits = _checked_splits(recipe, collection, faults)
    if faults or slots is None or splits is None:
        raise InputError(_distinct(faults))
    return Prepared(asked, recipe, scale, slots, splits, storage)


def find_missing(values: Mapping[str, Any]) -> list[Fault]:
    """A fault for every key that conf/ leaves to the user and the user left out."""
    keys = [key for key, value in flatten(values) if value == _MISSING]
    return [Fault(key, "must be given", fix=f"add {key}=…") for key in keys]


def _checked_config(values: Mapping[str, Any], faults: list[Fault]) -> Config | None:
    missing = find_missing(values)
    faults.extend(missing)
    try:
        config = build_config(values)
    except InputError as error:
        faults.extend(fault for fault in error.faults if fault.where not in {fault.where for fault in missing})
        return None
    faults.extend(check_trainable(config))
    return config


def _check_space(request: SweepRequest, faults: list[Fault]) -> None:
    for dimension in request.space:
        faults.extend(_check_dimension(dimension, request.compose, known=list(faults)))
    if request.values.get("search", {}).get("sampler") == "grid":
        faults.extend(
            Fault(d.key, "a grid cannot hold an interval", describe(d), "choice(…) or range(…)", "or search=tpe")
            for d in request.space
            if grid_values(d) is None
        )


def _check_dimension(dimension: Dimension, compose: Compose, known: list[Fault]) -> list[Fault]:
    """Compose both ends, or every option, and check each as if it were a trial."""
    faults: list[Fault] = []
    composed: dict[str, list[Value]] = {}
    for value in end_points(dimension):
        values = compose({dimension.key: value})
        try:
            config = build_config(values)
            found = check_trainable(config)
            composed.setdefault(config.model_dump_json(), []).append(value)
        except InputError as error:
            found = list(error.faults)
        new = [fault for fault in found if fault not in known]
        faults.extend(
            Fault(f.where, f"{f.problem} (in the search space at {dimension.key}={value})", f.value, f.accepted, f.fix)
            for f in new
        )
    for same in composed.values():
        if isinstance(dimension, Choice) and len(same) > 1:
            names = " and ".join(map(str, same))
            fix = f"fix it: {dimension.key}={same[0]}"
            faults.append(Fault(dimension.key, f"{names} compose to the same configuration here", fix=fix))
    return faults


def _check_model_alone(values: Mapping[str, Any], machine: Machine) -> list[Fault]:
    """Reach for the model of a configuration that is wrong elsewhere, unless it would be rehearsed."""
    mode = values.get("scale", {}).get("mode")
    if mode == "rehearsal" or (mode == "auto" and not machine.gpus):
        return []
    try:
        return check_model(ModelConfig.model_validate(values.get("model")))
    except ValidationError:
        return []


def _checked_data(values: Mapping[str, Any], storage: Path, faults: list[Fault]) -> Collection | None:
    data = values.get("data", {})
    if _MISSING in dict(data).values():
        return None
    try:
        config: DataConfig = TypeAdapter(DataConfig).validate_python(data)
        return load_collection(config, SweepFolder.cache(storage))
    except ValidationError:
        return None  # already among the configuration's faults
    except InputError as error:
        faults.extend(error.faults)
        return None


def _checked_splits(recipe: Config, collection: Collection | None, faults: list[Fault]) -> Splits | None:
    if collection is None:
        return None
    try:
        splits = split_collection(collection, recipe.data.split, recipe.data.max_pairs)
    except InputError as error:
        faults.extend(error.faults)
        return None
    if len(splits.train) < 2:
        faults.append(Fault("data", "too few pairs to train on", len(splits.train), "at least 2"))
    return splits


def _checked_slots(recipe: Config, machine: Machine, faults: list[Fault]) -> Slots | None:
    try:
        return plan_slots(recipe.runner, machine)
    except InputError as error:
        faults.extend(error.faults)
        return None


def _storage(request: SweepRequest) -> Path:
    path = request.values.get("storage", {}).get("path")
    return Path(path).expanduser().resolve() if isinstance(path, str) else request.default_storage


def _longest_epochs(recipe: Config, space: Space) -> float:
    swept = [d for d in space if d.key == "train.epochs"]
    return max(float(value) for value in (recipe.train.epochs, *(v for d in swept for v in end_points(d))))


def _distinct(faults: Iterable[Fault]) -> list[Fault]:
    """Each message once, in order. Values may not be hashable, their text is."""
    return list({str(fault): fault for fault in faults}.values())

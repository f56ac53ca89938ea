"""The whole configuration, its cross-checks, and the faults of one that is not valid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from embsweep.config.base import Part
from embsweep.config.machinery import (
    RunnerConfig,
    ScaleConfig,
    SearchConfig,
    StoppingConfig,
    StorageConfig,
    SweepConfig,
    TrackingConfig,
)
from embsweep.config.source import DataConfig
from embsweep.config.training import (
    EvalConfig,
    LossConfig,
    MatryoshkaConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    TrialConfig,
)
from embsweep.errors import Fault, InputError, did_you_mean

DATA_KINDS = ("docstrings", "files", "beir", "hub")


class Config(Part):
    """One composed configuration: a sweep with one point of its space filled in."""

    model: ModelConfig
    data: DataConfig
    loss: LossConfig
    matryoshka: MatryoshkaConfig
    train: TrainConfig
    eval: EvalConfig
    objective: ObjectiveConfig
    search: SearchConfig
    stopping: StoppingConfig
    runner: RunnerConfig
    tracking: TrackingConfig
    scale: ScaleConfig
    storage: StorageConfig
    sweep: SweepConfig

    @property
    def trial(self) -> TrialConfig:
        """The part that one trial needs."""
        return TrialConfig(**{name: getattr(self, name) for name in TrialConfig.model_fields})


def build_config(values: Mapping[str, Any]) -> Config:
    """Validate plain values. Raises InputError with every fault, each under its dotted key."""
    try:
        config = Config.model_validate(dict(values))
    except ValidationError as error:
        raise InputError([_to_fault(details, values) for details in error.errors()]) from None
    return config


def check_trainable(config: Config) -> list[Fault]:
    """Faults between parts that only matter when a trial is to be trained."""
    fix = f"for example matryoshka=from_{config.model.dim}" if config.model.dim in (384, 768) else None
    trained = _check_dims("matryoshka.dims", config.matryoshka.dims, config.model, fix)
    return [*trained, *check_measurable(config), *_check_loss(config)]


def check_measurable(config: Config) -> list[Fault]:
    """Faults between parts that matter when a model is measured, trained or not."""
    return [*_check_dims("eval.dims", config.eval.dims or (), config.model), *_check_objective(config)]


def _check_dims(where: str, dims: tuple[int, ...], model: ModelConfig, fix: str | None = None) -> Iterator[Fault]:
    too_large = [d for d in dims if d > model.dim]
    if too_large:
        problem = f"{too_large[0]} is larger than the {model.dim} dimensions of model '{model.name}'"
        yield Fault(where, problem, list(dims), f"dimensions up to {model.dim}", fix)


def _check_objective(config: Config) -> Iterator[Fault]:
    measured = config.trial.eval_dims
    for dim in config.objective.dim_weights or ():
        if dim not in measured:
            yield Fault(
                f"objective.dim_weights.{dim}", "this dimension is not evaluated", dim, f"one of {list(measured)}"
            )


def _check_loss(config: Config) -> Iterator[Fault]:
    if config.loss.name == "cached_mnrl" and config.model.kind == "static":
        yield Fault("loss", "cached_mnrl has nothing to cache in model 'static'", "cached_mnrl", "mnrl", "loss=mnrl")
    if config.loss.name == "cached_mnrl" and config.train.gradient_checkpointing:
        yield Fault(
            "train.gradient_checkpointing", "cannot be combined with loss=cached_mnrl", True, "false, or loss=mnrl"
        )


def _to_fault(details: ErrorDetails, values: Mapping[str, Any]) -> Fault:
    loc = tuple(str(part) for part in details["loc"])
    if len(loc) > 1 and loc[0] == "data" and loc[1] in DATA_KINDS:
        loc = (loc[0], *loc[2:])  # pydantic puts the chosen union member into the path
    where = ".".join(loc)
    if details["type"] == "extra_forbidden":
        siblings = _siblings(details, values)
        return Fault(where, "unknown key", accepted=", ".join(siblings), fix=did_you_mean(loc[-1], siblings))
    if details["type"] == "missing":
        return Fault(where, "is missing")
    if details["type"] == "union_tag_invalid":
        return Fault(f"{where}.kind", "unknown kind of data", accepted=", ".join(DATA_KINDS))
    message = details["msg"].removeprefix("Value error, ")
    value = details["input"]
    whole_part = isinstance(value, dict | Part)  # a check over several keys: the message names them
    return Fault(where, message[0].lower() + message[1:], None if whole_part else value)


def _siblings(details: ErrorDetails, values: Mapping[str, Any]) -> list[str]:
    """Keys that the part of an unknown key does accept."""
    model: Any = Config
    for step in details["loc"][:-1]:
        if str(step) in DATA_KINDS and model is not Config:
            continue
        field = model.model_fields[str(step)]
        model = field.annotation if hasattr(field.annotation, "model_fields") else _data_model(values)
    return sorted(model.model_fields)


def _data_model(values: Mapping[str, Any]) -> type[Part]:
    from embsweep.config import source

    kind = str(values["data"]["kind"])
    found: type[Part] = getattr(source, f"{kind.capitalize()}Config")
    return found

"""Configuration of one trial: model, loss, Matryoshka dimensions, training, evaluation and objective."""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from embsweep.config.base import ConstraintError, DescendingDims, Floats, FrozenModel, Schedule, Seed, require
from embsweep.config.model import ModelConfig
from embsweep.core.errors import did_you_mean
from embsweep.core.names import METRICS

STANDARD_DIMS = (1024, 768, 512, 256, 128, 64)
"""The dimensions that the three published bge-m3 fine-tunes serve."""


MOST_EPOCHS = 10_000
"""Far above what any training needs; a typing error must not plan a billion evaluations."""

_SIZES = "an integer above 0, or auto"
_WEIGHTS = "numbers from 0, at least one above 0"


class LossConfig(FrozenModel):
    """Ranking loss inside MatryoshkaLoss. `mini_batch_size` bounds memory in the cached variant.

    With `auto`, every trial measures the size on the hardware that it runs on (`training/mini_batch.py`).
    """

    name: Literal["mnrl", "cached_mnrl"]
    scale: float = Field(default=20.0, gt=0)
    mini_batch_size: int | Literal["auto"] | None = None

    @field_validator("mini_batch_size", mode="before")
    @classmethod
    def _is_a_size(cls, size: Any) -> Any:
        is_number = isinstance(size, int) and not isinstance(size, bool) and size > 0
        require(is_number or size in (None, "auto"), ConstraintError("wrong-type", "is not a valid size", _SIZES))
        return size

    @model_validator(mode="after")
    def _mini_batch_is_for_cached(self) -> Self:
        is_cached, size = self.name == "cached_mnrl", self.mini_batch_size
        require(
            is_cached == (size is not None),
            ConstraintError(
                "conflict",
                "must be set with loss=cached_mnrl, and only then",
                _SIZES if is_cached else f"null with loss={self.name}",
                key="mini_batch_size",
                value=size,
                hint=None if is_cached else "or add loss=cached_mnrl",
            ),
        )
        return self


class MatryoshkaConfig(FrozenModel):
    """Trained dimensions and their weights: explicit, or w_d proportional to (d / D) ** weight_power, D the largest."""

    dims: DescendingDims
    weight_power: float = Field(default=0.0, ge=-4, le=4)
    weights: Floats | None = None

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        given = list(self.weights)
        require(
            len(given) == len(self.dims),
            ConstraintError(
                "wrong-length",
                f"{len(given)} weights for {len(self.dims)} dims",
                "one weight per dimension",
                key="weights",
                value=given,
            ),
        )
        require(
            min(given) >= 0 and max(given) > 0,
            ConstraintError("bad-weights", "are not valid weights", _WEIGHTS, key="weights", value=given),
        )
        require(
            self.weight_power == 0,
            ConstraintError(
                "conflict",
                "conflict with matryoshka.weight_power",
                "one of the two",
                key="weights",
                value=given,
                hint="matryoshka.weight_power=0, or matryoshka.weights=null",
            ),
        )
        return self


class TrainConfig(FrozenModel):
    """One training run. `warmup` is a fraction of the schedule; `epochs` may be fractional.

    `batch_size` is the total over all workers of a trial. `precision`, `attention`, `gradient_checkpointing` and `tf32`
    are resolved for the available hardware in `training/hardware.py`; `tf32` null keeps torch's own setting.
    `deterministic` uses only kernels that give the same bits every time. `patience` is the number of consecutive
    evaluations without a new best that end a trial; null runs the whole schedule.
    """

    learning_rate: float = Field(gt=0, le=1)
    epochs: float = Field(gt=0, le=MOST_EPOCHS)
    batch_size: int = Field(gt=1)
    accumulation: int = Field(default=1, ge=1)
    warmup: float = Field(ge=0, lt=1)
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: Literal["adamw_torch", "adamw_torch_fused"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    batch_sampler: Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed"]
    attention: Literal["auto", "eager", "sdpa", "flash_attention_2"] = "auto"
    gradient_checkpointing: bool | Literal["auto"] = False
    tf32: bool | None = None
    deterministic: bool = False
    patience: int | None = Field(default=None, ge=1)
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: Seed

    @field_validator("gradient_checkpointing", mode="before")
    @classmethod
    def _is_a_switch(cls, wanted: Any) -> Any:
        require(
            isinstance(wanted, bool) or wanted == "auto",
            ConstraintError("wrong-type", "is neither a boolean nor auto", "true, false or auto"),
        )
        return wanted


class EvalConfig(FrozenModel):
    """Evaluations of a trial. `dims` null means the model's own dimension and the standard ones below it.

    They take place at `fractions` of the planned schedule, or `per_epoch` times in every epoch; one of the two is null.
    """

    dims: DescendingDims | None = None
    fractions: Schedule | None = None
    per_epoch: int | None = Field(default=None, ge=1, le=1000)
    batch_size: int = Field(gt=0)

    @model_validator(mode="after")
    def _one_schedule(self) -> Self:
        given = "null" if self.fractions is None else "given"
        require(
            (self.fractions is None) != (self.per_epoch is None),
            ConstraintError(
                "conflict",
                f"eval.fractions and eval.per_epoch are both {given}",
                "one of the two",
                key="per_epoch",
                hint="eval.fractions=null with eval.per_epoch=1, or eval.per_epoch=null",
            ),
        )
        return self

    def schedule(self, epochs: float) -> tuple[float, ...]:
        """Return the fractions of a schedule of `epochs` epochs at which a trial is evaluated; the last one is 1.0."""
        if self.fractions is not None:
            return self.fractions
        count = epochs * (self.per_epoch or 1)
        whole = tuple(step / count for step in range(1, math.ceil(count)))
        return (*whole, 1.0)


Floor = Literal["base"] | Annotated[float, Field(ge=0, le=1)]


class ObjectiveConfig(FrozenModel):
    """Deployment profile: one number from all dimensions, used by sampler, stopping, checkpoint, winner and gate.

    `floors` is the lowest acceptable score at a dimension, a number or `base` (the untrained base model's score);
    `min_retention` is the share of the largest dimension's score that every other dimension must keep.
    """

    metric: str
    aggregate: Literal["mean", "worst"]
    dim_weights: Annotated[dict[int, float], Field(strict=False)] | None = None
    floors: Annotated[dict[int, Floor], Field(strict=False)] | None = None
    min_retention: float | None = Field(default=None, gt=0, le=1)

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        hint = did_you_mean(metric, METRICS)
        require(metric in METRICS, ConstraintError("unknown-option", "unknown metric", ", ".join(METRICS), hint=hint))
        return metric

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        given = self.dim_weights
        require(
            given is None or self.aggregate != "worst",
            ConstraintError(
                "conflict",
                "require aggregate 'mean'",
                "null with aggregate 'worst'",
                key="dim_weights",
                value=given,
                hint="objective.dim_weights=null",
            ),
        )
        require(
            given is None or (given and min(given.values()) >= 0 and max(given.values()) > 0),
            ConstraintError("bad-weights", "are not valid weights", _WEIGHTS, key="dim_weights", value=given),
        )
        return self


class TrialConfig(FrozenModel):
    """Configuration of one trial, as sent to its workers."""

    model: ModelConfig
    loss: LossConfig
    matryoshka: MatryoshkaConfig
    train: TrainConfig
    eval: EvalConfig
    objective: ObjectiveConfig

    @property
    def eval_dims(self) -> tuple[int, ...]:
        """Dimensions at which every trial of this model is evaluated, from large to small."""
        return self.eval.dims or standard_dims(self.model.dim)


def standard_dims(model_dim: int) -> tuple[int, ...]:
    """Return the model's own dimension and every standard one below it."""
    return (model_dim, *(d for d in STANDARD_DIMS if d < model_dim))

"""Configuration of one trial: the model, the loss, the Matryoshka dimensions, the training, the evaluation."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, field_validator, model_validator

from embsweep.config.base import Dims, Floats, Part, check_descending
from embsweep.names import METRICS

STANDARD_DIMS = (1024, 768, 512, 256, 128, 64)
"""The dimensions that the three published bge-m3 fine-tunes serve."""


class ModelConfig(Part):
    """The base model. `source` is a hub id or a local folder (kind `hub`), unused by the embedded ones."""

    name: str
    kind: Literal["hub", "minilm", "static"]
    source: str | None = None
    revision: str | None = None
    dim: int = Field(gt=0)
    max_seq_length: int = Field(gt=0)

    @model_validator(mode="after")
    def _hub_needs_source(self) -> Self:
        if self.kind == "hub" and not self.source:
            raise ValueError("kind 'hub' needs model.source: a hub id (BAAI/bge-m3) or a local folder")
        return self


class LossConfig(Part):
    """The ranking loss inside MatryoshkaLoss. `mini_batch_size` bounds memory in the cached variant."""

    name: Literal["mnrl", "cached_mnrl"]
    scale: float = Field(default=20.0, gt=0)
    mini_batch_size: int | None = Field(default=None, gt=0)

    @model_validator(mode="after")
    def _mini_batch_is_for_cached(self) -> Self:
        if (self.name == "cached_mnrl") != (self.mini_batch_size is not None):
            raise ValueError("loss.mini_batch_size belongs to loss=cached_mnrl, and only there")
        return self


class MatryoshkaConfig(Part):
    """Trained dimensions and their weights: explicit, or w_d proportional to (d / D) ** weight_power."""

    dims: Dims
    weight_power: float = Field(default=0.0, ge=-4, le=4)
    weights: Floats | None = None

    _descending = field_validator("dims")(check_descending)

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.weights is None:
            return self
        if len(self.weights) != len(self.dims):
            raise ValueError(f"{len(self.weights)} weights for {len(self.dims)} dims; accepted: one weight a dim")
        if min(self.weights) < 0 or max(self.weights) == 0:
            raise ValueError("weights must be >= 0 and at least one above 0")
        if self.weight_power != 0:
            raise ValueError("give matryoshka.weights or matryoshka.weight_power, not both")
        return self


class TrainConfig(Part):
    """One training run. `warmup` is the fraction of the schedule; `epochs` may be fractional."""

    learning_rate: float = Field(gt=0, le=1)
    epochs: float = Field(gt=0)
    batch_size: int = Field(gt=1)
    accumulation: int = Field(default=1, ge=1)
    warmup: float = Field(ge=0, lt=1)
    scheduler: Literal["cosine", "linear", "constant", "constant_with_warmup"]
    weight_decay: float = Field(default=0.0, ge=0)
    optimizer: Literal["adamw_torch", "adamw_torch_fused"]
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    batch_sampler: Literal["batch_sampler", "no_duplicates", "no_duplicates_hashed"]
    gradient_checkpointing: bool = False
    max_grad_norm: float = Field(default=1.0, gt=0)
    seed: int = Field(ge=0)


class EvalConfig(Part):
    """When and where a trial is measured. `dims` null means the model's own and the standard ones below it."""

    dims: Dims | None = None
    fractions: Floats
    batch_size: int = Field(gt=0)

    @field_validator("dims")
    @classmethod
    def _descending(cls, dims: tuple[int, ...] | None) -> tuple[int, ...] | None:
        return dims if dims is None else check_descending(dims)

    @field_validator("fractions")
    @classmethod
    def _ascending_to_one(cls, fractions: tuple[float, ...]) -> tuple[float, ...]:
        if list(fractions) != sorted(set(fractions)) or fractions[0] <= 0 or fractions[-1] != 1.0:
            raise ValueError("fractions of the schedule must rise strictly within (0, 1] and end with 1.0")
        return fractions


class ObjectiveConfig(Part):
    """One number out of all dimensions: sampler, stopping, checkpoint and winner all use it."""

    metric: str
    aggregate: Literal["mean", "worst"]
    dim_weights: Annotated[dict[int, float], Field(strict=False)] | None = None

    @field_validator("metric")
    @classmethod
    def _known_metric(cls, metric: str) -> str:
        if metric not in METRICS:
            raise ValueError(f"unknown metric; accepted: {', '.join(METRICS)}")
        return metric

    @model_validator(mode="after")
    def _weights_fit(self) -> Self:
        if self.dim_weights is None:
            return self
        if self.aggregate == "worst":
            raise ValueError("objective.dim_weights belongs to aggregate 'mean'")
        if not self.dim_weights or min(self.dim_weights.values()) < 0 or max(self.dim_weights.values()) == 0:
            raise ValueError("dim_weights must be >= 0 and at least one above 0")
        return self


class TrialConfig(Part):
    """All that one trial needs to know; what a worker is sent."""

    model: ModelConfig
    loss: LossConfig
    matryoshka: MatryoshkaConfig
    train: TrainConfig
    eval: EvalConfig
    objective: ObjectiveConfig

    @property
    def eval_dims(self) -> tuple[int, ...]:
        """Dimensions at which every trial of this model is measured, from large to small."""
        return self.eval.dims or standard_dims(self.model.dim)


def standard_dims(model_dim: int) -> tuple[int, ...]:
    """The model's own dimension and every standard one below it."""
    return (model_dim, *(d for d in STANDARD_DIMS if d < model_dim))

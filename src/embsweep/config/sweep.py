"""Configuration of the sweep around the trials: search, stopping, runner, tracking, scale, storage."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from embsweep.config.base import ConstraintError, Dims, Floats, FrozenModel, Seed, Strings, check_rising
from embsweep.config.training import ModelConfig


class SearchConfig(FrozenModel):
    """What to try. `startup_trials` are drawn at random before tpe and gp begin to model."""

    sampler: Literal["tpe", "random", "qmc", "gp", "grid"]
    trials: int = Field(ge=1)
    seed: Seed
    startup_trials: int = Field(default=8, ge=1)
    recipe_first: bool


class StoppingConfig(FrozenModel):
    """When to give a trial up, in fractions of its own planned schedule."""

    kind: Literal["none", "successive_halving", "hyperband"]
    min_fraction: float = Field(default=0.0625, ge=0.05, lt=1)
    reduction_factor: int = Field(default=2, ge=2)


class RunnerConfig(FrozenModel):
    """Where trials run. Null means: as many as the machine's GPUs (or CPUs, where it has none) allow.

    `cpus_per_trial` and `gpus_per_trial` are a trial's total, shared evenly by its `workers_per_trial` processes;
    `address` is that of a Ray cluster, null the one in RAY_ADDRESS.
    """

    kind: Literal["ray", "inline", "cluster"]
    address: str | None = Field(default=None, min_length=1)
    workers_per_trial: int = Field(default=1, ge=1)
    cpus_per_trial: int | None = Field(default=None, ge=1)
    gpus_per_trial: float | None = Field(default=None, ge=0)
    trials_per_gpu: int = Field(default=1, ge=1)
    max_concurrent: int | None = Field(default=None, ge=1)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.address is not None and self.kind != "cluster":
            raise ConstraintError(
                "conflict",
                "belongs to a cluster",
                "null with this runner",
                key="address",
                value=self.address,
                hint="runner=cluster",
            )
        self._check_inline()
        workers, gpus, cpus = self.workers_per_trial, self.gpus_per_trial, self.cpus_per_trial
        if gpus is not None and self.trials_per_gpu > 1:
            problem = "says the same as runner.trials_per_gpu in another way"
            raise ConstraintError(
                "conflict", problem, "null, or runner.trials_per_gpu=1", key="gpus_per_trial", value=gpus
            )
        if gpus is not None and 0 < gpus < _SMALLEST_SHARE:
            raise ConstraintError(
                "out-of-range",
                "is no share of a GPU",
                f"0, or from {_SMALLEST_SHARE}",
                key="gpus_per_trial",
                value=gpus,
            )
        if workers > 1 and self.trials_per_gpu > 1:
            problem = "workers of one trial cannot share their GPUs with other trials"
            raise ConstraintError(
                "conflict", problem, "1 with several workers", key="trials_per_gpu", value=self.trials_per_gpu
            )
        if gpus and gpus != (workers if workers > 1 else min(gpus, 1)):
            fits = f"{workers} (a GPU each), or 0" if workers > 1 else "0 to 1, such as 0.5"
            problem = f"is not what {workers} workers can use" if workers > 1 else "one worker uses at most one GPU"
            advice = None if workers > 1 else f"runner.workers_per_trial={math.ceil(gpus)} trains on several"
            raise ConstraintError("out-of-range", problem, fits, key="gpus_per_trial", value=gpus, hint=advice)
        if cpus and cpus % workers:
            raise ConstraintError(
                "not-divisible",
                f"cannot be shared evenly by {workers} workers",
                f"a multiple of {workers}",
                key="cpus_per_trial",
                value=cpus,
            )
        return self

    def _check_inline(self) -> None:
        """One process runs one trial, with what it has."""
        if self.kind != "inline":
            return
        for key in ("workers_per_trial", "gpus_per_trial", "trials_per_gpu", "max_concurrent"):
            value, default = getattr(self, key), type(self).model_fields[key].default
            if value != default:
                expected = f"{'null' if default is None else default} with runner=inline"
                raise ConstraintError(
                    "no-effect", "has no effect in one process", expected, key=key, value=value, hint="runner=local"
                )


_SMALLEST_SHARE = 0.01
"""A hundred trials on a GPU; Ray's books end at 0.0001."""


class TrackingConfig(FrozenModel):
    """MLflow. `uri` null means mlflow.db under storage.path, `registered_model` null the sweep's name.

    `must_answer` refuses to begin a sweep while nothing answers at `uri`; one that has begun never waits for it.
    """

    uri: str | None = None
    must_answer: bool = True
    experiment: str = Field(min_length=1)
    registered_model: str | None = Field(default=None, min_length=1)

    @field_validator("experiment", "registered_model")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        """MLflow would refuse it as well, but the model's name only once everything is trained."""
        if name is not None and (not name.strip() or not name.isprintable() or len(name) > _LONGEST_NAME):
            raise ConstraintError(
                "bad-name", "cannot be a name in MLflow", f"1 to {_LONGEST_NAME} characters, not all of them blank"
            )
        return name

    @field_validator("registered_model")
    @classmethod
    def _fits_the_registry(cls, name: str | None) -> str | None:
        if name is not None and (set("/:") & set(name) or name in (".", "..") or name.startswith("..")):
            raise ConstraintError(
                "bad-name",
                "cannot be the name of a registered model",
                "a name without '/' and ':', not beginning with '..'",
            )
        return name


_LONGEST_NAME = 250

GateRule = Literal["significant", "higher", "not_worse"]


class AuditConfig(FrozenModel):
    """What is looked for in the data before anything is trained. `waive` names errors that are accepted as they are."""

    waive: Strings = ()
    near_duplicate_similarity: float = Field(gt=0, le=1)


class ConfirmConfig(FrozenModel):
    """How the finalists are run again. `seeds` 0 leaves it out; `folds` cross-validates by passage group as well."""

    finalists: int = Field(ge=1)
    seeds: int = Field(ge=0)
    folds: int | None = Field(default=None, ge=2)
    alpha: float = Field(gt=0, lt=0.5)

    @field_validator("seeds")
    @classmethod
    def _can_measure_noise(cls, seeds: int) -> int:
        if seeds == 1:
            raise ConstraintError(
                "out-of-range", "one seed tells nothing about the luck of a seed", "0 (no confirmation), or at least 2"
            )
        return seeds


class GateConfig(FrozenModel):
    """What a challenger must show at every one of `dims` (null: every evaluated one) to become champion.

    `significant`: higher by more than `margin`, adjusted p below `alpha`; `higher`: higher by more than `margin`;
    `not_worse`: the lower end of the interval above -`margin`.
    """

    dims: Dims | None = None
    against_base: GateRule
    against_champion: GateRule
    margin: float = Field(ge=0, lt=1)
    alpha: float = Field(gt=0, lt=0.5)


class RehearsalConfig(FrozenModel):
    """What a rehearsal caps, so that a sweep of any size ends in minutes on two cores."""

    model: ModelConfig
    max_pairs: int = Field(gt=0)
    max_seq_length: int = Field(gt=0)
    max_trials: int = Field(gt=0)
    max_epochs: float = Field(gt=0)
    max_batch_size: int = Field(gt=1)
    max_accumulation: int = Field(ge=1)
    max_finalists: int = Field(gt=0)
    max_seeds: int = Field(ge=2)
    max_folds: int = Field(ge=2)
    gate_rule: GateRule
    fractions: Floats

    _rising = field_validator("fractions")(check_rising)


class ScaleConfig(FrozenModel):
    """`auto` runs at full scale where there is a GPU and rehearses where there is none."""

    mode: Literal["auto", "full", "rehearsal"]
    rehearsal: RehearsalConfig


class StorageConfig(FrozenModel):
    """Folder under which sweeps/, mlruns/ and mlflow.db lie; null means the repository's root."""

    path: str | None = None


class SweepConfig(FrozenModel):
    """One sweep's identity. `fresh` moves an earlier sweep of the same name aside and starts over.

    A trial whose process dies is started again from its last checkpoint, `max_attempts` starts in all.
    """

    name: str
    fresh: bool
    keep_checkpoints: int = Field(ge=1)
    max_failed_trials: int = Field(ge=0)
    max_attempts: int = Field(default=3, ge=1)

    @field_validator("name")
    @classmethod
    def _fits_a_folder(cls, name: str) -> str:
        ok = name and len(name) <= 80 and all(c.isalnum() or c in "-_." for c in name) and name[0].isalnum()
        if not (ok and name.isascii()):
            allowed = "1 to 80 letters, digits, '-', '_', '.' (ASCII), beginning with a letter or digit"
            raise ConstraintError("bad-name", "cannot be the name of a folder", allowed)
        return name

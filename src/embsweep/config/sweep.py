"""Configuration of a sweep around its trials: search, stopping, runner, tracking, scale, storage and more."""

from __future__ import annotations

import math
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from embsweep.config.base import ConstraintError, Dims, Fraction, FrozenModel, Name, Schedule, Seed, Strings, require
from embsweep.config.model import ModelConfig


class SearchConfig(FrozenModel):
    """Sampler and budget. tpe and gp draw the first `startup_trials` at random before they fit a model.

    `trials` limits the number of trials, `schedules` what they train altogether, in whole schedules of a trial.
    """

    sampler: Literal["tpe", "random", "qmc", "gp", "grid"]
    trials: int = Field(ge=1)
    schedules: float | None = Field(default=None, gt=0)
    seed: Seed
    startup_trials: int = Field(default=8, ge=1)
    recipe_first: bool


class StoppingConfig(FrozenModel):
    """Early stopping of trials. `min_fraction` is a fraction of a trial's own planned schedule.

    With `promotion` a trial pauses at its rung instead, and the state of `paused_states` paused trials stays on disk.
    """

    kind: Literal["none", "promotion", "successive_halving", "hyperband"]
    min_fraction: float = Field(default=0.0625, ge=0.05, lt=1)
    reduction_factor: int = Field(default=2, ge=2)
    paused_states: int = Field(default=8, ge=0)


class RunnerConfig(FrozenModel):
    """Execution of trials. Null means: as many as the machine's GPUs (or CPUs, if it has none) allow.

    `cpus_per_trial` and `gpus_per_trial` are totals of a trial, shared evenly by its `workers_per_trial` processes;
    `address` is the address of a Ray cluster, null the one in RAY_ADDRESS.
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
        workers, gpus, cpus = self.workers_per_trial, self.gpus_per_trial, self.cpus_per_trial
        share = gpus or 0
        require(
            self.address is None or self.kind == "cluster",
            ConstraintError(
                "conflict",
                "is for runner=cluster only",
                "null with this runner",
                key="address",
                value=self.address,
                hint="runner=cluster",
            ),
        )
        self._require_single()
        problem = "sets the GPU share, as runner.trials_per_gpu does"
        require(
            gpus is None or self.trials_per_gpu == 1,
            ConstraintError("conflict", problem, "null, or runner.trials_per_gpu=1", key="gpus_per_trial", value=gpus),
        )
        fits = f"0, or from {_SMALLEST_SHARE}"
        require(
            share == 0 or share >= _SMALLEST_SHARE,
            ConstraintError("out-of-range", "is too small a GPU share", fits, key="gpus_per_trial", value=gpus),
        )
        require(
            workers == 1 or self.trials_per_gpu == 1,
            ConstraintError(
                "conflict",
                "workers of one trial cannot share their GPUs with other trials",
                "1 with several workers",
                key="trials_per_gpu",
                value=self.trials_per_gpu,
            ),
        )
        problem, fits = f"does not match {workers} workers", f"{workers} (one GPU each), or 0"
        require(
            workers == 1 or share in (0, workers),
            ConstraintError("out-of-range", problem, fits, key="gpus_per_trial", value=gpus),
        )
        require(
            workers > 1 or share <= 1,
            ConstraintError(
                "out-of-range",
                "one worker uses at most one GPU",
                "0 to 1, such as 0.5",
                key="gpus_per_trial",
                value=gpus,
                hint=f"runner.workers_per_trial={math.ceil(share)} trains on several",
            ),
        )
        problem = f"cannot be shared evenly by {workers} workers"
        require(
            (cpus or 0) % workers == 0,
            ConstraintError("not-divisible", problem, f"a multiple of {workers}", key="cpus_per_trial", value=cpus),
        )
        return self

    def _require_single(self) -> None:
        """Reject settings of parallel trials, which a single process cannot apply."""
        for key in ("workers_per_trial", "gpus_per_trial", "trials_per_gpu", "max_concurrent"):
            value, default = getattr(self, key), type(self).model_fields[key].default
            require(
                self.kind != "inline" or value == default,
                ConstraintError(
                    "no-effect",
                    "has no effect in one process",
                    f"{'null' if default is None else default} with runner=inline",
                    key=key,
                    value=value,
                    hint="runner=local",
                ),
            )


_SMALLEST_SHARE = 0.01
"""One hundredth of a GPU, for a hundred trials; the resolution of Ray's resource accounting is 0.0001."""


GateRule = Literal["significant", "higher", "not_worse"]


class AuditConfig(FrozenModel):
    """Audit of the data before any training. `waive` names the errors that are accepted."""

    waive: Strings = ()
    near_duplicate_similarity: float = Field(gt=0, le=1)


class ConfirmConfig(FrozenModel):
    """Confirmation runs of the finalists. `seeds` 0 disables them; `folds` also cross-validates by passage group."""

    finalists: int = Field(ge=1)
    seeds: int = Field(ge=0)
    folds: int | None = Field(default=None, ge=2)
    alpha: float = Field(gt=0, lt=0.5)

    @field_validator("seeds")
    @classmethod
    def _can_measure_noise(cls, seeds: int) -> int:
        require(
            seeds != 1,
            ConstraintError(
                "out-of-range", "one seed cannot estimate seed variance", "0 (no confirmation), or at least 2"
            ),
        )
        return seeds


class GateConfig(FrozenModel):
    """Conditions that a challenger must meet at each of `dims` (null: every evaluated one) to become champion.

    `significant`: higher by more than `margin`, adjusted p below `alpha`; `higher`: higher by more than `margin`;
    `not_worse`: lower bound of the confidence interval above -`margin`.
    """

    dims: Dims | None = None
    against_base: GateRule
    against_champion: GateRule
    margin: float = Field(ge=0, lt=1)
    alpha: float = Field(gt=0, lt=0.5)


class RehearsalConfig(FrozenModel):
    """Limits of a rehearsal, so that a sweep of any size ends within minutes on two cores.

    `min_test` is a share of the queries: a test split large enough for the gate to detect a gain.
    """

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
    min_test: Fraction
    fractions: Schedule


class ScaleConfig(FrozenModel):
    """Scale of the sweep. `auto` runs at full scale if there is a GPU, otherwise as a rehearsal."""

    mode: Literal["auto", "full", "rehearsal"]
    rehearsal: RehearsalConfig


class ReportConfig(FrozenModel):
    """The report of a sweep. Without `texts`, no text of the data is written to it, nor to the file of test queries.

    `at_end` writes it when the sweep ends; `embsweep report` writes it at any time.
    """

    texts: bool = True
    at_end: bool = True


class StorageConfig(FrozenModel):
    """Folder that contains sweeps/, mlruns/ and mlflow.db; null means the repository's root.

    `shared` accepts folders that their group may write to, and that another of its members owns; never for all users.
    """

    path: str | None = None
    shared: bool = False


class SweepConfig(FrozenModel):
    """Identity and limits of a sweep. `fresh` archives an earlier sweep of the same name and starts over.

    A trial whose process dies resumes from its last checkpoint, and fails after `max_attempts` deaths. Restarts
    of the driver do not count.
    """

    name: Name
    fresh: bool
    keep_checkpoints: int = Field(ge=1)
    max_failed_trials: int = Field(ge=0)
    max_attempts: int = Field(default=3, ge=1)

    @field_validator("name")
    @classmethod
    def _fits_a_folder(cls, name: str) -> str:
        ok = name and len(name) <= 80 and all(c.isalnum() or c in "-_." for c in name) and name[0].isalnum()
        allowed = "1 to 80 letters, digits, '-', '_', '.' (ASCII), starting with a letter or digit"
        require(ok and name.isascii(), ConstraintError("bad-name", "is not a valid folder name", allowed))
        return name

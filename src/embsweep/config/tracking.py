"""Configuration of MLflow tracking: store, experiment, registered model and tags."""

from __future__ import annotations

import re

from pydantic import Field, field_validator

from embsweep.config.base import ConstraintError, FrozenModel, Name, require
from embsweep.core.redaction import redact

_LONGEST_NAME = 250
_LONGEST_TAG = 5000
_TAG_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.-]{{0,{_LONGEST_NAME - 1}}}")


class TrackingConfig(FrozenModel):
    """MLflow tracking. `uri` null means MLFLOW_TRACKING_URI, else mlflow.db under storage.path.

    `experiment` null means MLFLOW_EXPERIMENT_NAME, else `embsweep`; `registered_model` null means the sweep's name.

    `tags` are given to the sweep's run and to all below it.

    With `must_answer`, a sweep does not start unless MLflow responds at `uri`; a running sweep never waits for it.
    """

    uri: str | None = None
    must_answer: bool = True
    experiment: Name | None = Field(default=None, min_length=1)
    registered_model: Name | None = Field(default=None, min_length=1)
    tags: dict[str, str] = Field(default_factory=dict)

    @property
    def experiment_name(self) -> str:
        """Name of the experiment, the default one if none is chosen."""
        return self.experiment or "embsweep"

    @field_validator("experiment", "registered_model")
    @classmethod
    def _is_a_name(cls, name: str | None) -> str | None:
        """Check here what MLflow rejects later: the model's name only after all training has finished."""
        require(
            name is None or (name.strip() and name.isprintable() and len(name) <= _LONGEST_NAME),
            ConstraintError(
                "bad-name", "is not a valid MLflow name", f"1 to {_LONGEST_NAME} printable characters, not all blank"
            ),
        )
        return name

    @field_validator("tags")
    @classmethod
    def _are_tags(cls, tags: dict[str, str]) -> dict[str, str]:
        """Check here what MLflow rejects later, or what would replace its own tags and those of a sweep."""
        for name, value in tags.items():
            require(
                _TAG_NAME.fullmatch(name) and not name.startswith(("mlflow.", "embsweep.")) and ".." not in name,
                ConstraintError(
                    "bad-name",
                    "is not a valid tag name",
                    f"1 to {_LONGEST_NAME} letters, digits, '_', '-' and '.', not starting with mlflow. or embsweep.",
                    value=name,
                ),
            )
            fits = f"up to {_LONGEST_TAG} printable characters"
            require(
                len(value) <= _LONGEST_TAG and value.isprintable(),
                ConstraintError("bad-name", "is the name of a tag whose value cannot be stored", fits, value=name),
            )
            require(
                redact(f"{name}={value}") == f"{name}={value}",
                ConstraintError("bad-name", "is the name of a tag with a secret", "tags without one", value=name),
            )
        return tags

    @field_validator("registered_model")
    @classmethod
    def _fits_the_registry(cls, name: str | None) -> str | None:
        require(
            name is None or not (set("/:") & set(name) or name == "." or name.startswith("..")),
            ConstraintError(
                "bad-name",
                "is not a valid registered model name",
                "a name without '/' and ':', not starting with '..'",
            ),
        )
        return name

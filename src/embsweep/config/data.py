"""Configuration of the data: where the pairs come from and how they are split."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from embsweep.config.base import ConstraintError, Fraction, FrozenModel, Seed, Strings


class SplitConfig(FrozenModel):
    """Three-way split by passage group; fractions are of the queries."""

    seed: Seed
    validation: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        if self.validation + self.test >= 1:
            taken = {"validation": self.validation, "test": self.test}
            raise ConstraintError(
                "out-of-range", "leaves nothing to train on", "validation + test below 1", value=taken
            )
        return self


class _Source(FrozenModel):
    """`max_pairs` caps the query-passage pairs kept (whole passage groups, chosen by `split.seed`)."""

    max_pairs: int | None = Field(default=None, gt=0)
    split: SplitConfig


class DocstringsConfig(_Source):
    """Summary line → body of the docstrings of installed packages, read as text."""

    kind: Literal["docstrings"]
    packages: Strings


class FilesConfig(_Source):
    """One file of pairs: JSONL, CSV or Parquet, one pair a row."""

    kind: Literal["files"]
    pairs: str
    anchor: str
    positive: str
    negative: str | None = None


class BeirConfig(_Source):
    """A folder with corpus.jsonl, queries.jsonl and qrels.tsv."""

    kind: Literal["beir"]
    path: str


class HubConfig(_Source):
    """A data set of the Hugging Face hub, pinned by revision, one pair a row."""

    kind: Literal["hub"]
    id: str
    revision: str
    subset: str | None = None
    part: str
    anchor: str
    positive: str
    negative: str | None = None


DataConfig = Annotated[DocstringsConfig | FilesConfig | BeirConfig | HubConfig, Field(discriminator="kind")]

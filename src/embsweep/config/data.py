"""Configuration of the data: source of the pairs, and their split."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from embsweep.config.base import ConstraintError, Fraction, FrozenModel, Seed, Strings, require


class SplitConfig(FrozenModel):
    """Three-way split by passage group. Both fractions are shares of the queries."""

    seed: Seed
    validation: Fraction
    test: Fraction

    @model_validator(mode="after")
    def _leaves_training(self) -> Self:
        taken = {"validation": self.validation, "test": self.test}
        require(
            self.validation + self.test < 1,
            ConstraintError("out-of-range", "leaves nothing to train on", "validation + test below 1", value=taken),
        )
        return self


class _Source(FrozenModel):
    """Keys of every source. `max_pairs` caps the query-passage pairs kept (whole passage groups, by `split.seed`)."""

    max_pairs: int | None = Field(default=None, gt=0)
    split: SplitConfig


class DocstringsConfig(_Source):
    """Docstrings of installed packages, read as text: the summary line is the query, the body the passage."""

    kind: Literal["docstrings"]
    packages: Strings


class FilesConfig(_Source):
    """One file of pairs: JSONL, CSV or Parquet, one pair per row."""

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
    """A data set of the Hugging Face hub, pinned by revision, one pair per row."""

    kind: Literal["hub"]
    id: str
    revision: str
    subset: str | None = None
    part: str
    anchor: str
    positive: str
    negative: str | None = None


DataConfig = Annotated[DocstringsConfig | FilesConfig | BeirConfig | HubConfig, Field(discriminator="kind")]

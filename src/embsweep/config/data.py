"""Configuration of the data: source of the pairs, and their split."""

from __future__ import annotations

import codecs
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from embsweep.config.base import ConstraintError, Fraction, FrozenModel, Seed, Strings, require

DELIMITERS = {"comma": ",", "semicolon": ";", "tab": "\t", "pipe": "|"}
"""Names of delimiters, which need no quotes in a shell, and the delimiters."""


def _to_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, str) else value


def _to_plain(values: tuple[str, ...]) -> str | list[str]:
    """Return one name as a text: so it is recorded as before there could be several."""
    return values[0] if len(values) == 1 else list(values)


OneOrMore = Annotated[
    tuple[str, ...], BeforeValidator(_to_tuple), PlainSerializer(_to_plain), Field(strict=False, min_length=1)
]
"""One text or a list of texts."""

AnyNumber = Annotated[tuple[str, ...], BeforeValidator(_to_tuple), PlainSerializer(_to_plain), Field(strict=False)]
"""One text or a list of texts, which may be empty."""


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
    slice: Literal["package"] | None = None


class RowsConfig(_Source):
    """Columns of a source of rows.

    `negative` names columns, or patterns of them (`negative_*`); None takes the usual ones if `anchor` and `positive`
    have their default names, an empty list takes none. `max_negatives` caps the negatives of one row. Rows with a
    `score` below `min_score` (of 0 or less, if it is None) are left out. Rows of equal `group` stay on one side.
    `slice` is the column of source, language or product, by whose values the winner is compared with its base.
    """

    anchor: str
    positive: str
    negative: AnyNumber | None = None
    max_negatives: int | None = Field(default=None, gt=0)
    score: str | None = None
    min_score: float | None = None
    group: str | None = None
    slice: str | None = None

    @model_validator(mode="after")
    def _scores_have_a_column(self) -> Self:
        require(
            self.score is not None or self.min_score is None,
            ConstraintError(
                "no-effect",
                "has no effect without data.score",
                "null, or a number beside data.score=<column>",
                key="min_score",
                value=self.min_score,
            ),
        )
        return self


class FilesConfig(RowsConfig):
    """Files of pairs (JSON lines, JSON, CSV, TSV, Parquet, folders of `datasets.save_to_disk`), one row per query.

    `validation_pairs` and `test_pairs` are files of the same form that take the place of a part of the split. `corpus`
    are files of further passages. `delimiter` and `encoding` of CSV files are detected if they are None.
    """

    kind: Literal["files"]
    pairs: OneOrMore
    validation_pairs: OneOrMore | None = None
    test_pairs: OneOrMore | None = None
    corpus: OneOrMore | None = None
    delimiter: str | None = None
    encoding: str | None = None

    @model_validator(mode="after")
    def _can_be_decoded(self) -> Self:
        named = self.delimiter is None or self.delimiter in DELIMITERS or len(self.delimiter) == 1
        require(
            named,
            ConstraintError(
                "wrong-separator", "is no delimiter", f"one character, {', '.join(DELIMITERS)}, or null",
                key="delimiter", value=self.delimiter,
            ),
        )  # fmt: skip
        require(
            self.encoding is None or _is_text_encoding(self.encoding),
            ConstraintError(
                "unknown-name", "is no encoding", "utf-8, cp1252, utf-16, … or null to detect it",
                key="encoding", value=self.encoding,
            ),
        )  # fmt: skip
        return self

    @property
    def delimiter_character(self) -> str | None:
        """The delimiter itself, if it is named."""
        return None if self.delimiter is None else DELIMITERS.get(self.delimiter, self.delimiter)


def _is_text_encoding(name: str) -> bool:
    try:
        return codecs.lookup(name)._is_text_encoding
    except (LookupError, ValueError):
        return False


class BeirConfig(_Source):
    """A folder with corpus.jsonl, queries.jsonl and qrels.tsv, or qrels/ with train.tsv, dev.tsv and test.tsv.

    `slice` is a field of the queries: `language`, or `metadata.language`.
    """

    kind: Literal["beir"]
    path: str
    slice: str | None = None


class HubConfig(RowsConfig):
    """A data set of the Hugging Face hub, pinned by revision, one pair per row."""

    kind: Literal["hub"]
    id: str
    revision: str
    subset: str | None = None
    part: str


DataConfig = Annotated[DocstringsConfig | FilesConfig | BeirConfig | HubConfig, Field(discriminator="kind")]

"""Configuration of the base model, and of how it is meant to be used: prompts, pooling, length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from embsweep.config.base import ConstraintError, FrozenModel, Name, require
from embsweep.core.errors import did_you_mean

TASK = "{task}"
"""Place in a prompt for `model.task`."""

DOCUMENT_NAMES = ("document", "passage", "corpus")
"""Names of the documents' prompt in a model's files; sentence-transformers' `encode_document` reads them in this order.

That of the queries is `query`.
"""

NO_REMOTE_CODE = "code that comes with a model never runs here"
USE_KNOWN_ARCHITECTURE = (
    "use a model whose architecture transformers has itself (model=bge-m3), or a copy of this one that was converted "
    "to such an architecture (model.source=/path/to/copy)"
)

Pooling = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
POOLINGS = ("cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken")
"""The modes of sentence-transformers."""

_ACCEPTED_PROMPTS = 'auto (the model\'s own), {query: "...", document: "..."}, or null (none)'
_ROLES = f"query, document (or {' or '.join(DOCUMENT_NAMES[1:])})"
_PLACEHOLDER = re.compile(r"\{\w*\}")


class Prompts(FrozenModel):
    """Texts that are put before every query and before every document; empty for none."""

    query: str = ""
    document: str = ""

    @property
    def has_task(self) -> bool:
        """Whether a text has a place for the task."""
        return TASK in self.query or TASK in self.document

    def fill(self, task: str) -> Prompts:
        """Return the prompts with `task` in its place."""
        return Prompts(query=self.query.replace(TASK, task), document=self.document.replace(TASK, task))


def read_prompts(given: Mapping[Any, Any]) -> dict[str, str]:
    r"""Return `query` and `document` from a user's mapping, whose documents may be named as a model's files name them.

    `\n` stands for a line end: no other way to write one passes through a shell and Hydra.

    Raises:
        ConstraintError: If it has unknown names, two texts for the documents, or something other than texts.
    """
    for name in given:
        hint = did_you_mean(str(name), ("query", *DOCUMENT_NAMES))
        known = name in ("query", *DOCUMENT_NAMES)
        require(known, ConstraintError("unknown-key", "unknown prompt", _ROLES, key=str(name), hint=hint))
    for name, text in given.items():
        problem = ConstraintError("wrong-type", "is not a text", 'a text in quotes, "query: "', key=name, value=text)
        require(text is None or isinstance(text, str), problem)
    named = [name for name in DOCUMENT_NAMES if given.get(name)]
    require(
        len(named) < 2,
        ConstraintError("conflict", "two texts for the documents", "one of them", value=", ".join(named)),
    )
    texts = {"query": given.get("query"), "document": given[named[0]] if named else None}
    return {role: (text or "").replace("\\n", "\n") for role, text in texts.items()}


def find_placeholder(text: str) -> str | None:
    """Return a placeholder that nothing replaces, such as `{query}`, or None."""
    return next((found for found in _PLACEHOLDER.findall(text) if found != TASK), None)


class PublishedModel(FrozenModel):
    """What the publisher says of a model: prompts, pooling, longest input. A null is not known.

    The model's own files win; a difference is reported.
    """

    prompts: Prompts | None = None
    pooling: str | None = None
    max_seq_tokens: int | None = Field(default=None, gt=0)


class ModelConfig(FrozenModel):
    """The base model. `source` is a hub id or a local folder for kind `hub`; the embedded kinds ignore it.

    `prompts` auto means those in the model's files, or those of its publisher where the files name none; a mapping
    replaces both. `task` fills the place that a prompt has for it. `pooling` is for a transformer without
    `modules.json`.
    """

    name: Name
    kind: Literal["hub", "minilm", "minilm_3_layers", "static"]
    source: str | None = None
    revision: str | None = None
    dim: int = Field(gt=0)
    max_seq_length: int = Field(gt=0)
    prompts: Literal["auto"] | Prompts | None = "auto"
    task: str | None = Field(default=None, min_length=1)
    pooling: Pooling | None = None
    published: PublishedModel = PublishedModel()

    @model_validator(mode="before")
    @classmethod
    def _runs_no_code(cls, given: Any) -> Any:
        require(
            not (isinstance(given, Mapping) and "trust_remote_code" in given),
            ConstraintError(
                "not-settable",
                NO_REMOTE_CODE,
                "a model of data only",
                key="trust_remote_code",
                value=given.get("trust_remote_code") if isinstance(given, Mapping) else None,
                hint=USE_KNOWN_ARCHITECTURE,
            ),
        )
        return given

    @field_validator("prompts", mode="before")
    @classmethod
    def _read_prompts(cls, given: Any) -> Any:
        if given is None or given == "auto" or isinstance(given, Prompts):
            return given
        hint = f"model.prompts={{query: {given!r}}}" if isinstance(given, str) and given != "none" else None
        require(
            isinstance(given, Mapping),
            ConstraintError("wrong-type", "are not prompts", _ACCEPTED_PROMPTS, value=given, hint=hint),
        )
        texts = read_prompts(given)
        for role, text in texts.items():
            require(
                find_placeholder(text) is None,
                ConstraintError(
                    "bad-character",
                    f"has a place that nothing fills ({find_placeholder(text)}); the text follows its prompt by itself",
                    f"a text, with {TASK} for model.task",
                    key=role,
                    value=text,
                ),
            )
        return texts

    @model_validator(mode="after")
    def _hub_needs_source(self) -> Self:
        require(
            self.kind != "hub" or self.source,
            ConstraintError(
                "missing-value",
                "is required by kind 'hub'",
                "a hub id (BAAI/bge-m3) or a local folder",
                key="source",
                value=self.source,
            ),
        )
        return self

    @model_validator(mode="after")
    def _task_fits(self) -> Self:
        require(self.task != "???", missing_task(None))  # what a preset leaves to the user
        given = self.prompts if isinstance(self.prompts, Prompts) else Prompts()
        require(self.task is not None or not given.has_task, missing_task(given))
        return self


def missing_task(prompts: Prompts | None) -> ConstraintError:
    """Return the error for prompts with a place for a task that is not given."""
    shown = "of the model" if prompts is None else repr(prompts.query if TASK in prompts.query else prompts.document)
    return ConstraintError(
        "missing-value",
        f"the prompt {shown} needs a task",
        "a sentence that says what a query looks for",
        key="task",
        hint='model.task="Given a question, retrieve passages that answer it"',
    )

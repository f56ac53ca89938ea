"""The prompts of a model: which texts go before its queries and documents, in training as in evaluation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from embsweep.config.base import ConstraintError
from embsweep.config.model import (
    DOCUMENT_NAMES,
    TASK,
    ModelConfig,
    Prompts,
    find_placeholder,
    missing_task,
)
from embsweep.core.errors import Diagnostic, InputError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

QUERY_COLUMN = "anchor"
"""Column of the training data with the queries; all others hold passages."""


_ORIGINS = {"model.prompts": "model.prompts", "files": "the model's own", "publisher": "the publisher's"}
_NO_PLACE = f"model.task is not used: no prompt has a place for it ({TASK})"


@dataclass(frozen=True)
class ChosenPrompts:
    """The prompts that are used, and where they are from: `model.prompts`, `files`, `publisher`, or `none`.

    `notes` says what another source says of the model, or what is not used.
    """

    texts: Prompts
    origin: str
    notes: tuple[str, ...] = ()

    def describe(self) -> str:
        """Describe them in a few words."""
        if self.texts == Prompts():
            return "no prompts"
        texts = ", ".join(
            f"{role} prompt {text!r}" if text else f"no {role} prompt"
            for role, text in (("query", self.texts.query), ("document", self.texts.document))
        )
        return f"{texts} ({_ORIGINS[self.origin]})"


def choose_prompts(cfg: ModelConfig, own: Mapping[str, Any]) -> ChosenPrompts:
    """Choose the prompts of a model: those of the configuration, else those in its files, else its publisher's.

    Empty texts in the files count as none: sentence-transformers writes them for every model. A task of the
    configuration also prefers its publisher's prompts to those that have one already.

    Args:
        cfg: Configuration of the model.
        own: The prompts in the model's files by name.

    Raises:
        InputError: If a prompt needs a task (`model.task`) or has another place that nothing fills, or if the files do
            not say which of their prompts belongs to queries (`model.prompts`).
    """
    chosen = _choose(cfg, own)
    if chosen.texts.has_task and cfg.task is None:
        raise _to_input_error(missing_task(chosen.texts))
    for text in (chosen.texts.query, chosen.texts.document):
        if place := find_placeholder(text):
            problem = f"the model's own prompt has a place that nothing fills ({place})"
            hint = f'model.prompts={{query: "..."}}, with {TASK} for model.task'
            raise InputError(Diagnostic("conflict", "model.prompts", problem, text, hint=hint))
    notes = chosen.notes if cfg.task is None or chosen.texts.has_task else (*chosen.notes, _NO_PLACE)
    return ChosenPrompts(chosen.texts.fill(cfg.task or ""), chosen.origin, notes)


def _choose(cfg: ModelConfig, own: Mapping[str, Any]) -> ChosenPrompts:
    """Return the prompts with their place for a task."""
    if cfg.prompts is None:
        return ChosenPrompts(Prompts(), "none", _note_unused(own))
    if cfg.prompts != "auto":
        return ChosenPrompts(cfg.prompts, "model.prompts")
    published, found = cfg.published.prompts, _find_roles(own)
    prefers = cfg.task is not None and published is not None and published.has_task
    if found is not None and (found.has_task or not prefers):
        return ChosenPrompts(found, "files", _note_difference(found, published))
    if published is not None and published != Prompts():
        return ChosenPrompts(published, "publisher", () if found else _note_unused(own))
    if names := _other_names(own):
        raise InputError(_unclear(own, names))
    return ChosenPrompts(Prompts(), "none")


def apply_prompts(model: SentenceTransformer, cfg: ModelConfig) -> None:
    """Give a loaded model the prompts that `choose_prompts` returns, under the names that its users' calls read.

    Training, evaluation and the saved model take them from there. Prompts for other purposes than retrieval are kept
    unless the configuration names its own.

    Raises:
        InputError: As in `choose_prompts`.
    """
    chosen = choose_prompts(cfg, model.prompts)
    if cfg.prompts == "auto":
        others = {name: text for name, text in model.prompts.items() if name not in ("query", *DOCUMENT_NAMES)}
        aliases = {name: chosen.texts.document for name in DOCUMENT_NAMES[1:] if name in model.prompts}
    else:
        others, aliases, model.default_prompt_name = {}, {}, None
    model.prompts = {"query": chosen.texts.query, "document": chosen.texts.document, **aliases, **others}


def find_column_prompts(model: SentenceTransformer, columns: Iterable[str]) -> dict[str, str]:
    """Return the prompt of each column of training data that has one: of queries in the first, of documents in others.

    Args:
        model: Model that `apply_prompts` has seen, or a checkpoint of one.
        columns: Names of the columns.
    """
    by_column = {name: model.prompts.get("query" if name == QUERY_COLUMN else "document") for name in columns}
    return {name: prompt for name, prompt in by_column.items() if prompt}


def _to_input_error(error: ConstraintError) -> InputError:
    return InputError(
        Diagnostic(error.code, f"model.{error.key}", error.message, error.value, error.expected, error.hint)
    )


def _find_roles(own: Mapping[str, Any]) -> Prompts | None:
    """Return the prompts of queries and documents in a model's files; None if there are none, or if it is unclear.

    It is unclear if queries have none, but there are prompts under other names.
    """
    query = own.get("query") or ""
    document = next((own[name] for name in DOCUMENT_NAMES if own.get(name)), "")
    if not query and (not document or _other_names(own)):
        return None
    return Prompts(query=query, document=document)


def _other_names(own: Mapping[str, Any]) -> list[str]:
    return [name for name, text in own.items() if text and name not in ("query", *DOCUMENT_NAMES)]


def _unclear(own: Mapping[str, Any], names: list[str]) -> Diagnostic:
    first = next((name for name in names if "query" in name.lower()), names[0])
    return Diagnostic(
        "ambiguous",
        "model.prompts",
        f"the model's own prompts have the names {', '.join(names)}, and none is named query",
        "auto",
        '{query: "...", document: "..."}, or null for none',
        f"for example model.prompts={{query: {_quote(own[first])}}} for {first}",
    )


def _quote(text: object) -> str:
    escaped = str(text).replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def _note_difference(found: Prompts, published: Prompts | None) -> tuple[str, ...]:
    if published is None or found == published or (published.has_task and _fits(published, found)):
        return ()
    return (f"the publisher names others: query {published.query!r}, document {published.document!r}",)


def _fits(template: Prompts, found: Prompts) -> bool:
    """Return whether `found` is `template` with some task in its place."""

    def fits(one: str, other: str) -> bool:
        before, place, after = one.partition(TASK)
        return one == other if not place else other.startswith(before) and other.endswith(after)

    return fits(template.query, found.query) and fits(template.document, found.document)


def _note_unused(own: Mapping[str, Any]) -> tuple[str, ...]:
    names = [name for name, text in own.items() if text]
    return (f"the model's own ({', '.join(names)}) are not used",) if names else ()

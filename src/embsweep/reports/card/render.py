"""Render the sections that sentence-transformers' own card does not have, from the templates beside this file."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from embsweep.reports.card import markdown
from embsweep.selection.evidence import BASE, BM25, RECIPE, RUNNER_UP, WINNER, Comparison, Evidence
from embsweep.selection.objective import describe_objective, describe_violations
from embsweep.selection.quantization import compute_retention, pareto_front
from embsweep.selection.slices import compare_slices, worst_slice

_COLUMNS = {WINNER: "This model", BASE: "Base", BM25: "BM25", RECIPE: "Recipe", RUNNER_UP: "Runner-up"}
BETTER, WORSE, UNCLEAR = "significantly better", "significantly worse", "no significant difference"
"""Directions of a difference after the correction for all comparisons."""

_TELLING = frozenset({"kind", "id", "revision", "subset", "part", "packages"})
"""Text settings of the data's configuration that are printed; others may be private paths or columns."""

_ROLES = ("query", "document")

LISTED_VERSIONS = ("python", "sentence_transformers", "transformers", "torch", "accelerate", "datasets", "tokenizers")
"""Packages whose versions every sentence-transformers card lists."""


def render(name: str, context: Mapping[str, object], **more: object) -> str:
    """Render `name.md.j2`.

    Args:
        name: Name of the template.
        context: Variables of every template, from `build_context`.
        more: Further variables of this one.
    """
    return _load_templates().get_template(f"{name}.md.j2").render(context, **more)


@cache
def _load_templates() -> Environment:
    environment = Environment(
        loader=PackageLoader("embsweep.reports.card", "."),
        autoescape=True,  # escapes nothing here: `finalize` has made all of it Markdown; macros and blocks are Markdown
        finalize=markdown.escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    filters = (
        *(markdown.number, markdown.signed, markdown.probability, markdown.count, markdown.shown, markdown.listing),
        *(markdown.shorten_keys, markdown.code, markdown.settings, markdown.bounded, markdown.bounded_difference),
        *(markdown.row, markdown.table, markdown.paragraphs),
        *(column, group_by_model, order_models),
    )
    environment.filters.update({function.__name__: function for function in filters})
    return environment


def build_context(evidence: Evidence) -> dict[str, Any]:
    """Build the variables of the templates: the evidence, and what follows from it."""
    config, facts = evidence.training.config, evidence.training.facts
    measured = config.eval.model_dump(include={"fractions", "per_epoch"}, exclude_none=True)
    slices = compare_slices(evidence)
    patience = {"patience": config.train.patience} if config.train.patience else {}
    return {
        **{"WINNER": WINNER, "BASE": BASE, "BM25": BM25, "RECIPE": RECIPE, "RUNNER_UP": RUNNER_UP},
        **{"BETTER": BETTER, "WORSE": WORSE},
        "evidence": evidence,
        "metric": evidence.metric,
        "dims": sorted(evidence.dims, reverse=True),
        "models": order_models(evidence.test),
        "direction": partial(classify, alpha=evidence.gate.alpha),
        "dims_by_direction": partial(dims_by_direction, alpha=evidence.gate.alpha),
        "overall": {c.reference: c for c in evidence.comparisons if c.dim is None},
        "objective": describe_objective(evidence.objective),
        "violations": describe_violations(evidence.test[WINNER].scores, evidence.test_objective),
        "data_settings": dict(_select_printable(evidence.data.config)),
        "slices": slices,
        "worst_slice": worst_slice(slices),
        "loss_settings": config.loss.model_dump(exclude_none=True)
        | config.matryoshka.model_dump(include={"weight_power"}),
        "measured": measured | patience,
        "prompts": {role: repr(facts[f"{role}_prompt"]) for role in _ROLES if f"{role}_prompt" in facts},
        "run_facts": {key: value for key, value in facts.items() if not key.endswith("_prompt")},
        "other_versions": {k: v for k, v in evidence.versions.items() if k.replace("-", "_") not in LISTED_VERSIONS},
        **_describe_stored(evidence),
        "digest": hashlib.sha256(f"{evidence.model_dump_json()}\n".encode()).hexdigest(),  # as `sha256sum` of the file
    }


def _describe_stored(evidence: Evidence) -> dict[str, Any]:
    """Return the records of stored embeddings with the share that each keeps, and those of them on the Pareto front."""
    records = evidence.quantization
    stored = list(zip(records, compute_retention(records), strict=True)) if records else []
    front = pareto_front(records)
    best = sorted((item for item in stored if item[0] in front), key=lambda item: item[0].bytes)
    return {"stored": stored, "best_stored": best}


def classify(comparison: Comparison, alpha: float) -> str:
    """Return the direction of a difference; it is significant if its adjusted p is below `alpha`."""
    if comparison.adjusted_p >= alpha or comparison.difference == 0:
        return UNCLEAR
    return BETTER if comparison.difference > 0 else WORSE


def dims_by_direction(comparisons: Sequence[Comparison], alpha: float) -> dict[str, list[int]]:
    """Group the dimensions by the direction of their difference."""
    by_dim = {c.dim: classify(c, alpha) for c in comparisons if c.dim is not None}
    found = {way: [dim for dim, direction in by_dim.items() if direction == way] for way in (BETTER, WORSE, UNCLEAR)}
    return {way: dims for way, dims in found.items() if dims}


def order_models(names: Iterable[str]) -> list[str]:
    """Sort model names: the winner, base, BM25, recipe and runner-up, then all others by name."""
    order = {name: place for place, name in enumerate(_COLUMNS)}
    return sorted(names, key=lambda name: (order.get(name, len(order)), name))


def column(name: str) -> Markup:
    """Return the heading of a model's column."""
    return markdown.cell(_COLUMNS.get(name, name))


def group_by_model(comparisons: Iterable[Comparison]) -> dict[str, list[Comparison]]:
    """Group comparisons by reference: the objective first, then from the largest dimension to the smallest."""
    ordered = sorted(comparisons, key=lambda c: (c.reference, c.dim is not None, -(c.dim or 0)))
    groups = {name: list(found) for name, found in groupby(ordered, key=lambda c: c.reference)}
    return {name: groups[name] for name in order_models(groups)}


def _select_printable(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the printable part of the data's configuration as flat keys and values."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _select_printable(value, f"{prefix}{key}.")
        elif value is not None and (key in _TELLING or isinstance(value, int | float)):
            yield f"{prefix}{key}", value

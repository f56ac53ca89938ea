"""The sections that sentence-transformers' own card does not have, in Markdown."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from embsweep.reports.card.markdown import code, count, fold, listing, number, plain, settings, shown, signed
from embsweep.reports.card.tables import (
    audit_table,
    comparisons_table,
    finalists_table,
    results_table,
    space_table,
    validation_table,
)
from embsweep.reports.card.wording import (
    describe_comparisons,
    describe_holdout,
    describe_notices,
    describe_outcome,
    describe_result,
    describe_smallest,
)
from embsweep.selection.evidence import WINNER, Evidence
from embsweep.selection.objective import describe_objective

_TELLING = frozenset({"kind", "id", "revision", "subset", "part", "packages"})
"""Text settings of the data's configuration that are printed; others may be private paths or columns."""

_RULES = {"significant": "significantly higher than", "higher": "higher than", "not_worse": "not worse than"}


def build_sections(evidence: Evidence) -> dict[str, str]:
    """Build the Markdown of each section by name, to be inserted between two paragraphs."""
    sections = {
        "notices": describe_notices(evidence),
        "result": f"## Result\n\n{describe_result(evidence)}",
        "shorter": _shorter(evidence),
        "test": _test(evidence),
        "choice": _choice(evidence),
        "data": _data(evidence),
        "verification": _verification(evidence),
        "run": _run(evidence),
        "log_note": _log_note(evidence),
    }
    blocks = {name: f"\n{text}\n\n" if text else "" for name, text in sections.items()}
    return {**blocks, "versions": _versions(evidence)}


def digest_evidence(evidence: Evidence) -> str:
    """Compute the sha256 of `evidence.json` as stored next to the weights, as `sha256sum evidence.json` does."""
    return hashlib.sha256(f"{evidence.model_dump_json()}\n".encode()).hexdigest()


def _shorter(evidence: Evidence) -> str:
    dim = evidence.smallest_dim
    return (
        "### Shorter Embeddings\n\n"
        f"Embeddings can be cut to {listing(sorted(evidence.dims, reverse=True))} dimensions. "
        f"{describe_smallest(evidence)}\n\n"
        "```python\n"
        f'model = SentenceTransformer("sentence_transformers_model_id", truncate_dim={dim})\n'
        'embeddings = model.encode_document(["..."], normalize_embeddings=True)\n'
        f"# [1, {dim}]\n"
        "```"
    )


def _test(evidence: Evidence) -> str:
    groups = count(len(set(evidence.groups)), "passage group")
    queries = count(len(evidence.groups), "query")
    return "\n\n".join(
        [
            "### Test Evaluations",
            f"Read on the test split of {plain(evidence.data.name)}: {queries} in {groups}, kept apart from training, "
            f"search and choice. {describe_holdout(evidence)} An interval bounds its mean in 95 of 100 samples of "
            "queries. Every text was encoded once and every dimension scored from its first values; BM25 has no "
            "dimensions.",
            f"`{evidence.metric}` by dimension:",
            results_table(evidence),
            describe_comparisons(evidence),
            fold("All comparisons on the test split", comparisons_table(evidence.comparisons)),
        ]
    )


def _choice(evidence: Evidence) -> str:
    verdict = evidence.verdict
    parts = [
        "### How This Model Was Chosen",
        f"Sweep {code(evidence.sweep)} (study {code(evidence.study)}) searched on the validation split. "
        f"Objective: {_objective(evidence)}. {_budget(evidence)}",
        space_table(evidence),
        f"{describe_outcome(evidence)} Rule: {plain(verdict.rule.rstrip('.'))}.",
        *(f"**Warning:** {plain(warning)}" for warning in verdict.warnings),
    ]
    if verdict.confirmed:
        parts.append("Objective of the finalists on the validation split:")
        parts.append(finalists_table(evidence))
    if verdict.comparisons:
        parts.append(
            fold("Comparisons of the finalists on the validation split", comparisons_table(verdict.comparisons))
        )
    parts += [
        _optimism(evidence),
        fold("Readings on the validation split", validation_table(evidence)),
        _gate(evidence),
    ]
    return "\n\n".join(parts)


def _budget(evidence: Evidence) -> str:
    states = listing(f"{amount} {state}" for state, amount in evidence.counts.items() if amount)
    return f"Of a budget of {count(evidence.budget, 'trial')}: {states or 'none'}."


def _objective(evidence: Evidence) -> str:
    weights = evidence.objective.dim_weights or {}
    weighted = listing(f"{shown(weight)} at {dim}" for dim, weight in weights.items())
    return plain(describe_objective(evidence.objective)) + (f" (weights {weighted})" if weights else "")


def _optimism(evidence: Evidence) -> str:
    searched = evidence.on_validation(WINNER)
    return (
        f"**Optimism of the search:** {signed(evidence.optimism)}, the objective on validation ({number(searched)}) "
        f"minus that on test ({number(evidence.objectives[WINNER])}). Validation chose; only test is to be quoted."
    )


def _gate(evidence: Evidence) -> str:
    gate = evidence.gate
    dims = listing(gate.dims) if gate.dims else "every evaluated dimension"
    return (
        f"To become champion it must be {_RULES[gate.against_base]} the base model and "
        f"{_RULES[gate.against_champion]} the champion at {dims} (margin {shown(gate.margin)}, "
        f"alpha {shown(gate.alpha)})."
    )


def _data(evidence: Evidence) -> str:
    data = evidence.data
    sizes = ", ".join(f"{size:,} {plain(name.replace('_', ' '))}" for name, size in data.sizes.items())
    merged = "; ".join(map(plain, data.merged)) or "nothing"
    lines = [
        f"**Data:** {plain(data.name)}, fingerprint {code(data.fingerprint)}",
        f"**Sizes:** {sizes}",
        f"**Read as:** {settings(dict(_telling(data.config)))}",
        f"**Merged:** {merged}",
    ]
    listed = "\n".join(f"- {line}" for line in lines)
    return f"### Data and Audit\n\n{listed}\n\n{_audit_summary(evidence)}\n\n{audit_table(evidence)}"


def _audit_summary(evidence: Evidence) -> str:
    amounts = {
        severity: sum(f.severity == severity for f in evidence.audit) for severity in ("error", "warning", "note")
    }
    waived = [code(finding.name) for finding in evidence.audit if finding.waived]
    found = listing(count(amount, severity) for severity, amount in amounts.items())
    return f"Audit before training: {found}. " + (
        f"**Waived by name: {listing(waived)}.**" if waived else "None waived."
    )


def _telling(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the printable part of the data's configuration as flat keys and values."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from _telling(value, f"{prefix}{key}.")
        elif value is not None and (key in _TELLING or isinstance(value, int | float)):
            yield f"{prefix}{key}", value


def _verification(evidence: Evidence) -> str:
    verification = evidence.verification
    held = "reproduced" if verification.difference <= verification.tolerance else "**did not reproduce**"
    return (
        "### Verification\n\n"
        f"The weights were loaded from disk in a fresh process ({verification.pid}) on {code(verification.device)} and "
        f"{held} every recorded metric: the largest difference was {verification.difference:.2g}, "
        f"{shown(verification.tolerance)} was allowed.\n\n"
        f"- **Weights:** manifest with sha256 {code(verification.manifest_sha256)}\n"
        f"- **Evidence:** {code('evidence.json')} with sha256 {code(digest_evidence(evidence))}, "
        f"read on {plain(evidence.created_at)}; it holds every number of this card, and each query's score"
    )


def _run(evidence: Evidence) -> str:
    training = evidence.training
    config = training.config
    measured = config.eval.model_dump(include={"fractions", "per_epoch"}, exclude_none=True)
    loss = config.loss.model_dump(exclude_none=True)
    weighting = config.matryoshka.model_dump(include={"weight_power"})
    patience = {"patience": config.train.patience} if config.train.patience else {}
    lines = [
        f"**Trial:** {training.trial} (run {code(training.run)}, seed {config.train.seed})",
        f"**Inner loss:** {settings({**loss, **weighting})}",
        f"**Measured:** {settings({**measured, **patience})}",
        f"**As it ran:** {settings(training.facts)}",
    ]
    return "### Training Run\n\n" + "\n".join(f"- {line}" for line in lines)


def _log_note(evidence: Evidence) -> str:
    return (
        f"Readings on the **validation** split ({evidence.metric} by dimension), which chose the saved row: "
        "they are optimistic, the test readings are above."
    )


def _versions(evidence: Evidence) -> str:
    """Return lines for packages beyond those that every sentence-transformers card lists."""
    listed = {"python", "sentence_transformers", "transformers", "torch", "accelerate", "datasets", "tokenizers"}
    others = {name: found for name, found in evidence.versions.items() if name.replace("-", "_") not in listed}
    return "".join(f"- {plain(name)}: {plain(version)}\n" for name, version in others.items())

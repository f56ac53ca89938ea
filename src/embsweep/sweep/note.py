"""The description of a sweep's run in MLflow: state, result on test, links and data. Pure functions of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from shlex import quote as quote_shell
from typing import Any
from urllib.parse import quote

from embsweep.core.markdown import code_span, escape_markdown
from embsweep.selection.evidence import BASE, RECIPE, WINNER, Evidence
from embsweep.tracking.runs import EXPERIMENT_PLACE, OWN_RUN_PLACE, RUN_PLACE
from embsweep.tracking.views import view_page

_STATES = {
    "RUNNING": "running",
    "FINISHED": "finished",
    "KILLED": "interrupted, the same command resumes it",
    "FAILED": "failed, its log has the reason",
}
_PAGES = "workflowType=machine_learning"  # not MLflow's pages for chat models


def describe_result(evidence: Evidence) -> dict[str, Any]:
    """Return what the description says of a result, as metadata for the ledger.

    Args:
        evidence: Evidence about the winner.

    Returns:
        The metric, its values on test by model and dimension, and difference, lower and upper bound of the winner's
        gain over the base model by dimension.
    """
    metric = evidence.metric
    return {
        "metric": metric,
        "models": {
            name: {str(dim): evidence.test[name].scores[dim][metric] for dim in sorted(evidence.dims, reverse=True)}
            for name in (BASE, RECIPE, WINNER)
            if name in evidence.test
        },
        "gains": {
            str(c.dim): [c.difference, c.low, c.high]
            for c in evidence.comparisons
            if c.reference == BASE and c.dim is not None
        },
    }


def describe_sweep_run(metadata: Mapping[str, Any], *, has_run: bool) -> str:
    """Return the description as Markdown; `RunWriter` puts in the ids of the experiment and of the winner's run.

    Args:
        metadata: Metadata of the search's study.
        has_run: Whether the run of the winner's weights is known.
    """
    result = metadata.get("result")
    parts = [f"**{escape_markdown(metadata['title'])}** – {_STATES.get(metadata['status'], metadata['status'])}"]
    if result is not None and "test" in result:  # not in ledgers of before there were descriptions
        parts.append("\n".join(_list_rows(result["test"], result["winner"])))
    parts.append("\n".join(f"- {line}" for line in (*_list_links(metadata, has_run=has_run), *_list_facts(metadata))))
    return "\n\n".join(parts)


def _list_rows(test: Mapping[str, Any], winner: int) -> Iterator[str]:
    """Yield the lines of the table: one row for each model, and the winner's gain with its interval."""
    names, dims = {WINNER: f"**winner**, trial {winner}"}, list(test["models"][WINNER])
    yield _row(f"{test['metric'].upper()} on test", dims)
    yield _row("---", ["---:"] * len(dims))
    for name, values in test["models"].items():
        yield _row(names.get(name, name), [f"{values[dim]:.4f}" for dim in dims])
    gains = {dim: "{:+.4f} ({:+.4f} to {:+.4f})".format(*test["gains"][dim]) for dim in dims if dim in test["gains"]}
    if gains:
        yield _row("gain over base (95 % interval)", [gains.get(dim, "–") for dim in dims])


def _row(first: str, cells: list[str]) -> str:
    return f"| {' | '.join([first, *cells])} |"


def _list_links(metadata: Mapping[str, Any], *, has_run: bool) -> Iterator[str]:
    """Yield links within MLflow's pages."""
    result = metadata.get("result")
    if "report" in metadata:
        page = f"#/experiments/{EXPERIMENT_PLACE}/runs/{OWN_RUN_PLACE}/artifacts/report.html?{_PAGES}"
        yield f"[Report]({page})"
    if "view" in metadata["tracking"]:
        page = view_page(EXPERIMENT_PLACE, metadata["study_id"])
        yield f"[Trials with their scores]({page})"
    if has_run:
        yield f"[Run of the winner's weights](#/experiments/{EXPERIMENT_PLACE}/runs/{RUN_PLACE}?{_PAGES})"
    if result is not None and "registered" in result:
        name, _, number = result["registered"].split(" (alias")[0].removeprefix("models:/").rpartition("/")
        page = f"#/models/{quote(name)}/versions/{number}?{_PAGES}"
        yield (
            f"Registered as [{escape_markdown(name)} version {number}]({page}), which links to its card. "
            f"{code_span(f'embsweep promote {quote_shell(name)}')} makes it champion if it passes the gate."
        )


def _list_facts(metadata: Mapping[str, Any]) -> Iterator[str]:
    data = metadata["tracking"]["dataset"]
    sizes = ", ".join(f"{size:,} {name.replace('_', ' ')}" for name, size in data["sizes"].items())
    yield f"Data: {code_span(data['name'])}, {sizes}; fingerprint `{data['fingerprint'][:16]}`"
    if baseline := metadata.get("baseline"):
        yield f"Objective of the untrained base model on validation: {baseline['objective']:.4f}"

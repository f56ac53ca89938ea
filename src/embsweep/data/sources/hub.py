"""Source `hub`: a data set of the Hugging Face hub, pinned by revision. Fails within seconds if there is no network."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from embsweep.config.data import HubConfig
from embsweep.core.errors import Diagnostic, InputError, describe_exception
from embsweep.data.collection import Collection, build_collection
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.columns import choose_columns, find_top, validate_config
from embsweep.data.sources.rows import RowReader, check_labels, find_inner_labels, find_label_columns

REACH_TIMEOUT_S = 8.0
_OFFLINE_HINT = (
    "download the data set on a connected machine, save its rows as JSONL or Parquet, and use "
    "data=files data.pairs=<file>; a copy in this machine's cache is read with HF_HUB_OFFLINE=1"
)
_log = logging.getLogger(__name__)


def load_hub(config: HubConfig) -> Collection:
    """Load the rows of one part (split) of a data set as one collection, named by the data set's id.

    Raises:
        InputError: If the data set cannot be loaded (one diagnostic), or rows have errors (a diagnostic for each,
            located as `id:row`, rows counted from 1).
    """
    diagnostics = DiagnosticList()
    _validate_config(config, diagnostics)
    validate_config(config, diagnostics)
    diagnostics.raise_if_any()
    dataset = _download(config)
    present = list(dataset.column_names)
    columns, notes = choose_columns(config, present, config.id, diagnostics)
    diagnostics.raise_if_any()
    assert columns is not None  # otherwise a diagnostic was recorded
    labels = find_label_columns(columns, present)
    used = {find_top(name, present) for name in columns.names} | set(labels)
    rows = list(_read_rows(dataset.select_columns([name for name in present if name in used]), config))
    notes += check_labels([*labels, *find_inner_labels(columns, rows)], rows, diagnostics)
    reader = RowReader(columns, config.min_score, diagnostics)
    pairs = [pair for where, row in rows for pair in reader.read(where, row)]
    if not rows:
        diagnostics.add("no-rows", config.id, f"part '{config.part}' holds no rows")
    diagnostics.raise_if_any()
    collection = build_collection(config.id, pairs, reading=notes)
    counts = {**reader.counts, **dict(collection.merged)}
    return replace(collection, merged=tuple((what, count) for what, count in counts.items() if count))


def _read_rows(rows: Any, config: HubConfig) -> Iterator[tuple[str, Any]]:
    """Yield (`id:row`, row). Decoding a column of another kind (image, audio) may raise any library's exception."""
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            yield f"{config.id}:{number}", row
    except Exception as error:
        _log.debug("reading %s failed", config.id, exc_info=True)
        raise InputError(
            Diagnostic(
                "unreadable",
                f"{config.id}:{number + 1}",
                f"cannot be read: {describe_exception(error)}",
                expected="texts",
            )
        ) from error


def _validate_config(config: HubConfig, diagnostics: DiagnosticList) -> None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    if not config.revision.strip():
        diagnostics.add(
            "empty", "data.revision", "is empty", config.revision, expected="a commit hash, a tag or a branch"
        )
    try:
        validate_repo_id(config.id)
    except HFValidationError as error:
        diagnostics.add("bad-hub-id", "data.id", str(error), config.id, expected="owner/name")
    else:
        if Path(config.id).exists():  # load_dataset would read this folder and ignore the revision
            diagnostics.add(
                "ambiguous",
                "data.id",
                "a local file or folder of this name would be read instead",
                config.id,
                hint="run in another folder, or use data=files to read it",
            )


def _download(config: HubConfig) -> Any:
    """Load the part as a `datasets.Dataset`; turn any failure of the hub or the libraries into one diagnostic."""
    import datasets

    try:
        _require_reachable(config)
        return datasets.load_dataset(config.id, config.subset, split=config.part, revision=config.revision)
    except Exception as error:  # the libraries raise some thirty types, from httpx's to their own
        _log.debug("loading %s failed", config.id, exc_info=True)
        raise InputError(_describe(error, config)) from error


def _require_reachable(config: HubConfig) -> None:
    """Request the data set's card once: `load_dataset` retries for minutes if there is no network."""
    from huggingface_hub import HfApi, is_offline_mode

    if not is_offline_mode():
        HfApi().dataset_info(config.id, revision=config.revision, timeout=REACH_TIMEOUT_S)


def _describe(error: Exception, config: HubConfig) -> Diagnostic:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    if isinstance(error, RevisionNotFoundError):
        return Diagnostic(
            "not-on-hub",
            "data.revision",
            f"{config.id} has no such revision",
            config.revision,
            "a commit hash, tag or branch",
        )
    if isinstance(error, GatedRepoError):
        return Diagnostic(
            "no-access",
            "data.id",
            "access to this data set must be requested on the hub",
            config.id,
            hint="`hf auth login`",
        )
    if isinstance(error, RepositoryNotFoundError):
        hint = f"check the spelling, or `hf auth login` for a private one; without the hub: {_OFFLINE_HINT}"
        return Diagnostic("not-on-hub", "data.id", "the hub has no such data set", config.id, hint=hint)
    wanted = f"{config.id} (subset {config.subset}, part {config.part}, revision {config.revision})"
    return Diagnostic(
        "not-loadable", "data.id", f"could not be loaded: {describe_exception(error)}", wanted, hint=_OFFLINE_HINT
    )

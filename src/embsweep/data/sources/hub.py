"""A data set of the Hugging Face hub, pinned by revision. Without a network it fails in seconds, not minutes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embsweep.config.data import HubConfig
from embsweep.core.errors import Diagnostic, InputError
from embsweep.data.collection import Collection, build_collection
from embsweep.data.issues import DiagnosticList
from embsweep.data.sources.readers import Columns, check_distinct, check_header, read_pair

REACH_TIMEOUT_S = 8.0
_ELSEWHERE = (
    "download the data set where there is a network, save its rows as JSONL or Parquet, and use "
    "data=files data.pairs=<file>; a copy already in this machine's cache is read with HF_HUB_OFFLINE=1"
)
_log = logging.getLogger(__name__)


def load_hub(config: HubConfig) -> Collection:
    """The rows of one part as one collection, named by the data set's id.

    Raises InputError with one fault where the hub or the data set cannot be had, else with every fault of
    its rows, placed as `id:row` counting from 1.
    """
    diagnostics = DiagnosticList()
    columns = Columns(config.anchor, config.positive, config.negative)
    _check_config(config, diagnostics)
    check_distinct(columns, diagnostics)
    diagnostics.raise_if_any()
    dataset = _download(config)
    if not check_header(columns, list(dataset.column_names), config.id, diagnostics):
        diagnostics.raise_if_any()
    rows = dataset.select_columns(list(columns.by_key.values()))
    pairs = [read_pair(row, columns, where, diagnostics) for where, row in _read_rows(rows, config)]
    if not pairs:
        diagnostics.add("no-rows", config.id, f"part '{config.part}' holds no rows")
    diagnostics.raise_if_any()
    return build_collection(config.id, [pair for pair in pairs if pair is not None])


def _read_rows(rows: Any, config: HubConfig) -> Iterator[tuple[str, Any]]:
    """(`id:row`, row) of every row. A column of another kind (an image, a recording) may fail in any library's way."""
    number = 0
    try:
        for number, row in enumerate(rows, 1):
            yield f"{config.id}:{number}", row
    except Exception as error:
        _log.debug("reading %s failed", config.id, exc_info=True)
        said = (str(error).strip() or type(error).__name__).splitlines()[0]
        where = f"{config.id}:{number + 1}"
        raise InputError(
            Diagnostic("unreadable", where, f"cannot be read: {type(error).__name__}: {said}", expected="texts")
        ) from error


def _check_config(config: HubConfig, diagnostics: DiagnosticList) -> None:
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
            hint = "start elsewhere, or use data=files for a local file"
            diagnostics.add(
                "ambiguous", "data.id", "a file or folder of this name would be read in its place", config.id, hint=hint
            )


def _download(config: HubConfig) -> Any:
    """The part as a `datasets.Dataset`. Any failure of hub or library becomes one fault."""
    import datasets

    try:
        _check_reachable(config)
        return datasets.load_dataset(config.id, config.subset, split=config.part, revision=config.revision)
    except Exception as error:  # the libraries raise some thirty types, from httpx up to their own
        _log.debug("loading %s failed", config.id, exc_info=True)
        raise InputError(_describe(error, config)) from error


def _check_reachable(config: HubConfig) -> None:
    """Ask once for the data set's card: `load_dataset` would try again for minutes where there is no network."""
    from huggingface_hub import HfApi, is_offline_mode

    if not is_offline_mode():
        HfApi().dataset_info(config.id, revision=config.revision, timeout=REACH_TIMEOUT_S)


def _describe(error: Exception, config: HubConfig) -> Diagnostic:
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError, RevisionNotFoundError

    said = (str(error).strip() or type(error).__name__).splitlines()[0]
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
            "access to this data set must be asked for on the hub",
            config.id,
            hint="`hf auth login`",
        )
    if isinstance(error, RepositoryNotFoundError):
        hint = f"check the spelling, or `hf auth login` for a private one; without the hub: {_ELSEWHERE}"
        return Diagnostic("not-on-hub", "data.id", "the hub has no such data set", config.id, hint=hint)
    wanted = f"{config.id} (subset {config.subset}, part {config.part}, revision {config.revision})"
    return Diagnostic(
        "not-loadable", "data.id", f"could not be loaded: {type(error).__name__}: {said}", wanted, hint=_ELSEWHERE
    )

"""Read a ledger without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DatabaseError

from embsweep.core.errors import CodedError
from embsweep.search.record import METADATA, STUDY, TrialRecord, require_format, to_record
from embsweep.search.storage import open_storage

StudyRecords = tuple[Mapping[str, Any], tuple[TrialRecord, ...]]
"""Metadata and trials of one study."""


def read_ledger(path: Path) -> StudyRecords | None:
    """Return metadata and trials of the search in a ledger, None if it does not exist or has no study.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    return _read_supported(path).get(STUDY)


def read_phases(path: Path) -> Mapping[str, tuple[TrialRecord, ...]]:
    """Return the trials of each study in a ledger: of the search, and of each confirmation.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    return {name: trials for name, (_, trials) in _read_supported(path).items()}


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the metadata of a ledger of any format, nothing if it does not exist or has no study.

    Raises:
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    return _read_studies(path).get(STUDY, ({}, ()))[0]


def _read_supported(path: Path) -> Mapping[str, StudyRecords]:
    studies = _read_studies(path)
    if STUDY in studies:
        require_format(STUDY, studies[STUDY][0])
    return studies


def _read_studies(path: Path) -> Mapping[str, StudyRecords]:
    """Return every study by name, the search first; nothing if there is no ledger."""
    if not path.is_file():
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        storage = open_storage(path)
        try:
            return {study.study_name: _read_study(storage, study.study_name) for study in storage.get_all_studies()}
        finally:
            storage.remove_session()
            storage.engine.dispose()
    except (DatabaseError, StorageInternalError) as error:
        raise CodedError("unreadable", f"{path}: not a readable ledger ({str(error).splitlines()[0]})") from None


def _read_study(storage: RDBStorage, name: str) -> StudyRecords:
    study = optuna.load_study(storage=storage, study_name=name)
    return study.user_attrs.get(METADATA, {}), tuple(to_record(trial) for trial in study.get_trials(deepcopy=False))

"""Read a ledger without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DatabaseError

from embsweep.core.errors import CodedError
from embsweep.search.format import METADATA, STUDY, check_format
from embsweep.search.record import TrialRecord, to_record
from embsweep.search.storage import open_storage


def read_ledger(path: Path) -> tuple[Mapping[str, Any], tuple[TrialRecord, ...]] | None:
    """Return metadata and trials of the search in a ledger, None if it does not exist or has no study.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    study = _load_study(path, STUDY)
    if study is None:
        return None
    check_format(study)
    return study.user_attrs.get(METADATA, {}), _records(study)


def read_phases(path: Path) -> Mapping[str, tuple[TrialRecord, ...]]:
    """Return the trials of each study in a ledger: of the search, and of each confirmation.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    if read_ledger(path) is None:
        return {}
    names = optuna.get_all_study_names(open_storage(path))
    return {name: _records(study) for name in names if (study := _load_study(path, name)) is not None}


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the metadata of a ledger of any format, nothing if it does not exist or has no study.

    Raises:
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    study = _load_study(path, STUDY)
    metadata: dict[str, Any] = {} if study is None else study.user_attrs.get(METADATA, {})
    return metadata


def _records(study: optuna.Study) -> tuple[TrialRecord, ...]:
    return tuple(to_record(trial) for trial in study.get_trials(deepcopy=False))


def _load_study(path: Path, name: str) -> optuna.Study | None:
    if not path.is_file():
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(storage=open_storage(path), study_name=name)
    except KeyError:
        return None
    except (DatabaseError, StorageInternalError) as error:
        message = f"{path}: not a readable ledger ({str(error).splitlines()[0]})"
        raise CodedError("unreadable", message) from None

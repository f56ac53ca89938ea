"""Read a ledger without changing it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.exceptions import StorageInternalError
from optuna.storages import RDBStorage
from sqlalchemy.exc import DatabaseError

from embsweep.config.search_space import Choice, Dimension, FloatRange, IntRange
from embsweep.core.errors import CodedError, EmbsweepError, TrialFailed, describe_exception
from embsweep.search.record import METADATA, STUDY, TrialRecord, require_format, to_record
from embsweep.search.storage import RESTORE, open_read_only

StudyRecords = tuple[Mapping[str, Any], tuple[TrialRecord, ...]]
"""Metadata and trials of one study."""


def read_ledger(path: Path) -> StudyRecords | None:
    """Return metadata and trials of the search in a ledger, None if it does not exist or has no study.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    return read_studies(path).get(STUDY)


def read_phases(path: Path) -> Mapping[str, tuple[TrialRecord, ...]]:
    """Return the trials of each study in a ledger: of the search, and of each confirmation.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    return {name: trials for name, (_, trials) in read_studies(path).items()}


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the metadata of a ledger of any format, nothing if it does not exist or has no study.

    Raises:
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    return _read_studies(path).get(STUDY, ({}, ()))[0]


def read_studies(path: Path) -> Mapping[str, StudyRecords]:
    """Return metadata and trials of each study in a ledger, that of the search first; nothing without a ledger.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    studies = _read_studies(path)
    if STUDY in studies:
        require_format(STUDY, studies[STUDY][0])
    return studies


def _read_studies(path: Path) -> Mapping[str, StudyRecords]:
    """Return every study by name, the search first; nothing if there is no ledger, or an empty file."""
    if not path.is_file() or not path.stat().st_size:
        return {}
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with explain_damage(path), open_read_only(path) as storage:
        return {study.study_name: _read_study(storage, study.study_name) for study in storage.get_all_studies()}


def read_space(path: Path) -> tuple[Dimension, ...]:
    """Return the dimensions of the search in a ledger, as they are in its first trial; nothing without a trial.

    Raises:
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    if not path.is_file() or not path.stat().st_size:
        return ()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with explain_damage(path), open_read_only(path) as storage:
        if STUDY not in optuna.get_all_study_names(storage):
            return ()
        trials = optuna.load_study(storage=storage, study_name=STUDY).get_trials(deepcopy=False)
        return tuple(to_dimension(key, found) for key, found in trials[0].distributions.items()) if trials else ()


def to_dimension(key: str, distribution: BaseDistribution) -> Dimension:
    """Return the dimension of a swept key from its counterpart in Optuna, see `search.search.to_distribution`.

    Raises:
        TypeError: If no dimension has such a counterpart.
    """
    match distribution:
        case CategoricalDistribution():
            return Choice(key, tuple(str(option) for option in distribution.choices))
        case IntDistribution():
            return IntRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
        case FloatDistribution():
            return FloatRange(key, distribution.low, distribution.high, distribution.step, distribution.log)
        case _:
            raise TypeError(f"{key} has the distribution {distribution}")


@contextmanager
def explain_damage(path: Path) -> Iterator[None]:
    """Turn what a damaged ledger causes wherever its contents are used into an error that names its file.

    Raises:
        CodedError: `unreadable`: for JSON that is cut off or nested too deeply, values of a wrong type, missing keys.
    """
    try:
        yield
    except (
        *(ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError),
        *(TrialFailed, DatabaseError, StorageInternalError),
    ) as error:
        if isinstance(error, EmbsweepError) and not isinstance(error, TrialFailed):
            raise
        raise CodedError(
            "unreadable", f"{path}: the ledger is damaged ({describe_exception(error)}). {RESTORE}"
        ) from None


def _read_study(storage: RDBStorage, name: str) -> StudyRecords:
    study = optuna.load_study(storage=storage, study_name=name)
    metadata = study.user_attrs.get(METADATA, {})
    if not isinstance(metadata, dict):
        raise TypeError(f"the metadata of study {name} is a {type(metadata).__name__}")
    return metadata, tuple(to_record(trial) for trial in study.get_trials(deepcopy=False))

"""Read a ledger without changing it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError
from sqlalchemy.exc import DatabaseError

from embsweep.config.search_space import SearchSpace
from embsweep.config.sweep import SearchConfig
from embsweep.core.errors import CodedError
from embsweep.search.format import METADATA, STUDY, check_format
from embsweep.search.ledger import Ledger
from embsweep.search.record import TrialRecord
from embsweep.search.storage import open_storage

_ANY_SEARCH = SearchConfig(sampler="random", trials=1, seed=0, recipe_first=False)


def read_ledger(path: Path) -> tuple[Mapping[str, Any], tuple[TrialRecord, ...]] | None:
    """Return metadata and trials of a ledger, None if it does not exist or has no study.

    Raises:
        SweepRefused: If the ledger has another format.
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    study = _load_study(path)
    if study is None:
        return None
    check_format(study)
    ledger = Ledger(study, SearchSpace(), _ANY_SEARCH)
    return ledger.metadata, ledger.trials


def read_metadata(path: Path) -> Mapping[str, Any]:
    """Return the metadata of a ledger of any format, nothing if it does not exist or has no study.

    Raises:
        CodedError: If the file is damaged or not a ledger (`unreadable`), or cannot be read now (`LedgerUnavailable`).
    """
    study = _load_study(path)
    metadata: dict[str, Any] = {} if study is None else study.user_attrs.get(METADATA, {})
    return metadata


def _load_study(path: Path) -> optuna.Study | None:
    if not path.is_file():
        return None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        return optuna.load_study(storage=open_storage(path), study_name=STUDY)
    except KeyError:
        return None
    except (DatabaseError, StorageInternalError) as error:
        message = f"{path}: not a readable ledger ({str(error).splitlines()[0]})"
        raise CodedError("unreadable", message) from None

"""Format of a ledger: the keys of the sweep's metadata in its study, and the supported version of these keys."""

from __future__ import annotations

import optuna

from embsweep.core.errors import SweepRefused

STUDY = "sweep"
"""Name of the search's study in the database."""

METADATA = "embsweep"
"""User attribute of a study that holds the sweep's metadata."""

FORMAT_KEY = "ledger_format"

LEDGER_FORMAT = 3
"""Raised with each change of the metadata's or the trials' keys. Ledgers of format 1 do not record the number."""


def check_format(study: optuna.Study) -> None:
    """Check that this code can read and continue a study.

    Raises:
        SweepRefused: If the study has another format.
    """
    metadata = study.user_attrs.get(METADATA, {})
    found = metadata.get(FORMAT_KEY, 1 if metadata else LEDGER_FORMAT)
    if found != LEDGER_FORMAT:
        raise SweepRefused(
            "other-format",
            f"the ledger of sweep '{metadata.get('name', study.study_name)}' has format {found}; this "
            f"version of embsweep reads format {LEDGER_FORMAT}. Finish the sweep with the version that "
            "began it, take another name (sweep.name=…), or archive it and start over (sweep.fresh=true).",
        )

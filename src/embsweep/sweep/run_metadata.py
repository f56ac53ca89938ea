"""Log a sweep as a whole to MLflow: its identity, configuration, data, environment and code."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from typing import Any

import yaml

from embsweep.audit.report import report_to_json
from embsweep.config.search_space import describe
from embsweep.core.environment import set_default_environment
from embsweep.data.collection import Splits
from embsweep.search.ledger import Ledger
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.request import SweepRequest
from embsweep.tracking.environment import describe_machine, describe_packages, read_git_state
from embsweep.tracking.records import DatasetRecord, SweepIdentity
from embsweep.tracking.runs import SweepRun, open_sweep_run
from embsweep.tracking.store import open_store
from embsweep.tracking.tracker import Tracker


def open_tracking(
    prepared: PreflightResult, ledger: Ledger, folder: SweepFolder, say: Callable[[str], None]
) -> Tracker:
    """Return the tracker of the sweep's MLflow run; a resumed sweep continues its existing run.

    Args:
        prepared: The checked request.
        ledger: The ledger of the search, which stores the id that identifies the run.
        folder: The folder of the sweep, which contains the outbox.
        say: Receives a message when MLflow stops answering and when it answers again.
    """
    if "study_id" not in ledger.metadata:
        ledger.set_metadata(study_id=uuid.uuid4().hex)
    recipe = prepared.recipe
    identity = SweepIdentity(
        name=recipe.sweep.name,
        study_id=ledger.metadata["study_id"],
        base_model=recipe.model.name,
        rehearsal=prepared.scale.is_rehearsal,
        rehearses=prepared.requested.model.name if prepared.scale.is_rehearsal else None,
    )

    def connect() -> SweepRun:
        store = open_store(prepared.storage, uri=recipe.tracking.uri, experiment=recipe.tracking.experiment)
        return open_sweep_run(store, identity)

    set_default_environment()
    return Tracker(folder.outbox, connect, say)


def log_sweep_metadata(tracking: Tracker, request: SweepRequest, prepared: PreflightResult) -> None:
    """Log the sweep's data, space, command, configuration, audit and environment to MLflow.

    Args:
        tracking: The sweep's tracker.
        request: The request, with its command and search space.
        prepared: The checked request.
    """
    recipe = prepared.recipe
    tracking.log_dataset(_dataset_facts(prepared))
    tracking.log_params(
        {"space": {d.key: describe(d) for d in request.space}, "search": recipe.search.model_dump(exclude={"trials"})}
    )
    tracking.set_tags(
        {
            "embsweep.command": request.command,
            "embsweep.audit.errors": _list_names(finding.name for finding in prepared.audit.of("error")),
            "embsweep.audit.waived": _list_names(prepared.audit.waived),
        }
    )
    texts = {
        "config/resolved.yaml": yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False),
        "config/requested.yaml": yaml.safe_dump(prepared.requested.model_dump(mode="json"), sort_keys=False),
        "audit/audit.json": _to_json_text(report_to_json(prepared.audit)),
        "environment/packages.txt": describe_packages(),
        "environment/machine.txt": describe_machine(),
        "environment/git.txt": str(read_git_state(request.default_storage) or "no git repository\n"),
    }
    for name, text in texts.items():
        tracking.log_artifact_text(name, text)


def _list_names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def _to_json_text(value: dict[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _dataset_facts(prepared: PreflightResult) -> DatasetRecord:
    splits = prepared.splits
    data = prepared.recipe.data.model_dump(exclude={"split"})
    source = ", ".join(f"{key}={value}" for key, value in data.items() if value is not None)
    return DatasetRecord(
        name=splits.name,
        fingerprint=splits.fingerprint,
        source=source,
        sizes=split_sizes(splits),
    )


def split_sizes(splits: Splits) -> dict[str, int]:
    """Return the number of training pairs, of validation and test queries, and of passages in the corpus."""
    return {
        "train_pairs": len(splits.train),
        "validation_queries": len(splits.validation.queries),
        "test_queries": len(splits.test.queries),
        "passages": len(splits.validation.corpus),
    }

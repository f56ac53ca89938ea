"""Describe a sweep as a whole for its ledger and MLflow: identity, configuration, data, environment and code."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from embsweep.audit.report import report_to_json
from embsweep.config import Config
from embsweep.config.search_space import SearchSpace, describe
from embsweep.core.environment import set_default_environment
from embsweep.core.errors import SweepRefused
from embsweep.core.mappings import flatten
from embsweep.core.redaction import redact
from embsweep.data.collection import Splits
from embsweep.search.ledger import Ledger
from embsweep.sweep.checks.preflight import PreflightResult
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import project_ledger
from embsweep.sweep.request import SweepRequest
from embsweep.tracking.environment import describe_git, describe_machine, describe_origin, describe_packages
from embsweep.tracking.runs import OWN_TAGS_TAG, RUNNING, RunWriter
from embsweep.tracking.store import open_store
from embsweep.tracking.sync import MlflowSync, save_digests


def describe_sweep(request: SweepRequest, prepared: PreflightResult) -> dict[str, Any]:
    """Return what MLflow says about the sweep as a whole, without secrets, as metadata for the ledger.

    Args:
        request: The request, with its command and search space.
        prepared: The checked request.
    """
    recipe, splits, is_rehearsal = prepared.recipe, prepared.splits, prepared.scale.is_rehearsal
    data = recipe.data.model_dump(exclude={"split"})
    texts = {
        "config/resolved.yaml": yaml.safe_dump(recipe.model_dump(mode="json"), sort_keys=False),
        "config/requested.yaml": yaml.safe_dump(prepared.requested.model_dump(mode="json"), sort_keys=False),
        "audit/audit.json": json.dumps(report_to_json(prepared.audit), indent=2, ensure_ascii=False) + "\n",
        "environment/packages.txt": describe_packages(),
        "environment/machine.txt": describe_machine(),
        "environment/git.txt": describe_git(request.default_storage),
    }
    return {
        "store": {
            "uri": redact(recipe.tracking.uri) if recipe.tracking.uri else None,
            "experiment": recipe.tracking.experiment_name,
        },
        "registered_model": recipe.tracking.registered_model or recipe.sweep.name,
        "identity": {
            "name": recipe.sweep.name,
            "base_model": recipe.model.name,
            "rehearsal": is_rehearsal,
            "rehearses": prepared.requested.model.name if is_rehearsal else None,
        },
        "dataset": {
            "name": splits.name,
            "fingerprint": splits.fingerprint,
            "source": redact(", ".join(f"{key}={value}" for key, value in data.items() if value is not None)),
            "sizes": split_sizes(splits),
        },
        "params": {
            "space": {d.key: describe(d) for d in request.space},
            "search": recipe.search.model_dump(mode="json", exclude={"trials"}),
        },
        "view": {
            "metric": recipe.objective.metric,
            "dims": list(recipe.trial.eval_dims),
            "swept": [dimension.key for dimension in request.space],
        },
        "run_tags": _describe_run_tags(recipe.tracking.tags),
        "tags": {
            "embsweep.command": redact(request.command),
            "embsweep.audit.errors": _list_names(finding.name for finding in prepared.audit.of("error")),
            "embsweep.audit.waived": _list_names(prepared.audit.waived),
        },
        "texts": {name: redact(text) for name, text in texts.items()},
    }


def begin_tracking(ledger: Ledger, facts: Mapping[str, Any]) -> None:
    """Record in the ledger that the sweep runs, what it is and, once, its id and when it began.

    Args:
        ledger: The ledger of the search.
        facts: The description of the sweep, see `describe_sweep`.
    """
    started_at = ledger.metadata.get("tracking", {}).get("started_at", time.time())
    ledger.set_metadata(
        study_id=ledger.metadata.get("study_id", uuid.uuid4().hex),
        tracking={**facts, "started_at": started_at},
        status=RUNNING,
    )


def open_tracking(prepared: PreflightResult, folder: SweepFolder, say: Callable[[str], None]) -> MlflowSync:
    """Return what keeps MLflow equal to the sweep's ledger, with every state that the ledger has now.

    Args:
        prepared: The checked request.
        folder: The folder of the sweep.
        say: Receives a message when MLflow stops answering and when it answers again.
    """
    tracking = prepared.recipe.tracking
    set_default_environment()
    states = project_ledger(folder.ledger)

    def connect() -> RunWriter:
        store = open_store(prepared.storage, uri=tracking.uri, experiment=tracking.experiment_name)
        return RunWriter(store, states[0].study, folder.root)

    sync = MlflowSync(connect, say, lambda digests: save_digests(folder.synced, digests))
    sync.put(*states)
    return sync


def _describe_run_tags(own: Mapping[str, str]) -> dict[str, str]:
    """Return the tags that the sweep's run and all below it have: the user's own, and where they come from."""
    names = {OWN_TAGS_TAG: ",".join(sorted(own))} if own else {}
    return {**own, **names, **{name: redact(value) for name, value in describe_origin(Path.cwd()).items()}}


def _list_names(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"


def split_sizes(splits: Splits) -> dict[str, int]:
    """Return the number of training pairs, of validation and test queries, and of passages in the corpus.

    If there are hard negatives, their number in each training pair is added.
    """
    negatives = len(splits.train[0].negatives)
    sizes = {
        "train_pairs": len(splits.train),
        "validation_queries": len(splits.validation.queries),
        "test_queries": len(splits.test.queries),
        "passages": len(splits.validation.corpus),
    }
    return sizes | ({"hard_negatives": negatives} if negatives else {})


# These may change in a resumed sweep: number of trials, states and checkpoints to keep, slices, audit, confirmation,
# gate, report, runner and tracking.
_FREE = (
    *("search.trials", "stopping.paused_states", "data.slice"),
    *("audit.", "confirm.", "gate.", "report.", "runner.", "tracking.", "storage.", "scale.", "sweep."),
)


def compute_identity(
    recipe: Config, space: SearchSpace, data_fingerprint: str, *, epoch_factor: float = 1.0
) -> dict[str, Any]:
    """Return every setting that must not change under one sweep name: dotted key → value, as plain JSON.

    Args:
        recipe: The configuration of trial 0, scaled.
        space: The search space; a swept key is represented by its dimension instead of its value.
        data_fingerprint: The fingerprint of the split data.
        epoch_factor: The factor by which a rehearsal shortens every schedule. If the epochs are swept, no key of the
            configuration contains it.
    """
    swept = {dimension.key for dimension in space}
    return {
        **{
            key: value
            for key, value in flatten(recipe.model_dump(mode="json"))
            if key not in swept and not key.startswith(_FREE)
        },
        **{f"space {dimension.key}": describe(dimension) for dimension in space},
        "data fingerprint": data_fingerprint,
        "scale.epoch_factor": epoch_factor,
    }


def check_identity(name: str, then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Check that the existing sweep of this name is the requested one.

    Args:
        name: The sweep's name.
        then: The identity stored in the ledger.
        now: The identity of the request.

    Raises:
        SweepRefused: If the identities differ, with every differing key.
    """
    lines = [
        f"  {key}: {then.get(key, 'absent')} before, {now.get(key, 'absent')} now"
        for key in sorted({*then, *now})
        if then.get(key) != now.get(key)
    ]
    if lines:
        raise SweepRefused(
            "other-sweep",
            f"a different sweep named '{name}' exists:\n"
            + "\n".join(lines)
            + "\nChoose another name (sweep.name=…), or archive the earlier sweep (sweep.fresh=true).",
        )

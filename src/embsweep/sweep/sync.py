"""Make an MLflow store say what the ledger of a sweep says, and register its winner there: `embsweep sync`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embsweep.core.errors import CodedError, Diagnostic, InputError
from embsweep.core.redaction import redact
from embsweep.search.ledger import Ledger
from embsweep.search.read import read_metadata
from embsweep.search.storage import open_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import project_ledger, read_identity
from embsweep.sweep.winner import describe_version, load_evidence, register
from embsweep.tracking.location import environment_uri
from embsweep.tracking.registry.register import RegisteredVersion, find_registered
from embsweep.tracking.runs import RunKey, RunWriter
from embsweep.tracking.store import Store, open_store
from embsweep.tracking.sync import MlflowSync, save_digests
from embsweep.training.checkpoint import check_checkpoint

SYNC_TIMEOUT_S = 10.0
"""Seconds that `embsweep sync` waits while MLflow does not answer."""


@dataclass(frozen=True)
class SyncResult:
    """The store, the number of runs that it now has, and the winner's version there, if the sweep has a winner."""

    store: Store
    runs: int
    version: RegisteredVersion | None = None


def sync_sweep(
    folder: SweepFolder, *, uri: str | None, experiment: str | None, say: Callable[[str], None]
) -> SyncResult:
    """Write every run of a sweep to an MLflow store, and register the recorded winner unless it is registered there.

    The caller holds the folder: a running sweep writes its runs itself.

    Args:
        folder: The folder of the sweep.
        uri: URI of the store, by default the one that the sweep has used.
        experiment: Name of the experiment, by default the one that the sweep has used.
        say: Receives messages for the user.

    Raises:
        CodedError: If the sweep has nothing to write, or its winner's weights or evidence are missing or altered.
        TrackingUnavailable: If MLflow does not answer.
    """
    states = project_ledger(folder.ledger)
    if not states:
        raise CodedError("empty", f"sweep '{folder.name}' has recorded nothing for MLflow yet")
    metadata = read_metadata(folder.ledger)
    used = metadata["tracking"]["store"]
    given = environment_uri()
    if uri is None and given is not None and redact(given) == used["uri"]:
        uri = given  # with its password
    if uri is None and used["uri"] and "***" in used["uri"]:
        raise InputError(
            Diagnostic("missing-value", "--uri", f"the ledger has no secrets, and so only {used['uri']}", hint="add it")
        )
    store = open_store(
        folder.storage, uri=uri or used["uri"], experiment=experiment or used["experiment"], is_first=True
    )
    is_own = (uri is None or redact(uri) == used["uri"]) and experiment in (None, used["experiment"])

    def save(digests: Mapping[RunKey, str]) -> None:
        if is_own:
            save_digests(folder.synced, digests)

    with MlflowSync(lambda: RunWriter(store, states[0].study, folder.root), say, save) as sync:
        sync.put(*states)
        sync.flush(SYNC_TIMEOUT_S)
        version = _register(folder, metadata, store, sync) if "result" in metadata else None
        if is_own and version is not None and version.new:
            _record_version(folder, version)
            sync.put(*project_ledger(folder.ledger))  # the description links to the version
            sync.flush(SYNC_TIMEOUT_S)
        if sync.rejected:
            raise CodedError("refused", f"MLflow has refused {sync.rejected} of {len(states)} runs, see above")
    return SyncResult(store, len(states), version)


def _record_version(folder: SweepFolder, version: RegisteredVersion) -> None:
    """Write the winner's new version to the ledger: a registry that was lost numbers its versions from 1 again."""
    ledger = Ledger(open_storage(folder.ledger))
    ledger.set_metadata(result={**ledger.metadata["result"], "registered": describe_version(version)})


def _register(folder: SweepFolder, metadata: Mapping[str, Any], store: Store, sync: MlflowSync) -> RegisteredVersion:
    result = metadata["result"]
    weights, evidence = folder.root / result["weights"], load_evidence(folder, result)
    if evidence is None:
        raise CodedError("altered-file", f"{folder.evidence}: missing or altered; the winner was not registered again")
    check_checkpoint(weights)
    found = find_registered(
        store,
        read_identity(metadata),
        weights,
        registered_name=metadata["tracking"]["registered_model"],
        evidence=evidence,
    )
    role, number = result["run"]
    return found or register(store, metadata, weights, evidence, sync.run_id((role, number)))

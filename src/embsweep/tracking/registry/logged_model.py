"""Logging of a winner's weights as an MLflow LoggedModel, which becomes READY only after its stored files are verified.

The steps use explicit ids: MLflow's own `log_model` works on a process-global active run and store, and
`register_model` accepts a model whose files are not complete.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from embsweep.core.errors import CodedError
from embsweep.core.names import tracked_metric
from embsweep.selection.evidence import WINNER
from embsweep.tracking.records import WinnerRecord
from embsweep.tracking.registry.files import (
    EVIDENCE_TAG,
    dump_manifest,
    hash_files,
    require_data_only,
    require_same,
    write_evidence,
)
from embsweep.tracking.store import Store, fetch_artifacts

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel
    from sentence_transformers import SentenceTransformer

CHECKPOINT_TAG = "embsweep.checkpoint"
MANIFEST_TAG = "embsweep.manifest"
MODEL_ID_TAG = "embsweep.model_id"
MODEL_FOLDER = "model.sentence_transformer"
"""Name that MLflow gives to the folder that sentence-transformers itself saves and loads."""

_SCRATCH = ".registering-"
_REQUIREMENTS = ("sentence-transformers", "transformers", "torch", "mlflow")


def log_winner(
    store: Store, checkpoint: Path, tags: Mapping[str, str], facts: WinnerRecord, model: SentenceTransformer
) -> tuple[LoggedModel, dict[str, str]]:
    """Log the checkpoint as a model of its trial's run.

    If a READY model of the same checkpoint and evidence exists, it is returned. Remains of interrupted calls are
    deleted first.

    Args:
        store: Store to log to.
        checkpoint: Folder of the checkpoint.
        tags: Tags of the model, with the hash of the checkpoint and of the evidence.
        facts: Winner, its model card and evidence.
        model: Loaded checkpoint.

    Returns:
        The model, and the SHA-256 of each of its files by relative path.

    Raises:
        CodedError: If the model has a `truncate_dim`.
        UntrustedModel: If the model has files other than data, or the stored files differ from the saved ones.
    """
    client = store.client
    for leftover in checkpoint.parent.glob(f"{_SCRATCH}*"):  # left by a killed process: a whole copy of the model
        shutil.rmtree(leftover, ignore_errors=True)
    known = _find_ready(store, tags, facts.run_id)
    if known is not None:
        return known, json.loads(known.tags[MANIFEST_TAG])
    logged = client.create_logged_model(
        store.experiment_id,
        name=f"trial-{facts.evidence.verdict.winner}",
        source_run_id=facts.run_id,
        tags=dict(tags),
        params=client.get_run(facts.run_id).data.params,
        model_type="embedding",
    )
    try:
        with tempfile.TemporaryDirectory(dir=checkpoint.parent, prefix=_SCRATCH) as scratch:
            folder = Path(scratch) / "model"
            _save(model, folder, logged, facts)
            require_data_only(folder)
            manifest = hash_files(folder)
            client.log_model_artifacts(logged.model_id, str(folder))
            require_same(_hash_stored(store, logged, Path(scratch)), manifest)
        client.set_logged_model_tags(logged.model_id, {MANIFEST_TAG: dump_manifest(manifest)})
        _attach(client, logged, facts)
    except BaseException:
        client.finalize_logged_model(logged.model_id, "FAILED")
        raise
    return client.finalize_logged_model(logged.model_id, "READY"), manifest


def _save(model: SentenceTransformer, folder: Path, logged: LoggedModel, facts: WinnerRecord) -> None:
    import mlflow.sentence_transformers
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import ColSpec, Schema, TensorSpec

    if model.truncate_dim is not None:
        raise CodedError("truncated", f"the model has truncate_dim={model.truncate_dim}, which would be saved with it")
    dim = model.get_embedding_dimension()
    signature = ModelSignature(
        inputs=Schema([ColSpec("string")]), outputs=Schema([TensorSpec(np.dtype("float32"), (-1, dim or -1))])
    )
    mlflow.sentence_transformers.save_model(
        model,
        str(folder),
        mlflow_model=Model(
            artifact_path=logged.artifact_location,
            run_id=facts.run_id,
            model_uuid=logged.model_id,
            model_id=logged.model_id,
        ),
        pip_requirements=[f"{name}=={version(name).split('+')[0]}" for name in _REQUIREMENTS],
        signature=signature,
        metadata={"objective": facts.evidence.on_validation(WINNER), "trial": facts.evidence.verdict.winner},
    )
    (folder / MODEL_FOLDER / "README.md").write_text(facts.card, encoding="utf-8")
    write_evidence(folder, facts.evidence)


def _hash_stored(store: Store, logged: LoggedModel, scratch: Path) -> dict[str, str]:
    """Hash the files in the store itself: read in place if its location is a local folder, otherwise downloaded."""
    place = _local_folder(store, logged)
    return hash_files(place or fetch_artifacts(store, logged.artifact_location, scratch / "stored"))


def _local_folder(store: Store, logged: LoggedModel) -> Path | None:
    """Return the folder of a model in the store's own artifacts, None for any other place that the store names."""
    place = Path(logged.artifact_location).resolve()
    is_own = store.artifacts is not None and place.is_relative_to(store.artifacts) and place != store.artifacts
    return place if is_own and place.is_dir() else None


def _attach(client: MlflowClient, logged: LoggedModel, facts: WinnerRecord) -> None:
    """Attach the model to its trial's run as an output, with the verified scores as its metrics."""
    from mlflow.entities import LoggedModelOutput, Metric

    client.log_outputs(facts.run_id, models=[LoggedModelOutput(logged.model_id, step=0)])
    metric, at_ms = facts.evidence.metric, logged.creation_timestamp
    metrics = [
        Metric(tracked_metric(dim, metric, prefix="test"), value, at_ms, 0, model_id=logged.model_id)
        for dim, value in facts.scores.items()
    ]
    client.log_batch(facts.run_id, metrics=metrics, synchronous=True)


def _find_ready(store: Store, tags: Mapping[str, str], run_id: str) -> LoggedModel | None:
    """Find the complete model of an earlier call; delete incomplete ones."""
    ready: LoggedModel | None = None
    same = f"source_run_id = '{run_id}' and tags.`{CHECKPOINT_TAG}` = '{tags[CHECKPOINT_TAG]}'"
    for model in store.client.search_logged_models([store.experiment_id], same):
        if str(model.status) != "READY" or MANIFEST_TAG not in model.tags:
            store.client.delete_logged_model(model.model_id)  # does not delete its files
            if (place := _local_folder(store, model)) is not None:
                shutil.rmtree(place, ignore_errors=True)
        elif model.tags.get(EVIDENCE_TAG) == tags[EVIDENCE_TAG]:
            ready = model
    return ready

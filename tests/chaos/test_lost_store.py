"""`embsweep sync` brings a finished sweep into an MLflow that is empty, and its winner with the same hashes."""

import io
import os
import sqlite3

import pytest
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from rich.console import Console

from embsweep.cli.sync import sync_request
from embsweep.core.errors import CodedError, SweepRefused
from embsweep.search.ledger import Ledger
from embsweep.search.read import read_metadata
from embsweep.search.storage import open_storage
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.projection import project_ledger
from embsweep.tracking.connection import connect
from embsweep.tracking.registry.files import EVIDENCE_TAG
from embsweep.tracking.registry.logged_model import CHECKPOINT_TAG
from tests.chaos.conftest import SEARCH, count_trials
from tests.chaos.invariants import check_invariants
from tests.chaos.sandbox import NAME
from tests.mlflow_runs import find_differences
from tests.refusals import raises_code, raises_diagnostics

pytestmark = pytest.mark.slow


def sync(sandbox, uri=None, experiment=None):
    """Call `embsweep sync`, and return its output."""
    console = Console(file=io.StringIO(), width=200)
    sync_request(NAME, storage=sandbox.storage, uri=uri, experiment=experiment, console=console)
    return console.file.getvalue()


def find_hashes(client):
    """Return the tags of the registered version that identify its weights and evidence, and its aliases."""
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    return {tag: version.tags[tag] for tag in (CHECKPOINT_TAG, EVIDENCE_TAG)}, version.aliases


def dump(path):
    with sqlite3.connect(path) as database:
        return list(database.iterdump())


def test_sync_into_another_store_and_into_an_empty_one(fork_server, sandbox_at):
    sandbox = sandbox_at("finalization", *SEARCH)
    assert fork_server.run(sandbox, *SEARCH).code == 0
    hashes, own = find_hashes(sandbox.open_mlflow()), sandbox.storage / "mlflow.db"
    before, saved = dump(own), (sandbox.folder / "mlflow.json").read_bytes()

    uri = f"sqlite:///{sandbox.root}/other.db"
    output = sync(sandbox, uri, "copies")
    assert "Its winner was registered there" in output
    other = connect(uri)
    experiment = other.get_experiment_by_name("copies").experiment_id
    states = project_ledger(sandbox.ledger)
    assert find_differences(other, experiment, states, exact=("objective",)) == [], (
        "the winner has metrics of its model"
    )
    assert find_hashes(other) == hashes
    assert dump(own) == before, "the sweep's own store is not touched"
    assert (sandbox.folder / "mlflow.json").read_bytes() == saved, "it is about the sweep's own store"

    os.truncate(own, 0)
    output = sync(sandbox)
    assert f"all {len(states)} runs" in output
    assert "cannot know them" in output
    assert f"embsweep promote {NAME}" in output
    assert find_hashes(sandbox.open_mlflow()) == hashes
    assert f"models:/{NAME}/1" in read_metadata(sandbox.ledger)["result"]["registered"]
    assert check_invariants(sandbox, code=0, trials=count_trials(SEARCH)) == []
    before = dump(own)
    assert "Its winner is registered there" in sync(sandbox)
    assert dump(own) == before, "nothing is left to write"


def test_sync_of_an_unfinished_sweep(sandbox_at):
    sandbox = sandbox_at("finalization", *SEARCH)
    with SweepFolder(sandbox.storage, NAME).hold(), raises_code(SweepRefused, "already-running"):
        sync(sandbox)
    (sandbox.storage / "mlflow.db").unlink()
    assert "no winner yet" in sync(sandbox)
    client, states = sandbox.open_mlflow(), project_ledger(sandbox.ledger)
    assert find_differences(client, client.get_experiment_by_name("embsweep").experiment_id, states) == []


def test_sync_says_what_mlflow_has_refused(sandbox_at, monkeypatch):
    sandbox = sandbox_at("finalization", *SEARCH)

    def refuse(*_, **given):
        raise MlflowException("too many", INVALID_PARAMETER_VALUE)

    monkeypatch.setattr(MlflowClient, "set_terminated", refuse)
    (sandbox.storage / "mlflow.db").unlink()
    with raises_code(CodedError, "refused") as caught:
        sync(sandbox)
    assert "MLflow has refused" in str(caught.value)


def test_sync_asks_for_an_address_whose_password_the_ledger_does_not_have(sandbox_at):
    sandbox = sandbox_at("finalization", *SEARCH)
    ledger = Ledger(open_storage(sandbox.ledger))
    tracking = ledger.metadata["tracking"]
    ledger.set_metadata(tracking={**tracking, "store": {**tracking["store"], "uri": "https://***@host"}})
    with raises_diagnostics(("missing-value", "--uri")):
        sync(sandbox)

"""Weights that do not match their records: the sweep fails and registers nothing."""

import hashlib
import inspect
import json
import os
import pickle
import re
from types import SimpleNamespace

import pytest

from embsweep.config.training import ObjectiveConfig
from embsweep.core.errors import CodedError
from embsweep.core.files import MANIFEST
from embsweep.core.subprocess import run_in_subprocess
from embsweep.runners.base import Runner
from embsweep.search.read import read_ledger
from embsweep.search.record import FACTS, TrialRecord
from embsweep.sweep import base_model
from embsweep.sweep import run as sweep_run
from embsweep.tracking.store import open_store
from embsweep.training.verification import (
    QuantizationSpec,
    RecordedScores,
    VerificationFailed,
    VerificationSpec,
    device_tolerance,
    hash_of_manifest,
    require_reproduced,
    verify_and_evaluate,
)
from tests.refusals import raises_code


def scores(value):
    return {64: {"map@100": value, "ndcg@10": 0.5}}


def test_require_reproduced_returns_the_difference_within_the_tolerance():
    assert require_reproduced("winner", scores(0.5), scores(0.5 + 5e-7), devices=("cpu",)) == pytest.approx(5e-7)
    assert require_reproduced("winner", scores(0.5), scores(0.5009), devices=("cuda:0", "cpu")) == pytest.approx(9e-4)


def test_require_reproduced_rejects_nan_in_any_metric():
    measured = {64: {"map@100": 0.5, "ndcg@10": float("nan")}}
    with raises_code(VerificationFailed, "not-reproduced") as caught:
        require_reproduced("winner", scores(0.5), measured, devices=("cpu",))
    assert "ndcg@10 nan" in str(caught.value)


@pytest.mark.parametrize(("measured", "device"), [(0.500002, "cpu"), (0.502, "cuda"), (float("nan"), "cpu")])
def test_require_reproduced_names_the_metric_and_both_values(measured, device):
    with raises_code(VerificationFailed, "not-reproduced") as caught:
        require_reproduced("winner", scores(0.5), scores(measured), devices=(device,))
    named = ("winner: ", "map@100", " 64,", f"{measured:.6f}", "0.500000", f"{device_tolerance(device):g} on {device}")
    assert [word for word in named if word not in str(caught.value)] == []


def test_test_data_is_not_evaluated_if_the_recorded_scores_are_not_reproduced(monkeypatch):
    def encode_sets(*_, **__):
        yield None
        pytest.fail("the test data was encoded")

    monkeypatch.setattr("embsweep.training.verification.encode_sets", encode_sets)
    found = SimpleNamespace(scores=scores(0.4))
    monkeypatch.setattr("embsweep.training.verification.evaluate_encoded", lambda *_: found)
    monkeypatch.setattr(
        "embsweep.training.verification.build_model",
        lambda *_, **__: SimpleNamespace(device=SimpleNamespace(type="cpu")),
    )
    spec = VerificationSpec(SimpleNamespace(kind="static", source=None, revision=None), None, None, (64,), 8)
    with raises_code(VerificationFailed, "not-reproduced"):
        verify_and_evaluate(
            [RecordedScores("base", None, scores(0.5))], spec, call=lambda run, *args, **k: run(*args, **k)
        )


def truncate(weights):
    (file,) = weights.rglob("model.safetensors")
    file.write_bytes(file.read_bytes()[:1000])


def alter_with_manifest(weights):
    """Write other weights with a matching manifest: only the hash recorded at the end of the run reveals it."""
    from safetensors.torch import load_file, save_file

    (file,) = weights.rglob("model.safetensors")
    tensors = {name: -tensor.flip(0).contiguous() for name, tensor in load_file(file).items()}
    save_file(tensors, file, metadata={"format": "pt"})
    manifest = json.loads((weights / MANIFEST).read_text())
    entry = manifest["files"][file.relative_to(weights).as_posix()]
    entry.update(sha256=hashlib.sha256(file.read_bytes()).hexdigest(), size_bytes=file.stat().st_size)
    (weights / MANIFEST).write_text(json.dumps(manifest))


def add_pickle(weights):
    (weights / "training_args.bin").write_bytes(b"\x80\x04.")


def alter_values(weights):
    """Change the scores of single queries, which the comparisons use."""
    import numpy as np

    path = weights.parent / "per_query.npz"
    with np.load(path) as stored:
        values = {name: np.clip(stored[name] + 0.1, 0, 1) * 0.9 for name in stored.files}
    np.savez(path, **values)


def pickled(function, *args, **kwargs):
    """Call `function` here with pickled arguments and result, as for a fresh process."""
    args, kwargs = pickle.loads(pickle.dumps((args, kwargs)))
    return pickle.loads(pickle.dumps(function(*args, **kwargs)))


def test_verification_runs_in_a_fresh_process():
    assert inspect.signature(verify_and_evaluate).parameters["call"].default is run_in_subprocess
    assert inspect.signature(Runner.call).parameters["in_new_process"].default is True


@pytest.mark.slow
@pytest.mark.parametrize("call", [pickled, pytest.param(run_in_subprocess, marks=pytest.mark.nightly)])
def test_weights_are_measured_again(tmp_path, call):
    from embsweep.config.training import ModelConfig
    from embsweep.data.collection import RetrievalSet
    from embsweep.evaluation.evaluator import evaluate_model
    from embsweep.models.builders import build_model
    from embsweep.training.checkpoint import save_checkpoint

    config = ModelConfig(name="static", kind="static", dim=384, max_seq_length=32)
    data = RetrievalSet("x", ("a river", "a lamp"), ("the river bank", "a stone", "one lamp"), ((0,), (2,)))
    model = build_model(config)
    folder = save_checkpoint(model, tmp_path / "best")
    recorded = evaluate_model(model, data, (384, 64), batch_size=4).scores
    stored = QuantizationSpec("winner", "map@100", ("a stone", "not in the corpus"))
    spec = VerificationSpec(config, data, data, (384, 64), 4, stored)
    (reading,) = verify_and_evaluate(
        [RecordedScores("winner", folder, recorded, hash_of_manifest(folder))], spec, call=call
    )
    assert (reading.verification.pid == os.getpid()) == (call is pickled)
    assert (reading.verification.difference, reading.test.scores) == (0.0, recorded)
    exact = {row.dim: row.values.mean() for row in reading.stored if row.precision == "float32"}
    assert exact == {dim: by_metric["map@100"] for dim, by_metric in recorded.items()}
    wrong = {**recorded, 64: {**recorded[64], "ndcg@10": recorded[64]["ndcg@10"] - 0.01}}
    with raises_code(VerificationFailed, "not-reproduced") as caught:
        verify_and_evaluate([RecordedScores("winner", folder, wrong)], spec, call=call)
    assert all(named in str(caught.value) for named in ("winner: ", "ndcg@10", " 64,"))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tamper", "kind", "code", "named"),
    [
        (truncate, CodedError, "altered-file", "/model.safetensors: "),
        (alter_with_manifest, VerificationFailed, "altered-file", f"/{MANIFEST} "),
        (add_pickle, CodedError, "unlisted-file", "/training_args.bin: "),
    ],
)
def test_weights_that_change_after_the_search_are_never_registered(
    launch, tmp_path, monkeypatch, tamper, kind, code, named
):
    real = sweep_run.confirm_finalists

    def confirm(context):
        confirmation = real(context)
        tamper(context.folder.trial(confirmation.verdict.winner) / "best")
        return confirmation

    monkeypatch.setattr(sweep_run, "confirm_finalists", confirm)
    with raises_code(kind, code) as caught:
        launch("search.trials=1")
    assert named in str(caught.value)
    store = open_store(tmp_path, uri=None, experiment="embsweep")
    assert store.client.search_registered_models() == []
    (run,) = store.client.search_runs([store.experiment_id], "tags.`embsweep.role` = 'sweep'")
    assert run.info.status == "FAILED"
    notes, _ = read_ledger(tmp_path / "sweeps/quickstart/study.db")
    assert "result" not in notes
    assert "holdout_evaluations" not in notes, "the test split was not evaluated"


@pytest.mark.slow
def test_per_query_scores_that_change_after_a_run_are_never_compared(launch, monkeypatch):
    from embsweep.sweep import confirmation

    inner = confirmation.run_confirmation

    def run_confirmation(context, finalists, folds):
        fresh = inner(context, finalists, folds)
        alter_values(confirmation.confirmation_phase(context).trial_dir(fresh[0].number) / "best")
        return fresh

    monkeypatch.setattr(confirmation, "run_confirmation", run_confirmation)
    with raises_code(CodedError, "not-reproduced") as caught:
        launch("search.trials=2", "confirm=standard", "confirm.seeds=2")
    assert re.search(r"per_query\.npz: map@100 at \d+ ", str(caught.value))


@pytest.mark.parametrize(
    ("devices", "expected"),
    [([], "cpu"), (["cpu"], "cpu"), (["cuda:0", "cpu"], "cuda:0"), (["cpu", "cuda:1"], "cuda:1")],
)
def test_scores_count_as_those_of_a_gpu_if_any_start_ran_on_one(devices, expected):
    attributes = {f"{FACTS}{start}": {"device": device} for start, device in enumerate(devices, 1)}
    assert TrialRecord(0, "complete", {}, 0.5, 1.0, attributes).device == expected


def test_the_base_model_is_scored_in_a_new_process_where_there_is_a_gpu(monkeypatch):
    """A CUDA context of the driver would outlive the sweep."""
    asked = []

    def call(*_, in_new_process, **__):
        asked.append(in_new_process)
        return scores(0.5), "cuda"

    for has_gpu in (True, False):
        monkeypatch.setattr(base_model, "has_usable_gpu", lambda has_gpu=has_gpu: has_gpu)
        ledger = SimpleNamespace(metadata={}, trials=())
        ledger.set_metadata = ledger.metadata.update
        prepared = SimpleNamespace(
            recipe=SimpleNamespace(trial=None, objective=ObjectiveConfig(metric="map@100", aggregate="mean")),
            splits=SimpleNamespace(validation=None),
            runner=SimpleNamespace(call=call),
        )
        progress = SimpleNamespace(say=lambda _: None, update=lambda *_: None)
        monkeypatch.setattr(base_model, "build_view", lambda *_: None)
        monkeypatch.setattr("embsweep.evaluation.bm25.measure_bm25", lambda _: ({}, {}))
        assert base_model.load_or_score_baseline(prepared, (), ledger, progress).device == "cuda"
    assert asked == [True, False]

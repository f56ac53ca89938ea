"""Holdout evaluations are counted, those of other sweeps on the same data too; models are evaluated once."""

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import optuna
import pytest

from embsweep.data.collection import Pair, RetrievalSet
from embsweep.evaluation.evaluator import Evaluation
from embsweep.evaluation.quantization import StoredEvaluation
from embsweep.search.record import METADATA, STUDY
from embsweep.search.storage import open_storage
from embsweep.selection.evidence import VerificationRecord
from embsweep.sweep import holdout
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.holdout import count_previous_evaluations
from embsweep.training.verification import RecordedScores, VerifiedEvaluation

SAME, OTHER = ({"data fingerprint": fingerprint} for fingerprint in ("same", "other"))


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"ledger_format": 2, "identity": SAME, "holdout_evaluations": [1, 2]}, 2),
        ({"identity": SAME, "looks": [1, 2, 3]}, 3),
        ({"identity": OTHER, "looks": [1, 2, 3]}, 0),
        ({"identity": SAME}, 0),
    ],
)
def test_evaluations_of_another_sweep_count(tmp_path, metadata, expected):
    path = SweepFolder(tmp_path, "earlier").ledger
    path.parent.mkdir(parents=True)
    optuna.create_study(storage=open_storage(path), study_name=STUDY).set_user_attr(METADATA, metadata)
    assert count_previous_evaluations(SweepFolder(tmp_path, "mine"), "same", pytest.fail) == expected


@pytest.fixture
def context(tmp_path):
    data = RetrievalSet("x", ("q", "r"), ("p", "s"), ((0,), (1,)))
    ledger = SimpleNamespace(metadata={})
    ledger.set_metadata = ledger.metadata.update
    trial = SimpleNamespace(model=None, eval_dims=(8,), eval=SimpleNamespace(batch_size=2))
    splits = SimpleNamespace(fingerprint="f", train=(Pair("q", "p"),), validation=data, test=data)
    folder = SweepFolder(tmp_path, "mine")
    folder.holdout_evaluation(1).parent.mkdir(parents=True)
    return SimpleNamespace(
        ledger=ledger,
        folder=folder,
        recipe=SimpleNamespace(trial=trial, search=SimpleNamespace(seed=0)),
        objective=SimpleNamespace(metric="map@100"),
        prepared=SimpleNamespace(splits=splits, runner=SimpleNamespace(call=None)),
        baseline=SimpleNamespace(scores={}, device="cpu"),
        progress=SimpleNamespace(say=lambda _: None),
        models=(),
    )


def make_evaluation(score):
    values = np.full(2, score)
    return Evaluation({8: {"map@100": score}}, {8: {"map@100": values}}, np.array([1, 0]))


@pytest.fixture
def evaluated(monkeypatch):
    """Names of the models that each evaluation evaluates; a folder's name is its model's score."""
    found = []

    def verify_and_evaluate(recorded, how, **_):
        found.append([item.name for item in recorded])
        return [verify(item, how) for item in recorded]

    def verify(item, how):
        test = make_evaluation(0.1 if item.folder is None else float(item.folder.name))
        values = test.of_metric("map@100")[8]
        stored = [StoredEvaluation(8, precision, False, values, 1.0) for precision in ("float32", "binary")]
        facts = VerificationRecord(manifest_sha256="", device="cpu", difference=0.0, tolerance=1e-6, pid=1)
        return VerifiedEvaluation(test, facts, tuple(stored) if how.quantization.name == item.name else ())

    monkeypatch.setattr(holdout, "verify_and_evaluate", verify_and_evaluate)
    monkeypatch.setattr(holdout, "hash_of_manifest", lambda folder: folder.name)
    monkeypatch.setattr(holdout, "_evaluate_bm25", lambda _: make_evaluation(0.2))
    return found


def evaluate(context, **folders):
    recorded = [RecordedScores(name.replace("_", "-"), Path(folder), {}) for name, folder in folders.items()]
    found = holdout.evaluate_on_test(context, recorded, {})
    return found.number, {name: [row.score.mean for row in rows] for name, rows in found.quantization.items()}


def test_stored_embeddings_are_evaluated_once_for_each_winner(context, evaluated):
    first, second = {"winner": "0.6", "runner_up": "0.5"}, {"winner": "0.5", "runner_up": "0.6"}
    assert evaluate(context, **first) == (1, {"winner": [0.6, 0.6]})
    assert evaluate(context, **first) == (1, {"winner": [0.6, 0.6]}), "read from its file"
    assert evaluate(context, **second) == (2, {"winner": [0.5, 0.5], "runner-up": [0.6, 0.6]})
    assert evaluate(context, **first)[0] == 3
    assert evaluated == [["winner", "runner-up", "base"], ["winner"]], "the second choice's winner had no figures"


def test_a_file_of_an_earlier_version_is_used_without_evaluating_again(context, evaluated):
    evaluate(context, winner="0.6")
    path = context.folder.holdout_evaluation(1)
    values = json.loads(path.read_text())
    del values["quantization"]
    path.write_text(json.dumps(values))
    (entry,) = context.ledger.metadata["holdout_evaluations"]
    context.ledger.metadata["holdout_evaluations"] = [
        {**entry, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    ]
    assert evaluate(context, winner="0.6") == (1, {})

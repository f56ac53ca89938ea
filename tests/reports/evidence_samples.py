"""Hand-made samples of evidence: a typical one and special cases."""

import functools

import numpy as np

from embsweep.config.base import FrozenModel
from embsweep.config.sweep import GateConfig
from embsweep.config.training import (
    EvalConfig,
    LossConfig,
    MatryoshkaConfig,
    ModelConfig,
    ObjectiveConfig,
    TrainConfig,
    TrialConfig,
)
from embsweep.core.names import METRICS
from embsweep.selection.evidence import (
    BASE,
    BM25,
    RECIPE,
    RUNNER_UP,
    WINNER,
    ConfirmedRecord,
    DataRecord,
    EvaluationRecord,
    Evidence,
    FindingRecord,
    Interval,
    LogRow,
    QuantizationRecord,
    TrainingRecord,
    VerdictRecord,
    VerificationRecord,
)
from embsweep.selection.objective import compute_objective
from embsweep.selection.quantization import vector_bytes
from embsweep.selection.statistics.significance import compare_models, compute_intervals, find_smallest_dim

DIMS = (384, 128, 64)
OBJECTIVE = ObjectiveConfig(metric="map@100", aggregate="mean")
GATE = GateConfig(against_base="significant", against_champion="significant", margin=0.0, alpha=0.05)


def make_evidence(*, queries=60, gain=0.15, **changes) -> Evidence:
    """Return evidence on `queries` test queries, two per passage group, whose winner is `gain` above its base."""
    values = _make_values(queries, gain)
    stored = [record for record in values["quantization"] if record.dim in changes.get("dims", DIMS)]
    return Evidence(**{**values, "quantization": tuple(stored), **changes})


@functools.cache
def _make_values(queries, gain):
    groups = tuple(query // 2 for query in range(queries))
    rng = np.random.default_rng(7)
    difficulty = rng.beta(1.2, 1.2, queries)
    levels = {WINNER: gain, BASE: 0.0, BM25: -0.05, RECIPE: gain * 0.6, RUNNER_UP: gain * 0.9}
    test = {
        name: make_record(rng, difficulty, level, groups, trial=_TRIALS.get(name)) for name, level in levels.items()
    }
    references = {name: record.per_query for name, record in test.items() if name != WINNER}
    objectives = {name: compute_objective(record.scores, OBJECTIVE) for name, record in test.items()}
    validation = {name: _shift(test[name].scores, 0.0123) for name in (WINNER, BASE, BM25)}
    return {
        "sweep": "legal",
        "study": "4f2a9c",
        "base_model": "minilm",
        "rehearsal": False,
        "rehearses": None,
        "complete": True,
        "budget": 8,
        "counts": {"complete": 3, "stopped": 4, "failed": 1},
        "space": {"train.learning_rate": "interval 5e-06 to 0.0001, log", "matryoshka": "choice(halving, coarse)"},
        "dims": DIMS,
        "objective": OBJECTIVE,
        "gate": GATE,
        "data": DataRecord(
            name="docstrings",
            fingerprint="ab" * 32,
            sizes={"train_pairs": 900, "validation_queries": 60, "test_queries": queries, "passages": 777},
            config={"kind": "docstrings", "packages": ["stdlib"], "max_pairs": 1020, "split": {"seed": 13}},
            merged=("duplicate queries: 4",),
        ),
        "audit": (FindingRecord(name="few-queries", severity="warning", message="60 held-out queries"),),
        "training": make_training(),
        "verdict": make_verdict(),
        "verification": VerificationRecord(
            manifest_sha256="cd" * 32, device="cpu", difference=3.1e-9, tolerance=1e-6, pid=4242
        ),
        "holdout_evaluations": 1,
        "groups": groups,
        "validation": validation,
        "objectives": objectives,
        "test": test,
        "comparisons": compare_models(test[WINNER].per_query, references, groups, config=OBJECTIVE, seed=0),
        "optimism": compute_objective(validation[WINNER], OBJECTIVE) - objectives[WINNER],
        "smallest_dim": find_smallest_dim(test[WINNER].per_query, groups, alpha=0.05, seed=0),
        "quantization": make_quantization(test[WINNER]),
        "versions": {"python": "3.11.7", "embsweep": "0.1.0", "sentence-transformers": "6.2.0", "torch": "2.13.0"},
        "created_at": "2026-01-02T03:04:05Z",
    }


_TRIALS = {WINNER: 3, RECIPE: 0, RUNNER_UP: 5}


def make_record(rng, difficulty, level, groups, *, trial=None) -> EvaluationRecord:
    """Return scores that decrease with the dimension, each query at its own difficulty."""
    values = {
        dim: np.clip(difficulty + level - 0.04 * position + rng.normal(0, 0.05, len(difficulty)), 0, 1)
        for position, dim in enumerate(DIMS)
    }
    scores = {
        dim: {
            metric: float(np.mean(array)) * (1 if metric == "map@100" else 0.5 + 0.01 * k)
            for k, metric in enumerate(METRICS)
        }
        for dim, array in values.items()
    }
    return EvaluationRecord(
        scores=scores,
        values={dim: tuple(array.tolist()) for dim, array in values.items()},
        intervals=compute_intervals(values, groups, seed=0),
        trial=trial,
    )


_LOSSES = {
    ("float32", False): 0.0,
    ("float16", False): 0.0,
    ("int8", False): 0.006,
    ("int8", True): 0.002,
    ("binary", False): 0.12,
    ("binary", True): 0.04,
}
"""Kinds of stored embeddings, and what each loses of the score."""


def make_quantization(record) -> tuple[QuantizationRecord, ...]:
    """Return the scores of stored embeddings: below those of `record`, and at its own for float32."""
    return tuple(
        QuantizationRecord(
            dim=dim,
            precision=precision,
            rescored=rescored,
            bytes=vector_bytes(dim, precision),
            score=Interval(mean=exact.mean - loss, low=exact.low - loss, high=exact.high - loss),
            search_ms=0.31 + 0.0021 * vector_bytes(dim, precision) + 0.2 * rescored,
        )
        for dim, exact in record.intervals.items()
        for (precision, rescored), loss in _LOSSES.items()
    )


def make_training() -> TrainingRecord:
    """Return a training of three evaluations, of which the second was saved."""
    log = tuple(
        LogRow(
            fraction=fraction,
            epoch=4 * fraction,
            step=round(400 * fraction),
            loss=loss,
            objective=objective,
            values={dim: objective + 0.01 * position for position, dim in enumerate(reversed(DIMS))},
            is_saved=fraction == 0.5,
        )
        for fraction, loss, objective in ((0.25, 1.8359, 0.5117), (0.5, 0.9541, 0.5523), (1.0, 0.4032, 0.5409))
    )
    config = TrialConfig(
        model=ModelConfig(name="minilm", kind="minilm", dim=384, max_seq_length=128),
        loss=LossConfig(name="mnrl"),
        matryoshka=MatryoshkaConfig(dims=DIMS),
        train=TrainConfig(
            learning_rate=3.25e-5, epochs=4.0, batch_size=16, warmup=0.1, scheduler="cosine", seed=1234,
            optimizer="adamw_torch_fused", precision="auto", batch_sampler="no_duplicates",
        ),
        eval=EvalConfig(fractions=(0.25, 0.5, 1.0), batch_size=64),
        objective=OBJECTIVE,
    )  # fmt: skip
    return TrainingRecord(
        trial=3,
        run="trial 3",
        params={"train.learning_rate": 3.25e-5, "matryoshka": "halving"},
        config=config,
        log=log,
        facts={"device": "cpu", "bf16": False, "fp16": False, "train_pairs": 900, "in_batch_negatives": 15},
    )


def make_verdict(outcome="named", tied_with=(), **changes) -> VerdictRecord:
    """Return a verdict on trials 3, 5 and the recipe, each run again twice."""
    confirmed = tuple(
        ConfirmedRecord(trial=trial, params={"matryoshka": "halving"}, is_recipe=trial == 0, searched=s, confirmed=c)
        for trial, s, c in ((3, 0.5523, (0.5511, 0.5487)), (5, 0.5490, (0.5402, 0.5391)), (0, 0.5301, (0.5312, 0.5290)))
    )
    values = {"winner": 3, "rule": "cheapest of the tied", "comparisons": (), "confirmed": confirmed}
    return VerdictRecord(outcome=outcome, tied_with=tied_with, **{**values, **changes})


def typical() -> Evidence:
    """Evidence with a clear winner, named by the confirmation."""
    return make_evidence()


def rehearsal() -> Evidence:
    """Evidence of a rehearsal of a larger model."""
    return make_evidence(sweep="legal-rehearsal", rehearsal=True, rehearses="bge-m3")


def tied() -> Evidence:
    """Evidence whose winner is the cheapest of two tied trials."""
    return make_evidence(verdict=make_verdict("tied", (0, 3)))


def nine_queries() -> Evidence:
    """Evidence with too few test queries for any significance."""
    return make_evidence(queries=9, gain=0.03)


def waived() -> Evidence:
    """Evidence with a waived audit error."""
    finding = FindingRecord(name="columns-swapped", severity="error", message="anchors are longer", waived=True)
    return make_evidence(audit=(finding,))


def below_base() -> Evidence:
    """Evidence whose winner is worse than its base model."""
    return make_evidence(gain=-0.15)


def second_evaluation() -> Evidence:
    """Evidence of the second holdout evaluation."""
    return make_evidence(holdout_evaluations=2)


def unconfirmed() -> Evidence:
    """Evidence of a single configuration without a confirmation."""
    verdict = make_verdict("unconfirmed", confirmed=())
    return make_evidence(verdict=verdict, space={}, training=replace_values(make_training(), params={}), audit=())


SAMPLES = (typical, rehearsal, tied, nine_queries, waived, below_base, second_evaluation, unconfirmed)


def replace_values(part: FrozenModel, **changes) -> FrozenModel:
    """Return a copy with `changes`."""
    return part.model_copy(update=changes)


def _shift(scores, by):
    return {dim: {metric: value + by for metric, value in values.items()} for dim, values in scores.items()}

"""Sample states of runs, as a sweep's ledger would give them."""

from embsweep.tracking.records import DatasetRecord
from embsweep.tracking.requests import MetricBatch
from embsweep.tracking.runs import RUNNING, SCHEDULED, SWEEP, RunState

T0 = 1_700_000_000_000


def make_sweep(study, status=RUNNING, **changes):
    """Return a state of the sweep's own run."""
    values = {
        "started_ms": T0,
        "ended_ms": None if status == RUNNING else T0 + 999_000,
        "params": {"space.train.epochs": "1..4", "search.seed": "1"},
        "tags": {"embsweep.sweep": "legal", "embsweep.study": study, "embsweep.command": "run_sweep.py"},
        "metrics": (MetricBatch({"baseline/dim_64/map_at_100": 0.3, "bm25/map_at_100": 0.37}, T0),),
        "final": {} if status == RUNNING else {"best_objective": 0.5},
        "dataset": DatasetRecord("docs", "f" * 64, "kind=files", {"train_pairs": 30}),
        "texts": {"config/resolved.yaml": "a: 1\n"},
    }
    return RunState(SWEEP, study, "legal", status, **(values | changes))


def make_trial(
    study, number=0, status=RUNNING, *, steps=(), attempt=1, objective=0.4, best=0.45, shift_ms=0, **changes
):
    """Return a state of a trial's run with a report at each of `steps`; its clock is ahead by `shift_ms`."""
    is_ended = status in ("FINISHED", "FAILED")
    at_ms = T0 + 1000 * (number + 1) + shift_ms
    reports = (
        MetricBatch({"objective": objective, "best_objective": step / 100}, at_ms + step, step) for step in steps
    )
    values = {
        "started_ms": T0 + 1000 * (number + 1),
        "ended_ms": None if status in (RUNNING, SCHEDULED) else at_ms + 500,
        "params": {"train.learning_rate": "2e-05", "train.seed": str(number)},
        "tags": {"embsweep.study": study, "embsweep.attempt": str(attempt)}
        | ({"embsweep.outcome": "complete" if status == "FINISHED" else "failed"} if is_ended else {}),
        "metrics": tuple(reports),
        "final": {"best_objective": best} if status == "FINISHED" else {},
    }
    return RunState(("trial", number), study, f"trial {number}", status, **(values | changes))

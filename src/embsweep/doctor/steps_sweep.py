"""Step on a whole sweep: `run_sweep.py` with Ray in a process of its own, one trial on a GPU and then two."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from embsweep.doctor.material import make_pairs, write_toy_model
from embsweep.doctor.setup import Setup
from embsweep.doctor.verdicts import Skipped, StepFailed

_NEEDED = ("ray", "hydra", "mlflow", "optuna")
_RUN = "from embsweep.cli.main import main; main()"
_TRIALS = 4
_TIMEOUT_S = 240.0
_LINES = 6


def check_sweep(setup: Setup) -> str:
    """Run two sweeps of four short trials of a toy model, with one trial on a GPU at a time and with two."""
    if missing := [name for name in _NEEDED if find_spec(name) is None]:
        raise Skipped(f"not installed: {', '.join(missing)}")
    pairs = setup.scratch / "pairs.jsonl"
    rows = [{"anchor": pair.anchor, "positive": pair.positive} for pair in make_pairs(setup.sizes.pairs)]
    pairs.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    model = write_toy_model(setup.scratch / "toy", setup.sizes.toy)
    figures = []
    for count in (1, 2) if setup.is_gpu else (1,):
        seconds = run_sweep(make_arguments(setup, model, pairs, count))
        figures.append(f"{count} on a GPU at a time: {seconds:.0f} s")
    return f"{_TRIALS} trials of a toy model with Ray, {', '.join(figures)}"


def make_arguments(setup: Setup, model: Path, pairs: Path, trials_per_gpu: int) -> list[str]:
    """Return the arguments of `run_sweep.py`."""
    dim = setup.sizes.toy.hidden
    return [
        *("+sweep=quickstart", f"sweep.name=doctor{trials_per_gpu}", f"storage.path={setup.scratch / 'storage'}"),
        *("model=bge-m3", f"model.source={model}", f"model.dim={dim}", "model.max_seq_length=64", "model.prompts=null"),
        *("data=files", f"data.pairs={pairs}", "data.max_pairs=null", "train=published", "scale=full"),
        *("train.epochs=1", "eval.fractions=[0.5,1.0]", f"eval.dims=[{dim},{dim // 2}]"),
        *("matryoshka=halving", f"matryoshka.dims=[{dim},{dim // 2}]", "matryoshka.weight_power=0"),
        *("train.batch_size=16", "train.warmup=0.1", "train.learning_rate=tag(log,interval(1e-5,1e-3))"),
        *("search=random", f"search.trials={_TRIALS}", "stopping=none", "confirm=none"),
        *("sweep.max_failed_trials=0", "report.at_end=false"),
        *((f"runner.trials_per_gpu={trials_per_gpu}",) if setup.is_gpu else ()),
    ]


def run_sweep(arguments: list[str]) -> float:
    """Run a sweep in a new process; return its seconds.

    Raises:
        StepFailed: If it fails or does not end, with the last lines of its output.
    """
    environment = make_environment()
    clock = time.perf_counter()
    command = [sys.executable, "-c", _RUN, *arguments]
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            command,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise StepFailed(f"the sweep did not end in {_TIMEOUT_S:g} s") from None
    sys.stdout.write(done.stdout)  # to the log of the step
    if done.returncode != 0:
        raise StepFailed(f"exit code {done.returncode}: {' | '.join(done.stdout.strip().splitlines()[-_LINES:])}")
    return time.perf_counter() - clock


def make_environment() -> dict[str, str]:
    """Return the variables without the user's server and cluster, with an absolute path to this package for workers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "RAY_"))}
    own = str(Path(__file__).resolve().parents[2])
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, [own, kept.get("PYTHONPATH")]))}

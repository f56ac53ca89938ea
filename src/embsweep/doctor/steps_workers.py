"""Step on several GPUs: two workers that share every batch must train like one process."""

from __future__ import annotations

import os
import pickle
import socket
from dataclasses import replace
from pathlib import Path

from embsweep.core.subprocess import run_in_subprocess
from embsweep.doctor.material import choose_model, make_data, make_trial
from embsweep.doctor.setup import Setup
from embsweep.doctor.steps_trial import make_cached, make_job
from embsweep.doctor.trials import TrialRun, largest_difference, run_complete
from embsweep.doctor.verdicts import Skipped, require
from embsweep.training.messages import TrialSpec
from embsweep.training.trial import TrialData

_WORKERS = 2
_LOSS_RATIO = 1e-2
_METRIC_DIFFERENCE = 2e-2
"""Sums in another order are amplified over the steps; a batch without the other worker's negatives differs by more."""


def check_workers(setup: Setup) -> str:
    """Train with two workers over NCCL (gloo without a GPU), with both losses; compare with one process."""
    import torch

    if setup.is_gpu and torch.cuda.device_count() < _WORKERS:
        raise Skipped(f"needs {_WORKERS} GPUs, this machine has {torch.cuda.device_count()}")
    model, data, batch = choose_model(setup, dropout=0.0), make_data(setup), setup.sizes.batch
    figures = []
    for name, loss in (("mnrl", None), ("cached_mnrl", make_cached(max(1, batch // 4)))):
        config = make_trial(model, loss=loss, precision="fp32", batch_size=batch)
        alone = run_in_subprocess(run_complete, make_job(setup, f"{name} one", config), data)
        shared = run_shared(replace(setup, scratch=setup.scratch / name), make_job(setup, f"{name} two", config), data)
        figures.append(compare(name, alone, shared))
    return f"{_WORKERS} workers over {choose_backend(setup)}, {model.name}\n" + "\n".join(figures)


def compare(name: str, alone: TrialRun, shared: TrialRun) -> str:
    """Return loss and scores of both; raise StepFailed if they differ by more than sums in another order."""
    difference = largest_difference(alone.last, shared.last)
    one, two = (run.last.loss or 0.0 for run in (alone, shared))
    figures = f"{name}: loss {two:.5f}, of one process {one:.5f}, metrics differ by up to {difference:.1e}"
    require(shared.facts["workers"] == _WORKERS, f"{figures}; {shared.facts['workers']} workers trained")
    require(abs(two - one) <= _LOSS_RATIO * one, f"{figures}; accepted: losses within {100 * _LOSS_RATIO:g} %")
    require(difference <= _METRIC_DIFFERENCE, f"{figures}; accepted: {_METRIC_DIFFERENCE:g}")
    return figures


def choose_backend(setup: Setup) -> str:
    """Return torch's communication backend for the device."""
    return "nccl" if setup.is_gpu else "gloo"


def run_shared(setup: Setup, job: TrialSpec, data: TrialData) -> TrialRun:
    """Run a trial in two processes of one group; return what the first one reported."""
    from torch.multiprocessing.spawn import spawn

    setup.scratch.mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = (port, choose_backend(setup), job, data, setup.scratch)
    spawn(_work, arguments, nprocs=_WORKERS)  # type: ignore[no-untyped-call]
    found: TrialRun = pickle.loads((setup.scratch / "0").read_bytes())  # noqa: S301 - our own process wrote it
    return found


def _work(rank: int, port: int, backend: str, job: TrialSpec, data: TrialData, folder: Path) -> None:
    """Join the group, run the trial and write its reports."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": _WORKERS, "MASTER_ADDR": "127.0.0.1"}
    os.environ.update({name: str(value) for name, value in {**variables, "MASTER_PORT": port}.items()})
    import torch.distributed

    if backend == "nccl":
        torch.cuda.set_device(rank)
    torch.distributed.init_process_group(backend)
    try:
        (folder / str(rank)).write_bytes(pickle.dumps(run_complete(job, data)))
    finally:
        torch.distributed.destroy_process_group()

"""A trial in several processes of one process group (gloo, on this machine), without Ray."""

import multiprocessing
import os
import socket
from concurrent.futures import ProcessPoolExecutor

from .recorder import Recorder


def run_in_group(job, data, *, size, stop_at=None):
    """What the reporter of each process heard, by rank. Dropout is off."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with ProcessPoolExecutor(size, mp_context=multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(_run_rank, rank, size, port, job, data, stop_at) for rank in range(size)]
        return [future.result(timeout=240) for future in futures]


def _run_rank(rank, size, port, job, data, stop_at):
    import torch.distributed

    from embsweep.model import base
    from embsweep.trial.train import run_trial

    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    if size > 1:
        os.environ.update({name: str(value) for name, value in place.items()})
        torch.distributed.init_process_group("gloo")
    base.build_model = _without_dropout(base.build_model)
    recorder = Recorder(stop_at)
    run_trial(job, recorder, data)
    if size > 1:
        torch.distributed.destroy_process_group()
    return recorder


def _without_dropout(build):
    def built(*args, **kwargs):
        import torch

        model = build(*args, **kwargs)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    return built

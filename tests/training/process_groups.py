"""Run a trial in the processes of one process group (gloo, on this machine), without Ray.

The processes are started once for all tests of a file: their imports take far longer than the training.
"""

import contextlib
import multiprocessing
import os
import socket

from tests.training.recorder import Recorder, run_trial

TIMEOUT_S = 240


@contextlib.contextmanager
def open_group(size):
    """Yield `run(job, data, stop_at=None)`, which returns the `Recorder` of each process, by rank. Dropout is off."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    local_ends, remote_ends = zip(*(spawn.Pipe() for _ in range(size)), strict=True)
    processes = [spawn.Process(target=_serve, args=(end, rank, size, port)) for rank, end in enumerate(remote_ends)]
    for process in processes:
        process.start()

    def run(job, data, stop_at=None):
        for end in local_ends:
            end.send((job, data, stop_at))
        return [_receive(end) for end in local_ends]

    try:
        assert [_receive(end) for end in local_ends] == list(range(size))
        yield run
    finally:
        for process in processes:
            process.kill()
            process.join()


def _receive(end):
    assert end.poll(TIMEOUT_S), "a process of the group does not reply"
    found = end.recv()
    if isinstance(found, Exception):
        raise found
    return found


def _serve(end, rank, size, port):
    """Join the group, send the rank, and run every job received until the process is killed."""
    _join(rank, size, port)
    end.send(rank)
    while True:
        request = end.recv()
        try:
            end.send(run_alone(*request))
        except Exception as error:
            end.send(error)


def run_alone(job, data, stop_at=None):
    """Run the job in this process, with dropout off, and return its `Recorder`."""
    from embsweep.models import builders

    recorder, build = Recorder(stop_at), builders.build_model
    builders.build_model = _without_dropout(build)
    try:
        run_trial(job, recorder, data)
    finally:
        builders.build_model = build
    return recorder


def _join(rank, size, port):
    """Set the environment before torch is imported, then join the group."""
    variables = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in variables.items()})
    import torch.distributed
    from sentence_transformers import SentenceTransformerTrainer  # noqa: F401 - the slowest import

    torch.distributed.init_process_group("gloo")


def _without_dropout(build):
    def built(*args, **kwargs):
        import torch

        model = build(*args, **kwargs)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        return model

    return built

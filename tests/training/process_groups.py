"""A trial in the processes of one process group (gloo, on this machine), without Ray.

The processes are started once for all tests of a file: their imports take far longer than what they train.
"""

import contextlib
import multiprocessing
import os
import socket

from tests.training.recorder import Recorder

TIMEOUT_S = 240


@contextlib.contextmanager
def open_group(size):
    """`run(job, data, stop_at=None)`: what the reporter of each process heard, by rank. Dropout is off."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = zip(*(spawn.Pipe() for _ in range(size)), strict=True)
    processes = [spawn.Process(target=_serve, args=(end, rank, size, port)) for rank, end in enumerate(theirs)]
    for process in processes:
        process.start()

    def run(job, data, stop_at=None):
        for end in ours:
            end.send((job, data, stop_at))
        return [_receive(end) for end in ours]

    try:
        assert [_receive(end) for end in ours] == list(range(size))
        yield run
    finally:
        for process in processes:
            process.kill()
            process.join()


def _receive(end):
    assert end.poll(TIMEOUT_S), "a process of the group does not answer"
    found = end.recv()
    if isinstance(found, Exception):
        raise found
    return found


def _serve(end, rank, size, port):
    """What a process does: it joins the group, says so, and runs what it is given until it is ended."""
    _join(rank, size, port)
    end.send(rank)
    while True:
        given = end.recv()
        try:
            end.send(run_alone(*given))
        except Exception as error:
            end.send(error)


def run_alone(job, data, stop_at=None):
    """The same in this process, whatever group it is in."""
    from embsweep.models import registry
    from embsweep.training.trial import run_trial

    recorder, build = Recorder(stop_at), registry.build_model
    registry.build_model = _without_dropout(build)
    try:
        run_trial(job, recorder, data)
    finally:
        registry.build_model = build
    return recorder


def _join(rank, size, port):
    """What a process does first: its environment is settled before torch is imported."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in place.items()})
    import torch.distributed
    from sentence_transformers import SentenceTransformerTrainer  # noqa: F401 - what takes longest

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

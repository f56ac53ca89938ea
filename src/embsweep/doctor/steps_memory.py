"""Steps on memory: a trial that runs out of it, and the mini-batch that is measured on the GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embsweep.doctor.facts import describe_bytes
from embsweep.doctor.material import choose_model, make_data, make_pairs, make_trial
from embsweep.doctor.setup import Setup
from embsweep.doctor.steps_trial import HELD_BYTES, allocated_bytes, make_cached, make_job
from embsweep.doctor.trials import KeepReports, run_complete
from embsweep.doctor.verdicts import require
from embsweep.training.memory import peak_bytes, reset_peak
from embsweep.training.trial import TrialData, run_trial

_SMALL = 8


def check_out_of_memory(setup: Setup) -> str:
    """Let a trial run out of memory; it must say so with advice and free its memory, and the cached loss must fit."""
    sizes, model = setup.sizes, choose_model(setup)
    data = TrialData(make_pairs(sizes.long_batch, words=sizes.long_words), make_data(setup).validation)
    large = make_trial(model, batch_size=sizes.long_batch)
    with limit_memory(setup.device, sizes.memory_bytes):
        before = allocated_bytes()
        result = run_trial(make_job(setup, "large", large), KeepReports(), data)
        held = allocated_bytes() - before
        reason = result.reason or f"it ended as {result.outcome}"
        require(result.out_of_memory, f"a batch that cannot fit did not run out of memory: {reason}")
        require("loss.mini_batch_size" in reason, f"the reason has no advice: {reason}")
        require(held <= HELD_BYTES, f"{held:,} bytes are still allocated after the failed trial")
        small = make_trial(model, loss=make_cached(_SMALL), batch_size=sizes.long_batch)
        run = run_complete(make_job(setup, "small", small), data)
    return (
        f"{model.name}, limit {describe_bytes(sizes.memory_bytes)}: a batch of {sizes.long_batch} pairs ran out "
        f"of memory, was recognised and freed ({held:,} bytes held)\n"
        f"the cached loss trains the same batch, {_SMALL} pairs at a time (loss {run.last.loss:.3f})"
    )


@contextmanager
def limit_memory(device: str, limit_bytes: int) -> Iterator[None]:
    """Limit torch's memory on the GPU inside; do nothing on a CPU."""
    import torch

    if device == "cpu":
        yield
        return
    total = torch.cuda.get_device_properties(torch.cuda.current_device()).total_memory
    torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total))
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def check_mini_batch(setup: Setup) -> str:
    """Train and evaluate with the mini-batch that `auto` measures on the longest texts."""
    sizes, model = setup.sizes, choose_model(setup)
    data = TrialData(make_pairs(sizes.long_batch, words=sizes.long_words), make_data(setup).validation)
    config = make_trial(model, loss=make_cached("auto"), batch_size=sizes.long_batch)
    reset_peak()
    run = run_complete(make_job(setup, "auto", config), data)
    peak = peak_bytes()
    measured = f"{run.facts['mini_batch_size']} pairs, chosen in {run.facts['mini_batch_probe_s']:g} s"
    memory = "" if peak is None else f", peak of the trial {describe_bytes(peak)}"
    return f"{model.name}: {measured}{memory}, loss {run.last.loss:.3f}\n{run.facts['mini_batch_probe']}"

"""Steps on whole trials: several in one process, and one that is killed and resumed."""

from __future__ import annotations

from embsweep.config import TrialConfig
from embsweep.config.model import ModelConfig
from embsweep.config.training import LossConfig
from embsweep.core.errors import EmbsweepError
from embsweep.core.gpus import inspect_accelerator
from embsweep.core.subprocess import run_in_subprocess
from embsweep.data.collection import RetrievalSet
from embsweep.doctor.facts import describe_bytes
from embsweep.doctor.material import choose_model, make_data, make_trial
from embsweep.doctor.setup import Setup
from embsweep.doctor.trials import TrialRun, largest_difference, run_complete
from embsweep.doctor.verdicts import require
from embsweep.training.memory import release_memory
from embsweep.training.messages import TrialSpec
from embsweep.training.trial import TrialData
from embsweep.training.verification import RecordedScores, VerificationSpec, verify_and_evaluate

HELD_BYTES = 64 * 2**20
"""Memory that may stay allocated after a trial: libraries keep workspaces. A model with its optimizer is larger."""

_KILLED_AT = 2
_METRIC_NOISE, _LOSS_NOISE = 0.02, 0.01
"""Gradients on a GPU are sums in no fixed order: two equal trials differ by a few queries of the 200."""


def make_cached(size: int | str) -> LossConfig:
    """Return the cached loss with a mini-batch size."""
    return LossConfig.model_validate({"name": "cached_mnrl", "mini_batch_size": size})


def check_trials(setup: Setup) -> str:
    """Run trials of every precision in this process; their weights must give the reported scores in another one."""
    model, data = choose_model(setup), make_data(setup)
    before, figures, runs = allocated_bytes(), [], []
    for name, config in choose_trials(setup, model).items():
        run = run_complete(make_job(setup, name, config), data)
        held = allocated_bytes() - before
        figures.append(f"{name}: loss {run.last.loss:.3f}, map@100 {run.best.objective:.3f}, {held:,} bytes held")
        require(held <= HELD_BYTES, "\n".join([*figures, f"accepted: up to {describe_bytes(HELD_BYTES)} held"]))
        runs.append((name, run))
    largest = verify(runs, model, data.validation)
    figures.append(f"saved weights give the reported scores in a new process within {largest:.1e}")
    return "\n".join([model.name, *figures])


def choose_trials(setup: Setup, model: ModelConfig) -> dict[str, TrialConfig]:
    """Return the trials that this machine can run: bf16 needs Ampere or a CPU, fp16 a GPU."""
    batch, machine = setup.sizes.batch, inspect_accelerator()
    cached = make_cached(max(1, batch // 4))
    trials = {}
    if machine.is_ampere or not machine.has_gpu:
        trials["mnrl bf16"] = make_trial(model, precision="bf16", batch_size=batch)
        trials["cached_mnrl bf16"] = make_trial(model, loss=cached, precision="bf16", batch_size=batch)
    if machine.has_gpu:
        trials["mnrl fp16"] = make_trial(model, precision="fp16", batch_size=batch)
    trials["mnrl fp32 tf32"] = make_trial(model, precision="fp32", tf32=True, batch_size=batch)
    return trials


def make_job(setup: Setup, name: str, config: TrialConfig) -> TrialSpec:
    """Return a trial in a folder of the scratch folder."""
    return TrialSpec(number=0, attempt=1, config=config, folder=str(setup.scratch / name.replace(" ", "-")))


def allocated_bytes() -> int:
    """Return the bytes of tensors on the GPU after garbage collection, without cuBLAS's workspaces; 0 without a GPU."""
    import torch

    if not torch.cuda.is_available():
        return 0
    getattr(torch._C, "_cuda_clearCublasWorkspaces", lambda: None)()
    release_memory()
    return torch.cuda.memory_allocated()


def verify(runs: list[tuple[str, TrialRun]], model: ModelConfig, held: RetrievalSet) -> float:
    """Evaluate the saved weights in a new process; return the largest difference from the reports.

    Raises:
        VerificationFailed: If a metric differs by more than the device's tolerance.
    """
    recorded = [RecordedScores(name, run.job.best, run.best.scores) for name, run in runs]
    dims = runs[0][1].job.config.eval_dims
    how = VerificationSpec(model, held, held, dims, 64)
    return max(found.verification.difference for found in verify_and_evaluate(recorded, how))


def check_resume(setup: Setup) -> str:
    """Kill a trial at its second evaluation and resume it; compare with two trials that were not killed."""
    model, data = choose_model(setup), make_data(setup)
    precision = "fp16" if setup.is_gpu else "fp32"  # fp16 has a scaler that must be restored too
    config = make_trial(model, precision=precision, batch_size=setup.sizes.batch, epochs=2.0)
    config = config.model_copy(update={"eval": config.eval.model_copy(update={"fractions": (0.25, 0.5, 0.75, 1.0)})})
    job = make_job(setup, "killed", config)
    resumed = kill_and_resume(job, data)
    one, other = run_in_subprocess(run_all, [make_job(setup, name, config) for name in ("one", "other")], data)
    noise, difference = largest_difference(one.last, other.last), largest_difference(one.last, resumed.last)
    metric_limit, loss_limit = (max(_METRIC_NOISE, 3 * noise), _LOSS_NOISE) if setup.is_gpu else (1e-6, 1e-6)
    is_equal = one.last.scores == resumed.last.scores and one.last.loss == resumed.last.loss
    figures = (
        f"{model.name}, {precision}: the last metrics differ by up to {difference:.1e} from a trial that was not "
        f"killed ({'' if is_equal else 'not '}equal to the bit), two of which differ by {noise:.1e}\n"
        f"last loss {resumed.last.loss:.5f}, not killed {one.last.loss:.5f}"
    )
    require([r.step for r in resumed.reports] == [r.step for r in one.reports], f"{figures}; other steps were reported")
    require(difference <= metric_limit, f"{figures}; accepted: metrics within {metric_limit:.1e}")
    gap = abs((resumed.last.loss or 0.0) / (one.last.loss or 1.0) - 1)
    require(gap <= loss_limit, f"{figures}; accepted: losses within {100 * loss_limit:g} %")
    return figures


def kill_and_resume(job: TrialSpec, data: TrialData) -> TrialRun:
    """Run a trial in a process that kills itself at the second report; return the attempt that resumes it."""
    try:
        run_in_subprocess(run_complete, job, data, _KILLED_AT)
    except EmbsweepError:
        pass
    else:
        require(False, "the process did not kill itself")
    resumed = run_in_subprocess(run_complete, job.model_copy(update={"attempt": 2}), data)
    require(
        resumed.earlier == _KILLED_AT - 1, f"the trial resumed after {resumed.earlier + 1} reports, not {_KILLED_AT}"
    )
    require("restarted" not in resumed.facts, f"the trial started over: {resumed.facts.get('restarted')}")
    return resumed


def run_all(jobs: list[TrialSpec], data: TrialData) -> list[TrialRun]:
    """Run trials one after the other in this process."""
    return [run_complete(job, data) for job in jobs]

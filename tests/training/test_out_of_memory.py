"""Out of memory in training: the result says so, and an attempt with half the mini-batch resumes from the state."""

import gc
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from embsweep.evaluation import evaluator
from embsweep.models import losses
from embsweep.training.messages import Outcome, TrialSpec
from tests.training.recorder import Recorder, run_trial

pytestmark = pytest.mark.slow

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB"
FRACTIONS = [0.4, 1.0]


@pytest.fixture
def make_job(make_config, tiny_model, tmp_path):
    def make(*overrides, folder="trial"):
        config = make_config(
            *(*tiny_model, "loss=cached_mnrl", "loss.mini_batch_size=4"),
            *("train.epochs=1", "train.batch_size=8", f"eval.fractions={FRACTIONS}"),
            *overrides,
        )
        return TrialSpec(number=3, attempt=1, config=config.trial, folder=str(tmp_path / folder))

    return make


def retried(job, size):
    """Return the next attempt of `job`, as the scheduler starts it after it ran out of memory."""
    loss = job.config.loss.model_copy(update={"mini_batch_size": size})
    return job.model_copy(update={"attempt": 2, "config": job.config.model_copy(update={"loss": loss})})


class Memory:
    """A simulated GPU that trains at most `holds` pairs at once, from training step `from_step` on (1 is the first)."""

    def __init__(self):
        self.holds, self.from_step, self.steps = 0, 1, 0

    def watch(self, loss):
        loss.register_forward_pre_hook(self._count)
        loss.model[0].register_forward_pre_hook(self._refuse)
        return loss

    def _count(self, *_):
        self.steps += 1

    def _refuse(self, module, inputs):
        import torch

        rows = len(inputs[0]["input_ids"])
        if module.training and self.steps >= self.from_step and rows > self.holds:
            raise torch.cuda.OutOfMemoryError(CUDA)


@pytest.fixture
def memory(monkeypatch):
    gpu = Memory()
    build = losses.build_loss
    monkeypatch.setattr(losses, "build_loss", lambda *args, **options: gpu.watch(build(*args, **options)))
    return gpu


def run(job, data):
    recorder = Recorder()
    run_trial(job, recorder, data)
    return recorder, recorder.results[0]


def test_the_next_attempt_resumes_with_half_the_mini_batch(make_job, data, memory):
    memory.holds, memory.from_step = 2, 4
    first, result = run(make_job(), data)
    assert (result.outcome, result.out_of_memory) == (Outcome.FAILED, True)
    assert result.reason.startswith("ran out of GPU memory. Possible fixes")
    assert [r.step for r in first.reports] == [2]

    second, result = run(retried(make_job(), 2), data)
    assert result.outcome == Outcome.COMPLETE, result.reason
    (started,) = second.started
    assert (started.facts["mini_batch_size"], started.earlier) == (2, ())
    assert "restarted" not in started.facts
    assert second.reports[0] == first.reports[0]
    assert [r.step for r in second.reports] == [2, 5]
    assert memory.steps == 3 + 1 + 3, "three steps and the failed one, then those after the state of step 2"


@pytest.mark.nightly
def test_an_attempt_without_a_state_equals_a_trial_of_that_size(make_job, data, memory):
    memory.holds, memory.from_step = 2, 2
    _, failed = run(make_job(), data)
    assert failed.out_of_memory
    again, _ = run(retried(make_job(), 2), data)
    small, _ = run(make_job("loss.mini_batch_size=2", folder="small"), data)
    assert [(r.step, r.objective, r.loss, r.scores) for r in again.reports] == [
        (r.step, r.objective, r.loss, r.scores) for r in small.reports
    ]


def test_memory_of_an_evaluation_is_another_matter(make_job, data, monkeypatch):
    """It has no mini-batch, and has halved its batch itself."""

    def refuse(*_):
        import torch

        raise torch.OutOfMemoryError(CUDA)

    monkeypatch.setattr(evaluator, "evaluate_embeddings", refuse)
    _, result = run(make_job(), data)
    assert not result.out_of_memory
    assert "model.max_seq_length" in result.reason
    assert "batch_size" not in result.reason


@pytest.mark.nightly
def test_memory_of_a_failed_trial_is_released(make_job, data, memory):
    """The next trial runs in the same process."""
    run(make_job("eval.fractions=[1.0]", folder="large"), data)
    memory.holds = 100
    _, result = run(make_job("eval.fractions=[1.0]"), data)
    assert result.outcome == Outcome.COMPLETE


BYTES_PER_PAIR = 512 * 2**20
"""Memory that a pair takes in the limited process: far more than anything else it may allocate."""


def train_with_limited_memory(job, data):
    """Run both attempts of a trial in a process limited to the memory at the start of training plus three pairs."""
    import resource

    import torch

    def limit_and_take(module, inputs, output):
        if not module.training:
            return output
        pages = int(Path("/proc/self/statm").read_text().split()[0])
        if resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY:
            most = pages * resource.getpagesize() + 3 * BYTES_PER_PAIR
            resource.setrlimit(resource.RLIMIT_AS, (most, resource.RLIM_INFINITY))
        torch.empty(len(output["input_ids"]) * BYTES_PER_PAIR, dtype=torch.uint8)
        return output

    def watched(*args, **options):
        loss = build(*args, **options)
        hooks.append(loss.model[0].register_forward_hook(limit_and_take))
        return loss

    hooks, build = [], losses.build_loss
    losses.build_loss = watched
    recorder = Recorder()
    run_trial(job, recorder, data)
    gc.collect()
    run_trial(retried(job, 2), recorder, data)
    return recorder.results


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit needs Linux")
def test_retry_under_a_real_memory_limit(make_job, data):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        first, second = pool.submit(train_with_limited_memory, make_job(), data).result(timeout=200)
    assert first.out_of_memory
    assert "alloc_cpu" in first.reason, "the message of the allocator"
    assert second.outcome == Outcome.COMPLETE, second.reason

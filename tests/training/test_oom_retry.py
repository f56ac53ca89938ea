"""Out of memory in training: one retry with half the mini-batch, recorded, if that changes nothing else."""

import gc
import multiprocessing
import weakref
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from embsweep.models import builders, losses
from embsweep.training import mini_batch
from embsweep.training import resume as states
from embsweep.training.messages import Outcome, TrialSpec, TrialStarted
from embsweep.training.mini_batch import MiniBatchProbe
from embsweep.training.oom_retry import OOM_RETRY_FACT, OomRetry, ReplayFilter, describe_retry, plan_retry
from embsweep.training.trial import run_trial
from tests.training.recorder import Recorder

pytestmark = pytest.mark.slow

CUDA = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.15 GiB"
FRACTIONS = [0.4, 1.0]
RETRY = "loss.mini_batch_size 4 → 2"


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


class Memory:
    """A simulated GPU that trains at most `holds` pairs at once, from training step `from_step` on (1 is the first)."""

    def __init__(self):
        self.holds, self.from_step = 0, 1
        self.steps, self.refused = 0, []

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
            self.refused.append((self.steps, rows))
            raise torch.cuda.OutOfMemoryError(CUDA)


@pytest.fixture
def memory(monkeypatch):
    gpu = Memory()
    build = losses.build_loss
    monkeypatch.setattr(losses, "build_loss", lambda *args, **options: gpu.watch(build(*args, **options)))
    return gpu


def numbers(reports):
    return [(r.fraction, r.step, r.objective, r.loss, r.scores) for r in reports]


@pytest.mark.nightly
def test_retry_before_the_first_evaluation_starts_over_with_half_the_size(make_job, data, memory, monkeypatch):
    left, built = [], []
    build = builders.build_model

    def remember(*args, **kwargs):
        left.extend(ref() for ref in built)
        model = build(*args, **kwargs)
        built.append(weakref.ref(model))
        return model

    monkeypatch.setattr(builders, "build_model", remember)
    memory.holds, memory.from_step = 2, 2
    recorder = Recorder()
    gc.disable()
    try:
        run_trial(make_job(), recorder, data)
    finally:
        gc.enable()
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason
    assert memory.refused == [(2, 4)], "refused once"
    assert left == [None], "the first model is released before the second is built"
    first, second = recorder.started
    assert OOM_RETRY_FACT not in first.facts
    assert (second.facts[OOM_RETRY_FACT], second.facts["mini_batch_size"]) == (RETRY, 2)

    small = Recorder()
    run_trial(make_job("loss.mini_batch_size=2", folder="small"), small, data)
    assert numbers(recorder.reports) == numbers(small.reports), "the same as with that size from the start"


def test_retry_after_an_evaluation_resumes_and_repeats_no_report(make_job, data, memory):
    memory.holds, memory.from_step = 2, 4
    recorder = Recorder()
    run_trial(make_job(), recorder, data)
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason
    assert [r.fraction for r in recorder.reports] == FRACTIONS
    assert [r.step for r in recorder.reports] == [2, 5]
    assert memory.steps == 3 + 1 + 3, "three steps, the failed one, and those after the state of step 2"
    assert [s.earlier for s in recorder.started] == [(), ()]
    assert recorder.started[1].facts[OOM_RETRY_FACT] == RETRY


@pytest.mark.nightly
def test_only_one_retry_is_made(make_job, data, memory):
    memory.holds, memory.from_step = 1, 4
    recorder = Recorder()
    run_trial(make_job(), recorder, data)
    (result,) = recorder.results
    assert result.outcome == Outcome.FAILED
    assert [rows for _, rows in memory.refused] == [4, 2]
    assert result.reason.startswith(
        "ran out of GPU memory. Tried with loss.mini_batch_size=4, and once more with 2. Possible fixes"
    )
    assert "a smaller loss.mini_batch_size (now 2, try 1)" in result.reason
    assert [r.fraction for r in recorder.reports] == [0.4]


@pytest.mark.nightly
def test_resume_after_a_retry_keeps_its_size_and_makes_no_other_retry(make_job, data, memory):
    job = make_job()
    memory.holds, memory.from_step = 2, 2
    first = Recorder(stop_at=0.4)  # its state is left on disk, as after a crash
    run_trial(job, first, data)
    assert first.started[-1].facts[OOM_RETRY_FACT] == RETRY

    memory.steps, memory.holds, memory.from_step = 0, 1, 2
    second = Recorder()
    run_trial(job.model_copy(update={"attempt": 2}), second, data)
    (started,) = second.started
    assert (started.facts[OOM_RETRY_FACT], started.facts["mini_batch_size"]) == (RETRY, 2)
    assert memory.refused[1:] == [(2, 2)]
    assert f"Not tried again with less: that was done before ({RETRY})." in second.results[0].reason


@pytest.mark.nightly
def test_retry_is_impossible_without_a_state(make_job, data, memory, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(states, "write_folder", full)
    memory.holds, memory.from_step = 2, 4
    recorder = Recorder()
    run_trial(make_job(), recorder, data)
    assert [r.fraction for r in recorder.reports] == [0.4]
    assert "Not tried again with less: its state could not be written" in recorder.results[0].reason


@pytest.mark.nightly
def test_a_measured_size_is_halved_and_not_measured_again(make_job, data, memory, monkeypatch):
    measured = []

    def measure(*_):
        measured.append(1)
        return MiniBatchProbe(4, {4: 1.0}, None, 0.1)

    monkeypatch.setattr(mini_batch, "measure_mini_batch", measure)
    memory.holds = 2
    recorder = Recorder()
    run_trial(make_job("loss.mini_batch_size=auto", "eval.fractions=[1.0]"), recorder, data)
    assert recorder.results[0].outcome == Outcome.COMPLETE, recorder.results[0].reason
    assert recorder.started[1].facts[OOM_RETRY_FACT] == RETRY
    assert measured == [1]


@pytest.mark.nightly
def test_the_plain_loss_is_not_retried_with_fewer_negatives(make_job, data, memory):
    memory.from_step = 2
    recorder = Recorder()
    run_trial(make_job("loss=mnrl", "loss.mini_batch_size=null"), recorder, data)
    (result,) = recorder.results
    assert result.outcome == Outcome.FAILED
    assert len(memory.refused) == len(recorder.started) == 1
    assert result.reason.startswith("ran out of GPU memory. Not tried again with less: half a batch would have half")
    assert "loss=cached_mnrl loss.mini_batch_size=8, the same batch" in result.reason


@pytest.mark.nightly
def test_memory_of_a_failed_trial_is_released(make_job, data, memory):
    """The next trial runs in the same process."""
    run_trial(make_job("eval.fractions=[1.0]", folder="large"), Recorder(), data)
    memory.holds = 100
    recorder = Recorder()
    run_trial(make_job("eval.fractions=[1.0]"), recorder, data)
    assert recorder.results[0].outcome == Outcome.COMPLETE
    assert OOM_RETRY_FACT not in recorder.started[0].facts


BYTES_PER_PAIR = 512 * 2**20
"""Memory that a pair takes in the limited process: far more than anything else it may allocate."""


def train_with_limited_memory(job, data):
    """Run a trial in a process whose memory is limited to that at the start of training plus three pairs."""
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
    return recorder


@pytest.mark.nightly
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="the limit needs Linux")
def test_retry_under_a_real_memory_limit(make_job, data):
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        trained, failed = (
            pool.submit(train_with_limited_memory, make_job(f"loss.mini_batch_size={size}", folder=str(size)), data)
            for size in (4, 8)
        )
        trained, failed = trained.result(timeout=200), failed.result(timeout=200)
    assert trained.results[0].outcome == Outcome.COMPLETE, trained.results[0].reason
    assert trained.started[-1].facts[OOM_RETRY_FACT] == RETRY
    reason = failed.results[0].reason
    assert reason.startswith(
        "ran out of memory. Tried with loss.mini_batch_size=8, and once more with 4. Possible fixes"
    )
    assert "alloc_cpu" in reason, "the message of the allocator"


def _errors():
    import torch

    return {
        "torch": torch.OutOfMemoryError(CUDA),
        "torch.cuda": torch.cuda.OutOfMemoryError(CUDA),
        "in a message": RuntimeError("HIP out of memory"),
        "of the CPU": RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"),
        "of python": MemoryError(),
    }


def started_filter(size=4, **facts):
    return ReplayFilter(Recorder(), TrialStarted(1, "here", 0.0, 0.0, 0.0, {"mini_batch_size": size, **facts}))


@pytest.mark.parametrize("form", ["torch", "torch.cuda", "in a message", "of the CPU", "of python"])
def test_every_form_of_out_of_memory_is_retried(make_job, form):
    error = _errors()[form]
    assert plan_retry(error, make_job(), started_filter()) == OomRetry(4, 2)
    assert describe_retry(error, make_job(), started_filter()) is None


@pytest.mark.parametrize(
    ("size", "facts", "words"),
    [
        (1, {}, "one pair already"),
        (4, {OOM_RETRY_FACT: "loss.mini_batch_size 8 → 4"}, "that was done before (loss.mini_batch_size 8 → 4)"),
    ],
)
def test_reason_why_no_retry_is_made(make_job, size, facts, words):
    replay = started_filter(size, **facts)
    assert plan_retry(MemoryError(), make_job(), replay) is None
    assert words in describe_retry(MemoryError(), make_job(), replay)


def test_no_other_error_is_retried(make_job):
    assert plan_retry(ValueError("shape"), make_job(), started_filter()) is None
    assert describe_retry(ValueError("shape"), make_job(), started_filter()) is None
    never_trained = ReplayFilter(Recorder())
    assert plan_retry(MemoryError(), make_job(), never_trained) is None
    assert describe_retry(MemoryError(), make_job(), never_trained) is None


def test_a_mini_batch_larger_than_the_batch_counts_as_the_batch(make_job):
    assert plan_retry(MemoryError(), make_job(), started_filter(64)) == OomRetry(8, 4)

"""A CUDA error that breaks the context of its process: the process ends, and the trial starts again in another one."""

import os
import time

import pytest

from embsweep.core.errors import CodedError
from embsweep.runners.inline import InlineRunner
from embsweep.runners.resources import Slots
from embsweep.training.messages import Outcome, TrialResult, TrialStarted
from tests.refusals import raises_code

BROKEN = "CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be reported later"
REASON = "RuntimeError: CUDA error: an illegal memory access was encountered; its process ended"


def breaking_trial(folder, ill_gpu):
    """Return a trial function that breaks on one GPU; on every other one it waits until two processes have broken.

    It is a closure, so that Ray serialises it by value.
    """
    text = BROKEN

    def trial_fn(job, reporter):
        gpu, begin = os.environ.get("CUDA_VISIBLE_DEVICES", ""), time.time()
        reporter.start(TrialStarted(os.getpid(), "here", begin, 0.0, 0.0, {"gpu": gpu}))
        if gpu == ill_gpu:
            (folder / f"{os.getpid()}.broken").touch()
            raise RuntimeError(text)
        while len(list(folder.glob("*.broken"))) < 2 and time.time() < begin + 30:
            time.sleep(0.05)
        return TrialResult(Outcome.COMPLETE, 0.5, job.folder, time.time())

    return trial_fn


def test_in_this_process_it_ends_the_run_and_the_trial_is_not_failed(make_scheduler, set_env, tmp_path):
    set_env(CUDA_VISIBLE_DEVICES="0")
    scheduler = make_scheduler(3)
    with raises_code(CodedError, "gpu-failed"):
        InlineRunner().run(scheduler, breaking_trial(tmp_path, "0"))
    (reason,) = scheduler.losses[0]
    assert reason.startswith(REASON)
    assert (list(scheduler.starts), scheduler.results) == ([0], {})


@pytest.mark.ray
def test_all_trials_complete_on_the_other_gpu_if_one_breaks_every_process(make_ray_runner, make_scheduler, tmp_path):
    """The GPUs exist only in Ray's accounting."""
    scheduler = make_scheduler(5)
    make_ray_runner(Slots(count=2, cpus=1, gpus=1.0)).run(scheduler, breaking_trial(tmp_path, "1"))
    assert [scheduler.results[number].outcome for number in range(5)] == [Outcome.COMPLETE] * 5
    assert {started.facts["gpu"] for started in scheduler.starts.values()} == {"0"}
    reasons = [reason for reasons in scheduler.losses.values() for reason in reasons]
    assert len(reasons) == 2, "a trial that does not run on the GPU of its process has not lost an attempt"
    assert all(reason.startswith(REASON) and "GPU 1 of" in reason for reason in reasons)
    assert len(list(tmp_path.glob("*.broken"))) == 2, "a broken process runs no other trial"
    (line,) = scheduler.warnings
    assert line.startswith("GPU 1 of")

"""Scripted training; the trial around it, its states, checkpoints, evaluations and reports are the real ones.

The weights follow from the seed, the learning rate and the weights of the previous step: an attempt that resumed from
anything but its last state would end with other scores.
"""

import json
import os
import signal
import time
from pathlib import Path

PLAN = "CHAOS_PLAN"
"""Environment variable with JSON: number of a trial of the search, or `confirmation` and the number of a run → fault
after its first evaluation: `nan`, `nan objective`, `raise`, `oom`, `die`, `die once`, `sleep`, `uninterruptible` (a
`sleep` that ignores interrupts)."""

TRACE = "CHAOS_TRACE"
"""Environment variable with the file that gets a line for every trained interval."""

STEPS = 8

UNINTERRUPTIBLE, INTERRUPT_IGNORED = "this trial ignores interrupts from now on", "an interrupt was ignored"
"""Output of an `uninterruptible` trial when it begins to ignore interrupts, and for each of them."""


def run_scripted(job, reporter, **given):
    """Call `run_trial` with the scripted trainer."""
    from embsweep.training import trainer, trial

    trainer.build_trainer = lambda job, model, loss, pairs, choice: ScriptedTrainer(job, model, loss)
    trainer.describe_training = lambda *_: {"device": "cpu"}
    return trial.run_trial(job, reporter, **given)


def run_without_torch(job, reporter, **_):
    """Make four reports of made-up scores and no weights: a trial for tests of Ray's processes around it."""
    from embsweep.core.names import METRICS
    from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted

    now, objective = time.time(), 1 / (2 + job.number)
    scores = {dim: dict.fromkeys(METRICS, objective) for dim in job.config.eval_dims}
    reporter.start(TrialStarted(os.getpid(), "here", now, 0.0, 0.0, {}, ()))
    for step in range(2, STEPS + 1, 2):
        done = step / STEPS
        report = TrialReport(done, step, done, objective, objective, 2 / STEPS, scores, 1.0, None, time.time())
        if reporter.report(report):
            break
        die_or_block(find_fault(job), job)
    return TrialResult(Outcome.COMPLETE, objective, None, time.time())


def find_fault(job):
    """Return the fault planned for `job`, or None."""
    phase = Path(job.folder).parent.name
    name = f"{job.number}" if phase == "trials" else f"{phase} {job.number}"
    return json.loads(os.environ.get(PLAN, "{}")).get(name)


def die_or_block(fault, job):
    """Apply a fault that ends or blocks the process of a trial."""
    if fault == "die" or (fault == "die once" and job.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "sleep":
        _sleep()
    elif fault == "uninterruptible":
        _sleep_through_signals()


class ScriptedTrainer:
    """The part of a trainer that a trial uses."""

    def __init__(self, job, model, loss):
        from torch import nn
        from transformers import TrainerControl, TrainerState

        self.job, self.model = job, model
        self.state, self.control = TrainerState(max_steps=STEPS), TrainerControl()
        self.loss = nn.Identity()
        self._callbacks = []

    def add_callback(self, callback):
        callback.attach_loss(self.loss)
        self._callbacks.append(callback)

    def train(self, resume_from_checkpoint=None):
        if resume_from_checkpoint:
            self._load(resume_from_checkpoint)
            self.state = type(self.state).load_from_json(str(Path(resume_from_checkpoint, "trainer_state.json")))
            self._inject_fault()
        for callback in self._callbacks:
            callback.on_train_begin(None, self.state, self.control)
        begun = self.state.global_step
        while self.state.global_step < STEPS and not self.control.should_training_stop:
            self._step()
            rungs = self._callbacks[0]._rungs
            if self.state.global_step in rungs:
                _trace(self.job, begun, self.state.global_step)
                begun = self.state.global_step
            for callback in self._callbacks:
                callback.on_step_end(None, self.state, self.control)
            if begun == self.state.global_step and not self.control.should_training_stop:
                self._inject_fault()

    def _step(self):
        import torch

        self.state.global_step += 1
        self.state.epoch = self.state.global_step / STEPS
        train = self.job.config.train
        draw = torch.Generator().manual_seed(1000 * train.seed % 2**31 + self.state.global_step)
        table = self.model[0].embedding.weight
        half = len(table) // 2
        pace = 2 * train.learning_rate if train.learning_rate < 0.05 else 0.15 - train.learning_rate
        with torch.no_grad():
            table[:half] += pace * (table[half:] - table[:half]) + 0.1 * torch.randn(table[:half].shape, generator=draw)
        self.loss(torch.tensor(1.0 / self.state.global_step))

    def _inject_fault(self):
        fault = find_fault(self.job)
        if fault is None:
            return
        import torch

        if fault == "nan":
            self.loss(torch.tensor(float("nan")))
        elif fault == "nan objective":
            self.model[0].embedding.weight.data.fill_(float("nan"))
        elif fault == "raise":
            raise RuntimeError("scripted defect")
        elif fault == "oom":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB (scripted)")
        else:
            die_or_block(fault, self.job)

    # -- what `save_state` and `EvaluationCallback` call --------------------------------------------------------------

    def _save_optimizer_and_scheduler(self, folder):
        Path(folder, "optimizer.bin").write_bytes(b"\0" * 4096)

    def _save_scaler(self, folder):
        pass

    def _save_rng_state(self, folder):
        Path(folder, "rng_state.pth").write_bytes(b"none")

    def _load(self, folder):
        from safetensors.torch import load_file

        (found,) = Path(folder).rglob("*.safetensors")
        self.model[0].embedding.weight.data.copy_(load_file(str(found))["embedding.weight"])


def _sleep():
    """Sleep for an hour, in short pieces: an interrupt that comes just before `time.sleep` is raised only after it."""
    for _ in range(72_000):
        time.sleep(0.05)


def _sleep_through_signals():
    output = UNINTERRUPTIBLE
    while True:
        try:
            os.write(1, f"{output}\n".encode())
            _sleep()
        except KeyboardInterrupt:
            output = INTERRUPT_IGNORED


def _trace(job, begun, reached):
    path = os.environ.get(TRACE)
    if path:
        line = {"folder": job.folder, "attempt": job.attempt, "from": begun, "to": reached, "pid": os.getpid()}
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")

"""A training that is a script: the trial around it, its states, checkpoints, evaluations and reports are the real ones.

A weight is what the seed, the learning rate and the weights one step before make of it: an attempt that went on from
anything but its last state would end with other scores.
"""

import json
import os
import signal
import time
from pathlib import Path

PLAN = "CHAOS_PLAN"
"""Environment: JSON, number of a trial of the search, or `confirmation` and that of a run there → its fault behind its
first evaluation: `nan`, `nan objective`, `raise`, `oom`, `die`, `die once`, `sleep`, `deaf` (a `sleep` that cannot be
interrupted)."""

TRACE = "CHAOS_TRACE"
"""Environment: the file that gets a line for every interval trained."""

STEPS = 8

DEAF, HEARD = "no interrupt ends this trial any more", "an interrupt was heard and ignored"
"""What a `deaf` trial prints when it begins to be, and of each."""


def run_scripted(job, reporter, **given):
    """`run_trial` with the scripted trainer."""
    from embsweep.training import trial as train

    train.build_trainer = lambda job, model, loss, pairs, choice: ScriptedTrainer(job, model, loss)
    train.describe_training = lambda trainer, config: {"device": "cpu"}
    train.run_trial(job, reporter, **given)


def run_without_torch(job, reporter, **_):
    """Four reports of made-up scores, and no weights: a trial for what happens around trials in Ray's processes."""
    from embsweep.core.names import METRICS
    from embsweep.training.messages import Outcome, TrialReport, TrialResult, TrialStarted

    now, objective = time.time(), 1 / (2 + job.number)
    scores = {dim: dict.fromkeys(METRICS, objective) for dim in job.config.eval_dims}
    reporter.start(TrialStarted(os.getpid(), "here", now, 0.0, 0.0, {}, ()))
    for step in range(2, STEPS + 1, 2):
        done = step / STEPS
        report = TrialReport(done, step, done, objective, objective, 2 / STEPS, scores, 1.0, None, time.time())
        if reporter.report(report):
            return
        hold_up(find_fault(job), job)
    reporter.finish(TrialResult(Outcome.COMPLETE, objective, scores, None, time.time()))


def find_fault(job):
    """What is to go wrong with `job`; None where nothing is."""
    phase = Path(job.folder).parent.name
    name = f"{job.number}" if phase == "trials" else f"{phase} {job.number}"
    return json.loads(os.environ.get(PLAN, "{}")).get(name)


def hold_up(fault, job):
    """Those faults that end or block the process of a trial."""
    if fault == "die" or (fault == "die once" and job.attempt == 1):
        os.kill(os.getpid(), signal.SIGKILL)
    elif fault == "sleep":
        time.sleep(3600)
    elif fault == "deaf":
        _sleep_through_signals()


class ScriptedTrainer:
    """As much of a trainer as a trial asks for."""

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
            self._load_from_checkpoint(resume_from_checkpoint)
            self.state = type(self.state).load_from_json(str(Path(resume_from_checkpoint, "trainer_state.json")))
            self._go_wrong()
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
                self._go_wrong()

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

    def _go_wrong(self):
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
            hold_up(fault, self.job)

    # -- what `save_state` and `EvaluationCallback` ask for -----------------------------------------------------------

    def _save_optimizer_and_scheduler(self, folder):
        Path(folder, "optimizer.bin").write_bytes(b"\0" * 4096)

    def _save_scaler(self, folder):
        pass

    def _save_rng_state(self, folder):
        Path(folder, "rng_state.pth").write_bytes(b"none")

    def _load_from_checkpoint(self, folder):
        from safetensors.torch import load_file

        (found,) = Path(folder).rglob("*.safetensors")
        self.model[0].embedding.weight.data.copy_(load_file(str(found))["embedding.weight"])


def _sleep_through_signals():
    output = DEAF
    while True:
        try:
            os.write(1, f"{output}\n".encode())
            time.sleep(3600)
        except KeyboardInterrupt:
            output = HEARD


def _trace(job, begun, reached):
    path = os.environ.get(TRACE)
    if path:
        line = {"folder": job.folder, "attempt": job.attempt, "from": begun, "to": reached, "pid": os.getpid()}
        with Path(path).open("a") as file:
            file.write(json.dumps(line) + "\n")

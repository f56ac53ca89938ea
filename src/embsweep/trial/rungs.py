"""What happens at a rung: evaluate every dimension, keep the weights if they are the best, report, perhaps stop."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embsweep.data.collection import RetrievalSet
from embsweep.decide.objective import compute_objective, is_better
from embsweep.decide.scores import Scores
from embsweep.errors import TrialFailed
from embsweep.trial.checkpoint import save_checkpoint
from embsweep.trial.evaluator import evaluate_model
from embsweep.trial.reading import save_values
from embsweep.trial.reporter import Outcome, Report, Reporter, TrialJob, TrialResult
from embsweep.trial.schedule import compute_rungs

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from torch import Tensor, nn

_CHECK_LOSS_EVERY = 10
"""Steps between two looks at the loss: each look waits for the GPU."""


class RungCallback(TrainerCallback):
    """Guards one trial's state: its rungs, its best evaluation, whether it was told to stop."""

    def __init__(self, job: TrialJob, model: SentenceTransformer, validation: RetrievalSet, reporter: Reporter) -> None:
        self._job = job
        self._model = model
        self._validation = validation
        self._reporter = reporter
        self._losses: list[Tensor] = []
        self._clock = time.perf_counter()
        self._rungs: dict[int, float] = {}
        self._best: tuple[float, float, Scores] | None = None  # objective, fraction, scores
        self._stopped = False
        self._since_best = 0

    def watch(self, loss: nn.Module) -> None:
        """Collect the training loss of every forward pass, without waiting for the device."""
        loss.register_forward_hook(lambda _module, _inputs, output: self._losses.append(output.detach()))

    def to_result(self) -> TrialResult:
        """The trial's end, once training has returned. TrialFailed if no evaluation gave a finite objective."""
        if self._best is None:
            raise TrialFailed("no evaluation gave a finite objective")
        objective, _, scores = self._best
        outcome = Outcome.STOPPED if self._stopped else Outcome.COMPLETE
        return TrialResult(outcome, objective, scores, str(self._job.best), time.time())

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The schedule's length is known: place the rungs."""
        fractions = self._job.config.eval.schedule(self._job.config.train.epochs)
        self._rungs = dict(compute_rungs(fractions, state.max_steps))
        self._clock = time.perf_counter()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the loss now and then, and at a rung evaluate."""
        fraction = self._rungs.get(state.global_step)
        if fraction is None:
            if state.global_step % _CHECK_LOSS_EVERY == 0:
                self._mean_loss(state.global_step)
            return
        loss = self._mean_loss(state.global_step)
        self._losses.clear()
        scheduler = kwargs.get("lr_scheduler")
        rate = float(scheduler.get_last_lr()[0]) if scheduler is not None else None
        if self._reporter.report(self._evaluate(state, fraction, loss, rate)):
            self._stopped = fraction < 1.0
            control.should_training_stop = True
        elif self._is_out_of_patience:  # the recipe's own end: the trial is complete
            control.should_training_stop = True

    def _evaluate(self, state: TrainerState, fraction: float, loss: float | None, rate: float | None) -> Report:
        config = self._job.config
        evaluation = evaluate_model(self._model, self._validation, config.eval_dims, batch_size=config.eval.batch_size)
        scores = evaluation.scores
        objective = compute_objective(scores, config.objective)
        if not math.isfinite(objective):
            raise TrialFailed(f"objective is {objective} at step {state.global_step}")
        self._since_best += 1
        if self._best is None or is_better(objective, self._best[0]):
            save_checkpoint(self._model, self._job.best)
            save_values(self._job.values, evaluation.of_metric(config.objective.metric))
            self._best = (objective, fraction, scores)
            self._since_best = 0
        return Report(
            fraction=fraction,
            step=state.global_step,
            epoch=float(state.epoch or 0.0),
            objective=objective,
            best_objective=self._best[0],
            best_fraction=self._best[1],
            scores=scores,
            loss=loss,
            learning_rate=rate,
            elapsed_s=time.perf_counter() - self._clock,
        )

    @property
    def _is_out_of_patience(self) -> bool:
        patience = self._job.config.train.patience
        return patience is not None and self._since_best >= patience

    def _mean_loss(self, step: int) -> float | None:
        """Mean training loss since the last rung. TrialFailed at once where it is not finite."""
        if not self._losses:
            return None
        import torch

        mean = float(torch.stack(self._losses).float().mean())
        if not math.isfinite(mean):
            raise TrialFailed(f"training loss is {mean} by step {step}; a lower train.learning_rate may hold")
        return mean

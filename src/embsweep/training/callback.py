"""What happens at a rung: evaluate every dimension, keep what is needed to go on, report, perhaps stop.

At which optimizer steps a trial is evaluated: fractions of its own planned schedule.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embsweep.core.distributed import current_group
from embsweep.core.errors import TrialFailed
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import Evaluation, check_scores, evaluate_model
from embsweep.evaluation.per_query import copy_per_query, save_per_query
from embsweep.selection.objective import compute_objective, is_better
from embsweep.training.checkpoint import save_checkpoint
from embsweep.training.messages import Outcome, Reporter, TrialReport, TrialResult, TrialSpec
from embsweep.training.resume import ResumeState, check_fence, keep_best_of_previous, save_state

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformerTrainer
    from torch import Tensor, nn


def compute_rungs(fractions: Sequence[float], total_steps: int) -> Mapping[int, float]:
    """Optimizer step → fraction, for `total_steps` planned steps.

    On a schedule so short that fractions meet at one step, the largest of them stands for it: the last step
    is always an evaluation at 1.0.
    """
    return {max(1, round(fraction * total_steps)): fraction for fraction in sorted(fractions)}


_CHECK_LOSS_EVERY = 10
"""Steps between two looks at the loss: each look waits for the GPU."""


class EvaluationCallback(TrainerCallback):
    """Guards one trial's progress: its rungs, what it has reported, whether it was told to stop.

    Every process of the group has one; the first writes, all leave together.
    """

    def __init__(
        self,
        job: TrialSpec,
        trainer: SentenceTransformerTrainer,
        validation: RetrievalSet,
        reporter: Reporter,
        state: ResumeState,
    ) -> None:
        self._job = job
        self._trainer = trainer
        self._validation = validation
        self._reporter = reporter
        self._state = state
        self._group = current_group()
        self._losses: list[Tensor] = []
        self._rungs: dict[int, float] = {}
        self._stopped = False

    def attach_loss(self, loss: nn.Module) -> None:
        """Collect the training loss of every forward pass, without waiting for the device."""
        loss.register_forward_hook(lambda _module, _inputs, output: self._losses.append(output.detach()))

    def resume(self) -> bool:
        """Take up what an earlier attempt left, and hand its last report over again; True if nothing is left to train.

        The weights of the best evaluation are on disk unless it was the last one, whose state holds them.
        """
        state = self._state
        if self._group.is_first and self._best is self._reports[-1]:
            self._trainer._load_from_checkpoint(str(state.folder))
            keep_best_of_previous(self._job)
            save_checkpoint(self._trainer.model, self._job.best)
            copy_per_query(state.values, self._job.values)
        return self._report(self._reports[-1]) or self._reports[-1].fraction == 1.0

    def to_result(self) -> TrialResult:
        """The trial's end, once training has returned."""
        best = self._best
        if best is None:
            raise TrialFailed("no-evaluation", "training ended before its first evaluation")
        outcome = Outcome.STOPPED if self._stopped else Outcome.COMPLETE
        return TrialResult(outcome, best.objective, best.scores, str(self._job.best), time.time())

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Tell the innermost sampler its epoch: behind accelerate's shards of several workers nobody else does."""
        sampler = kwargs.get("train_dataloader")
        while sampler is not None:
            if hasattr(sampler, "set_epoch") and not hasattr(sampler, "batch_sampler"):
                sampler.set_epoch(math.floor((state.epoch or 0.0) + 1e-9))
            sampler = getattr(sampler, "batch_sampler", None)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """The schedule's length is known: place the rungs."""
        fractions = self._job.config.eval.schedule(self._job.config.train.epochs)
        self._rungs = dict(compute_rungs(fractions, state.max_steps))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Look at the loss now and then, and at a rung evaluate."""
        fraction = self._rungs.get(state.global_step)
        if fraction is None:
            if state.global_step % _CHECK_LOSS_EVERY == 0:
                self._mean_loss(state.global_step)
            return
        scheduler = kwargs.get("lr_scheduler")
        rate = float(scheduler.get_last_lr()[0]) if scheduler is not None else None
        loss = self._mean_loss(state.global_step)
        self._losses.clear()
        evaluation = self._evaluate()
        report = replace(self._to_report(state, fraction, evaluation), loss=self._mean_of_all(loss), learning_rate=rate)
        report = self._group.broadcast(report)
        self._save(report, evaluation)
        if self._report(report):
            control.should_training_stop = True

    def _evaluate(self) -> Evaluation:
        config, model = self._job.config, self._trainer.model
        return evaluate_model(
            model, self._validation, config.eval_dims, batch_size=config.eval.batch_size, group=self._group
        )

    def _to_report(self, state: TrainerState, fraction: float, evaluation: Evaluation) -> TrialReport:
        config = self._job.config
        check_scores(evaluation.scores, config.objective.metric, config.eval_dims)
        objective = compute_objective(evaluation.scores, config.objective)
        before = self._best
        is_best = before is None or is_better(objective, before.objective)
        return TrialReport(
            fraction=fraction,
            step=state.global_step,
            epoch=float(state.epoch or 0.0),
            objective=objective,
            best_objective=objective if is_best or before is None else before.objective,
            best_fraction=fraction if is_best or before is None else before.fraction,
            scores=evaluation.scores,
            loss=None,
            learning_rate=None,
            reported_at=time.time(),
        )

    def _save(self, report: TrialReport, evaluation: Evaluation) -> None:
        """First the state, then the best weights: a crash between the two finds the weights in the state."""
        if self._group.is_first:
            check_fence(self._job)
        values = evaluation.of_metric(self._job.config.objective.metric)
        self._state = replace(self._state, reports=(*self._reports, report))
        save_state(self._trainer, self._state, values, self._group)
        if self._group.is_first and self._best is report:
            keep_best_of_previous(self._job)
            save_checkpoint(self._trainer.model, self._job.best)
            save_per_query(self._job.values, values)

    def _report(self, report: TrialReport) -> bool:
        """Report; True if the trial ends here, told to or out of patience."""
        if self._reporter.report(report):
            self._stopped = report.fraction < 1.0
            return True
        return self._is_out_of_patience  # the recipe's own end: the trial is complete

    @property
    def _reports(self) -> tuple[TrialReport, ...]:
        return self._state.reports

    @property
    def _best(self) -> TrialReport | None:
        """The report of the best evaluation so far."""
        return self._state.best

    @property
    def _is_out_of_patience(self) -> bool:
        patience = self._job.config.train.patience
        since_best = sum(report.fraction > self._reports[-1].best_fraction for report in self._reports)
        return patience is not None and since_best >= patience

    def _mean_of_all(self, loss: float | None) -> float | None:
        """All workers have equally many pairs of each batch."""
        return None if loss is None else sum(self._group.gather(loss)) / self._group.size

    def _mean_loss(self, step: int) -> float | None:
        """Mean training loss since the last rung. TrialFailed at once where it is not finite."""
        if not self._losses:
            return None
        import torch

        mean = float(torch.stack(self._losses).float().mean())
        if not math.isfinite(mean):
            raise TrialFailed(
                "not-finite", f"training loss is {mean} by step {step}; a lower train.learning_rate may hold"
            )
        return mean

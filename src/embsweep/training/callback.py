"""Evaluate a trial at its rungs: compute scores of every dimension, save the resume state, report, stop if requested.

Rungs are optimizer steps at fractions of the trial's own planned schedule.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from sentence_transformers import SentenceTransformerTrainer
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from embsweep.core.distributed import current_group
from embsweep.core.errors import TrialFailed
from embsweep.data.collection import RetrievalSet
from embsweep.evaluation.evaluator import Evaluation, evaluate_model
from embsweep.evaluation.per_query import save_per_query
from embsweep.selection.objective import compute_objective, is_better
from embsweep.selection.scores import Scores
from embsweep.training.checkpoint import save_checkpoint
from embsweep.training.messages import Outcome, Reporter, TrialReport, TrialResult, TrialSpec
from embsweep.training.resume import ResumeState, check_fence, restore_best, save_state


def compute_evaluation_steps(fractions: Sequence[float], total_steps: int) -> Mapping[int, float]:
    """Return the fraction of each rung by its optimizer step, for `total_steps` planned steps.

    If a schedule is so short that several fractions fall on one step, the step gets the largest of them, so that the
    last step is always an evaluation at 1.0.
    """
    return {max(1, round(fraction * total_steps)): fraction for fraction in sorted(fractions)}


_CHECK_LOSS_EVERY = 10
"""Optimizer steps between two checks of the loss; each check waits for the GPU."""


class EvaluationCallback(TrainerCallback):
    """Progress of one trial: its rungs, its reports, and whether a stop was requested.

    Every process of the group has one. Only the first process writes files; all stop at the same step.

    Args:
        job: Trial to run.
        trainer: Trainer of the trial, to which this callback is added.
        validation: Queries and passages on which the model is evaluated.
        reporter: Receiver of the evaluations; its answer may request a stop.
        state: State to resume from, or one without reports.
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
        self._losses: list[torch.Tensor] = []
        self._rungs: dict[int, float] = {}
        self._stopped = False

    def attach_loss(self, loss: torch.nn.Module) -> None:
        """Record the training loss of every forward pass, without waiting for the device."""
        loss.register_forward_hook(lambda _module, _inputs, output: self._losses.append(output.detach()))

    def train(self) -> None:
        """Train to the end, from the state if an earlier attempt left one; its last report is delivered again first.

        If the last evaluation is the best one, its weights are first copied from the state to the trial's best weights,
        because the earlier attempt may have crashed in between. Otherwise they are on disk already.
        """
        if not self._state.reports:
            self._trainer.train()
            return
        last = self._state.reports[-1]
        if self._group.is_first and self._state.has_best_weights:
            restore_best(self._job)
        if not self._report(last) and last.fraction < 1.0:
            self._trainer.train(resume_from_checkpoint=str(self._state.folder))

    def to_result(self) -> TrialResult:
        """Return the trial's result, after training has returned.

        Raises:
            TrialFailed: If training ended before its first evaluation.
        """
        best = self._state.best
        if best is None:
            raise TrialFailed("no-evaluation", "training ended before its first evaluation")
        return TrialResult(
            Outcome.STOPPED if self._stopped else Outcome.COMPLETE, best.objective, str(self._job.best), time.time()
        )

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Pass the epoch to the innermost sampler; with several workers accelerate's shards do not pass it on.

        Args:
            args: Arguments of the trainer, unused.
            state: Progress of the trainer.
            control: Flags by which a callback controls the trainer, unused.
            kwargs: Objects of the trainer, of which `train_dataloader` is used.
        """
        sampler = kwargs.get("train_dataloader")
        while sampler is not None:
            if hasattr(sampler, "set_epoch") and not hasattr(sampler, "batch_sampler"):
                sampler.set_epoch(math.floor((state.epoch or 0.0) + 1e-9))
            sampler = getattr(sampler, "batch_sampler", None)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Compute the rungs; the length of the schedule is known now.

        Args:
            args: Arguments of the trainer, unused.
            state: Progress of the trainer.
            control: Flags by which a callback controls the trainer, unused.
        """
        fractions = self._job.config.eval.schedule(self._job.config.train.epochs)
        self._rungs = dict(compute_evaluation_steps(fractions, state.max_steps))

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Evaluate, save and report at a rung; check the loss every `_CHECK_LOSS_EVERY` steps.

        Args:
            args: Arguments of the trainer, unused.
            state: Progress of the trainer.
            control: Flags for the trainer; `should_training_stop` is set if the trial ends here.
            kwargs: Objects of the trainer, of which `lr_scheduler` is used.

        Raises:
            TrialFailed: If the mean training loss is not finite, or a score is missing or not finite.
            StaleAttempt: If a later attempt of the trial has started.
        """
        fraction = self._rungs.get(state.global_step)
        if fraction is None:
            if state.global_step % _CHECK_LOSS_EVERY == 0:
                self._mean_loss(state.global_step)
            return
        scheduler = kwargs.get("lr_scheduler")
        rate = float(scheduler.get_last_lr()[0]) if scheduler is not None else None
        loss = self._mean_loss(state.global_step)
        if loss is not None:  # the mean over all workers is unweighted: each has equally many pairs of every batch
            loss = sum(self._group.gather(loss)) / self._group.size
        self._losses.clear()
        config, model = self._job.config, self._trainer.model
        evaluation = evaluate_model(
            model, self._validation, config.eval_dims, batch_size=config.eval.batch_size, group=self._group
        )
        report = self._group.broadcast(self._to_report(state, fraction, evaluation.scores, (loss, rate)))
        self._save(report, evaluation)
        control.should_training_stop |= self._report(report)

    def _to_report(
        self, state: TrainerState, fraction: float, scores: Scores, loss_and_rate: tuple[float | None, float | None]
    ) -> TrialReport:
        config = self._job.config
        for dim in config.eval_dims:
            if config.objective.metric not in scores.get(dim, {}):  # a mean over the other dimensions would hide it
                raise TrialFailed(
                    "missing-score", f"the evaluation has no {config.objective.metric} at dimension {dim}"
                )
        objective = compute_objective(scores, config.objective)
        best = self._state.best
        if best is None or is_better(objective, best.objective):
            best_objective, best_fraction = objective, fraction
        else:
            best_objective, best_fraction = best.objective, best.fraction
        return TrialReport(
            fraction=fraction,
            step=state.global_step,
            epoch=float(state.epoch or 0.0),
            objective=objective,
            best_objective=best_objective,
            best_fraction=best_fraction,
            scores=scores,
            loss=loss_and_rate[0],
            learning_rate=loss_and_rate[1],
            reported_at=time.time(),
        )

    def _save(self, report: TrialReport, evaluation: Evaluation) -> None:
        """Save the state first: after a crash before the best weights are saved, the state still has them.

        Scores are saved before weights: if the state could not be saved, a crash in between leaves scores that do not
        match the older state, and the trial starts over.
        """
        if self._group.is_first:
            check_fence(self._job)
        values = evaluation.of_metric(self._job.config.objective.metric)
        self._state = replace(self._state, reports=(*self._state.reports, report))
        save_state(self._trainer, self._state, values, self._group)
        if self._group.is_first and self._state.best is report:
            save_per_query(self._job.values, values)
            save_checkpoint(self._trainer.model, self._job.best)

    def _report(self, report: TrialReport) -> bool:
        """Deliver the report; return True if the trial ends here, by request or because its patience is exhausted."""
        if self._reporter.report(report):
            self._stopped = report.fraction < 1.0
            return True
        patience = self._job.config.train.patience
        since_best = sum(earlier.fraction > report.best_fraction for earlier in self._state.reports)
        return patience is not None and since_best >= patience  # part of the configuration, so the trial is complete

    def _mean_loss(self, step: int) -> float | None:
        """Return the mean training loss since the last rung; raise TrialFailed if it is not finite."""
        if not self._losses:
            return None
        mean = float(torch.stack(self._losses).float().mean())
        if not math.isfinite(mean):
            raise TrialFailed("not-finite", f"training loss is {mean} by step {step}; try a lower train.learning_rate")
        return mean

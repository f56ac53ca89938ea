"""Promotion: which trial runs next and how far, by asynchronous successive halving whose trials pause at their rungs.

A trial runs to a rung, a fraction of its own schedule, and pauses there. The best `1 / reduction_factor` of all that
reached the rung go on to the next one, whenever a slot is free; otherwise a new trial starts. No slot waits for a rung
to fill (Li et al., 2020, "A System for Massively Parallel Hyperparameter Tuning"). At least a third of the steps goes
to promotions. Once no new trial may start, the best paused ones go on until enough of them have finished their
schedules.

Pure functions of the trials' progress, so that a resumed sweep decides as an uninterrupted one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.fidelity import Curve, carry_to_end, hold_to_end, rung_values
from embsweep.search.pruners import STEPS_PER_SCHEDULE, fraction_to_step
from embsweep.search.record import State

_SCHEDULES, _SCHEDULES_PER_TRIAL = 2.0, 0.1
"""Full schedules that a search may take besides those of recipe and finalists, unless the configuration limits it: a
fixed number, and more for each trial. More trials therefore begin at a smaller rung."""

_PROMOTED = 1 / 3
"""Least share of the steps that goes to promotions. With the reduction factor alone, hundreds of trials start before
the first one has finished, and the gains from rung to rung stay unknown."""


@dataclass(frozen=True)
class TrialProgress:
    """Progress of a trial. `until` is the step at which it pauses; steps are thousandths of its schedule.

    `curve` has its running best at each step that it has reported. The recipe runs to its end in any case.
    """

    number: int
    state: State
    curve: Curve
    until: int
    is_recipe: bool = False

    @property
    def last_step(self) -> int:
        """The last step that it has reported."""
        return max(self.curve, default=0)

    @property
    def whole_curve(self) -> Curve:
        """Its curve, until the end of the schedule if it is complete."""
        return hold_to_end(self.curve) if self.state == "complete" else self.curve

    @property
    def committed(self) -> int:
        """The step that it has reached, or will reach without a further decision."""
        return max(self.last_step, self.until) if self.state == "running" else self.last_step

    @property
    def rest(self) -> int:
        """Steps beyond `committed` that it needs to finish its schedule."""
        return 0 if self.state == "complete" else STEPS_PER_SCHEDULE - self.committed

    @property
    def can_finish(self) -> bool:
        """True if it has finished its schedule or may still do so, and is not the recipe."""
        return self.state in ("running", "paused", "complete") and not self.is_recipe


@dataclass(frozen=True)
class Promotion:
    """Decision that a paused trial goes on, to pause again at step `until`."""

    number: int
    until: int


@dataclass(frozen=True)
class NewTrial:
    """Decision that a new trial starts, to pause at step `until`."""

    until: int


@dataclass(frozen=True)
class PromotionPlan:
    """Rungs and limits of a search. `rungs` are steps, the last one the end of the schedule.

    At most `trials` trials start. `schedules` limits what is spent, in full schedules, with the completion of the
    `finalists` best trials included; None: no limit. With `has_recipe`, trial 0 runs to its end and is not a finalist.
    """

    rungs: tuple[int, ...]
    reduction_factor: int
    trials: int
    finalists: int
    schedules: float | None = None
    has_recipe: bool = False

    @property
    def expected_schedules(self) -> float:
        """Full schedules that the search will take: each rung passes on its share, and at least the finalists.

        Promotions have their least share of it, as far as the best `1 / reduction_factor` of all can take it.
        """
        searched = self.trials - self.has_recipe
        least = min(self.finalists, searched)
        first, *promoted = (
            (rung - previous) * max(least, searched // int(self.reduction_factor**level))
            for level, (previous, rung) in enumerate(zip((0, *self.rungs), self.rungs, strict=False))
        )
        of_best = searched // self.reduction_factor * (STEPS_PER_SCHEDULE - self.rungs[0])
        share = min(first * _PROMOTED / (1 - _PROMOTED), of_best)
        return self.has_recipe + (first + max(sum(promoted), share)) / STEPS_PER_SCHEDULE


def plan_promotion(
    stopping: StoppingConfig, search: SearchConfig, evaluations: Sequence[float], *, finalists: int, has_recipe: bool
) -> PromotionPlan:
    """Fit the rungs to what the search may spend: the largest first rung with which it is not exceeded.

    A rung is an evaluation, and each at least twice the previous one. Fewer trials begin at a larger rung, and have
    fewer rungs; if all trials are finalists, none pauses.

    Args:
        stopping: Smallest first rung and reduction factor.
        search: Number of trials, and the limit in full schedules.
        evaluations: Fractions of a schedule at which a trial is evaluated, the last one 1.0.
        finalists: Number of trials that must finish their schedules.
        has_recipe: Whether trial 0 is the recipe.
    """
    steps = [fraction_to_step(fraction) for fraction in evaluations]
    eligible = [step for step in steps if step >= fraction_to_step(stopping.min_fraction)] or steps[-1:]
    limit = search.schedules
    if limit is None:
        limit = has_recipe + finalists + _SCHEDULES + _SCHEDULES_PER_TRIAL * search.trials
    plans = [
        PromotionPlan(
            _double(eligible[first:]), stopping.reduction_factor, search.trials, finalists, search.schedules, has_recipe
        )
        for first in range(len(eligible))
    ]
    if search.trials - has_recipe <= finalists:
        return plans[-1]
    return next((plan for plan in reversed(plans[:-1]) if plan.expected_schedules <= limit), plans[0])


def choose_next(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> Promotion | NewTrial | None:
    """Return what a free slot does next; None if nothing may start until a running trial reports, or ever.

    Args:
        plan: Rungs and limits.
        trials: Every trial, by number.
    """
    promoted = _best_of_rungs(plan, trials) or _next_of_share(plan, trials)
    if promoted is not None and _can_afford(plan, trials, promoted):
        return promoted
    new = NewTrial(STEPS_PER_SCHEDULE if plan.has_recipe and not trials else plan.rungs[0])
    has_trials_left = len(trials) < plan.trials
    if has_trials_left and _can_afford(plan, trials, new):
        return new
    return _next_to_finish(plan, trials) or (new if has_trials_left and _must_replace(plan, trials) else None)


def rank_paused(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> list[int]:
    """Return the numbers of the paused trials: the next to be promoted, then by their values carried to the end."""
    values = _carry(plan, trials)
    promoted = _best_of_rungs(plan, trials)
    first = promoted and promoted.number
    paused = (trial.number for trial in trials if trial.state == "paused")
    return sorted(paused, key=lambda number: (number != first, -values[number], number))


def _best_of_rungs(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> Promotion | None:
    """Return the promotion of the best trial that is among the best of its rung, at the highest rung that has one."""
    candidates = [trial for trial in trials if trial.state != "failed"]
    found = rung_values([trial.whole_curve for trial in candidates], plan.rungs)
    values = {trial.number: at for trial, at in zip(candidates, found, strict=True)}
    for rung in reversed(range(len(plan.rungs) - 1)):
        reached = [trial for trial in candidates if rung in values[trial.number]]
        reached.sort(key=lambda trial: (-values[trial.number][rung], trial.number))
        for trial in reached[: len(reached) // plan.reduction_factor]:
            if trial.state == "paused" and max(values[trial.number]) == rung:
                return Promotion(trial.number, plan.rungs[rung + 1])
    return None


def _next_of_share(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> Promotion | None:
    """Return the promotion of the best paused trial, if promotions have less than their share of the steps.

    Its value carried to the end must be among the best `1 / reduction_factor` of all.
    """
    searched = [trial for trial in trials if trial.state != "failed" and not trial.is_recipe]
    steps = sum(trial.committed for trial in searched)
    if sum(max(0, trial.committed - plan.rungs[0]) for trial in searched) >= _PROMOTED * steps:
        return None
    values = _carry(plan, trials)
    searched.sort(key=lambda trial: (-values[trial.number], trial.number))
    best = searched[: len(searched) // plan.reduction_factor]
    return next((_promote(plan, trial) for trial in best if trial.state == "paused"), None)


def _next_to_finish(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> Promotion | None:
    """Return the promotion of the best paused trial, unless enough better ones have finished or are on their way.

    Once enough have finished, a better one still goes on if the limit allows it.
    """
    values = _carry(plan, trials)
    candidates = sorted((t for t in trials if t.can_finish), key=lambda trial: (-values[trial.number], trial.number))
    best = next((trial for trial in candidates if trial.state == "paused"), None)
    if best is None:
        return None
    promotion = _promote(plan, best)
    is_enough = sum(trial.state != "paused" for trial in candidates) >= plan.finalists
    if is_enough and (best not in candidates[: plan.finalists] or not _can_afford(plan, trials, promotion)):
        return None
    return promotion


def _promote(plan: PromotionPlan, trial: TrialProgress) -> Promotion:
    return Promotion(trial.number, next(step for step in plan.rungs if step > trial.last_step))


def _must_replace(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> bool:
    """Return whether another trial must take the place of a failed one, and its whole schedule fits into the limit.

    What the failed one has spent is missing from what was kept back for the finalists.
    """
    candidates = [trial for trial in trials if trial.can_finish]
    spent = sum(trial.committed for trial in trials)
    limit = (plan.schedules or 0) * STEPS_PER_SCHEDULE
    return len(candidates) < plan.finalists and spent + STEPS_PER_SCHEDULE <= limit


def _can_afford(plan: PromotionPlan, trials: Sequence[TrialProgress], decision: Promotion | NewTrial) -> bool:
    """Return whether the limit still suffices after a decision, with what the best trials need to finish."""
    if plan.schedules is None:
        return True
    after = _apply(plan, trials, decision)
    values = _carry(plan, after)
    candidates = sorted((t for t in after if t.can_finish), key=lambda t: (-values[t.number], t.number))
    best = candidates[: plan.finalists]
    missing = min(plan.finalists - len(best), max(0, plan.trials - len(after)))
    needed = sum(t.committed for t in after) + sum(t.rest for t in best) + missing * STEPS_PER_SCHEDULE
    return needed <= plan.schedules * STEPS_PER_SCHEDULE


def _apply(plan: PromotionPlan, trials: Sequence[TrialProgress], decision: Promotion | NewTrial) -> list[TrialProgress]:
    if isinstance(decision, NewTrial):
        number = len(trials)
        return [*trials, TrialProgress(number, "running", {}, decision.until, plan.has_recipe and number == 0)]
    return [replace(t, state="running", until=decision.until) if t.number == decision.number else t for t in trials]


def _carry(plan: PromotionPlan, trials: Sequence[TrialProgress]) -> Mapping[int, float]:
    values = carry_to_end([trial.whole_curve for trial in trials], plan.rungs)
    return {trial.number: value for trial, value in zip(trials, values, strict=True)}


def _double(steps: Sequence[int]) -> tuple[int, ...]:
    """Return the first step, each next one that is at least twice the last, and the end of the schedule."""
    rungs = [steps[0]]
    for step in steps[1:]:
        if step >= 2 * rungs[-1] or step == STEPS_PER_SCHEDULE:
            rungs.append(step)
    return tuple(rungs)

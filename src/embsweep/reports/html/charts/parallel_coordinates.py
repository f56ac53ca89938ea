"""Chart of every trial's swept values and objective, as parallel coordinates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from embsweep.config.search_space import Value
from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.parallel_axes import Axis, build_axis, build_number_axis, label_number, shorten_keys
from embsweep.reports.html.charts.parallel_spec import build_parallel_spec
from embsweep.reports.html.charts.theme import ACCENT, INK, spread
from embsweep.reports.html.search_history import HistoryTrial, SearchHistory
from embsweep.reports.text import score

MOST_LINES, _BEST_LINES = 300, 150
"""More lines cannot be told apart; the best ones are all drawn, and every so many of the others."""

_DASHES = {"complete": [1, 0], "stopped": [4, 3], "paused": [4, 3], "running": [8, 3], "failed": [1, 4]}
_WORDS = {"complete": "finished", "stopped": "stopped early", "paused": "paused", "running": "running"}
_LABEL_GAP = 0.055
_FEW = 50
"""Of more lines, each is fainter."""


def parallel_chart(history: SearchHistory) -> Chart | None:
    """Return the chart; None if nothing is swept, or there are fewer than two trials with an objective."""
    scored = [trial for trial in history.trials if trial.objective is not None]
    if not history.space or len(scored) < 2:
        return None
    drawn = choose_lines(history.trials)
    axes = _build_axes(history, drawn)
    return Chart(
        key="search-parallel",
        title=_title(history, scored),
        description=(
            "Parallel coordinates: one line for each trial runs through its value of every swept parameter to its "
            "objective at the right. Finished trials are solid lines, stopped and paused ones dashed, failed ones "
            "dotted."
        ),
        spec=build_parallel_spec(axes, _lines(history, axes, drawn), _labels(history, axes[-1])),
        table=_table(history, drawn),
    )


def choose_lines(trials: Sequence[HistoryTrial]) -> list[HistoryTrial]:
    """Return the trials to draw, the best ones last: all of them, or winner, finalists, recipe, best and a sample."""
    ranked = rank_trials(trials)
    if len(ranked) > MOST_LINES:
        named = [trial for trial in ranked if trial.is_finalist or trial.is_recipe]
        numbers = {trial.number for trial in named}
        best = [*named, *(trial for trial in ranked if trial.number not in numbers)][:_BEST_LINES]
        numbers = {trial.number for trial in best}
        rest = [trial for trial in ranked if trial.number not in numbers]
        room = MOST_LINES - len(best)
        numbers |= {rest[index * len(rest) // room].number for index in range(room)}
        ranked = [trial for trial in ranked if trial.number in numbers]
    return sorted(ranked, key=lambda trial: (trial.is_winner, trial.is_recipe, trial.is_finalist, _score(trial)))


def rank_trials(trials: Iterable[HistoryTrial]) -> list[HistoryTrial]:
    """Return the trials from the best one to the worst, those that cannot win at the end."""
    return sorted(trials, key=lambda trial: (not trial.can_win, -(trial.objective or 0.0), trial.number))


def _score(trial: HistoryTrial) -> float:
    return trial.objective or 0.0


def describe_trial(history: SearchHistory, trial: HistoryTrial) -> str:
    """Return the name of a trial with its roles: `trial 6, winner`."""
    roles = [
        ("winner", trial.is_winner),
        ("recipe", trial.is_recipe),
        ("best in the search", _is_mere_best(history, trial)),
    ]
    return ", ".join([f"trial {trial.number}", *(role for role, applies in roles if applies)])


def _is_mere_best(history: SearchHistory, trial: HistoryTrial) -> bool:
    return trial is history.best and not trial.is_winner


def list_params(history: SearchHistory, trial: HistoryTrial) -> list[str | None]:
    """Return a trial's value of each swept key as text, None if it does not use the key."""
    return [_text(trial.params.get(dimension.key)) for dimension in history.space]


def _text(value: Value | None) -> str | None:
    return value if value is None or isinstance(value, str) else label_number(value)


def _title(history: SearchHistory, scored: Sequence[HistoryTrial]) -> str:
    leader, best = history.leader, history.best
    count = f"Of {len(history.trials)} trials, "
    if leader is None or best is None:
        return f"None of {len(history.trials)} trials can win: those with an objective have failed."
    if not leader.is_winner:
        return f"{count}trial {best.number} has the best objective so far, {score(best.objective)}."
    if leader is best:
        return f"{count}trial {best.number}, the winner, has the best objective, {score(best.objective)}."
    return (
        f"{count}trial {best.number} has the best objective in the search, {score(best.objective)}; the confirmation "
        f"chose trial {leader.number} ({score(leader.objective)})."
    )


def _build_axes(history: SearchHistory, drawn: Sequence[HistoryTrial]) -> list[Axis]:
    titles = shorten_keys([dimension.key for dimension in history.space])
    axes = []
    for dimension, title in zip(history.space, titles, strict=True):
        is_absent = any(dimension.key not in trial.params for trial in drawn)
        axes.append(build_axis(dimension, title, absent="not used" if is_absent else ""))
    values = [trial.objective for trial in drawn if trial.objective is not None]
    values += [] if history.baseline is None else [history.baseline]
    absent = "none" if any(trial.objective is None for trial in drawn) else ""
    return [*axes, build_number_axis("objective", "objective", (min(values), max(values)), absent=absent)]


def _lines(history: SearchHistory, axes: Sequence[Axis], drawn: Sequence[HistoryTrial]) -> list[dict[str, Any]]:
    faint = min(1.0, (_FEW / len(drawn)) ** 0.5)
    return [_line(history, axes, trial, faint) for trial in drawn]


def _line(history: SearchHistory, axes: Sequence[Axis], trial: HistoryTrial, faint: float) -> dict[str, Any]:
    values: list[Value | None] = [*(trial.params.get(axis.key) for axis in axes[:-1]), trial.objective]
    is_leader = trial is history.leader
    opacity = faint * (0.6 if trial.state == "complete" else 0.3)
    return {
        "trial": trial.number,
        "y": [round(axis.place(value, trial.number), 4) for axis, value in zip(axes, values, strict=True)],
        "color": ACCENT if is_leader else INK,
        "width": 3.5 if is_leader else 2 if trial.is_finalist or trial.is_recipe else 1.2,
        "opacity": 1 if is_leader else 0.85 if trial.is_finalist or trial.is_recipe else round(opacity, 2),
        "dash": _DASHES[trial.state],
        "tip": {
            "trial": describe_trial(history, trial).removeprefix("trial "),
            "state": describe_end(trial),
            "objective": score(trial.objective),
            **{axis.title: _text(value) or "not used" for axis, value in zip(axes[:-1], values, strict=False)},
        },
    }


def describe_end(trial: HistoryTrial) -> str:
    """Return how far a trial has come: `finished`, `stopped early at 25 %`."""
    if trial.state == "complete":
        return "finished"
    return f"{_WORDS.get(trial.state, trial.state)} at {trial.fraction:.0%}".replace("%", " %")


def _labels(history: SearchHistory, axis: Axis) -> list[dict[str, Any]]:
    """Return the labels at the objective's axis: leader, best, recipe and base model."""
    trials = {trial.number: trial for trial in (history.leader, history.best, history.recipe) if trial is not None}
    places = [(axis.place(trial.objective), label_trial(trial), trial is history.leader) for trial in trials.values()]
    if history.baseline is not None:
        places.append((axis.place(history.baseline), "base", False))
    spaced = spread([place for place, _, _ in places], _LABEL_GAP)
    return [
        {"y": y, "at": at, "text": text, "strong": strong} for y, (at, text, strong) in zip(spaced, places, strict=True)
    ]


def label_trial(trial: HistoryTrial) -> str:
    """Return a short label of a trial in a chart: `6, winner`, `0, recipe`, `trial 3`."""
    role = ", winner" if trial.is_winner else ", recipe" if trial.is_recipe else ""
    return f"{trial.number}{role}" if role else f"trial {trial.number}"


def _table(history: SearchHistory, drawn: Sequence[HistoryTrial]) -> ChartTable:
    dims = sorted({dim for trial in drawn for dim in trial.scores}, reverse=True)
    titles = shorten_keys([dimension.key for dimension in history.space])
    columns = ("trial", "state", "objective", *(f"{history.metric} at {dim}" for dim in dims), *titles)
    rows = [
        (
            describe_trial(history, trial).removeprefix("trial "),
            describe_end(trial),
            trial.objective,
            *(trial.scores.get(dim) for dim in dims),
            *(_named(text) for text in list_params(history, trial)),
        )
        for trial in rank_trials(drawn)
    ]
    notes = [f"The objective is the {history.objective} on validation, of a trial's best evaluation."]
    if (left_out := len(history.trials) - len(drawn)) > 0:
        notes.append(
            f"{len(drawn)} of {len(history.trials):,} trials are shown: finalists, recipe, the best ones and a sample "
            f"of the others; {left_out:,} are left out."
        )
    return ChartTable(columns, tuple(rows), tuple(notes))


def _named(text: str | None) -> Cell:
    return "not used" if text is None else text

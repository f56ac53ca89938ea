"""Draw docs/search.svg: what the ledger of a search decides for 14 scripted trials in two slots.

`python benchmarks/search_figure.py`
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from optuna.storages import InMemoryStorage

from embsweep.config.search_space import FloatRange, SearchSpace
from embsweep.config.sweep import SearchConfig, StoppingConfig
from embsweep.search.factory import open_search_ledger
from embsweep.training.messages import TrialReport

FRACTIONS = (0.25, 0.5, 1.0)
TRIALS, SLOTS, FINALISTS = 14, 2, 3
WIDTH, LEFT, ROW, TOP = 760, 70, 18, 30
COLOURS = {0.25: "#9ecae1", 0.5: "#4292c6", 1.0: "#08519c"}
TARGET = Path(__file__).resolve().parents[1] / "docs" / "search.svg"


@dataclass(frozen=True)
class Part:
    """What a trial trained in a slot until an evaluation; times are in full schedules."""

    trial: int
    slot: int
    start: float
    end: float
    fraction: float


def run() -> list[Part]:
    """Return the parts of a search, in the order in which they ended."""
    ledger = open_search_ledger(
        InMemoryStorage(),
        space=SearchSpace((FloatRange("x", 0.0, 1.0),)),
        search=SearchConfig(sampler="random", trials=TRIALS, seed=0, recipe_first=True),
        stopping=StoppingConfig(kind="promotion", reduction_factor=4),
        evaluations=FRACTIONS,
        finalists=FINALISTS,
        recipe={"x": 0.5},
    )
    qualities = np.random.default_rng(11).uniform(0.3, 0.5, TRIALS)
    done = dict.fromkeys(range(TRIALS), 0)
    free, queue, now = list(range(SLOTS)), [], 0.0
    parts: list[Part] = []

    def go_on(number: int, slot: int) -> None:
        fraction = FRACTIONS[done[number]]
        before = FRACTIONS[done[number] - 1] if done[number] else 0.0
        heapq.heappush(
            queue, (now + fraction - before, slot, Part(number, slot, now, now + fraction - before, fraction))
        )

    while True:
        while free and (record := ledger.ask()) is not None:
            go_on(record.number, free.pop(0))
        if not queue:
            return parts
        now, slot, part = heapq.heappop(queue)
        parts.append(part)
        done[part.trial] += 1
        value = float(qualities[part.trial] + 0.1 * part.fraction)
        scores = {64: {"map@100": value}}
        step = done[part.trial]
        report = TrialReport(part.fraction, step, now, value, value, part.fraction, scores, None, None, 0.0)
        should_stop = ledger.report(part.trial, report)
        if part.fraction < 1.0 and not should_stop:
            go_on(part.trial, slot)
            continue
        if part.fraction == 1.0:
            ledger.complete(part.trial, value)
        else:
            ledger.stop(part.trial)
        free.append(slot)


def draw(parts: list[Part]) -> Iterator[str]:
    """Yield the lines of the figure: a row for each trial, below them a row for each slot."""
    end = max(part.end for part in parts)
    scale = (WIDTH - LEFT - 80) / end
    slots_top = TOP + TRIALS * ROW + 34
    height = slots_top + SLOTS * ROW + 30
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        'font-size="11" fill="#222">'
    )
    yield f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>'
    for x, (fraction, colour) in zip((LEFT, LEFT + 130, LEFT + 260), COLOURS.items(), strict=True):
        yield f'<rect x="{x}" y="8" width="12" height="12" fill="{colour}"/>'
        label = "to the end" if fraction == 1.0 else f"to the rung at {fraction:.0%}"
        yield f'<text x="{x + 17}" y="18">{label}</text>'
    yield (
        f'<line x1="{LEFT + 360}" y1="14" x2="{LEFT + 385}" y2="14" stroke="#888" stroke-dasharray="2 3"/>'
        f'<text x="{LEFT + 391}" y="18">paused</text>'
    )
    for trial in range(TRIALS):
        yield from _draw_trial([part for part in parts if part.trial == trial], scale, end)
    yield f'<text x="{LEFT}" y="{slots_top - 8}">The same by slot, with the number of the trial: none waits.</text>'
    for part in parts:
        x, y = LEFT + part.start * scale, slots_top + part.slot * ROW
        yield _bar(part, scale, y)
        yield (
            f'<text x="{x + (part.end - part.start) * scale / 2:.1f}" y="{y + 11}" text-anchor="middle" '
            f'fill="{"#222" if part.fraction == 0.25 else "#fff"}">{part.trial}</text>'
        )
    for slot in range(SLOTS):
        yield f'<text x="{LEFT - 8}" y="{slots_top + slot * ROW + 11}" text-anchor="end">slot {slot + 1}</text>'
    yield f'<text x="{LEFT}" y="{height - 10}">time →</text>'
    yield "</svg>"


def _draw_trial(parts: list[Part], scale: float, end: float) -> Iterator[str]:
    trial = parts[0].trial
    y = TOP + trial * ROW
    name = "0, recipe" if trial == 0 else str(trial)
    yield f'<text x="{LEFT - 8}" y="{y + 11}" text-anchor="end">{name}</text>'
    last = parts[-1]
    until = last.end if last.fraction == 1.0 else end
    for first, second in zip([part.end for part in parts], [*(part.start for part in parts[1:]), until], strict=True):
        if second > first:
            yield (
                f'<line x1="{LEFT + first * scale:.1f}" y1="{y + 7}" x2="{LEFT + second * scale:.1f}" y2="{y + 7}" '
                'stroke="#888" stroke-dasharray="2 3"/>'
            )
    for part in parts:
        yield _bar(part, scale, y)
    outcome = "finished" if last.fraction == 1.0 else "closed"
    yield f'<text x="{LEFT + until * scale + 6:.1f}" y="{y + 11}">{outcome}</text>'


def _bar(part: Part, scale: float, y: float) -> str:
    width = (part.end - part.start) * scale - 1
    return (
        f'<rect x="{LEFT + part.start * scale:.1f}" y="{y}" width="{width:.1f}" height="14" '
        f'fill="{COLOURS[part.fraction]}"/>'
    )


if __name__ == "__main__":
    TARGET.write_text("\n".join(draw(run())) + "\n")

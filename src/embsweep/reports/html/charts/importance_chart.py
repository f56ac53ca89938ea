"""Chart of what mattered: the share of each parameter in the objective and in each dimension, with intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embsweep.reports.html.charts.chart import Cell, Chart, ChartTable
from embsweep.reports.html.charts.parallel_axes import shorten_keys
from embsweep.reports.html.charts.theme import ACCENT, INK, lite, name_axis
from embsweep.reports.html.search_history import HistoryShare, SearchHistory, TargetShares

OBJECTIVE = "objective"
"""Name of the objective among the targets."""

_MOST_TARGETS, _LEAST_SHARE = 7, 0.02
_ROW_PX, _GAP_PX, _MOST_PX = 13, 12, 430


def importance_chart(history: SearchHistory) -> Chart | None:
    """Return the chart; None if nothing can be said about any target, see `describe_importance`."""
    known = [target for target in history.importance if target.shares]
    if not known:
        return None
    order, targets = _rank_params(known), _thin(known)
    most = _MOST_PX // (_ROW_PX * len(targets) + _GAP_PX)
    params = [key for key in order if _largest(targets, key) >= _LEAST_SHARE][:most]
    return Chart(
        key="search-importance",
        title=_title(known, order),
        description=(
            "For each parameter, its share in what distinguishes the best trials from all, for the objective and for "
            f"{history.metric} at each dimension, with 90 % bootstrap intervals. The shares of each add up to 100 %."
        ),
        spec=_build_spec(params, targets),
        table=_table(history, known, order, params),
    )


def describe_importance(history: SearchHistory) -> tuple[str, ...]:
    """Return a sentence for each reason why nothing can be said about targets, with their names."""
    reasons: dict[str, list[str]] = {}
    for target in history.importance:
        if target.reason:
            reasons.setdefault(target.reason, []).append(_label(target))
    is_all = len(reasons) == 1 and all(target.reason for target in history.importance)
    return tuple(
        f"{'What mattered' if is_all else f'What mattered for {_join(names)}'}: {reason}."
        for reason, names in reasons.items()
    )


def _join(names: Sequence[str]) -> str:
    return ", ".join(name if name == OBJECTIVE else f"{name} dimensions" for name in names)


def _label(target: TargetShares) -> str:
    """Return the dimension of a target, or `objective`."""
    return target.name.rpartition("/")[2]


def _rank_params(known: Sequence[TargetShares]) -> list[str]:
    """Return the parameters by their share in the objective, or in the first target about which something is known."""
    keys = dict.fromkeys(key for target in known for key in target.shares)
    return sorted(keys, key=lambda key: -_share(known[0], key))


def _share(target: TargetShares, key: str) -> float:
    return target.shares[key].share if key in target.shares else 0.0


def _largest(targets: Sequence[TargetShares], key: str) -> float:
    return max(_share(target, key) for target in targets)


def _thin(known: Sequence[TargetShares]) -> list[TargetShares]:
    """Return the targets to draw: of many, every so many, with the first and the last one."""
    if len(known) <= _MOST_TARGETS:
        return list(known)
    last = len(known) - 1
    return [known[round(index * last / (_MOST_TARGETS - 1))] for index in range(_MOST_TARGETS)]


def _title(known: Sequence[TargetShares], order: Sequence[str]) -> str:
    first, *others = known
    names = dict(zip(order, shorten_keys(order), strict=True))
    share = first.shares[order[0]]
    what = "" if first.name == OBJECTIVE else f" at {_label(first)} dimensions"
    text = (
        f"{names[order[0]]} mattered most{what}: {_percent(share.share)} ({_interval(share)}) of what distinguishes "
        f"the best of {first.trials} trials"
    )
    tops = {_label(target): max(target.shares, key=lambda key: _share(target, key)) for target in others}
    differing = [f"{names[key]} at {dim}" for dim, key in tops.items() if key != order[0]]
    if tops and not differing:
        return f"{text}, and most at every dimension."
    return f"{text}{'; at other dimensions another one: ' if differing else ''}{', '.join(differing)}."


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _interval(share: HistoryShare) -> str:
    return f"{_percent(share.low)} to {_percent(share.high)}"


def _build_spec(params: Sequence[str], targets: Sequence[TargetShares]) -> dict[str, Any]:
    names = dict(zip(params, shorten_keys(params), strict=True))
    rows = [
        {
            **{"parameter": names[key], "target": _label(target), "share": share.share},
            **{"low": share.low, "high": share.high, "interval": _interval(share)},
            "is_objective": target.name == OBJECTIVE,
        }
        for key in params
        for target in targets
        if (share := target.shares.get(key)) is not None
    ]
    y: dict[str, Any] = {"field": "parameter", "type": "nominal", "title": None, "sort": [names[key] for key in params]}
    y |= {
        "axis": name_axis(y["sort"], limit=170, ticks=False, grid=True, tickBand="extent"),
        "scale": {"paddingInner": 0.2},
    }
    order = [_label(target) for target in targets]
    offset = {"field": "target", "type": "nominal", "sort": order, "scale": {"domain": order}}
    height = len(params) * (_ROW_PX * len(targets) + _GAP_PX)
    return lite(_layers({"y": y, "yOffset": offset}), rows, height=height)


def _layers(place: Mapping[str, Any]) -> list[dict[str, Any]]:
    x: dict[str, Any] = {"field": "share", "type": "quantitative", "title": "share, with its 90 % interval"}
    x |= {"scale": {"domain": [0, 1]}, "axis": {"format": ".0%", "tickCount": 5}}
    tooltip = [
        {"field": "parameter", "type": "nominal"},
        {"field": "target", "type": "nominal"},
        {"field": "share", "type": "quantitative", "format": ".0%"},
        {"field": "interval", "type": "nominal"},
    ]
    color = {"condition": {"test": "datum.is_objective", "value": ACCENT}, "value": INK}
    is_first = "datum.is_objective"
    return [
        {
            "mark": {"type": "rule"},
            "encoding": {
                **place,
                "x": {**x, "field": "low"},
                "x2": {"field": "high"},
                "color": color,
                "strokeWidth": {"condition": {"test": is_first, "value": 3}, "value": 1},
                "opacity": {"condition": {"test": is_first, "value": 1}, "value": 0.6},
            },
        },
        {
            "mark": {"type": "point", "filled": True, "opacity": 1},
            "encoding": {
                **place,
                "x": x,
                "color": color,
                "size": {"condition": {"test": is_first, "value": 90}, "value": 30},
                "shape": {"condition": {"test": is_first, "value": "diamond"}, "value": "circle"},
                "tooltip": tooltip,
            },
        },
        {
            "mark": {"type": "text", "align": "left", "dx": 6, "fontSize": 10},
            "encoding": {**place, "x": {**x, "field": "high"}, "text": {"field": "target"}},
        },
    ]


def _table(
    history: SearchHistory, known: Sequence[TargetShares], order: Sequence[str], params: Sequence[str]
) -> ChartTable:
    columns = ("parameter", *(name for target in known for name in (_column(target), "90 % interval")))
    rows: list[tuple[Cell, ...]] = [
        (key, *(cell for target in known for cell in _cells(target.shares.get(key)))) for key in order
    ]
    notes = [
        f"Share in what distinguishes the best fifth of {known[0].trials} trials from all (PED-ANOVA); stopped trials "
        "count with their values carried to the end.",
        *describe_importance(history),
    ]
    if absent := [d.key for d in history.space if d.key not in order]:
        notes.append(f"The same value in every trial: {', '.join(absent)}.")
    if hidden := [key for key in order if key not in params]:
        notes.append(f"Not drawn, because their shares are smaller: {', '.join(hidden)}.")
    return ChartTable(columns, tuple(rows), tuple(notes))


def _column(target: TargetShares) -> str:
    return OBJECTIVE if target.name == OBJECTIVE else f"at {_label(target)} dimensions"


def _cells(share: HistoryShare | None) -> tuple[Cell, Cell]:
    return (None, None) if share is None else (_percent(share.share), _interval(share))

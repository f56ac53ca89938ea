"""Choice of the columns: the configured ones, or usual ones if a file has no `anchor` and `positive`."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection as Sized
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice

from embsweep.config.data import RowsConfig
from embsweep.core.errors import did_you_mean
from embsweep.data.diagnostics import DiagnosticList
from embsweep.data.sources.usual_names import (
    GROUPS,
    PASSAGES,
    QUERIES,
    UNJUDGED,
    find_negatives,
    find_proposals,
    find_usual,
    sort_numbered,
)

_MAX_LISTED = 30
_MAX_NAME_CHARS = 80
_MAX_CANDIDATES = 1000
"""Number of columns that are compared with a misspelt name: a broken file may seem to have a million."""

DEFAULTS: Mapping[str, str] = {"anchor": "anchor", "positive": "positive"}
"""Names in conf/data/files.yaml and hub.yaml: where a file lacks them, usual names are looked for."""

LISTED_NEGATIVES = 7
"""Negatives taken from a list: a row then has 8 passages, as in FlagEmbedding (`train_group_size`)."""


@dataclass(frozen=True)
class Columns:
    """Columns of query, passage, hard negatives, score, group and slice, and the most negatives of a row."""

    anchor: str
    positive: str
    negatives: tuple[str, ...] = ()
    score: str | None = None
    group: str | None = None
    slice: str | None = None
    max_negatives: int = LISTED_NEGATIVES

    @property
    def required(self) -> dict[str, str]:
        """Columns that every row must have, by configuration key."""
        named = {"anchor": self.anchor, "positive": self.positive, "score": self.score}
        return {key: name for key, name in named.items() if name is not None}

    @property
    def names(self) -> tuple[str, ...]:
        """All columns."""
        return (*self.required.values(), *self.negatives, *self.per_row.values())

    @property
    def per_row(self) -> dict[str, str]:
        """Columns that a file must have, but not every row a value of, by configuration key."""
        return {key: name for key, name in (("group", self.group), ("slice", self.slice)) if name is not None}


def validate_config(config: RowsConfig, diagnostics: DiagnosticList) -> None:
    """Record a diagnostic for each column that is configured twice."""
    configured = [("anchor", config.anchor), ("positive", config.positive)]
    configured += [("negative", name) for name in config.negative or ()]
    configured += [("score", config.score)] if config.score is not None else []
    names = [name for _, name in configured]
    for position, (key, name) in enumerate(configured):
        if name in names[:position]:
            problem = "names a column that is already used"
            diagnostics.add("duplicate-column", f"data.{key}", problem, name, expected="another column")


def choose_columns(
    config: RowsConfig, present: Sequence[str], where: str, diagnostics: DiagnosticList
) -> tuple[Columns | None, list[str]]:
    """Choose the columns of a file.

    A column `anchor` or `positive` that the file lacks is replaced by the only one with a usual name, if it is not
    configured. The hard negatives of such a file are taken too.

    Args:
        config: Configured columns.
        present: Column names of the file.
        where: Place of the column names, for the diagnostics.
        diagnostics: Receives a diagnostic for each configured column that is missing.

    Returns:
        The columns, None if one is missing; and lines for the user about what was recognised and what is not used.
    """
    chosen = {"anchor": config.anchor, "positive": config.positive}
    for key, usual in (("anchor", QUERIES), ("positive", (*PASSAGES, *UNJUDGED))):
        found = [name for name in find_usual(usual, present) if name not in chosen.values()]
        is_clear = len(found) == 1 and found[0].strip().lower() not in UNJUDGED
        if chosen[key] == DEFAULTS[key] and chosen[key] not in present and is_clear:
            chosen[key] = found[0]
    recognised = {key: name for key, name in chosen.items() if name != getattr(config, key)}
    negatives = _choose_negatives(config, present, where, diagnostics, is_recognised=bool(recognised))
    columns = Columns(
        chosen["anchor"],
        chosen["positive"],
        tuple(name for name in negatives if name not in chosen.values()),
        config.score,
        config.group,
        config.slice,
        config.max_negatives or max(LISTED_NEGATIVES, len(negatives)),
    )
    if not validate_header({**columns.required, **columns.per_row}, present, where, diagnostics):
        return None, []
    return columns, list(_describe(config, columns, recognised, present))


def _choose_negatives(
    config: RowsConfig, present: Sequence[str], where: str, diagnostics: DiagnosticList, *, is_recognised: bool
) -> list[str]:
    """Return the columns that `data.negative` names, or those with usual names if it names none."""
    if config.negative is None:
        return find_negatives(present) if is_recognised else []
    names: list[str] = []
    for pattern in config.negative:
        matching = [pattern] if find_top(pattern, present) else sort_numbered(
            name for name in present if fnmatchcase(name, pattern)
        )  # fmt: skip
        if not matching:
            validate_header({"negative": pattern}, present, where, diagnostics)
        names.extend(name for name in matching if name not in names)
    return names


def _describe(
    config: RowsConfig, columns: Columns, recognised: Mapping[str, str], present: Sequence[str]
) -> Iterator[str]:
    if recognised:
        settings = {**recognised, **({"negative": columns.negatives} if columns.negatives else {})}
        yield "columns recognised: " + " ".join(
            setting(key, *([value] if isinstance(value, str) else value)) for key, value in settings.items()
        )
    left = [name for name in present if not any(name == used.split(".")[0] or name == used for used in columns.names)]
    negatives = [] if config.negative is not None else find_negatives(left)
    if negatives:
        yield f"not used: {list_names(negatives)}; {setting('negative', *negatives)} trains on hard negatives"
    groups = find_usual(GROUPS, left) if config.group is None else []
    if groups:
        yield f"not used: {list_names(groups)}; {setting('group', groups[0])} keeps a document on one side of the split"
    others = [name for name in left if name not in negatives and name not in groups]
    if others:
        yield f"columns not used: {list_names(others)}"


def setting(key: str, *names: str) -> str:
    """Return the override that sets `data.<key>`, quoted for Hydra and a shell where it must be."""
    plain = all(re.fullmatch(r"[A-Za-z_][\w.-]*", name, re.ASCII) for name in names)
    listed = ",".join(names if plain else [f'"{name}"' for name in names])
    value = listed if len(names) == 1 else f"[{listed}]"
    return f"data.{key}={value}" if plain and len(names) == 1 else f"'data.{key}={value}'"


def find_top(name: str, present: Sized[str]) -> str | None:
    """Return the column that holds `name`: itself, or for `a.b` the column `a`, which holds objects."""
    if name in present:
        return name
    top = name.partition(".")[0]
    return top if top != name and top in present else None


def validate_header(columns: Mapping[str, str], present: Sized[str], where: str, diagnostics: DiagnosticList) -> bool:
    """Check that all named columns are present.

    Args:
        columns: Column names by configuration key.
        present: Column names of the file or row.
        where: Location of the header or row, for the diagnostics.
        diagnostics: Receives a diagnostic for each missing column.

    Returns:
        Whether all named columns are present.
    """
    missing = [(key, name) for key, name in columns.items() if find_top(name, present) is None]
    for key, name in missing:
        problem = f"there is no column '{name}' (data.{key})"
        if diagnostics.is_full:
            diagnostics.add("missing-column", where, problem)
            continue
        some = list(islice(present, _MAX_CANDIDATES))
        guess = did_you_mean(name, [c for c in some if c not in columns.values()])
        hint = guess or _propose(key, some) or f"set data.{key} to the name of one of these columns"
        diagnostics.add("missing-column", where, problem, expected=f"columns here: {list_names(present)}", hint=hint)
    return not missing


def _propose(key: str, present: Sequence[str]) -> str | None:
    """Return the overrides that set the columns with usual names, or what to do about a file without a header."""
    queries, passages = find_proposals(present)
    found = {"anchor": queries, "positive": passages}.get(key, [])
    if found:
        sets = [setting("anchor", queries[0])] if queries else []
        sets += [setting("positive", passages[0])] if passages else []
        return f"perhaps {' '.join(sets)}" + (f" (or {list_names(found[1:])})" if found[1:] else "")
    if any(len(name) > _MAX_NAME_CHARS or name.rstrip().endswith("?") for name in present):
        return "if the file has no header, put one before its first line, such as anchor,positive with its delimiter"
    if "messages" in present:
        said = '(.messages | map(select(.role == "{}"))[0].content)'
        positive = ".positive_messages[0][0].content" if "positive_messages" in present else said.format("assistant")
        fields = f"{{anchor: {said.format('user')}, positive: {positive}}}"
        return f"turn conversations into pairs: jq -c '{fields}' OLD > pairs.jsonl"
    if len(present) == 2 and all(present) and key in DEFAULTS:
        return f"perhaps {setting('anchor', present[0])} {setting('positive', present[1])}"
    return None


def list_names(present: Sized[str]) -> str:
    """List the first names, quoted and shortened; the names of a file of the wrong kind may be as long as the file."""
    names = [
        repr(name if len(name) <= _MAX_NAME_CHARS else name[:_MAX_NAME_CHARS] + "…")
        for name in islice(present, _MAX_LISTED)
    ]
    more = len(present) - len(names)
    return ", ".join([*names, *([f"and {more:,} more"] if more > 0 else [])]) or "none"


def validate_unique(present: list[str], where: str, diagnostics: DiagnosticList) -> None:
    """Check that no column name occurs more than once; such a name is ambiguous.

    Args:
        present: Column names of the file.
        where: Location of the header, for the diagnostics.
        diagnostics: Receives a diagnostic for each repeated name.
    """
    for name, count in Counter(present).items():
        if count > 1:
            diagnostics.add("duplicate-column", where, f"column '{name}' occurs {count} times", expected="once")

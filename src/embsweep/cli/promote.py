"""`embsweep promote` and `embsweep rollback`: read the arguments, print the conditions and the result."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from embsweep.cli.composition.compose import compose, config_loader, group_options, to_plain
from embsweep.cli.composition.overrides import UNREADABLE
from embsweep.cli.composition.validation import first_line
from embsweep.config.sweep import GateConfig
from embsweep.core.errors import Diagnostic, GateRefused, InputError, did_you_mean
from embsweep.promotion.promote import Promotion, PromotionRequest, promote
from embsweep.promotion.rollback import roll_back
from embsweep.reports.text import plain_printer
from embsweep.selection.gate import GateResult

_MARKS = {True: ("✓", "green"), False: ("✗", "red"), None: ("?", "yellow")}
_WIDTH = 120


def promote_request(
    name: str, overrides: Sequence[str], *, storage: Path, uri: str | None, dry_run: bool, console: Console
) -> None:
    """Evaluate the challenger, print every condition of the gate, and make it champion if it passes.

    Args:
        name: The registered model.
        overrides: Overrides of `gate.` and `data.`; see `read_overrides`.
        storage: The storage folder, with the local store.
        uri: The MLflow store, if it is not the local one.
        dry_run: Only check; change and record nothing.
        console: The console to print to.

    Raises:
        GateRefused: If there is no challenger, a condition fails, or another promotion or rollback was faster.
        InputError: If the model, the store, the data or the overrides are invalid.
    """
    rule, data = read_overrides(overrides)
    say = plain_printer(console)
    standard = GateConfig.model_validate(_read_gate("standard"))
    done = promote(PromotionRequest(name, storage, uri, rule, data, dry_run, standard), say)
    console.print()
    console.print(build_conditions(done.gate_result, min(console.width, _WIDTH)))
    for note in done.notes:
        say(f"Note: {note}.")
    if not done.gate_result.passed:
        raise GateRefused("conditions-failed", describe_refusal(name, done))
    say("")
    before = f" instead of version {done.aliases.champion}" if done.aliases.champion else ""
    if dry_run:
        say(f"{name} version {done.version} would become champion{before}. Nothing was changed.")
        return
    say(f"{name} version {done.version} is champion{before}: models:/{name}@champion")
    recorded = f"Recorded in {done.record} of its run. " if done.record else ""
    say(f"{recorded}Undo it with: embsweep rollback {name}")


def roll_back_request(name: str, *, storage: Path, uri: str | None, dry_run: bool, console: Console) -> None:
    """Restore the previous champion and print the result.

    Args:
        name: The registered model.
        storage: The storage folder, with the local store.
        uri: The MLflow store, if it is not the local one.
        dry_run: Only check whether it is possible; change and record nothing.
        console: The console to print to.

    Raises:
        GateRefused: If there is no previous champion, its files were altered, or another promotion or rollback was
            faster.
        InputError: If there is no such store or registered model.
    """
    done = roll_back(name, storage, uri, dry_run=dry_run)
    say = plain_printer(console)
    for note in done.notes:
        say(f"Note: {note}.")
    if dry_run:
        say(
            f"{name} version {done.restored} would replace version {done.rolled_back} as champion. Nothing was changed."
        )
        return
    say(f"{name} version {done.restored} is champion again, instead of version {done.rolled_back}.")
    say(f"Earlier champions: {', '.join(f'version {number}' for number in reversed(done.left)) or 'none'}.")


def read_overrides(lines: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Parse overrides of the form `gate.KEY=VALUE`, `gate=OPTION` and `data.KEY=VALUE`, in Hydra's grammar.

    Returns:
        Keys of the gate's rule and keys of the data with their values, without `gate.` and `data.`. They are checked
        later, together with those of the sweep.

    Raises:
        InputError: If an override cannot be parsed or has another form, with all diagnostics.
    """
    parts: dict[str, dict[str, Any]] = {"gate": {}, "data": {}}
    diagnostics: list[Diagnostic] = []
    for line in lines:
        try:
            part, values = _read_override(line)
            parts[part].update(values)
        except InputError as error:
            diagnostics.extend(error.diagnostics)
    if diagnostics:
        raise InputError(diagnostics)
    return parts["gate"], parts["data"]


def describe_refusal(name: str, done: Promotion) -> str:
    """Return the text of a refusal: one line per failed condition, followed by its failed dimensions."""
    gate_result = done.gate_result
    many = f"{len(gate_result.failed)} of {len(gate_result.conditions)} conditions"
    lines = [f"{name} version {done.version} is not promoted, {many} failed:"]
    for condition in gate_result.failed:
        lines.append(f"  - {condition.name}: {condition.text}")
        lines.extend(f"      {check.dim}: {check.text}" for check in condition.dims if not check.passed)
    return "\n".join([*lines, "No alias was changed."])


def build_conditions(gate_result: GateResult, width: int) -> Table:
    """Build a table with a mark, the name and the reason of each condition, and a row per compared dimension."""
    columns = (Column(width=1), Column(no_wrap=True), Column(ratio=1, overflow="fold"))
    table = Table(*columns, box=None, pad_edge=False, show_header=False, width=width)
    for condition in gate_result.conditions:
        mark, style = _MARKS[condition.passed]
        table.add_row(Text(mark, style), Text(condition.name, "bold"), Text(condition.text))
        for check in condition.dims:
            mark, style = _MARKS[check.passed]
            table.add_row("", Text(f"{check.dim:>8} {mark}", style), Text(check.text))
    return table


def _read_override(line: str) -> tuple[str, dict[str, Any]]:
    """Return the group (`gate` or `data`) of an override, and the keys of it that are set."""
    try:
        override = OverridesParser.create().parse_override(line)
    except UNREADABLE as error:
        problem, hint = "cannot be read", first_line(error)
        raise InputError(
            Diagnostic("bad-override", line.partition("=")[0] or "the command line", problem, line, "KEY=VALUE", hint)
        ) from None
    key = override.key_or_group
    part, _, rest = key.partition(".")
    if override.is_sweep_override() or override.is_delete() or override.is_add():
        raise InputError(Diagnostic("not-sweepable", key, "must be one value", line, f"{key}=VALUE"))
    if part not in ("gate", "data") or (part == "data" and not rest):
        raise InputError(
            Diagnostic(
                "not-settable",
                key,
                "cannot be changed at a promotion",
                line,
                "gate.KEY=VALUE, gate=OPTION, data.KEY=VALUE",
            )
        )
    return part, {rest: override.value()} if rest else _read_gate(str(override.value()))


def _read_gate(option: str) -> dict[str, Any]:
    with config_loader() as loader:
        known = group_options(loader, "gate")
        if option not in known:
            raise InputError(
                Diagnostic(
                    "unknown-option", "gate", "unknown option", option, ", ".join(known), did_you_mean(option, known)
                )
            )
        return dict(to_plain(compose(loader, [f"gate={option}"]).gate))

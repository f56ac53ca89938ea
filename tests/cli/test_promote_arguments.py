"""`embsweep promote`: parsing of its arguments, and layout of the gate's conditions at 80 columns."""

import io
import re

import pytest
from rich.console import Console

from embsweep.cli.promote import build_conditions, describe_refusal, read_overrides
from embsweep.promotion.promote import Promotion
from embsweep.selection.gate import Condition, DimCheck, GateResult
from embsweep.tracking.registry.aliases import ModelAliases
from tests.refusals import raises_diagnostics

RESULT = GateResult(
    (
        Condition("complete", True, "8 of 8 trials"),
        Condition(
            "beats base",
            False,
            "base model minilm: significantly higher (p < 0.05) at 1 of 2 dimensions; it is read as it was recorded",
            (
                DimCheck(1024, True, "+0.1624 [+0.1445, +0.1803], p 0.0007"),
                DimCheck(64, False, "-0.0100 [-0.0245, +0.0003]: must be above +0.0000, short by 0.0100"),
            ),
        ),
        Condition("beats champion", None, "not evaluated"),
    )
)


def test_overrides_are_parsed_as_in_other_commands(outside_hydra):
    rule, data = read_overrides(
        ["gate.against_base=higher", "gate.dims=[256,64]", "gate.margin=1e-3", "data.pairs=a.csv"]
    )
    assert rule == {"against_base": "higher", "dims": [256, 64], "margin": 0.001}
    assert data == {"pairs": "a.csv"}


@pytest.mark.slow
def test_a_group_sets_the_whole_rule_and_later_keys_change_it(outside_hydra):
    rule, _ = read_overrides(["gate=not_worse", "gate.margin=0.02"])
    assert (rule["against_champion"], rule["margin"], rule["dims"]) == ("not_worse", 0.02, None)


def test_every_diagnostic_of_the_command_line_is_reported(outside_hydra):
    with raises_diagnostics(
        ("unknown-option", "gate"),
        ("not-settable", "train.epochs"),
        ("not-sweepable", "gate.margin"),
        ("not-settable", "data"),
        ("bad-override", "gate.margin"),
        ("not-sweepable", "gate.x"),
    ) as caught:
        read_overrides(
            ["gate=standart", "train.epochs=3", "gate.margin=0.1,0.2", "data=beir", "gate.margin", "+gate.x=1"]
        )
    assert "'standard'" in caught.value.diagnostics[0].hint


def test_a_number_too_long_for_python_is_a_diagnostic():
    with raises_diagnostics(("bad-override", "gate.margin")):
        read_overrides([f"gate.margin={'9' * 5000}"])


def test_conditions_fit_80_columns():
    file = io.StringIO()
    Console(file=file, width=80).print(build_conditions(RESULT, 80))
    lines = [line.rstrip() for line in file.getvalue().splitlines()]
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["✓", "complete", "8", "of", "8", "trials"]
    assert any(line.split()[:3] == ["64", "✗", "-0.0100"] for line in lines)
    assert lines[-1].split() == ["?", "beats", "champion", "not", "evaluated"]
    assert "short by 0.0100" in " ".join(" ".join(lines).split())


def test_a_refusal_names_the_failed_conditions_and_by_how_much():
    output = describe_refusal("legal", Promotion(ModelAliases("legal", 2, None), 2, RESULT, None, ()))
    assert re.findall(r"\d+", output.splitlines()[0]) == ["2", "2", "3"], (
        "the version, how many failed, and of how many"
    )
    assert "      64: -0.0100 [-0.0245, +0.0003]: must be above +0.0000, short by 0.0100" in output.splitlines()
    assert "complete" not in output
    assert "1024" not in output

"""`embsweep recipe list | show | diff`."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from tests.texts import numbers_in
from typer.testing import CliRunner

from embsweep.cli.commands import app
from embsweep.recipes.cards import find_card, load_cards, read_queries
from embsweep.recipes.comparison import describe_queries


@pytest.fixture
def recipe():
    """Return a function that runs the command in this process; Hydra's session loader is restored afterwards."""
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    yield lambda *arguments: CliRunner().invoke(app, ["recipe", *arguments])
    state.hydra = before


def cells(output):
    """Return first word of each line → its other words."""
    return {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.strip()}


def test_list(recipe):
    result = recipe("list")
    assert result.exit_code == 0
    rows = cells(result.output)
    assert {*rows} >= {*load_cards()}
    assert rows["es_boe"][-5:] == ["21,352", "2,373", "50", "7", "2"]


@pytest.mark.slow
def test_show_derives_facts_that_the_card_omits(recipe):
    result = recipe("show", "es_boe")
    assert result.exit_code == 0, result.output
    numbers = [numbers_in(line) for line in result.output.splitlines()]
    assert [2, 7] in numbers, "the epoch saved, the epoch reported"
    assert [128, 1, 1024, 1, 768, 1, 512, 1, 256, 2, 128, 3, 64] in [line[:13] for line in numbers]
    assert [50, 7, 584, 4150, 2] in numbers, "epochs planned and evaluated, steps of each, the epoch saved"
    assert [10, 5, 40] in numbers, "% and epochs of warm-up, % of the peak"
    assert [16, 16, 256, 15, 255] in numbers, "accumulated batches, pairs, negatives"
    assert any(line[:1] == [2373] for line in numbers), "test queries"
    rows = cells(result.output)
    assert rows["1024"] == [".7216", ".6991", "+.0225", ".7324", "1"]
    assert rows["64"] == [".6200", ".6253", "-.0053", ".6274", "3"]
    assert rows["train.learning_rate"] == ["2e-05", "2e-05", "interval", "5e-06", "to", "0.0001,", "log"]
    assert rows["matryoshka"][0] == "halving"


@pytest.mark.slow
def test_show_reports_broken_judgements_if_there_are_any(recipe):
    sentences = [numbers_in(line)[:2] for line in recipe("show", "de_tax").output.splitlines()]
    assert [363, 11] in sentences, "queries with their passage among the first ten, and first"
    cards = [find_card(name) for name in ("de_tax", "ca_procedures")]
    broken, intact = (list(describe_queries(card, read_queries(card))) for card in cards)
    assert len(broken) == len(intact) + 1


@pytest.mark.slow
@pytest.mark.parametrize("name", load_cards())
def test_diff_of_the_recipe_itself(recipe, name):
    result = recipe("diff", name)
    assert result.exit_code == 0
    assert [line.split()[0] for line in result.output.splitlines() if " ≠ " in line] == ["objective"]
    assert [24, 25] in [numbers_in(line) for line in result.output.splitlines()], "facts as on the card"


@pytest.mark.slow
def test_diff_of_a_variant(recipe):
    result = recipe("diff", "es_boe", "train.epochs=3", "objective=dim_128", "train.warmup=0.0,0.1")
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines() if " ≠ " in line] == [["train.epochs", "50", "≠", "3"]]
    assert cells(result.output)["train.warmup"] == ["0.1", "=", "0.1"], "a swept key keeps the recipe's value"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["show", "es_beo"], ["NAME: ", "'es_beo'", "'es_boe'"]),
        (["diff", "de_tx"], ["NAME: ", "'de_tax'"]),
        (["diff", "es_boe", "train.epoch=3"], ["train.epoch: ", "'train.epochs'"]),
        (["diff", "es_boe", "loss=cached_mnrl"], ["train.gradient_checkpointing: "]),
        (["diff", "es_boe", "+sweep=de_tax"], ["sweep: "]),
        (["diff", "es_boe", "train.epochs=0", "modle=x"], ["modle: ", "train.epochs: "]),
        (["diff", "es_boe", "data.max_pairs=1,2"], ["data.max_pairs: "]),
    ],
)
def test_all_diagnostics_are_listed(recipe, arguments, expected):
    result = recipe(*arguments)
    assert result.exit_code == 2
    assert all(text in result.stderr for text in expected), result.stderr


@pytest.mark.slow
def test_diff_with_every_key_fixed(recipe, loader):
    fixed = ["train.learning_rate=2e-5", "train.epochs=50", "train.warmup=0.1", "matryoshka=halving"]
    result = recipe("diff", "es_boe", *fixed, "matryoshka.weight_power=0")
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_the_commands(recipe, arguments):
    output = recipe(*arguments).output
    assert all(name in output for name in ("list", "show", "diff"))

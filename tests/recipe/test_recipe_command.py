"""`embsweep recipe list | show | diff`."""

import pytest
from hydra.core.global_hydra import GlobalHydra
from typer.testing import CliRunner

from embsweep.app.cli import app
from embsweep.recipe.card import load_cards


@pytest.fixture
def recipe():
    """The command in this process; Hydra's loader of the session is put back afterwards."""
    state = GlobalHydra.instance()
    before, state.hydra = state.hydra, None
    yield lambda *arguments: CliRunner().invoke(app, ["recipe", *arguments])
    state.hydra = before


def cells(output):
    """First word of a line → its other words."""
    return {line.split()[0]: line.split()[1:] for line in output.splitlines() if line.strip()}


def test_list(recipe):
    done = recipe("list")
    assert done.exit_code == 0
    rows = cells(done.output)
    assert {*rows} >= {*load_cards()}
    assert rows["es_boe"][-5:] == ["21,352", "2,373", "50", "7", "2"]


@pytest.mark.slow
def test_show_says_what_the_card_left_out(recipe):
    done = recipe("show", "es_boe")
    assert done.exit_code == 0, done.output
    assert "saves epoch 2 and reports epoch 7" in done.output
    assert "1 for 1024, 1 for 768, 1 for 512, 1 for 256, 2 for 128, 3 for 64" in done.output
    assert "50 epochs were planned and 7 evaluated, 584 of 4,150 optimizer steps" in done.output
    assert "15 in-batch negatives for each anchor, not 255" in done.output
    assert "5 epochs: the weights that were kept come from inside it, at 40% of the peak" in done.output
    assert "2,373 test queries" in done.output
    rows = cells(done.output)
    assert rows["1024"] == [".7216", ".6991", "+.0225", ".7324", "1"]
    assert rows["64"] == [".6200", ".6253", "-.0053", ".6274", "3"]
    assert rows["train.learning_rate"] == ["2e-05", "2e-05", "interval", "5e-06", "to", "0.0001,", "log"]
    assert rows["matryoshka"][0] == "halving"


@pytest.mark.slow
def test_show_names_the_broken_judgements_where_they_are(recipe):
    assert "Of 363 queries whose passage is among the first ten, 11 have it first" in recipe("show", "de_tax").output
    assert "have it first" not in recipe("show", "ca_procedures").output


@pytest.mark.slow
@pytest.mark.parametrize("name", load_cards())
def test_diff_of_the_recipe_itself(recipe, name):
    done = recipe("diff", name)
    assert done.exit_code == 0
    assert [line.split()[0] for line in done.output.splitlines() if " ≠ " in line] == ["objective"]
    assert "23 of 24 facts as on the card; different: objective." in done.output


@pytest.mark.slow
def test_diff_of_a_variant(recipe):
    done = recipe("diff", "es_boe", "train.epochs=3", "objective=dim_128", "train.warmup=0.0,0.1")
    assert done.exit_code == 0
    assert [line.split() for line in done.output.splitlines() if " ≠ " in line] == [["train.epochs", "50", "≠", "3"]]
    assert cells(done.output)["train.warmup"] == ["0.1", "=", "0.1"], "what is swept keeps the recipe's value"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "es_beo"], ["NAME: no such recipe; got 'es_beo'", "did you mean 'es_boe'?"]),
        (["diff", "de_tx"], ["did you mean 'de_tax'?"]),
        (["diff", "es_boe", "train.epoch=3"], ["train.epoch: ", "did you mean 'train.epochs'?"]),
        (["diff", "es_boe", "loss=cached_mnrl"], ["train.gradient_checkpointing: cannot be combined"]),
        (["diff", "es_boe", "+sweep=de_tax"], ["sweep: is chosen twice"]),
        (["diff", "es_boe", "train.epochs=0", "modle=x"], ["modle: ", "train.epochs: "]),
        (["diff", "es_boe", "data.max_pairs=1,2"], ["data.max_pairs: is the same for all trials"]),
    ],
)
def test_what_is_wrong_is_listed(recipe, arguments, words):
    done = recipe(*arguments)
    assert done.exit_code == 2
    assert all(word in done.stderr for word in words), done.stderr


@pytest.mark.slow
def test_diff_with_every_key_fixed(recipe, loader):
    fixed = ["train.learning_rate=2e-5", "train.epochs=50", "train.warmup=0.1", "matryoshka=halving"]
    done = recipe("diff", "es_boe", *fixed, "matryoshka.weight_power=0")
    assert done.exit_code == 0, done.output


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_help_names_the_commands(recipe, arguments):
    output = recipe(*arguments).output
    assert all(name in output for name in ("list", "show", "diff"))

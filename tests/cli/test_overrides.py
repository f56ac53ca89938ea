"""Diagnostics of the command line: all at once, with location, accepted values and nearest spelling."""

import pytest

from embsweep.cli.composition.overrides import parse_command_line
from tests.refusals import codes_and_locations

pytestmark = pytest.mark.slow  # each test composes configurations


def check(loader, lines):
    """Return the valid overrides as text, and the diagnostics."""
    line = parse_command_line(loader, lines)
    return [override.input_line for override in line.valid], list(line.diagnostics)


@pytest.mark.parametrize(
    ("line", "where", "code"),
    [
        ("+sweep=bgem", "sweep", "unknown-option"),
        ("model=minilm6", "model", "unknown-option"),
        ("loss=mnrl,cached_mnlr", "loss", "unknown-option"),
        ("modle=minilm", "modle", "unknown-key"),
        ("train.learnig_rate=3", "train.learnig_rate", "unknown-key"),
        ("learning_rate=3", "learning_rate", "unknown-key"),
        ("+train.extra=3", "train.extra", "unknown-key"),
        ("trials=0", "trials", "unknown-key"),
        ("data.pairs=my.jsonl", "data.pairs", "inactive-key"),
        ("train.epochs=range(1", "train.epochs", "bad-override"),
        ("~train.epochs", "train.epochs", "not-settable"),
        ("~model", "model", "not-settable"),
        ("nonsense", "nonsense", "bad-override"),
        ("", "the command line", "bad-override"),
        ("=3", "the command line", "unknown-key"),
        ("sweep=bgem3", "sweep", "wrong-prefix"),
        ("+model=minilm", "model", "wrong-prefix"),
        ("model@here=minilm", "model@here", "unknown-key"),
        ("hydra/sweeper=basic", "hydra/sweeper", "not-settable"),
        ("hydra.mode=FOO", "hydra.mode", "refused-by-hydra"),
        ("hydra.foo=1", "hydra.foo", "refused-by-hydra"),
        ("hydra.verbose=true,false", "hydra.verbose", "not-sweepable"),
        ("+hydra.sweeper.params.train.epochs=1,2", "hydra.sweeper.params.train.epochs", "not-sweepable"),
        ("data.pairs=/tmp/ü.jsonl", "data.pairs", "bad-override"),
        ("objective.dim_weights={7:", "objective.dim_weights", "bad-override"),
        ("storage.paht=x", "storage.paht", "unknown-key"),
        ("zzz=3", "zzz", "unknown-key"),
    ],
)
def test_diagnostic(loader, line, where, code):
    (diagnostic,) = check(loader, [line])[1]
    assert (diagnostic.code, diagnostic.location) == (code, where)


def test_all_diagnostics_at_once_and_valid_overrides_are_returned(loader):
    lines = ["+sweep=bgem3", "train.epoch=3", "model=x", "train.epochs=3", "train.warmup=0.1,0.2", "hydra.verbose=true"]
    valid, diagnostics = check(loader, lines)
    assert codes_and_locations(diagnostics) == [("unknown-option", "model"), ("unknown-key", "train.epoch")]
    assert sorted(valid) == sorted(["+sweep=bgem3", "train.epochs=3", "train.warmup=0.1,0.2", "hydra.verbose=true"])


def test_keys_of_a_chosen_group_are_known(loader):
    assert check(loader, ["data=files", "data.pairs=my.jsonl"])[1] == []


def test_a_name_too_long_for_a_file_is_an_unknown_key(loader):
    (diagnostic,) = check(loader, [f"{'x' * 300}=1"])[1]
    assert diagnostic.code == "unknown-key"


def test_a_group_is_chosen_once(loader):
    valid, diagnostics = check(loader, ["+sweep=bgem3", "+sweep=quickstart", "model=minilm", "model=static"])
    assert valid == ["+sweep=bgem3", "model=minilm"]
    assert [(f.location, f.value) for f in diagnostics] == [("sweep", "quickstart"), ("model", "static")]


def test_a_group_inside_the_configuration_can_be_replaced(loader):
    assert check(loader, ["model@scale.rehearsal.model=static"])[1] == []


def test_of_overrides_that_exclude_each_other_the_later_one_is_reported(loader):
    valid, diagnostics = check(loader, ["storage=null", "storage.path=x", "train.epochs=2"])
    assert valid == ["storage=null", "train.epochs=2"]
    assert codes_and_locations(diagnostics) == [("conflict", "storage.path")]


def test_the_last_value_of_a_key_given_twice_applies_as_in_hydra(loader):
    assert check(loader, ["train.epochs=1", "train.epochs=2"]) == (["train.epochs=1", "train.epochs=2"], [])

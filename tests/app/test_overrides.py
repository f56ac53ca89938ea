"""The command line's faults: all at once, with places, accepted values and spellings."""

import pytest

from embsweep.app.overrides import check_overrides


@pytest.mark.parametrize(
    ("line", "where", "words"),
    [
        ("+sweep=bgem", "sweep", "did you mean 'bgem3'?"),
        ("model=minilm6", "model", "did you mean 'minilm'?"),
        ("loss=mnrl,cached_mnlr", "loss", "did you mean 'cached_mnrl'?"),
        ("modle=minilm", "modle", "did you mean 'model'?"),
        ("train.learnig_rate=3", "train.learnig_rate", "did you mean 'train.learning_rate'?"),
        ("learning_rate=3", "learning_rate", "did you mean 'train.learning_rate'?"),
        ("+train.extra=3", "train.extra", "unknown key"),
        ("trials=0", "trials", "did you mean 'search.trials'?"),
        ("data.pairs=my.jsonl", "data.pairs", "add data=files"),
        ("train.epochs=range(1", "train.epochs", "cannot be read"),
        ("~train.epochs", "train.epochs", "cannot be removed"),
        ("~model", "model", "cannot be removed"),
        ("nonsense", "nonsense", "cannot be read"),
    ],
)
def test_fault(loader, line, where, words):
    _, faults = check_overrides(loader, [line])
    assert len(faults) == 1
    assert faults[0].where == where
    assert words in str(faults[0])


def test_all_faults_at_once_and_the_good_ones_go_through(loader):
    lines = ["+sweep=bgem3", "train.epoch=3", "model=x", "train.epochs=3", "train.warmup=0.1,0.2", "hydra.verbose=true"]
    good, faults = check_overrides(loader, lines)
    assert [f.where for f in faults] == ["model", "train.epoch"]
    assert sorted(good) == sorted(["+sweep=bgem3", "train.epochs=3", "train.warmup=0.1,0.2", "hydra.verbose=true"])


def test_keys_of_a_chosen_group_are_known(loader):
    assert check_overrides(loader, ["data=files", "data.pairs=my.jsonl"])[1] == []

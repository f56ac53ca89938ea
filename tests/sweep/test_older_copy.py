"""An old copy of the ledger that is put back does not pass for the sweep's ledger."""

import pytest

from embsweep.core.errors import CodedError
from embsweep.sweep.folder import SweepFolder
from embsweep.sweep.older_copy import check_not_older
from tests.ledgers import Memory, open_search
from tests.refusals import raises_code
from tests.sweep.schedulers import SPACE


@pytest.fixture
def sweep(tmp_path):
    """Return a sweep's folder and ledger with two trials, the first in its second attempt, and one test evaluation."""
    folder = SweepFolder(tmp_path, "s")
    ledger = open_search(Memory().open(), SPACE)
    for number in range(2):
        ledger.ask()
        folder.trial(number).mkdir(parents=True)
    ledger.reopen(0)
    ledger.ask()
    (folder.trial(0) / "attempt").write_text("2")
    folder.holdout_evaluation(1).parent.mkdir()
    folder.holdout_evaluation(1).touch()
    return folder, ledger


def test_a_ledger_that_has_everything(sweep):
    folder, ledger = sweep
    (folder.trials / "lost").mkdir()
    check_not_older(folder, ledger.trials, 1)


@pytest.mark.parametrize(
    ("trials", "evaluations", "name"), [(1, 1, "trials/0001"), (2, 0, "test/evaluation-1.json"), (0, 1, "trials/0000")]
)
def test_a_trial_or_an_evaluation_that_the_ledger_lacks(sweep, trials, evaluations, name):
    folder, ledger = sweep
    with raises_code(CodedError, "older-copy") as caught:
        check_not_older(folder, ledger.trials[:trials], evaluations)
    assert str(folder.root / name) in str(caught.value)
    assert f"mv {name}" in str(caught.value)


def test_an_attempt_that_the_ledger_lacks(sweep):
    """Otherwise the fencing token of the newer attempt would end every new one."""
    folder, ledger = sweep
    (folder.trial(1) / "attempt").write_text("2")
    with raises_code(CodedError, "older-copy") as caught:
        check_not_older(folder, ledger.trials, 1)
    assert "attempt 2 of trial 1, of which it has 1" in str(caught.value)

"""Exit codes and what is printed with them."""

import pytest

from embsweep.app.terminal import exit_codes
from embsweep.errors import EmbsweepError, Fault, InputError, SweepRefused, TooManyFailures


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError([Fault("a.b", "is wrong", 3, "1 or 2", "try 1"), Fault("c", "too")]), 2, "2 things to mend"),
        (
            InputError(Fault("a.b", "is wrong", 3, "1 or 2", "try 1")),
            2,
            "a.b: is wrong; got 3; accepted: 1 or 2; try 1",
        ),
        (SweepRefused("differs"), 2, "differs"),
        (TooManyFailures("5 of 5 trials failed"), 3, "5 of 5 trials failed"),
        (EmbsweepError("altered"), 1, "altered"),
        (KeyboardInterrupt(), 130, "go on with: again"),
    ],
)
def test_exit_code_and_message(error, code, words, capsys):
    with pytest.raises(SystemExit) as caught, exit_codes(resume="again"):
        raise error
    assert caught.value.code == code
    assert words in capsys.readouterr().err


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError), exit_codes():
        raise ZeroDivisionError

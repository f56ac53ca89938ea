"""Ctrl-C around Tune, which takes the signal for itself and returns as if nothing had been."""

import os
import signal
import threading

import pytest

from embsweep.runners.ray.workarounds import detect_interrupt


@pytest.fixture(autouse=True)
def own_handler():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def like_tune(*signals):
    """As `tune.run` does: its own handler, given back only when it was used."""
    before = signal.getsignal(signal.SIGINT)

    def noted(*_):
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, noted)
    for number in signals:
        os.kill(os.getpid(), number)


def test_nothing_came_and_the_handler_is_ours_again():
    with detect_interrupt() as found:
        like_tune()
    assert not found.received
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_what_tune_swallowed_is_noticed():
    with detect_interrupt() as found:
        like_tune(signal.SIGINT)
    assert found.received


def test_one_that_tune_did_not_catch_is_noticed_too():
    with detect_interrupt() as found:
        os.kill(os.getpid(), signal.SIGINT)
    assert found.received


def test_ctrl_c_between_two_stages_is_a_ctrl_c():
    with detect_interrupt():
        like_tune()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_has_no_signals_to_notice():
    found = []

    def run():
        with detect_interrupt() as interrupts:
            pass
        found.append(interrupts.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert found == [False]

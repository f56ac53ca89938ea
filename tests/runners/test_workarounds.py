"""Detect Ctrl-C during a Tune run, which handles the signal itself and returns normally."""

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
    """Install a handler as `tune.run` does, which restores the previous one only after a signal."""
    before = signal.getsignal(signal.SIGINT)

    def handle(*_):
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, handle)
    for number in signals:
        os.kill(os.getpid(), number)


def test_without_a_signal_the_handler_is_restored():
    with detect_interrupt() as interrupts:
        like_tune()
    assert not interrupts.received
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_that_tune_handled_is_detected():
    with detect_interrupt() as interrupts:
        like_tune(signal.SIGINT)
    assert interrupts.received


def test_an_interrupt_that_tune_did_not_handle_is_detected():
    with detect_interrupt() as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
    assert interrupts.received


def test_an_interrupt_between_two_phases_is_raised():
    with detect_interrupt():
        like_tune()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_detects_no_signals():
    received = []

    def run():
        with detect_interrupt() as interrupts:
            pass
        received.append(interrupts.received)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert received == [False]

"""Ray as a guest: Ctrl-C during a Tune run, SIGTERM while Ray starts, messages of its daemons, its token's file."""

import contextlib
import os
import signal
import sys
import threading
from types import SimpleNamespace

import pytest

from embsweep.runners.ray.session import connect, raise_interrupts, restrict_token_permissions

pytestmark = pytest.mark.slow  # importing Ray takes a second


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
    with raise_interrupts():
        like_tune()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("is_handled", [True, False])
def test_an_interrupt_is_raised_whether_tune_handled_it_or_not(is_handled):
    with pytest.raises(KeyboardInterrupt), raise_interrupts():
        if is_handled:
            like_tune(signal.SIGINT)
        else:
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_interrupt_between_two_phases_is_raised():
    with raise_interrupts():
        like_tune()
    with pytest.raises(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_detects_no_signals():
    raised = []

    def run():
        try:
            with raise_interrupts():
                pass
        except KeyboardInterrupt as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert raised == []


def test_ray_still_prints_messages_of_its_daemons_with_the_function_that_we_replace():
    """The only private function of Ray that is used: if it moves, its messages would reach the terminal."""
    import inspect

    from ray._private import worker

    assert "print_to_stdstream(" in inspect.getsource(worker.listen_error_messages)
    assert list(inspect.signature(worker.print_to_stdstream).parameters) == ["data", "ignore_prefix"]


@pytest.fixture
def token_file(tmp_path, set_env):
    path = tmp_path / "token"
    set_env(RAY_AUTH_TOKEN_PATH=str(path), RAY_AUTH_TOKEN=None)
    return path


def test_a_token_file_that_others_can_read_is_made_private(token_file, caplog):
    restrict_token_permissions()
    token_file.write_text("abc")
    token_file.chmod(0o644)
    restrict_token_permissions()
    assert token_file.stat().st_mode & 0o777 == 0o600
    assert "its mode is 0600 now" in caplog.text
    caplog.clear()
    restrict_token_permissions()
    assert caplog.text == ""


def test_a_token_file_of_another_user_is_not_changed(token_file, monkeypatch, caplog):
    token_file.write_text("abc")
    token_file.chmod(0o640)
    monkeypatch.setattr("os.getuid", lambda: 4711)
    restrict_token_permissions()
    assert token_file.stat().st_mode & 0o777 == 0o640
    assert "it is not ours to change" in caplog.text


@pytest.fixture
def init(monkeypatch):
    """Replace `ray.init`: it installs a handler of SIGTERM, as Ray does, and receives SIGTERM if `is_terminated`."""
    state = SimpleNamespace(is_terminated=False)

    def fake(**_):
        signal.signal(signal.SIGTERM, lambda number, _: sys.exit(number))
        if state.is_terminated:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr("ray.init", fake)
    before = signal.getsignal(signal.SIGTERM)
    yield state
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("is_terminated", [False, True])
def test_connect_keeps_the_handler_of_sigterm(init, is_terminated):
    before, init.is_terminated = signal.getsignal(signal.SIGTERM), is_terminated
    with pytest.raises(KeyboardInterrupt) if is_terminated else contextlib.nullcontext():
        connect("local")
    assert signal.getsignal(signal.SIGTERM) is before

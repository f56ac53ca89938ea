"""A pytest plugin: fail tests that change the environment once Ray, torch or MLflow are imported.

The threads of these libraries read it. Python changes the environment through `os.putenv` and `os.unsetenv`; the plugin
wraps both. The phase of a test fails in which our code or a test adds or removes a name or replaces a value; changes by
libraries are listed at the end. A test that needs another environment uses the fixture `set_env`, or passes its own to
a child process.
"""

import collections
import contextlib
import os
import secrets
import sys
import traceback
from pathlib import Path

import _pytest.runner
import pytest

ROOT = f"{Path(__file__).resolve().parents[1]}{os.sep}"
LIBRARIES = ("ray", "torch", "mlflow")
REPLACED_BY_RAY = {"PYTHONBREAKPOINT", "RAY_AUTH_MODE"}
"""Set since the start, see `embsweep.core.environment`: replacing their values moves no memory that a thread reads."""

RAY_TOKEN = os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))
"""Token of every Ray that a test starts: no token file is read or written, and the variable need not change."""

os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "1")  # typer adds and removes it for every command

_putenv, _unsetenv = os.putenv, os.unsetenv
_state = {"changes": [], "reaches_c": True}
_by_libraries = collections.Counter()


@contextlib.contextmanager
def python_only():
    """Apply changes of `os.environ` to Python only: to `os.environ` and copies of it (`{**os.environ}`), not to C."""
    before, _state["reaches_c"] = _state["reaches_c"], False
    try:
        yield
    finally:
        _state["reaches_c"] = before


def _watched_putenv(name, value):
    if not _state["reaches_c"]:
        return
    old, new = os.environ.get(os.fsdecode(name)), os.fsdecode(value)
    if old != new and not (old is not None and os.fsdecode(name) in REPLACED_BY_RAY):
        _record_change(name, moves_names=old is None)
    _putenv(name, value)


def _watched_unsetenv(name):
    if _state["reaches_c"]:
        _record_change(name)
        _unsetenv(name)


def _record_change(name, *, moves_names=True):
    if not any(library in sys.modules for library in LIBRARIES):
        return
    frames, name = traceback.extract_stack()[:-2], os.fsdecode(name)
    file = next((frame.filename for frame in reversed(frames) if _is_origin(frame.filename)), ROOT)
    if file.startswith(ROOT) and "site-packages" not in file:  # the virtual environment may be in the repository
        _state["changes"].append((name, "".join(traceback.format_list(frames[-8:]))))
    elif moves_names:
        _by_libraries[name, Path(file).name] += 1


def _is_origin(path):
    """Return True if a file may be the origin of a change: neither Python's own nor pytest's `monkeypatch`."""
    is_stdlib = path.startswith(("<frozen", str(Path(os.__file__).parent))) and "site-packages" not in path
    return not is_stdlib and not path.endswith("_pytest/monkeypatch.py")


def _update_current_test(item, when, update=_pytest.runner._update_current_test_var):
    with python_only():
        update(item, when)


def pytest_configure():
    os.putenv, os.unsetenv = _watched_putenv, _watched_unsetenv
    _pytest.runner._update_current_test_var = _update_current_test


def pytest_unconfigure():
    os.putenv, os.unsetenv = _putenv, _unsetenv


def pytest_terminal_summary(terminalreporter):
    for (name, file), count in sorted(_by_libraries.items()):
        terminalreporter.write_line(f"{name}: changed {count} times by a library ({file}) after importing {LIBRARIES}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from _watch())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _watch())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    return (yield from _watch())


def _watch():
    _state["changes"].clear()  # made during collection, or in a phase that failed for another reason
    result = yield
    if _state["changes"]:
        changes = "\n".join(f"{name} was changed here:\n{where}" for name, where in _state["changes"])
        pytest.fail(f"the environment of this process changed after importing {LIBRARIES}: {changes}", pytrace=False)
    return result


@contextlib.contextmanager
def changed(**changes):
    """Apply `changes` to `os.environ` (None: unset), for Python only: C code of this process reads the old values."""
    with pytest.MonkeyPatch.context() as patch:
        try:
            with python_only():
                for name, value in changes.items():
                    patch.delenv(name, raising=False) if value is None else patch.setenv(name, value)
            yield
        finally:
            with python_only():
                patch.undo()


@pytest.fixture
def set_env():
    """Return `set_env(NAME="value", OTHER=None)`: see `changed`; undone after the test."""
    with contextlib.ExitStack() as stack:
        yield lambda **changes: stack.enter_context(changed(**changes))

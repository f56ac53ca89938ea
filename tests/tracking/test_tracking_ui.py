import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from tests.refusals import raises_diagnostics

from embsweep.core.errors import EmbsweepError
from embsweep.tracking import ui
from embsweep.tracking.ui import find_port, run_ui

pytestmark = pytest.mark.slow

SERVE = """
import sys; from pathlib import Path; from embsweep.cli.console import exit_codes
from embsweep.tracking.ui import run_ui
with exit_codes():
    run_ui(Path(sys.argv[1]), None, port=0, on_ready=lambda link: print(link, flush=True))
"""


def test_a_used_port_is_bad_input():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with raises_diagnostics(("bad-port", "--port")):
            find_port(taken.getsockname()[1])


def test_port_zero_selects_a_free_port():
    assert find_port(find_port(0)) > 1023


def test_a_port_out_of_range_is_bad_input():
    with raises_diagnostics(("bad-port", "--port")):
        find_port(70_000)


def test_a_tracking_server_is_refused(tmp_path):
    with raises_diagnostics(("not-local", "tracking.uri")) as caught:
        run_ui(tmp_path, "http://ann:hunter2@host", port=0)
    assert "hunter2" not in str(caught.value)


def test_a_missing_store_is_refused(tmp_path):
    with raises_diagnostics(("missing-file", "tracking.uri")):
        run_ui(tmp_path, None, port=0)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_cannot_start_shows_the_end_of_its_log(root, store, monkeypatch):
    failing = "import sys; sys.exit('no server: postgresql://ann:hunter2@db')"
    monkeypatch.setattr(ui, "ui_command", lambda *_: [sys.executable, "-c", failing])
    with pytest.raises(EmbsweepError, match="no server") as caught:
        run_ui(root, None, port=0, on_ready=pytest.fail)
    assert "hunter2" not in str(caught.value)


def _children(pid):
    pids = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(status.read_text().rsplit(")", 1)[1].split()[1])
        except OSError:
            continue
        if parent == pid:
            pids += [int(status.parent.name), *_children(int(status.parent.name))]
    return pids


@pytest.mark.nightly
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_ui_prints_nothing_else_and_leaves_no_process(root, sweep, signal_number):
    before = set(root.iterdir())
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, str(root)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        url, _, _ = process.stdout.readline().partition("?")
        with urllib.request.urlopen(f"{url}health") as answer:
            assert answer.status == 200
        children = _children(process.pid)
        assert children
        process.send_signal(signal_number)
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert (process.returncode, out, err) == (0, "", "")
    deadline = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in children) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not [pid for pid in children if Path(f"/proc/{pid}").exists()]
    assert set(root.iterdir()) == before

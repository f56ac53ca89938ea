"""Every server that embsweep starts listens on the loopback interface and nowhere else: asked of the system."""

import ipaddress
import os
import signal
import subprocess
import sys

import psutil
import pytest

from embsweep.tracking.store import open_store
from embsweep.tracking.ui import ui_command, ui_environment

pytestmark = pytest.mark.slow


def listening(pid):
    """(name, address) of everything that a process, or one that it has started, listens on."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [(p.name(), c.laddr.ip) for p in family for c in p.net_connections("inet") if c.status == "LISTEN"]


def is_loopback(address):
    found = ipaddress.ip_address(address)
    return (getattr(found, "ipv4_mapped", None) or found).is_loopback


def _pid():
    return os.getpid()


@pytest.mark.ray
def test_ray(ray_session):
    """Its daemons, its workers and this process as the driver of both."""
    import ray

    worker = ray.get(ray.remote(_pid).remote())
    found = listening(os.getpid())
    assert {"raylet", "gcs_server"} <= {name for name, _ in found}, "the test looks in the wrong place"
    assert worker in {process.pid for process in psutil.Process().children(recursive=True)}
    assert [(name, address) for name, address in found if not is_loopback(address)] == []


def test_the_ui(tmp_path):
    open_store(tmp_path, uri=None, experiment="x")
    process = subprocess.Popen(
        [sys.executable, "-m", "embsweep.cli.commands", "ui", "--port", "0", "--storage", str(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "http://127.0.0.1:" in process.stdout.readline()
        found = listening(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert found
    assert all(is_loopback(address) for _, address in found), found


def test_a_password_of_the_store_is_not_on_the_uis_command_line(tmp_path):
    uri = "postgresql://ann:hunter2@db.example.com/mlflow"
    assert "hunter2" not in " ".join(ui_command(tmp_path, uri, 5000))
    assert ui_environment(tmp_path, uri)["MLFLOW_BACKEND_STORE_URI"] == uri

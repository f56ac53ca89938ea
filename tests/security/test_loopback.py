"""Every server that embsweep starts listens on the loopback interface only, according to the operating system."""

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


def list_listeners(pid):
    """Return (name, address) of every socket on which a process or one of its descendants listens."""
    family = [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]
    return [(p.name(), c.laddr.ip) for p in family for c in p.net_connections("inet") if c.status == "LISTEN"]


def is_loopback(address):
    parsed = ipaddress.ip_address(address)
    return (getattr(parsed, "ipv4_mapped", None) or parsed).is_loopback


def _pid():
    return os.getpid()


@pytest.mark.ray
def test_ray(ray_session):
    """Check the daemons, the workers and this process, which is the driver."""
    import ray

    worker = ray.get(ray.remote(_pid).remote())
    listeners = list_listeners(os.getpid())
    assert {"raylet", "gcs_server"} <= {name for name, _ in listeners}, "the test does not find Ray's servers"
    assert worker in {process.pid for process in psutil.Process().children(recursive=True)}
    assert [(name, address) for name, address in listeners if not is_loopback(address)] == []


def test_the_ui(tmp_path):
    open_store(tmp_path, uri=None, experiment="x")
    process = subprocess.Popen(
        [sys.executable, "-m", "embsweep.cli.commands", "ui", "--port", "0", "--storage", str(tmp_path)],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert "http://127.0.0.1:" in process.stdout.readline()
        listeners = list_listeners(process.pid)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=30)
    assert listeners
    assert all(is_loopback(address) for _, address in listeners), listeners


def test_a_password_of_the_store_is_not_on_the_uis_command_line(tmp_path):
    uri = "postgresql://ann:hunter2@db.example.com/mlflow"
    assert "hunter2" not in " ".join(ui_command(tmp_path, uri, 5000))
    assert ui_environment(uri)["MLFLOW_BACKEND_STORE_URI"] == uri

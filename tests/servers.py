"""A real MLflow server for tests that can be stopped and started again at the same address."""

import os
import subprocess
import sys
import time
import urllib.request

from embsweep.tracking.ui import find_port


class MlflowServer:
    """A server with its own artifact store, as a team would run it; its database is a file in `folder`."""

    def __init__(self, folder):
        self.folder = folder
        self.port = find_port(0)
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.kill()

    def start(self):
        """Start the server and wait until it responds."""
        command = [sys.executable, "-m", "mlflow", "server", "--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # not needed here
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdout=log, stderr=log, start_new_session=True
            )
        self._wait_until_ready()

    def kill(self):
        """Stop the server and its workers."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(30)
            self.process = None

    def _wait_until_ready(self):
        deadline = time.monotonic() + 120  # takes seconds on an idle machine, half a minute on a busy one
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"{self.url}/health", timeout=5):
                    return
            except OSError:
                time.sleep(0.3)
        raise AssertionError((self.folder / "server.log").read_text())

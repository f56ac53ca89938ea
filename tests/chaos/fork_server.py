"""Fork drivers from a process that has imported everything, so that no driver has to import again.

Each driver is a process of its own, leads a session, and can be killed like any other. The fork server itself never
runs a sweep and has no threads, so that a fork of it is equivalent to a new process.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from tests.processes import is_alive

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class ExitResult:
    """Result of a driver that has ended: exit code (-9 for SIGKILL), output, duration in seconds."""

    code: int
    output: str
    duration_s: float


class Driver:
    """A running driver, forked by the fork server or started as a program."""

    def __init__(self, pid, output, wait):
        self.pid = pid
        self._output = output
        self._wait = wait
        self._begun = time.monotonic()

    @property
    def output(self):
        """Output so far."""
        return self._output.read_text("utf-8", errors="replace") if self._output.exists() else ""

    def wait_for(self, words, timeout_s=120):
        """Wait until `words` were printed or the driver has ended."""
        end = time.monotonic() + timeout_s
        while words not in self.output and is_alive(self.pid):
            assert time.monotonic() < end, self.output
            time.sleep(0.02)

    def send(self, number):
        """Send a signal to the driver."""
        os.kill(self.pid, number)

    def wait(self, timeout_s=300):
        """Wait until the driver ends; if it does not, kill it and raise AssertionError."""
        code = self._wait(timeout_s)
        return ExitResult(code, self.output, time.monotonic() - self._begun)


class ForkServer:
    """The process that forks drivers, as a context manager."""

    def __init__(self):
        self._count = 0

    def __enter__(self):
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.fork_server"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env=environment,
        )  # fmt: skip
        assert self._process.stdout.readline().strip() == "ready"
        return self

    def __exit__(self, *_):
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()

    def start(self, sandbox, *arguments, **settings):
        """Start a driver of the sweep in `sandbox`; `settings` are those of `driver`."""
        self._count += 1
        output = sandbox.root / f"driver-{os.getpid()}-{self._count:03d}.txt"
        request = {
            "settings": {"trace": str(sandbox.trace), **settings},
            "arguments": sandbox.arguments(*arguments),
            "output": str(output),
        }
        self._send(request)
        pid = int(self._receive())
        return Driver(pid, output, lambda timeout_s: self._wait(pid, timeout_s))

    def run(self, sandbox, *arguments, **settings):
        """Start a driver and wait until it ends."""
        return self.start(sandbox, *arguments, **settings).wait()

    def _wait(self, pid, timeout_s):
        self._send({"wait": pid, "timeout_s": timeout_s})
        code = self._receive()
        assert code != "late", "the driver did not end in time"
        return int(code)

    def _send(self, request):
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()

    def _receive(self):
        return self._process.stdout.readline().strip()


def start_program(sandbox, *arguments, **settings):
    """Start the same driver in a new Python process with all its imports, as a user does."""
    output = sandbox.root / f"program-{time.monotonic_ns()}.txt"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}
    settings = json.dumps({"trace": str(sandbox.trace), **settings})
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos.driver", settings, *sandbox.arguments(*arguments)],
            stdout=file, stderr=subprocess.STDOUT, cwd=ROOT, env=environment, start_new_session=True,
        )  # fmt: skip

    def wait(timeout_s):
        try:
            return process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    return Driver(process.pid, output, wait)


def serve():
    """Fork a driver for each request on stdin and write its pid; for a wait request, write its exit code.

    Drivers that are still running when stdin ends, or at Ctrl-C, are killed.
    """
    replies = os.fdopen(os.dup(1), "w", buffering=1)
    _import_everything()
    from tests.chaos.driver import warm_up

    gc.collect()
    gc.freeze()  # objects shared by all forks are not scanned again by the garbage collector of each fork
    replies.write("ready\n")
    alive, mine = set(), os.getpid()
    try:
        for line in sys.stdin:
            request = json.loads(line)
            if "wait" in request:
                replies.write(f"{_wait(request['wait'], request['timeout_s'])}\n")
                alive.discard(request["wait"])
                continue
            warm_up(request["arguments"])
            pid = os.fork()
            if pid == 0:
                replies.close()
                _run_driver(request)
            alive.add(pid)
            replies.write(f"{pid}\n")
    except KeyboardInterrupt:
        pass
    finally:
        for pid in alive if os.getpid() == mine else ():
            os.kill(pid, signal.SIGKILL)


def _import_everything():
    from embsweep.cli.console import quiet_environment

    quiet_environment()
    import mlflow.sentence_transformers  # noqa: F401
    import sentence_transformers  # noqa: F401
    from sentence_transformers.sentence_transformer import losses, training_args  # noqa: F401

    import embsweep.cli.main
    import embsweep.evaluation.bm25
    import embsweep.reports.card.build
    import embsweep.reports.summary
    import embsweep.runners.inline
    import embsweep.sweep.run
    import embsweep.tracking.store
    import embsweep.training.callback  # noqa: F401
    from tests.chaos import crash_points, driver, scripted  # noqa: F401


def _run_driver(request):
    """Run a driver in this forked process; never returns."""
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        output = os.open(request["output"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        from tests.chaos import driver

        run = driver.run if request["settings"].get("with_hydra") else driver.run_warm
        run(request["settings"], request["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        import atexit

        atexit._run_exitfuncs()
        os._exit(code)


def _wait(pid, timeout_s):
    end = time.monotonic() + timeout_s
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            return "late"
        time.sleep(0.02)


if __name__ == "__main__":
    serve()

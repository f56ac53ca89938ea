"""The driver of a scripted sweep: `run_sweep.py` itself, except for the training and the injected faults.

`python -m tests.chaos.driver <settings as JSON> <arguments of run_sweep.py>`. Settings:

- `die` [part, number]: SIGKILL at that crash point.
- `fill` [part, number, file]: at that crash point, fill the disk with that file.
- `signal` [part, number, signal]: send that signal to itself at that crash point.
- `lose_answers`: seed of the requests to MLflow, and of the answers, that are lost.
- `clock_s`: offset of the clock.
- `crash_points`: file for the number of crash points in each part.
- `watch_disk`: file for the largest number of folders with weights and with states.
- `plan`: faults of trials, see `scripted`.
- `trace`: file that gets a line for every trained interval.
- `real_verification`: verify the winner in a fresh process.
- `ignore_sigint`: start with SIGINT ignored, as shells start background jobs of scripts.
- `shutdown_timeout_s`: how long a graceful exit may take.
- `without_torch`: trials report and train nothing, for tests of Ray.
- `with_hydra`: start a forked driver through Hydra too.
"""

import atexit
import contextlib
import dataclasses
import functools
import json
import os
import random
import signal
import sys
import threading
import time
from pathlib import Path

from tests.chaos.sandbox import NAME


def prepare(settings):
    """Install the scripted training and the faults."""
    from embsweep.cli import signals
    from embsweep.runners import base
    from embsweep.sweep import context
    from tests.chaos import scripted

    os.environ[scripted.PLAN] = json.dumps(settings.get("plan", {}))
    if "trace" in settings:
        os.environ[scripted.TRACE] = settings["trace"]
    context.run_trial = scripted.run_without_torch if settings.get("without_torch") else scripted.run_scripted
    if "shutdown_timeout_s" in settings:
        signals.SHUTDOWN_TIMEOUT_S = settings["shutdown_timeout_s"]
    if not settings.get("real_verification"):
        base.Runner.call = lambda _, function, *args, in_new_process=True, **kwargs: function(*args, **kwargs)
    if "clock_s" in settings:
        _set_clock(settings["clock_s"])
    if "lose_answers" in settings:
        _lose_answers(random.Random(settings["lose_answers"]))
    _install_crash_points(settings)


def _lose_answers(rng):
    """Lose every fifth request to MLflow, and every fifth answer, in the thread that writes the runs."""
    from mlflow import MlflowClient

    from embsweep.tracking import sync
    from tests.tracking.fake_mlflow import REQUESTS

    def lossy(request):
        def send(*args, **kwargs):
            lost = None if threading.current_thread() is threading.main_thread() else rng.randrange(5)
            if lost == 0:
                raise ConnectionError("the request was lost")
            answer = request(*args, **kwargs)
            if lost == 1:
                raise ConnectionError("the answer was lost")
            return answer

        return send

    for name in REQUESTS:
        setattr(MlflowClient, name, lossy(getattr(MlflowClient, name)))
    sync._FIRST_PAUSE_S = sync._LONGEST_PAUSE_S = 0.02


def _install_crash_points(settings):

    from embsweep.sweep import run, winner
    from embsweep.sweep.scheduler import SweepScheduler
    from embsweep.training import callback
    from tests.chaos.crash_points import CrashPoints

    crash_points = CrashPoints()
    for method in ("suggest", "on_trial_start", "on_trial_result", "on_trial_complete"):
        crash_points.watch(SweepScheduler, method, method)
    crash_points.watch(callback, "save_state", "state")
    crash_points.watch(callback, "save_checkpoint", "checkpoint")
    crash_points.watch(run, "confirm_finalists", "confirmation")
    crash_points.watch(run, "finalize_sweep", "finalization")
    crash_points.watch(winner, "evaluate_on_test", "test")
    crash_points.watch(winner, "register", "registration")
    crash_points.watch(winner, "atomic_write", "evidence")
    crash_points.install()
    if "die" in settings:
        crash_points.crash_at(*settings["die"])
    if "signal" in settings:
        part, number, sent = settings["signal"]
        crash_points.crash_at(part, number, lambda: os.kill(os.getpid(), sent))
    if "fill" in settings:
        part, number, ballast = settings["fill"]
        crash_points.crash_at(part, number, lambda: fill_disk(Path(ballast)))
    if "watch_disk" in settings:
        _watch_disk(crash_points, Path(settings["watch_disk"]))
    if "crash_points" in settings:
        path = Path(settings["crash_points"])
        atexit.register(lambda: path.write_text(json.dumps(crash_points.counts)))


def _watch_disk(crash_points, path):
    """Write to `path` the largest number of folders with weights, and with states, at any one time, and their bytes."""
    from embsweep.sweep.folder import SweepFolder

    most = {"weights": 0, "states": 0, "bytes": 0}
    trials = SweepFolder(Path(_find_storage()), NAME).trials

    def count():
        if threading.current_thread() is not threading.main_thread():
            return  # a folder that the trial renames during the count would be counted twice
        counts = {"weights": 0, "states": 0, "bytes": 0}
        for kind, name in (("weights", "best"), ("states", "state")):
            for folder in (*trials.rglob(name), *trials.rglob(f".{name}.*")):
                counts[kind] += 1
                counts["bytes"] += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        for name, value in counts.items():
            most[name] = max(most[name], value)

    crash_points.on_each = count
    atexit.register(lambda: path.write_text(json.dumps(most)))


def _find_storage():
    (path,) = (a.partition("=")[2] for a in sys.argv if a.startswith("storage.path="))
    return path


def fill_disk(ballast):
    """Write to `ballast` until its disk is full; removing the file frees it."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (2**16, 2**12, 1):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, bytes(size))
    os.close(descriptor)


def _set_clock(offset_s):
    """Shift the wall clock of this process, for Python's `time` and for the times that Optuna records of a trial."""
    import datetime

    from optuna.storages._rdb import storage

    real_time, real_datetime = time.time, datetime.datetime

    class Shifted(real_datetime):
        @classmethod
        def now(cls, tz=None):
            return real_datetime.now(tz) + datetime.timedelta(seconds=offset_s)

    time.time = lambda: real_time() + offset_s
    storage.datetime = Shifted


def run(settings, arguments):
    """Run `python run_sweep.py arguments` in this process; ends with SystemExit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["run_sweep.py", *arguments]
    prepare(settings)
    from embsweep.cli.main import main

    main()


def run_warm(settings, arguments):
    """Run the same without Hydra's own start, which takes two seconds and writes nothing; needs `warm_up` before."""
    if settings.get("ignore_sigint"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.argv = ["run_sweep.py", *arguments]
    prepare(settings)
    from embsweep.cli import main

    with main.exit_codes(resume=main._command()):
        main._run(dataclasses.replace(_requests[tuple(arguments)], command=main._command()))


_requests = {}


def warm_up(arguments):
    """Build the request of `arguments` once, and determine the list of installed packages once."""
    from embsweep.cli.composition.compose import config_loader
    from embsweep.cli.composition.request import read_request
    from embsweep.sweep import run_metadata

    if not hasattr(run_metadata.describe_packages, "cache_info"):
        run_metadata.describe_packages = functools.cache(run_metadata.describe_packages)
        run_metadata.describe_packages()
    if tuple(arguments) not in _requests:
        with config_loader() as loader:
            _requests[tuple(arguments)] = read_request(loader, arguments, "")


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), sys.argv[2:])

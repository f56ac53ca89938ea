"""The driver of a scripted sweep: `run_sweep.py` itself, but for the training and for what is to go wrong.

`python -m tests.chaos.driver <settings as JSON> <arguments of run_sweep.py>`. Settings:
`die` [part, number] (SIGKILL at that moment),
`fill` [part, number, file] (that file fills its disk), `signal` [part, number, signal],
`clock_s` (the clock is off by so much),
`moments` (a file that gets the number of moments in each part), `plan` (see `scripted`), `trace`, `real_proof`,
`ignore_sigint` (as shells start what a script puts into the background),
`patience_s` (how long an orderly end may take), `without_torch` (trials that report and train
nothing, for tests of Ray),
`with_hydra` (behind Hydra in a forked driver too).
"""

import atexit
import contextlib
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path

from tests.chaos.sandbox import NAME


def prepare(settings):
    """Put the scripted training and the faults in place."""
    from embsweep.cli import signals
    from embsweep.sweep import context, holdout
    from tests.chaos import scripted

    os.environ[scripted.PLAN] = json.dumps(settings.get("plan", {}))
    if "trace" in settings:
        os.environ[scripted.TRACE] = settings["trace"]
    context.run_trial = scripted.run_without_torch if settings.get("without_torch") else scripted.run_scripted
    if "patience_s" in settings:
        signals.SHUTDOWN_TIMEOUT_S = settings["patience_s"]
    if not settings.get("real_proof"):
        holdout.select_call = lambda *_: lambda function, *args, **kwargs: function(*args, **kwargs)
    if "clock_s" in settings:
        _set_clock(settings["clock_s"])
    _watch(settings)


def _watch(settings):
    from embsweep.sweep import run, winner
    from embsweep.sweep.scheduler import SweepScheduler
    from embsweep.tracking.tracker import Tracker
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
    crash_points.watch(winner, "_register", "registration")
    crash_points.watch(Tracker, "finish", "close")
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
    """Note in `path` the most folders with weights, and with states, that there ever were at once, and their bytes."""
    from embsweep.sweep.folder import SweepFolder

    most = {"weights": 0, "states": 0, "bytes": 0}
    trials = SweepFolder(Path(_find_storage()), NAME).trials

    def look():
        if threading.current_thread() is not threading.main_thread():
            return  # a folder that the trial renames under the look would be counted twice
        counts = {"weights": 0, "states": 0, "bytes": 0}
        for kind, name in (("weights", "best"), ("states", "state")):
            for folder in (*trials.rglob(name), *trials.rglob(f".{name}.*")):
                counts[kind] += 1
                counts["bytes"] += sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
        for name, value in counts.items():
            most[name] = max(most[name], value)

    crash_points.at_each = look
    atexit.register(lambda: path.write_text(json.dumps(most)))


def _find_storage():
    (found,) = (a.partition("=")[2] for a in sys.argv if a.startswith("storage.path="))
    return found


def fill_disk(ballast):
    """Leave no byte on the disk of `ballast`; removing it gives them back."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for size in (2**16, 2**12, 1):
        with contextlib.suppress(OSError):
            while True:
                os.write(descriptor, bytes(size))
    os.close(descriptor)


def _set_clock(offset_s):
    """The wall clock of this process, for Python's `time` and for what Optuna notes of a trial."""
    import datetime

    from optuna.storages._rdb import storage

    real, crash_point = time.time, datetime.datetime

    class Shifted(crash_point):
        @classmethod
        def now(cls, tz=None):
            return crash_point.now(tz) + datetime.timedelta(seconds=offset_s)

    time.time = lambda: real() + offset_s
    storage.datetime = Shifted


def run(settings, arguments):
    """As `python run_sweep.py arguments`; leaves through SystemExit."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = ["run_sweep.py", *arguments]
    prepare(settings)
    from embsweep.cli.main import main

    main()


def run_warm(settings, arguments):
    """The same behind Hydra, which takes two seconds and touches nothing: in a process that `warm_up` was called in."""
    if settings.get("ignore_sigint"):
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.argv = ["run_sweep.py", *arguments]
    prepare(settings)
    from embsweep.cli.composition.compose import config_loader
    from embsweep.cli.main import run_from_hydra

    with config_loader() as loader:
        run_from_hydra(loader, arguments)


SWEPT = ("train.learning_rate", "matryoshka.weight_power")
_composed = {}
_points = {}


def warm_up(arguments):
    """Compose the recipe of `arguments` once; its points are put into copies of it from now on.

    What is installed is looked up once too.
    """
    import copy
    import functools

    from omegaconf import OmegaConf

    from embsweep.cli.composition import request
    from embsweep.cli.composition.compose import compose, config_loader
    from embsweep.sweep import run_metadata

    def compose_quickly(loader, overrides):
        split = [override.partition("=") for override in overrides]
        fixed = tuple(f"{key}={value}" for key, _, value in split if key not in SWEPT)
        if fixed not in _composed:
            _composed[fixed] = compose(loader, list(fixed))
        point = tuple(overrides)
        if point not in _points:
            _points[point] = copy.deepcopy(_composed[fixed])
            for key, _, value in split:
                if key in SWEPT:
                    OmegaConf.update(_points[point], key, float(value))
        return _points[point]

    request.compose = compose_quickly
    if not hasattr(run_metadata.describe_packages, "cache_info"):
        run_metadata.describe_packages = functools.cache(run_metadata.describe_packages)
        run_metadata.describe_packages()
    with config_loader() as loader:
        request.parse_request(loader, arguments, "")


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), sys.argv[2:])

"""What can happen to a sweep, as functions: each one starts the driver, does its worst, and gives back how it ended.

`FAULTS` is the registry that the chaos run draws from; a new fault is one more function in it.
"""

import os
import random
import shutil
import signal
import sqlite3
import time
from dataclasses import dataclass, field

from tests.chaos.fork_server import ForkServer
from tests.chaos.sandbox import Sandbox

EVENTS = ("suggest", "on_trial_start", "on_trial_result", "on_trial_complete")
PARTS = ("start", "publisher", *EVENTS, "state", "checkpoint")
LAST_PARTS = ("confirmation", "finalization", "test", "registration")
INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass
class Chaos:
    """A sweep that things happen to: where, with which arguments and settings, and what has happened so far."""

    rng: random.Random
    sandbox: Sandbox
    fork_server: ForkServer
    arguments: tuple = ()
    settings: dict = field(default_factory=dict)
    events: list = field(default_factory=list)

    def run(self, **settings):
        """One life of the driver."""
        return self.fork_server.run(self.sandbox, *self.arguments, **{**self.settings, **settings})

    def start(self, **settings):
        """The same, while it lives."""
        return self.fork_server.start(self.sandbox, *self.arguments, **{**self.settings, **settings})

    def note(self, what):
        """For the record of this run."""
        self.events.append(what)


def kill_at_a_moment(chaos):
    """SIGKILL before some change of the disk, whatever is going on."""
    number = chaos.rng.randint(1, 900)
    chaos.note(f"SIGKILL at moment {number}")
    return chaos.run(die=["any", number])


def kill_in_a_part(chaos):
    """SIGKILL in the middle of a named step."""
    part, number = chaos.rng.choice(PARTS), chaos.rng.randint(1, 60)
    chaos.note(f"SIGKILL at moment {number} of {part}")
    return chaos.run(die=[part, number])


def kill_near_the_end(chaos):
    """SIGKILL once everything is trained; what comes before is run."""
    part, number = chaos.rng.choice((*LAST_PARTS, "close")), chaos.rng.randint(1, 60)
    chaos.note(f"SIGKILL at moment {number} of {part}")
    return chaos.run(die=[part, number])


def kill_from_outside(chaos):
    """SIGKILL after some seconds."""
    delay_s = chaos.rng.uniform(0.1, 6)
    chaos.note(f"SIGKILL after {delay_s:.1f} s")
    driver = chaos.start()
    time.sleep(delay_s)
    _send(driver, signal.SIGKILL)
    return driver.wait()


def interrupt(chaos):
    """SIGINT or SIGTERM: it leaves in order, and says how to go on."""
    sent = chaos.rng.choice([signal.SIGINT, signal.SIGTERM])
    part, number = chaos.rng.choice(PARTS[1:]), chaos.rng.randint(1, 100)
    chaos.note(f"{sent.name} at moment {number} of {part}")
    left = chaos.run(signal=[part, number, int(sent)])
    check_left(left, sent)
    return left


def interrupt_twice(chaos):
    """Two signals, one after the other."""
    sent, delay_s = chaos.rng.choice([signal.SIGINT, signal.SIGTERM]), chaos.rng.uniform(1, 5)
    chaos.note(f"twice {sent.name} after {delay_s:.1f} s")
    driver = chaos.start()
    driver.wait_for("starts")
    time.sleep(delay_s / 2)
    _send(driver, sent)
    time.sleep(0.05)
    _send(driver, signal.SIGINT)
    left = driver.wait()
    check_left(left, sent)
    return left


def check_left(left, sent):
    """A driver that a signal has reached leaves with the signal's code and the command that goes on."""
    if left.code == 0:
        return  # it was done before
    assert left.code == INTERRUPTED[sent], f"exit code {left.code}:\n{left.output}"
    assert "go on with:" in left.output, left.output
    assert not has_traceback(left.output), left.output


def has_traceback(output):
    """Whether a traceback was printed, but for one that Python prints where an interrupt meets its garbage collector.

    It swallows the KeyboardInterrupt then; the driver leaves once its patience is over.
    """
    return "Traceback" in output and "Exception ignored in" not in output


def tear_the_state(chaos):
    """SIGKILL between two evaluations, then a file of the trial's state is spoiled, perhaps one of that before too."""
    left = chaos.run(die=["on_trial_result", chaos.rng.randint(20, 100)])
    for state in ("state", "previous/state")[: chaos.rng.randint(1, 2)]:
        files = [
            path for path in chaos.sandbox.folder.glob(f"*/*/{state}/**/*") if path.is_file() and path.stat().st_size
        ]
        if files:
            path = chaos.rng.choice(sorted(files))
            chaos.note(f"garbage in {path.relative_to(chaos.sandbox.folder)}")
            _spoil(path, chaos.rng)
    return left


def tear_the_outbox(chaos):
    """SIGKILL, and the outbox ends in the middle of a line."""
    left = chaos.run(die=["any", chaos.rng.randint(300, 1500)])
    path = chaos.sandbox.folder / "outbox" / "entries.jsonl"
    if path.exists():
        chaos.note("half a line in the outbox")
        with path.open("ab") as file:
            file.write(b'0123456789abcdef {"call": "log_rep')
    return left


def cut_the_outbox(chaos):
    """SIGKILL, and the outbox has lost its end or is gone: what MLflow may have been told, and what it may not."""
    left = chaos.run(die=["any", chaos.rng.randint(300, 1500)])
    path = chaos.sandbox.folder / "outbox" / "entries.jsonl"
    if path.exists() and chaos.rng.random() < 0.25:
        chaos.note("the outbox is gone")
        shutil.rmtree(path.parent)
    elif path.exists():
        lost = min(chaos.rng.choice([20, 500, 5000]), path.stat().st_size)
        chaos.note(f"{lost} bytes less in the outbox")
        os.truncate(path, path.stat().st_size - lost)
    return left


def lock_the_ledger(chaos):
    """Another program holds the ledger for some seconds."""
    return _lock(chaos, chaos.sandbox.ledger, "the ledger")


def lock_the_store(chaos):
    """Another program holds MLflow's database for some seconds."""
    return _lock(chaos, chaos.sandbox.storage / "mlflow.db", "mlflow.db")


def set_the_clock_back(chaos):
    """The clock is an hour or more behind, and the driver is killed."""
    offset_s = -chaos.rng.choice([3600, 7200, 86400])
    chaos.note(f"the clock is {-offset_s} s behind")
    return chaos.run(clock_s=offset_s, die=["any", chaos.rng.randint(300, 1500)])


FAULTS = [
    kill_at_a_moment,
    kill_in_a_part,
    kill_near_the_end,
    kill_from_outside,
    interrupt,
    interrupt_twice,
    tear_the_state,
    tear_the_outbox,
    cut_the_outbox,
    lock_the_ledger,
    lock_the_store,
    set_the_clock_back,
]


def _lock(chaos, path, name):
    seconds = chaos.rng.uniform(1, 4)
    chaos.note(f"{name} locked for {seconds:.1f} s, then SIGKILL")
    driver = chaos.start(die=["any", chaos.rng.randint(300, 1500)])
    driver.wait_for("starts")
    if path.exists():
        hold_lock(path, seconds)
    return driver.wait()


def hold_lock(path, seconds):
    """Nobody else reads or writes the database at `path` for so long."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _spoil(path, rng):
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        path.write_bytes(data[: len(data) // 2])
        return
    place = rng.randrange(len(data))
    data[place] ^= 0xFF
    path.write_bytes(data)


def _send(driver, number):
    try:
        driver.send(number)
    except ProcessLookupError:
        return


def draw_plan(rng, trials):
    """Faults of trials, the same in every life: number → what goes wrong behind its first evaluation."""
    kinds = ["nan", "nan objective", "raise", "oom"]
    numbers = rng.sample(range(1, trials), min(len(kinds), trials - 2))
    return {str(number): kind for number, kind in zip(numbers, kinds, strict=False)}

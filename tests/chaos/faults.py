"""Injectable faults: each function starts the driver, injects its fault and returns the driver's exit result.

`FAULTS` is the registry that the chaos run draws from; a new fault is one more function in it.
"""

import random
import signal
import sqlite3
import time
from dataclasses import dataclass, field

from embsweep.search.read import read_metadata
from tests.chaos.fork_server import ForkServer
from tests.chaos.sandbox import Sandbox

EVENTS = ("suggest", "on_trial_start", "on_trial_result", "on_trial_complete")
PARTS = ("start", "mlflow", *EVENTS, "state", "checkpoint")
LAST_PARTS = ("confirmation", "finalization", "test", "registration", "evidence")
INTERRUPTED = {signal.SIGINT: 130, signal.SIGTERM: 143}


@dataclass
class Chaos:
    """A sweep with injected faults: its sandbox, arguments and settings, and the events so far."""

    rng: random.Random
    sandbox: Sandbox
    fork_server: ForkServer
    arguments: tuple = ()
    settings: dict = field(default_factory=dict)
    events: list = field(default_factory=list)

    def run(self, **settings):
        """Run the driver until it ends."""
        return self.fork_server.run(self.sandbox, *self.arguments, **{**self.settings, **settings})

    def start(self, **settings):
        """Start the driver."""
        return self.fork_server.start(self.sandbox, *self.arguments, **{**self.settings, **settings})

    def note(self, event):
        """Append to the events of this run."""
        self.events.append(event)


def kill_at_a_crash_point(chaos):
    """Send SIGKILL before some change of the disk, in any part."""
    number = chaos.rng.randint(1, 900)
    chaos.note(f"SIGKILL at crash point {number}")
    return chaos.run(die=["any", number])


def kill_in_a_part(chaos):
    """Send SIGKILL inside a named part."""
    part, number = chaos.rng.choice(PARTS), chaos.rng.randint(1, 60)
    chaos.note(f"SIGKILL at crash point {number} of {part}")
    return chaos.run(die=[part, number])


def kill_near_the_end(chaos):
    """Send SIGKILL in a part after the training; the driver runs everything before it."""
    part, number = chaos.rng.choice(LAST_PARTS), chaos.rng.randint(1, 60)
    chaos.note(f"SIGKILL at crash point {number} of {part}")
    return chaos.run(die=[part, number])


def kill_from_outside(chaos):
    """Send SIGKILL after some seconds."""
    delay_s = chaos.rng.uniform(0.1, 6)
    chaos.note(f"SIGKILL after {delay_s:.1f} s")
    driver = chaos.start()
    time.sleep(delay_s)
    _send(driver, signal.SIGKILL)
    return driver.wait()


def interrupt(chaos):
    """Send SIGINT or SIGTERM: the driver exits gracefully and prints the command that resumes."""
    sent = chaos.rng.choice([signal.SIGINT, signal.SIGTERM])
    part, number = chaos.rng.choice(PARTS[1:]), chaos.rng.randint(1, 100)
    chaos.note(f"{sent.name} at crash point {number} of {part}")
    result = chaos.run(signal=[part, number, int(sent)])
    check_exit(result, sent)
    return result


def interrupt_twice(chaos):
    """Send two signals, one shortly after the other."""
    sent, delay_s = chaos.rng.choice([signal.SIGINT, signal.SIGTERM]), chaos.rng.uniform(1, 5)
    chaos.note(f"twice {sent.name} after {delay_s:.1f} s")
    driver = chaos.start()
    driver.wait_for("starts")
    time.sleep(delay_s / 2)
    _send(driver, sent)
    time.sleep(0.05)
    _send(driver, signal.SIGINT)
    result = driver.wait()
    check_exit(result, sent)
    return result


def check_exit(result, sent):
    """Check that an interrupted driver exits with the signal's code and prints the command that resumes."""
    if result.code == 0:
        return  # it was finished before the signal
    assert result.code == INTERRUPTED[sent], f"exit code {result.code}:\n{result.output}"
    assert "resume with:" in result.output, result.output
    assert not has_traceback(result.output), result.output


def has_traceback(output):
    """Return True if a traceback was printed, other than that of an interrupt during garbage collection.

    Python prints one then and swallows the KeyboardInterrupt; the driver exits after its shutdown timeout.
    """
    return "Traceback" in output and "Exception ignored in" not in output


def corrupt_the_state(chaos):
    """Send SIGKILL between two evaluations, then corrupt a file of the trial's state."""
    result = chaos.run(die=["on_trial_result", chaos.rng.randint(20, 100)])
    files = [path for path in chaos.sandbox.folder.glob("*/*/state/**/*") if path.is_file() and path.stat().st_size]
    if files:
        path = chaos.rng.choice(sorted(files))
        chaos.note(f"garbage in {path.relative_to(chaos.sandbox.folder)}")
        _corrupt(path, chaos.rng)
    return result


def lose_mlflow(chaos):
    """Send SIGKILL, then remove MLflow's database, or leave an empty file.

    Not after the end of the sweep: its command then has nothing to do, and `embsweep sync` brings the runs back.
    """
    result = chaos.run(die=["any", chaos.rng.randint(300, 1500)])
    if read_metadata(chaos.sandbox.ledger).get("status") != "FINISHED":
        chaos.note("mlflow.db is gone")
        path = chaos.sandbox.storage / "mlflow.db"
        path.unlink(missing_ok=True)
        if chaos.rng.random() < 0.5:
            path.touch()
    return result


def lose_mlflow_while_it_is_written(chaos):
    """Remove MLflow's database while the driver has written to it and goes on."""
    driver = chaos.start(die=["any", chaos.rng.randint(300, 1500)])
    driver.wait_for("starts")
    time.sleep(chaos.rng.uniform(0, 1))
    if read_metadata(chaos.sandbox.ledger).get("baseline") and not (chaos.sandbox.folder / "confirmation").exists():
        chaos.note("mlflow.db is removed during the search, then SIGKILL")
        (chaos.sandbox.storage / "mlflow.db").unlink(missing_ok=True)
    return driver.wait()


def corrupt_what_mlflow_has(chaos):
    """Send SIGKILL, then corrupt the file that says what MLflow has."""
    result = chaos.run(die=["any", chaos.rng.randint(300, 1500)])
    path = chaos.sandbox.folder / "mlflow.json"
    if path.exists() and path.stat().st_size:
        chaos.note("garbage in mlflow.json")
        _corrupt(path, chaos.rng)
    return result


def lose_answers_of_mlflow(chaos):
    """Lose requests to MLflow and answers, then send SIGKILL."""
    seed = chaos.rng.randrange(1000)
    chaos.note(f"answers of MLflow are lost (seed {seed}), then SIGKILL")
    return chaos.run(lose_answers=seed, die=["any", chaos.rng.randint(300, 1500)])


def lock_the_ledger(chaos):
    """Lock the ledger for some seconds, as another program might."""
    return _lock(chaos, chaos.sandbox.ledger, "the ledger")


def lock_the_store(chaos):
    """Lock MLflow's database for some seconds, as another program might."""
    return _lock(chaos, chaos.sandbox.storage / "mlflow.db", "mlflow.db")


def set_the_clock_back(chaos):
    """Set the clock back by an hour or more, and kill the driver."""
    offset_s = -chaos.rng.choice([3600, 7200, 86400])
    chaos.note(f"the clock is {-offset_s} s behind")
    return chaos.run(clock_s=offset_s, die=["any", chaos.rng.randint(300, 1500)])


FAULTS = [
    kill_at_a_crash_point,
    kill_in_a_part,
    kill_near_the_end,
    kill_from_outside,
    interrupt,
    interrupt_twice,
    corrupt_the_state,
    lose_mlflow,
    lose_mlflow_while_it_is_written,
    corrupt_what_mlflow_has,
    lose_answers_of_mlflow,
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
    """Hold an exclusive lock on the database at `path` for so many seconds."""
    connection = sqlite3.connect(path, timeout=30, isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(seconds)
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def _corrupt(path, rng):
    data = bytearray(path.read_bytes())
    if rng.random() < 0.5:
        path.write_bytes(data[: len(data) // 2])
        return
    offset = rng.randrange(len(data))
    data[offset] ^= 0xFF
    path.write_bytes(data)


def _send(driver, number):
    try:
        driver.send(number)
    except ProcessLookupError:
        return


def draw_plan(rng, trials):
    """Draw the faults of trials, the same in every run: number → fault after its first evaluation."""
    kinds = ["nan", "nan objective", "raise", "oom"]
    numbers = rng.sample(range(1, trials), min(len(kinds), trials - 2))
    return {str(number): kind for number, kind in zip(numbers, kinds, strict=False)}

"""Where a sweep keeps its state."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embsweep.errors import SweepRefused


def run_folder(runs: Path, number: int) -> Path:
    """The folder of one run among those of the search or of the confirmation."""
    return runs / f"{number:04d}"


@dataclass(frozen=True)
class SweepFolder:
    """Every path of one sweep, derived from the storage folder and the sweep's name."""

    storage: Path
    name: str

    @property
    def root(self) -> Path:
        """`sweeps/<name>`."""
        return self.storage / "sweeps" / self.name

    @property
    def ledger(self) -> Path:
        """The study."""
        return self.root / "study.db"

    @property
    def log(self) -> Path:
        """What the libraries said."""
        return self.root / "log.txt"

    @property
    def outbox(self) -> Path:
        """What MLflow has yet to be told."""
        return self.root / "outbox"

    @property
    def scratch(self) -> Path:
        """Ray's own bookkeeping; removed when a run ends."""
        return self.root / "ray"

    @property
    def trials(self) -> Path:
        """The search's runs, a folder each."""
        return self.root / "trials"

    def look(self, number: int) -> Path:
        """What one look at the test split has found."""
        return self.root / "test" / f"look-{number}.json"

    @property
    def evidence(self) -> Path:
        """All that is claimed of the winner."""
        return self.root / "evidence.json"

    def trial(self, number: int) -> Path:
        """One trial's folder."""
        return run_folder(self.trials, number)

    @staticmethod
    def cache(storage: Path) -> Path:
        """Data sets that were read once, shared by all sweeps."""
        return storage / "sweeps" / ".cache"

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside, no other process runs this sweep; SweepRefused where one does. A crash lets go of it too."""
        path = self.storage / "sweeps" / f".{self.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+", encoding="ascii") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise SweepRefused(
                    f"sweep '{self.name}' is running already, in process {file.read() or 'unknown'}; "
                    "`embsweep status` shows how far it is"
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def create(self) -> None:
        """Make the folder, readable by its owner alone."""
        self.root.mkdir(parents=True, exist_ok=True)
        self.root.chmod(0o700)

    def move_aside(self) -> Path | None:
        """Rename the folder so that a new sweep can take its name; None where there was none."""
        if not self.root.exists():
            return None
        target = self.root.with_name(f"{self.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        self.root.rename(target)
        return target

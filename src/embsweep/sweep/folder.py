"""Where a sweep keeps its state."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path


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
    def scratch(self) -> Path:
        """Ray's own bookkeeping; removed when a run ends."""
        return self.root / "ray"

    def trial(self, number: int) -> Path:
        """One trial's folder."""
        return self.root / "trials" / f"{number:04d}"

    @staticmethod
    def cache(storage: Path) -> Path:
        """Data sets that were read once, shared by all sweeps."""
        return storage / "sweeps" / ".cache"

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

"""The folder with a sweep's state: its paths, permissions and lock."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embsweep.core.errors import SweepRefused
from embsweep.core.files import data_cache
from embsweep.core.ownership import check_file, check_folder, open_lock

SHARED_STORAGE = "shared_storage"
"""Metadata of the ledger: `storage.shared` of the last run, for commands without a configuration."""


def check_storage(storage: Path, *, is_shared: bool) -> None:
    """Check the folders of a storage that a sweep shares with others, those that exist.

    Args:
        storage: The storage folder; its parents are the user's choice, and may be `/tmp`.
        is_shared: `storage.shared`.

    Raises:
        InputError: If one of them is unsafe, see `check_folder`.
    """
    for folder in (storage, storage / "sweeps", storage / "mlruns"):
        check_folder(folder, is_shared=is_shared)


def open_model_cache(storage: Path, *, is_shared: bool = False) -> Path:
    """Return the folder of the base models' copies, created accessible to its owner only, or to its group if shared.

    Raises:
        InputError: If it is unsafe, see `check_folder`.
    """
    root = storage / ".cache" / "models"
    for folder in (root.parent, root):
        _create_folder(folder, is_shared=is_shared)
    return root


def _create_folder(folder: Path, *, is_shared: bool = False) -> None:
    """Create a folder, or check it; it is accessible to its owner only, or to its group if `is_shared`."""
    check_folder(folder, is_shared=is_shared)
    folder.mkdir(parents=True, exist_ok=True)
    if folder.stat().st_uid == os.geteuid():
        folder.chmod(0o2770 if is_shared else 0o700)


def run_folder(runs: Path, number: int) -> Path:
    """Return the folder of one run below `runs`, the folder of a phase's runs."""
    return runs / f"{number:04d}"


@dataclass(frozen=True)
class SweepFolder:
    """Every path of one sweep, derived from the storage folder and the sweep's name.

    `is_shared` is `storage.shared`: a group of users may write to the storage folder.
    """

    storage: Path
    name: str
    is_shared: bool = False

    @property
    def root(self) -> Path:
        """`sweeps/<name>`."""
        return self.storage / "sweeps" / self.name

    @property
    def ledger(self) -> Path:
        """The Optuna study, an SQLite file."""
        return self.root / "study.db"

    @property
    def log(self) -> Path:
        """Log records and warnings of the libraries."""
        return self.root / "log.txt"

    @property
    def synced(self) -> Path:
        """Digests of the runs in MLflow when it was last written, for `embsweep status`; it may be deleted."""
        return self.root / "mlflow.json"

    @property
    def scratch(self) -> Path:
        """Folder of Ray's temporary files; removed when a run ends."""
        return self.root / "ray"

    @property
    def trials(self) -> Path:
        """Folder of the search phase, with one folder per trial."""
        return self.root / "trials"

    def holdout_evaluation(self, number: int) -> Path:
        """Return the file of one holdout evaluation."""
        return self.root / "test" / f"evaluation-{number}.json"

    @property
    def test_queries(self) -> Path:
        """Test queries with their scores and the beginnings of their texts, a JSON file."""
        return self.root / "test" / "queries.json"

    @property
    def evidence(self) -> Path:
        """The evidence about the winner, a JSON file."""
        return self.root / "evidence.json"

    @property
    def report(self) -> Path:
        """The report, an HTML file."""
        return self.root / "report.html"

    def trial(self, number: int) -> Path:
        """Return the folder of one trial of the search."""
        return run_folder(self.trials, number)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the sweep's lock, so that no other process runs the sweep; a crash releases it too.

        Raises:
            SweepRefused: If another process holds the lock; the message names it.
            InputError: If the storage folder is unsafe (see `check_storage`), or the lock file cannot be opened.
        """
        path = self.storage / "sweeps" / f".{self.name}.lock"
        check_storage(self.storage, is_shared=self.is_shared)
        for folder in (self.storage, path.parent):
            if not folder.exists():
                folder.mkdir(parents=True, exist_ok=True)
                folder.chmod(0o2775 if self.is_shared else 0o755)  # whatever the umask
        with open_lock(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise SweepRefused(
                    "already-running",
                    f"sweep '{self.name}' is running already, in process {file.read() or 'unknown'}; "
                    "`embsweep status` shows its progress",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def create(self) -> None:
        """Create the sweep's folder, accessible to its owner only, and that of the cached data, which may be shared.

        Raises:
            InputError: If one of them is unsafe, see `check_folder`, or the ledger is not a file of this user.
        """
        _create_folder(self.root)
        _create_folder(data_cache(self.storage), is_shared=self.is_shared)
        check_file(self.ledger)

    def archive(self) -> Path | None:
        """Rename the folder so that a new sweep can use its name; return the new path, or None if there was none."""
        if not self.root.exists():
            return None
        target = self.root.with_name(f"{self.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        self.root.rename(target)
        return target

"""The folder with a sweep's state: its paths, permissions and lock."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from embsweep.core.errors import Diagnostic, InputError, SweepRefused
from embsweep.core.files import data_cache


def check_ownership(folder: Path) -> None:
    """Check that no other user can control what is in `folder`, if it exists.

    Raises:
        InputError: If it is a link, is not a folder, belongs to another user, or is writable by every user without the
            sticky bit.
    """
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    problems = {
        "is a link, whose target may change": stat.S_ISLNK(found.st_mode),
        "is not a folder": not stat.S_ISDIR(found.st_mode),
        f"belongs to another user (uid {found.st_uid})": found.st_uid != os.getuid(),
        "is writable by every user": found.st_mode & (stat.S_IWOTH | stat.S_ISVTX) == stat.S_IWOTH,
    }
    problem = next((text for text, is_given in problems.items() if is_given), None)
    if problem is not None:
        raise InputError(
            Diagnostic(
                "unsafe-folder",
                "storage.path",
                problem,
                str(folder),
                "a folder owned by this user",
                "choose another storage.path",
            )
        )


def _open_lock(path: Path) -> TextIO:
    """Open the lock file, but do not follow a link: that would overwrite the link's target."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise InputError(
            Diagnostic(
                "not-writable",
                "storage.path",
                f"cannot be used as a lock ({error.strerror})",
                str(path),
                hint="remove it",
            )
        ) from None
    return os.fdopen(descriptor, "a+", encoding="ascii")


def open_model_cache(storage: Path) -> Path:
    """Return the folder of the base models' copies, created accessible to its owner only.

    Raises:
        InputError: If it is unsafe, see `check_ownership`.
    """
    root = storage / ".cache" / "models"
    for folder in (root.parent, root):
        check_ownership(folder)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    return root


def run_folder(runs: Path, number: int) -> Path:
    """Return the folder of one run below `runs`, the folder of a phase's runs."""
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
    def evidence(self) -> Path:
        """The evidence about the winner, a JSON file."""
        return self.root / "evidence.json"

    def trial(self, number: int) -> Path:
        """Return the folder of one trial of the search."""
        return run_folder(self.trials, number)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Hold the sweep's lock, so that no other process runs the sweep; a crash releases it too.

        Raises:
            SweepRefused: If another process holds the lock; the message names it.
            InputError: If the folder of the lock is unsafe (see `check_ownership`), or the lock file cannot be opened.
        """
        path = self.storage / "sweeps" / f".{self.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        check_ownership(path.parent)
        with _open_lock(path) as file:
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
        """Create the sweep's folder and that of the cached data, accessible to their owner only.

        Raises:
            InputError: If one of them is unsafe, see `check_ownership`.
        """
        for folder in (self.root, data_cache(self.storage)):
            check_ownership(folder)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def archive(self) -> Path | None:
        """Rename the folder so that a new sweep can use its name; return the new path, or None if there was none."""
        if not self.root.exists():
            return None
        target = self.root.with_name(f"{self.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        self.root.rename(target)
        return target

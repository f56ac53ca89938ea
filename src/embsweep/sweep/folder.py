"""Where a sweep keeps its state."""

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


def check_folder(folder: Path) -> None:
    """InputError where what is in `folder` may be another user's doing: a link, a foreign owner, writable for all."""
    try:
        found = folder.lstat()
    except FileNotFoundError:
        return
    is_open = found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX
    if stat.S_ISLNK(found.st_mode):
        problem = "is a link, and what it leads to may change"
    elif not stat.S_ISDIR(found.st_mode):
        problem = "is no folder"
    elif found.st_uid != os.getuid():
        problem = f"belongs to another user (uid {found.st_uid})"
    elif is_open:
        problem = "can be written by every user"
    else:
        return
    raise InputError(
        Diagnostic(
            "unsafe-folder",
            "storage.path",
            problem,
            str(folder),
            "a folder of this user's own",
            "choose another storage.path",
        )
    )


def _open_lock(path: Path) -> TextIO:
    """Never through a link: it would overwrite what it leads to."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        problem = f"cannot be used as a lock ({error.strerror})"
        raise InputError(Diagnostic("not-writable", "storage.path", problem, str(path), hint="remove it")) from None
    return os.fdopen(descriptor, "a+", encoding="ascii")


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

    def holdout_evaluation(self, number: int) -> Path:
        """What one look at the test split has found."""
        return self.root / "test" / f"evaluation-{number}.json"

    @property
    def evidence(self) -> Path:
        """All that is claimed of the winner."""
        return self.root / "evidence.json"

    def trial(self, number: int) -> Path:
        """One trial's folder."""
        return run_folder(self.trials, number)

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside, no other process runs this sweep; SweepRefused where one does. A crash lets go of it too."""
        path = self.storage / "sweeps" / f".{self.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        check_folder(path.parent)
        with _open_lock(path) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise SweepRefused(
                    "already-running",
                    f"sweep '{self.name}' is running already, in process {file.read() or 'unknown'}; "
                    "`embsweep status` shows how far it is",
                ) from None
            file.truncate(0)
            file.write(str(os.getpid()))
            file.flush()
            yield

    def create(self) -> None:
        """Make the folder and that of the cached data, readable by their owner alone. InputError as `check_folder`."""
        for folder in (self.root, data_cache(self.storage)):
            check_folder(folder)
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)

    def archive(self) -> Path | None:
        """Rename the folder so that a new sweep can take its name; None where there was none."""
        if not self.root.exists():
            return None
        target = self.root.with_name(f"{self.name}.{time.strftime('%Y%m%d-%H%M%S')}")
        self.root.rename(target)
        return target

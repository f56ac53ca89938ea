"""A folder under the storage where the driver and every node leave a file for each other, to see that it is one."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from embsweep.errors import Fault
from embsweep.runner.probe import NONCE_FILE


@dataclass(frozen=True)
class Meeting:
    """`folder` holds `nonce` in the driver's file; None, and `fault` says why, where the driver could not make it."""

    folder: Path | None
    nonce: str
    fault: Fault | None = None

    def has_reply(self, name: str) -> bool:
        """Whether a node's file arrived here as it should."""
        try:
            return self.folder is not None and (self.folder / name).read_text() == self.nonce
        except OSError:
            return False


@contextmanager
def open_meeting(storage: Path) -> Iterator[Meeting]:
    """A meeting under `storage`/sweeps. Everything that was made for it is gone afterwards."""
    home = storage / "sweeps"
    new = [path for path in (home, *home.parents) if not path.exists()]
    folder = home / f".probe-{secrets.token_hex(6)}"
    try:
        yield _prepare(folder, storage)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for path in new:
            if path.is_dir() and not any(path.iterdir()):
                path.rmdir()


def _prepare(folder: Path, storage: Path) -> Meeting:
    nonce = secrets.token_hex(16)
    try:
        folder.mkdir(parents=True)
        (folder / NONCE_FILE).write_text(nonce)
    except OSError as error:
        problem = f"the driver cannot write to it ({error.strerror})"
        accepted = "a folder that the driver and every node can write to"
        return Meeting(None, nonce, Fault("not-writable", "storage.path", problem, str(storage), accepted))
    return Meeting(folder, nonce)

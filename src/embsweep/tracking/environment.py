"""Environment of a sweep, as texts for its run: packages, machine, state of the code. Never environment variables."""

from __future__ import annotations

import platform
import shutil
import subprocess
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

_GIT_TIMEOUT_S = 10


@dataclass(frozen=True)
class GitState:
    """Commit of the code, and the names of the files that differ from it. Contents of files are not recorded."""

    commit: str
    changed: tuple[str, ...]

    @property
    def dirty(self) -> bool:
        """True if any tracked or new file differs from the commit."""
        return bool(self.changed)

    def __str__(self) -> str:
        lines = [f"commit: {self.commit}", f"dirty: {str(self.dirty).lower()}", *(f"  {name}" for name in self.changed)]
        return "\n".join(lines) + "\n"


def read_git_state(folder: Path) -> GitState | None:
    """Read the state of the repository around `folder`; None if there is no git, no repository or no commit."""
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "-z", "--no-renames")
    if commit is None or status is None:
        return None
    return GitState(commit.strip(), tuple(sorted(entry for entry in status.split("\0") if entry)))


def describe_packages() -> str:
    """List every installed distribution as `name==version`, one per line, sorted, as `pip freeze` does."""
    found = {(dist.metadata["Name"], dist.version) for dist in distributions() if dist.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found, key=lambda item: item[0].lower()))


def describe_machine() -> str:
    """Describe Python, platform, and GPUs as torch reports them, one property per line. Imports torch."""
    import torch

    lines = [
        f"python: {platform.python_version()} ({platform.python_implementation()})",
        f"platform: {platform.platform()}",
        f"torch: {torch.__version__}",
        f"cuda: {torch.version.cuda or 'none'}",
    ]
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            gpu = torch.cuda.get_device_properties(index)
            lines.append(f"gpu {index}: {gpu.name}, {gpu.total_memory / 2**30:.1f} GiB")
    return "\n".join(lines) + "\n"


def pin_requirements(*names: str) -> list[str]:
    """Return `name==version` of each installed package of `names`, without local version parts such as `+cpu`."""
    from importlib.metadata import version

    return [f"{name}=={version(name).split('+')[0]}" for name in names]


def _git(folder: Path, *arguments: str) -> str | None:
    git = shutil.which("git")
    if git is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed arguments, no shell
            [git, "-C", str(folder), *arguments], capture_output=True, text=True, timeout=_GIT_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None

"""What a sweep ran on, as texts for its run: packages, machine, state of the code. Never an environment variable."""

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
    """The code's commit and the files that differ from it; their contents are nobody's business."""

    commit: str
    changed: tuple[str, ...]

    @property
    def dirty(self) -> bool:
        """Whether any tracked or new file differs from the commit."""
        return bool(self.changed)

    def __str__(self) -> str:
        lines = [f"commit: {self.commit}", f"dirty: {str(self.dirty).lower()}", *(f"  {name}" for name in self.changed)]
        return "\n".join(lines) + "\n"


def read_git_state(folder: Path) -> GitState | None:
    """The state of the repository around `folder`; None where there is no git, repository or commit."""
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "-z", "--no-renames")
    if commit is None or status is None:
        return None
    return GitState(commit.strip(), tuple(sorted(entry for entry in status.split("\0") if entry)))


def describe_packages() -> str:
    """Every installed distribution as `name==version`, one a line, sorted, as `pip freeze` would list them."""
    found = {(dist.metadata["Name"], dist.version) for dist in distributions() if dist.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found, key=lambda item: item[0].lower()))


def describe_machine() -> str:
    """Python, platform and the accelerator as torch sees it. Imports torch."""
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
    """`name==version` of each of `names` as installed here, without local parts such as `+cpu`."""
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

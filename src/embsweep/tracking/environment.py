"""Environment of a sweep, as texts for its run: packages, machine, state of the code. Never environment variables."""

from __future__ import annotations

import contextlib
import getpass
import platform
import subprocess
from importlib.metadata import distributions
from pathlib import Path

_GIT_TIMEOUT_S = 10

# A repository may come with a folder of others: its configuration and hooks may name programs for git to run. No option
# turns off those of the first kind; the others are turned off.
_PROGRAMS = ("filter.", "core.worktree", "core.fsmonitor", "include.", "includeif.")
_WITHOUT_PROGRAMS = ("--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_UNKNOWN = "unknown"


def describe_git(folder: Path) -> str:
    """Describe the repository around `folder`: its commit, and the names of the files that differ from it.

    Contents of files are not recorded. Without git, a repository or a commit, the text says that there is none. If the
    repository's own configuration names programs that would be run, its files are not compared (`dirty: unknown`).
    """
    found = _read_git(folder)
    if found is None:
        return "no git repository\n"
    commit, dirty, changed = found
    return "".join([f"commit: {commit}\n", f"dirty: {dirty}\n", *changed])


def describe_origin(folder: Path) -> dict[str, str]:
    """Return the tags that say who runs a sweep with which code: the user and, in a git work tree, its commit.

    Args:
        folder: The folder in which the command was given.
    """
    tags = {}
    with contextlib.suppress(KeyError, OSError, ImportError):  # no such account, as in containers
        tags["mlflow.user"] = getpass.getuser()
    if (found := _read_git(folder)) is not None:
        commit, dirty, _ = found
        tags |= {"mlflow.source.git.commit": commit, "embsweep.git.dirty": dirty}
    return tags


def _read_git(folder: Path) -> tuple[str, str, list[str]] | None:
    """Return the commit around `folder`, whether files differ, and a line for each of these; None if there is none."""
    commit = _git(folder, "rev-parse", "HEAD")
    settings = _git(folder, "config", "--local", "--name-only", "--list")
    if commit is None or settings is None:
        return None
    if any(name.lower().startswith(_PROGRAMS) for name in settings.splitlines()):
        return commit.strip(), _UNKNOWN, []
    status = _git(folder, "status", "--porcelain", "-z", "--no-renames", "--ignore-submodules=dirty")
    if status is None:
        return None
    changed = sorted(f"  {entry}\n" for entry in status.split("\0") if entry)
    return commit.strip(), str(bool(changed)).lower(), changed


def describe_packages() -> str:
    """List every installed distribution as `name==version`, one per line, sorted, as `pip freeze` does."""
    found = {(dist.metadata["Name"], dist.version) for dist in distributions() if dist.metadata["Name"]}
    return "".join(f"{name}=={version}\n" for name, version in sorted(found, key=lambda item: item[0].lower()))


def describe_machine() -> str:
    """Describe Python, platform, and GPUs as torch reports them, one property per line. Imports torch."""
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    gpus = [torch.cuda.get_device_properties(index) for index in range(count)]
    lines = [
        f"python: {platform.python_version()} ({platform.python_implementation()})",
        f"platform: {platform.platform()}",
        f"torch: {torch.__version__}",
        f"cuda: {torch.version.cuda or 'none'}",
        *(f"gpu {index}: {gpu.name}, {gpu.total_memory / 2**30:.1f} GiB" for index, gpu in enumerate(gpus)),
    ]
    return "\n".join(lines) + "\n"


def _git(folder: Path, *arguments: str) -> str | None:
    command = ["git", *_WITHOUT_PROGRAMS, "-C", str(folder), *arguments]
    try:
        return subprocess.check_output(  # noqa: S603 - fixed arguments, no shell
            command, stderr=subprocess.DEVNULL, text=True, timeout=_GIT_TIMEOUT_S
        )
    except (OSError, subprocess.SubprocessError):
        return None

"""Classify errors of torch's collectives (NCCL, gloo) by their text: faults of the set-up, and connections that broke.

A fault of the set-up comes back with every attempt, so the trial fails with what to do. A connection breaks because
another worker ended, or because of the network; the trial is worth another attempt.
"""

from __future__ import annotations

_SIGNS = ("gloo/transport", "distbackenderror", "distnetworkerror", "diststoreerror", "nccl")
"""Parts of the texts of all such errors, in lower case; only errors of torch's own collectives contain them."""

_CUDA_SIGNS = ("ncclunhandledcudaerror", "unhandled cuda error")
_BROKEN_SIGNS = ("illegal memory access", "device-side assert", "uncorrectable ecc", "launch failure")
"""Errors of CUDA that NCCL meets, but that an earlier kernel of the same process has caused."""

_DEBUG = "NCCL_DEBUG=INFO makes NCCL log the details"
_SETUP_FAULTS = (
    ("duplicate gpu", "Two workers have the same GPU: give each one a GPU of its own, with fewer trials per GPU"),
    ("out of memory", "NCCL found no free GPU memory: fewer trials per GPU, or a smaller train.batch_size"),
    ("shared memory segment", "The shared memory is too small: `docker run --shm-size=1g …`, or NCCL_SHM_DISABLE=1"),
    ("dev/shm", "The shared memory is too small: `docker run --shm-size=1g …`, or NCCL_SHM_DISABLE=1"),
    ("no socket interface found", "Set NCCL_SOCKET_IFNAME to a network interface of every node (`ip link` lists them)"),
    ("ncclinvalidusage", _DEBUG),
    ("ncclinvalidargument", _DEBUG),
    *((sign, f"`embsweep doctor` checks the GPUs and their driver; {_DEBUG}") for sign in _CUDA_SIGNS),
)
"""Parts of the texts, in lower case, and what to do; the first that matches counts.

The texts are NCCL's (`src/init.cc`, `src/bootstrap.cc`, `src/misc/shmutils.cc`, names of results in `nccl.h`), as torch
appends them to its own.
"""

_RAN_OUT = "ran out of "
_MOST_CHARS = 300


def explain_setup_fault(reason: str) -> str | None:
    """Return the words of a fault of the set-up and what to do, None for any other error."""
    text = reason.lower()
    if not _is_collective(text) or _is_broken_context(text):
        return None
    if text.startswith(_RAN_OUT):
        return reason  # `training.memory` has added what to do
    advice = next((advice for sign, advice in _SETUP_FAULTS if sign in text), None)
    return None if advice is None else f"{find_first_words(reason)}. {advice}."


def is_connection_lost(reason: str) -> bool:
    """Return whether a worker lost its connection to another one, or waited too long for it."""
    text = reason.lower()
    return _is_collective(text) and not _is_broken_context(text) and explain_setup_fault(reason) is None


def find_first_words(reason: str) -> str:
    """Return the line of NCCL's own result and its last error; of any other text, the first line."""
    lines = reason.split(" | ")
    start = next((index for index, line in enumerate(lines) if line.startswith("nccl")), None)
    words = lines[0] if start is None else " ".join(lines[start:])
    return words[:_MOST_CHARS].rstrip(". ")


def _is_collective(text: str) -> bool:
    return any(sign in text for sign in _SIGNS)


def _is_broken_context(text: str) -> bool:
    return any(sign in text for sign in _BROKEN_SIGNS)

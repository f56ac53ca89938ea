"""Facts about the GPUs: the driver's view, torch's view, and the settings that `auto` means on each kind of card."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec

from embsweep.core.errors import Diagnostic, InputError, describe_exception
from embsweep.core.gpu_checks import check_views
from embsweep.core.gpus import (
    Accelerator,
    DriverView,
    TorchView,
    count_visible,
    describe_gpu,
    has_usable_gpu,
    look_in_new_process,
    read_driver,
)
from embsweep.core.redaction import escape_control_characters, redact
from embsweep.doctor.facts import describe_bytes
from embsweep.doctor.verdicts import Fact

COMPUTE_MODES = {0: "default", 1: "exclusive thread", 2: "prohibited", 3: "exclusive process"}
"""NVML's `nvmlComputeMode_t`."""


@dataclass(frozen=True)
class CardState:
    """What NVML says of one card beside its kind: free memory in bytes and compute mode."""

    free_bytes: int
    compute_mode: str


@dataclass(frozen=True)
class GpuViews:
    """The GPUs as the driver and torch see them.

    `driver` is None without a driver; `torch` and `states` are as far as they could be read. `diagnostics` are empty if
    torch can compute on every GPU, or if there is none.
    """

    driver: DriverView | None
    torch: TorchView | None
    states: tuple[CardState, ...] = ()
    diagnostics: tuple[Diagnostic, ...] = ()
    problem: str | None = None

    @property
    def gpus(self) -> tuple[Accelerator, ...]:
        """The GPUs on which the steps can run."""
        return self.torch.gpus if self.torch and not self.diagnostics else ()


def view_gpus() -> GpuViews:
    """Read both views and compare them. Does not raise: `problem` says what cannot be read."""
    try:
        import torch
    except ImportError as error:
        return GpuViews(None, None, problem=f"cannot be imported ({describe_exception(error)})")
    driver = _read_driver()
    view = TorchView(str(torch.__version__), torch.version.cuda or torch.version.hip)
    if not has_usable_gpu() and not (driver and count_visible(driver.gpus)):
        return GpuViews(driver, view)
    if view.cuda is not None:
        view = look_in_new_process()
    return GpuViews(driver, view, _read_states(), tuple(check_views(driver, view)))


def _read_driver() -> DriverView | None:
    with suppress(ImportError):  # without nvidia-ml-py there is only torch's view
        return read_driver()
    return None


def _read_states() -> tuple[CardState, ...]:
    """Return the state of every card in the driver's order; empty if NVML does not tell."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # an import error, or NVML's own errors
        return ()
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        return tuple(
            CardState(
                pynvml.nvmlDeviceGetMemoryInfo(handle).free,
                COMPUTE_MODES.get(pynvml.nvmlDeviceGetComputeMode(handle), "unknown"),
            )
            for handle in handles
        )
    except pynvml.NVMLError:
        return ()
    finally:
        pynvml.nvmlShutdown()


def describe_views(views: GpuViews) -> Iterator[Fact]:
    """Yield driver, torch, cards by kind, what is wrong, and what `auto` means on each kind."""
    driver, view = views.driver, views.torch
    yield Fact("driver", f"{driver.version}, supports CUDA up to {driver.cuda}" if driver else _explain_no_driver())
    if view is None:
        yield Fact("torch", views.problem or "not known")
        return
    kernels = f", kernels for {' '.join(view.architectures)}" if view.architectures else ""
    yield Fact(
        "torch", f"{view.version}, {f'built for CUDA {view.cuda}' if view.cuda else 'built without CUDA'}{kernels}"
    )
    for index, text in enumerate(_describe_cards(driver.gpus if driver else view.gpus, views.states)):
        yield Fact("" if index else "GPUs", text)
    yield Fact("torch sees", _describe_visible(driver, view))
    for diagnostic in views.diagnostics:
        for label, text in (("PROBLEM", diagnostic.message), ("what to do", diagnostic.hint or "")):
            yield Fact(label, escape_control_characters(redact(text), one_line=True))
    kinds = dict.fromkeys(view.gpus or (driver.gpus if driver else ())) or (Accelerator(),)
    for index, gpu in enumerate(kinds):
        yield Fact("" if index else "auto means", describe_choices(gpu))


def _explain_no_driver() -> str:
    if find_spec("pynvml") is None:
        return "not known: the package nvidia-ml-py is not installed"
    return "none that answers NVML (on a machine with a GPU, `nvidia-smi` says why)"


def _describe_visible(driver: DriverView | None, view: TorchView) -> str:
    count = len(view.gpus)
    text = f"{count} GPU{'s' * (count != 1)}"
    if driver is None:
        return text
    visible = count_visible(driver.gpus)
    hidden = "" if visible == len(driver.gpus) else f", CUDA_VISIBLE_DEVICES leaves {visible} visible"
    return f"{text}, the driver {len(driver.gpus)}{hidden}"


def _describe_cards(gpus: Sequence[Accelerator], states: Sequence[CardState]) -> Iterator[str]:
    """Yield a line for each kind of card, with the least free memory; `states` may be unknown."""
    if not gpus:
        yield "none"
    for kind in dict.fromkeys(gpus):
        numbers = [number for number, gpu in enumerate(gpus) if gpu == kind]
        text = f"{len(numbers)} × {describe_gpu(kind)}"
        own = [states[number] for number in numbers] if len(states) == len(gpus) else []
        if own:
            modes = ", ".join(dict.fromkeys(state.compute_mode for state in own))
            least = describe_bytes(min(state.free_bytes for state in own))
            text += f": {'≥ ' if len(own) > 1 else ''}{least} free, compute mode {modes}"
        yield text


def describe_choices(gpu: Accelerator) -> str:
    """Return precision and attention of bge-m3's architecture on a kind of GPU, as `resolve_hardware` chooses them."""
    name = gpu.name if gpu.has_gpu else "without a GPU"
    try:
        from embsweep.doctor.material import AUTO
        from embsweep.training.hardware import resolve_hardware

        found = resolve_hardware(AUTO, gpu, frozenset({"eager", "sdpa", "flash_attention_2"}))
    except ImportError as error:
        return f"{name}: not known ({describe_exception(error)})"
    except InputError as error:
        return f"{name}: {error}"
    return f"{name}: precision {found.precision}, attention {found.attention or 'of the model (sdpa)'}"

"""TensorRT for RTX: NVIDIA GPUs from Ampere on, with engines that any x86-64 machine builds."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Literal

from backends.contract import About, GpuSupport
from backends.nvidia.border import border_obstacle
from backends.nvidia.cuda import driver_fault
from backends.nvidia.preflight import parser_support

_LEVELS = range(6)
_X86_64 = ("x86_64", "AMD64")
_OLDEST_PORTABLE = 8.0  # the compute capability from which portable engines run
CAPABILITIES = ("7.5", "8.0", "8.6", "8.9", "12.0", "12.1")
"""The compute capabilities that an engine can be built for by name."""

PORTABLE = "portable"
CURRENT = "current"


def convert_obstacle() -> str:
    """Why this machine cannot build engines, or nothing."""
    if platform.machine() not in _X86_64:
        return f"NVIDIA has it for x86-64 alone, and this machine is {platform.machine()}"
    missing = [
        module
        for module in ("tensorrt_rtx_bindings", "tensorrt_rtx_libs")
        if find_spec(module) is None
    ]
    return f"{' and '.join(missing)} not installed here" if missing else ""


def obstacle() -> str:
    """Why this machine cannot run engines, or nothing."""
    if fault := driver_fault():
        return fault
    return convert_obstacle() or ("" if find_spec("pycuda") else "pycuda not installed here")


def misfit(options: Options) -> str:
    """Why this machine's GPU does not run engines of these targets, or nothing."""
    if options.targets == CURRENT:
        return ""
    here, built = _capability(options.device), capabilities_of(options.targets)
    runs = here in built if built else float(here) >= _OLDEST_PORTABLE
    if runs:
        return ""
    return f"its GPU has compute capability {here}, and targets={options.targets} are others"


def _capability(device: int) -> str:
    from backends.nvidia.gpu import Gpu  # not at the top: it imports pycuda

    gpu = Gpu(device)
    try:
        return gpu.capability
    finally:
        gpu.close()


def machine(options: Options) -> Mapping[str, str]:
    """The GPU that an engine is built for, where that is the one of this machine."""
    if options.targets != CURRENT:
        return {}
    from backends.nvidia.gpu import Gpu  # not at the top: it imports pycuda

    gpu = Gpu(options.device)
    try:
        return {"gpu": gpu.name, "compute_capability": gpu.capability}
    finally:
        gpu.close()


ABOUT = About(
    summary="TensorRT for RTX: NVIDIA GPUs, with engines built on any x86-64 machine",
    extra="tensorrt-rtx",
    convert=("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "onnx"),
    run=("tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu13-libs", "pycuda"),
    obstacle=obstacle,
    border_obstacle=border_obstacle,
    misfit=misfit,
    convert_obstacle=convert_obstacle,
    builds_on_device=True,
    functions=True,
    device_extra="tensorrt-rtx-device",
    gpu=GpuSupport(
        {
            "as it is": {"runtime_cache": "off"},
            "runtime cache": {"runtime_cache": "auto"},
            "recorded graph": {"cuda_graph": True},
            "for this GPU alone": {"targets": CURRENT},
        },
        obstacle,
    ),
    support=parser_support,
    machine=machine,
)


@dataclass(frozen=True)
class Options:
    """Options of TensorRT for RTX.

    Attributes:
        device: the GPU's number.
        targets: the GPUs that the engine runs on: ``portable`` is NVIDIA's default (compute
            capability 8.0, 8.6, 8.9, 12.0 and later), ``current`` the GPU of the machine that
            builds it, or a list of capabilities such as ``[sm86, sm120]``.
        level: the builder's optimization level, from 0 (fastest build) to 5.
        workspace_mib: scratch memory of a layer, in MiB; 0 sets no limit.
        tf32: lets fp32 convolutions and matrix products round to 10 bits of mantissa, as the
            builder does by default. Off here: fp32 is fp32.
        refit: the engine's weights can be replaced.
        strip: the engine has no weights; they are read from the ONNX file beside it at each start.
        runtime_cache: whether the kernels that the GPU's machine compiles at first use are kept:
            ``auto`` is in a file of the user's cache folder for each engine, GPU and version. A
            bundle names no file, since the runtime would write there.
        dynamic_kernels: when kernels for a new shape of a dynamic input are compiled: ``lazy``
            runs a general one meanwhile, ``eager`` waits for it, ``none`` keeps the general one.
        cuda_graph: the runtime captures each call as a CUDA graph and launches it again.
    """

    device: int = 0
    targets: str = PORTABLE
    level: int = 3
    workspace_mib: int = 0
    tf32: bool = False
    refit: bool = False
    strip: bool = False
    runtime_cache: Literal["auto", "off"] = "auto"
    dynamic_kernels: Literal["lazy", "eager", "none"] = "lazy"
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        for name, value in (("device", self.device), ("workspace_mib", self.workspace_mib)):
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        if self.level not in _LEVELS:
            raise ValueError(f"level: expected 0 to 5, got {self.level}")
        capabilities = capabilities_of(self.targets)
        if (self.refit or self.strip) and len(capabilities) > 1:
            raise ValueError(
                "refit and strip: expected one target (or portable, current), got "
                f"{', '.join(capabilities)}"
            )


def capabilities_of(targets: str) -> tuple[str, ...]:
    """The compute capabilities that the option names, such as ``8.6``; empty without a list.

    Raises:
        ValueError: a target that does not exist, or one twice.
    """
    if targets in (PORTABLE, CURRENT):
        return ()
    names = [name.strip() for name in targets.strip("[]").split(",")]
    known = {f"sm{text.replace('.', '')}": text for text in CAPABILITIES}
    wrong = next((name for name in names if name not in known or names.count(name) > 1), None)
    if wrong is not None:
        raise ValueError(
            f"targets: expected {PORTABLE}, {CURRENT}, or a list of {', '.join(known)}, "
            f"each once; got {wrong!r}"
        )
    return tuple(known[name] for name in names)

"""TensorRT 10 and 11, for NVIDIA GPUs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import Literal

from backends.contract import About, GpuSupport
from backends.nvidia.border import border_obstacle
from backends.nvidia.cuda import driver_fault
from backends.nvidia.preflight import parser_support

_LEVELS = range(6)


def obstacle() -> str:
    """Why TensorRT cannot work on this machine, or nothing."""
    if fault := driver_fault():
        return fault
    missing = [name for name in ("tensorrt", "pycuda") if find_spec(name) is None]
    return f"{' and '.join(missing)} not installed here" if missing else ""


def machine(options: Options) -> Mapping[str, str]:
    """The TensorRT and the GPU that a plan depends on."""
    from backends.nvidia.gpu import Gpu  # not at the top: it imports pycuda
    from backends.tensorrt.plan import identity

    gpu = Gpu(options.device)
    try:
        return identity(gpu)
    finally:
        gpu.close()


ABOUT = About(
    summary="TensorRT: NVIDIA GPUs",
    extra="tensorrt",
    convert=("tensorrt", "pycuda", "onnx"),
    run=("tensorrt", "pycuda"),
    obstacle=obstacle,
    border_obstacle=border_obstacle,
    builds_on_device=True,
    functions=True,
    gpu=GpuSupport(
        {
            "as it is": {},
            "recorded graph": {"cuda_graph": True},
            "stripped plan": {"strip": True},
            "version compatible": {"version_compatible": True},
        },
        obstacle,
    ),
    support=partial(parser_support, instead_of="TensorRT"),
    machine=machine,
)


@dataclass(frozen=True)
class Options:
    """Options of TensorRT.

    Attributes:
        device: the GPU's number.
        workspace_mib: scratch memory of a layer, in MiB; 0 sets no limit.
        level: the builder's optimization level, from 0 (fastest build) to 5.
        timing_cache: whether the builder's measurements are kept: ``auto`` is in a file of the
            user's cache folder for each version and GPU. A bundle names no file, since the builder
            would write there.
        tf32: lets fp32 convolutions and matrix products round to 10 bits of mantissa, as
            TensorRT does by default. Off here: fp32 is fp32.
        version_compatible: the plan also loads in later versions of the same major version.
        hardware: the GPUs that the plan runs on: this model, the same compute capability, or
            Ampere and later.
        refit: the plan's weights can be replaced.
        strip: the plan has no weights; they are read from the ONNX file beside it at each start.
        cuda_graph: replays a captured call as long as shapes and addresses stay the same.
    """

    device: int = 0
    workspace_mib: int = 0
    level: int = 3
    timing_cache: Literal["auto", "off"] = "auto"
    tf32: bool = False
    version_compatible: bool = False
    hardware: Literal["exact", "same_capability", "ampere_plus"] = "exact"
    refit: bool = False
    strip: bool = False
    cuda_graph: bool = False

    def __post_init__(self) -> None:
        for name, value in (("device", self.device), ("workspace_mib", self.workspace_mib)):
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, got {value}")
        if self.level not in _LEVELS:
            raise ValueError(f"level: expected 0 to 5, got {self.level}")

"""ONNX Runtime on the CPU, anywhere, and on NVIDIA GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from backends.contract import About, GpuSupport, Segment, Specs, install_hint
from backends.dtypes import dtype_obstacle
from backends.options import MAX_THREADS, options_json
from backends.process.support_query import support_in_child
from backends.support import Support


def _gpu_obstacle() -> str:
    """Why it cannot use a GPU here, as far as that is known without loading it."""
    spec = find_spec("onnxruntime")
    folder = Path(spec.origin).parent / "capi" if spec and spec.origin else None
    has_provider = folder is not None and any(folder.glob("*onnxruntime_providers_cuda*"))
    return "" if has_provider else "onnxruntime-gpu is not installed here"


DTYPES = (
    *("float32", "float16", "float64", "bool", "object"),
    *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
)
"""Those that its Python interface passes in and out, as NumPy calls them; strings are objects."""


def border_obstacle(inputs: Specs, outputs: Specs) -> str:
    """Why no segment with these inputs and outputs can be run, or an empty text."""
    return dtype_obstacle(DTYPES, (*inputs, *outputs))


def support(segment: Segment, options: Options) -> Support:
    """Which nodes of a segment ONNX Runtime has kernels for, on the options' device."""
    if find_spec("onnxruntime") is None:
        hint = install_hint("onnxruntime")
        return Support("ONNX Runtime", unknown=f"ONNX Runtime is not here. {hint}")
    module = "backends.onnxruntime.support"
    return support_in_child("ONNX Runtime", module, segment, options_json(options))


ABOUT = About(
    summary="ONNX Runtime: CPUs of servers, desktops and boards; NVIDIA GPUs",
    extra="onnxruntime",
    convert=("onnx", "onnxruntime"),
    run=("onnxruntime",),
    border_obstacle=border_obstacle,
    builds_on_device=True,
    functions=True,
    gpu=GpuSupport({"as it is": {"device": "cuda"}}, _gpu_obstacle),
    support=support,
    other_rounding={"optimize": "off", "optimize_at_start": False},
)


@dataclass(frozen=True)
class Options:
    """Options of ONNX Runtime.

    Attributes:
        threads: within an operator; 0 leaves it to the engine.
        spin: whether idle threads wait in a busy loop, which saves microseconds for each operator
            and takes processor time from other engines. With ``run`` they stop at the end of a
            call. ``auto`` is ``on`` where the engine is alone in its chain, and else ``run``.
        optimize: the graph optimizations that are stored in the file. ``basic`` keeps to standard
            ONNX operators; ``extended`` fuses into operators that only ONNX Runtime has.
            Optimizations for the processor are applied when the engine starts.
        optimize_at_start: whether they are. Without them it is slower, and rounds in another order:
            this measures how far two right engines differ.
        device: where it runs; ``cuda`` needs the distribution onnxruntime-gpu.
        gpu: the GPU's number.
        cpu_fallback: runs nodes without a GPU kernel on the CPU, and the whole graph where there
            is no GPU. Without it both are errors.
        gpu_memory_mib: the most that the engine takes for its tensors; 0 sets no limit.
        conv_search: how the first call selects a convolution algorithm.
        tf32: lets fp32 convolutions and matrix products round to 10 bits of mantissa, as the
            engine does by default. Off here: fp32 is fp32.
    """

    threads: int = 0
    spin: Literal["auto", "on", "run", "off"] = "auto"
    optimize: Literal["off", "basic", "extended"] = "basic"
    optimize_at_start: bool = True
    device: Literal["cpu", "cuda"] = "cpu"
    gpu: int = 0
    cpu_fallback: bool = False
    gpu_memory_mib: int = 0
    conv_search: Literal["exhaustive", "heuristic", "default"] = "exhaustive"
    tf32: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads: expected 0 to {MAX_THREADS}, got {self.threads}")
        numbers = {
            "gpu": self.gpu,
            "gpu_memory_mib": self.gpu_memory_mib,
        }
        for name, value in numbers.items():
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, got {value}")

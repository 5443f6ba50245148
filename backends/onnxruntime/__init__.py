"""ONNX Runtime on the CPU, anywhere, and on NVIDIA GPUs."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from backends.contract import About, OnGpu
from backends.options import MOST_THREADS


def _no_gpu() -> str:
    """Why it has no GPU here, as far as that is known without loading it."""
    found = find_spec("onnxruntime")
    folder = Path(found.origin).parent / "capi" if found and found.origin else None
    there = folder is not None and any(folder.glob("*onnxruntime_providers_cuda*"))
    return "" if there else "onnxruntime-gpu is not installed here"


ABOUT = About(
    summary="ONNX Runtime: CPUs of servers, desktops and boards; NVIDIA GPUs",
    extra="onnxruntime",
    convert=("onnx", "onnxruntime"),
    run=("onnxruntime",),
    builds_on_device=True,
    gpu=OnGpu({"as it is": {"device": "cuda"}}, _no_gpu),
)


@dataclass(frozen=True)
class Options:
    """Options of ONNX Runtime.

    Attributes:
        threads: within an operator; 0 leaves it to the engine.
        spin: whether threads without work look for it busily, which saves microseconds for each
            operator, and takes the processor from every other engine. With ``run`` they stop at
            the end of a call. ``auto`` is ``on`` where the engine is alone in its chain, and else
            ``run``.
        optimize: what is rewritten in the file already. ``basic`` keeps to standard ONNX
            operators and runs anywhere; ``extended`` fuses into operators that only ONNX Runtime
            has. What depends on the processor is left to the start of the engine.
        device: where it runs; ``cuda`` needs the distribution onnxruntime-gpu.
        gpu: the GPU's number.
        cpu_fallback: lets nodes that the GPU has no kernel for run on the CPU, and everything
            where there is no GPU. Without it that is an error.
        gpu_memory_mib: the most that the engine takes for its tensors; 0 sets no limit.
        conv_search: how the fastest convolution is found at the first call.
        tf32: lets fp32 convolutions and matrix products round to 10 bits of mantissa, as the
            engine does by default. Off here: fp32 is fp32.
    """

    threads: int = 0
    spin: Literal["auto", "on", "run", "off"] = "auto"
    optimize: Literal["off", "basic", "extended"] = "basic"
    device: Literal["cpu", "cuda"] = "cpu"
    gpu: int = 0
    cpu_fallback: bool = False
    gpu_memory_mib: int = 0
    conv_search: Literal["exhaustive", "heuristic", "default"] = "exhaustive"
    tf32: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MOST_THREADS:
            raise ValueError(f"threads: expected 0 to {MOST_THREADS}, got {self.threads}")
        numbers = {
            "gpu": self.gpu,
            "gpu_memory_mib": self.gpu_memory_mib,
        }
        for name, value in numbers.items():
            if value < 0:
                raise ValueError(f"{name}: expected 0 or more, got {value}")

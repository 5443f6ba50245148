"""A net on a GPU through Vulkan: its choice, its memory, and the layers that run there."""

from __future__ import annotations

from collections import Counter
from typing import Any

from backends.contract import EngineError
from backends.ncnn.gpu_query import HALF_PRECISION
from backends.ncnn.library import ncnn

_ELSEWHERE = "Run it on a machine that has one, or convert with device=cpu."


def gpu_count() -> int:
    """How many GPUs with Vulkan ncnn finds; none where it was built without Vulkan."""
    return int(ncnn.get_gpu_count()) if hasattr(ncnn, "get_gpu_count") else 0


def choose_gpu(net: Any, number: int) -> None:
    """Let a net, which is not loaded yet, run on a GPU.

    Raises:
        EngineError: there is no such GPU; ncnn itself would then run on the CPU.
    """
    count = gpu_count()
    if number >= count:
        found = [f"{gpu}: {ncnn.get_gpu_info(gpu).device_name()}" for gpu in range(count)]
        raise EngineError(
            "ncnn with device=vulkan",
            expected=f"GPU {number}",
            got="; ".join(found) or "no GPU with Vulkan",
            do=_ELSEWHERE,
        )
    net.set_vulkan_device(number)


def check_gpu_options(net: Any, number: int, half_precision: bool) -> None:
    """Refuse a GPU for which ncnn has turned an option off while it read a net's parameters.

    Raises:
        EngineError: naming what the GPU lacks.
    """
    gpu = f"GPU {number} ({ncnn.get_gpu_info(number).device_name()})"
    if not net.opt.use_vulkan_compute:
        raise EngineError(f"ncnn cannot use {gpu}", do=_ELSEWHERE)
    lacking = [name for name in HALF_PRECISION if not getattr(net.opt, f"use_{name}")]
    if half_precision and lacking:
        raise EngineError(
            f"ncnn with fp16 on {gpu}",
            expected=", ".join(HALF_PRECISION),
            got=f"no {', '.join(lacking)}",
            do="Convert in fp32, or with device=cpu.",
        )


class GpuMemory:
    """The memory of a loaded net's tensors on its GPU; ncnn's own stays until the process ends.

    Calls share it, so only one may run at a time. The Vulkan instance is left to ncnn, which ends
    it together with the process: other code in this process may use it.
    """

    def __init__(self, net: Any) -> None:
        device = net.vulkan_device()
        self._allocators = ncnn.VkBlobAllocator(device), ncnn.VkStagingAllocator(device)
        blobs, staging = self._allocators
        net.opt.blob_vkallocator = net.opt.workspace_vkallocator = blobs
        net.opt.staging_vkallocator = staging

    def release(self) -> None:
        """Free it; no tensor may be in use."""
        for allocator in self._allocators:
            allocator.clear()


def layer_note(net: Any) -> str:
    """How many layers of a loaded net run on the GPU, and the types of those that do not."""
    layers = net.layers()
    on_cpu = Counter(layer.type for layer in layers if not layer.support_vulkan)
    note = f"{len(layers) - on_cpu.total()} of {len(layers)} layers on the GPU"
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(on_cpu.items()))
    return f"{note}; on the CPU: {kinds}" if kinds else note

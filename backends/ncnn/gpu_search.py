"""The child process of ``gpu_query``: loads the driver, and writes what ncnn finds into a file."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

from backends.codec import to_json
from backends.ncnn.gpu_query import HALF_PRECISION, GpuQuery, VulkanGpu
from backends.ncnn.library import ncnn
from backends.ncnn.vulkan import gpu_count
from backends.process.child import end_with_parent
from backends.terminal import program_output

_KINDS = {0: "discrete", 1: "integrated", 2: "virtual", 3: "software"}  # by ncnn's number
_EMPTY_NET = "7767517\n1 1\nInput in0 0 1 in0\n"


def main(answer: str) -> None:
    """Write the answer into a file."""
    end_with_parent()
    gpus = tuple(map(_described, range(gpu_count())))
    Path(answer).write_text(json.dumps(to_json(GpuQuery(gpus))))


def _described(number: int) -> VulkanGpu:
    info = ncnn.get_gpu_info(number)
    version = info.api_version()
    return VulkanGpu(
        name=info.device_name(),
        kind=_KINDS.get(info.type(), "other"),
        api=f"{version >> 22}.{version >> 12 & 0x3FF}",
        driver=info.driver_version(),
        lacks=tuple(_lacks(number)),
    )


def _lacks(number: int) -> Iterator[str]:
    """What of half precision ncnn turns off when it loads a net for this GPU.

    Its Python interface tells it in no other way.
    """
    net = ncnn.Net()
    net.opt.use_vulkan_compute = True
    net.set_vulkan_device(number)
    for name in HALF_PRECISION:
        setattr(net.opt, f"use_{name}", True)
    net.load_param_mem(_EMPTY_NET)
    for name in HALF_PRECISION:
        if not getattr(net.opt, f"use_{name}"):
            yield name
    net.clear()


if __name__ == "__main__":
    with program_output():
        main(sys.argv[1])

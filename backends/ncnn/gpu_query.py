"""The GPUs that ncnn finds through Vulkan here, asked in a child process.

A driver may crash or print there, and this process loads neither ncnn nor the driver.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from backends.codec import from_json
from backends.files import temporary_folder
from backends.process.child import Limits, module_command, run_limited

HALF_PRECISION = ("fp16_packed", "fp16_storage", "fp16_arithmetic")
"""What half precision needs of a GPU; ncnn has an option ``use_...`` for each."""

_SECONDS = 120.0
_CHILD = "backends.ncnn.gpu_search"


@dataclass(frozen=True)
class VulkanGpu:
    """A GPU, as ncnn sees it.

    Attributes:
        name: by its driver.
        kind: ``discrete``, ``integrated``, ``virtual``, ``software`` or ``other``.
        api: the version of Vulkan that it has.
        driver: the driver's version, a number of its own kind.
        lacks: those of ``HALF_PRECISION`` that it does not have.

    Examples:
        >>> str(VulkanGpu("Mali-G720", "integrated", "1.3", 1, ("fp16_arithmetic",)))
        'Mali-G720, integrated, Vulkan 1.3, no fp16_arithmetic'
    """

    name: str
    kind: str
    api: str
    driver: int
    lacks: tuple[str, ...] = ()

    def __str__(self) -> str:
        lacks = f", no {' or '.join(self.lacks)}" if self.lacks else ""
        return f"{self.name}, {self.kind}, Vulkan {self.api}{lacks}"


@dataclass(frozen=True)
class GpuQuery:
    """The answer.

    Attributes:
        gpus: by their numbers.
        fault: why there are none.
    """

    gpus: tuple[VulkanGpu, ...] = ()
    fault: str = ""

    def obstacle(self, number: int, half_precision: bool) -> str:
        """Why a net cannot run on the GPU of this number, or an empty text.

        Examples:
            >>> mali = VulkanGpu("Mali-G720", "integrated", "1.3", 1, ("fp16_packed",))
            >>> query = GpuQuery((mali,))
            >>> query.obstacle(1, half_precision=False)
            'Vulkan has no GPU 1 here, but 0: Mali-G720, integrated, Vulkan 1.3, no fp16_packed'
            >>> query.obstacle(0, half_precision=True)
            'GPU 0 (Mali-G720) has no fp16_packed, which fp16 needs'
            >>> query.obstacle(0, half_precision=False)
            ''
        """
        if not self.gpus:
            return f"no GPU with Vulkan here: {self.fault}"
        if number >= len(self.gpus):
            return f"Vulkan has no GPU {number} here, but {'; '.join(self.lines())}"
        gpu = self.gpus[number]
        if half_precision and gpu.lacks:
            return f"GPU {number} ({gpu.name}) has no {', '.join(gpu.lacks)}, which fp16 needs"
        return ""

    def lines(self) -> list[str]:
        """The GPUs with their numbers."""
        return [f"{number}: {gpu}" for number, gpu in enumerate(self.gpus)]


@cache  # they are asked for several times in a run, and do not change
def vulkan_gpus() -> GpuQuery:
    """Ask ncnn in a child process."""
    if find_spec("ncnn") is None:
        return GpuQuery(fault="ncnn not installed here")
    with temporary_folder() as folder:
        answer, log = folder / "answer", folder / "log"
        with log.open("w+") as output:
            command = module_command(_CHILD, str(answer))
            failure = run_limited(command, Limits(_SECONDS), output)
        if failure or not answer.is_file():
            return GpuQuery(fault=f"ncnn's search for them ended with {failure or 'no answer'}")
        query = from_json(GpuQuery, json.loads(answer.read_text()), "answer")
        if not query.gpus:
            lines = log.read_text(errors="replace").strip().splitlines()
            return GpuQuery(fault="; ".join(dict.fromkeys(lines)) or "ncnn finds none")
        return query

"""ncnn, for phones and boards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from backends.contract import About, Artifact, Dynamic, Segment, Specs, TensorSpec
from backends.dtypes import dtype_obstacle
from backends.handover import EngineFacts
from backends.ncnn.gpu_query import vulkan_gpus
from backends.options import MAX_THREADS
from backends.support import Support


def border_obstacle(inputs: Specs, outputs: Specs) -> str:
    """Why no segment with these inputs and outputs can be converted, or an empty text."""
    by_row = runs_row_by_row(inputs, outputs)
    for spec in (*inputs, *outputs):
        if spec.shape is None:
            return f"its files are of fixed shape: '{spec.name}' {spec}"
        if not by_row and any(isinstance(dim, Dynamic) for dim in spec.dims):
            return f"its files are of fixed shape, but for the number of rows: '{spec.name}' {spec}"
    return dtype_obstacle(["float32"], (*inputs, *outputs))


def _support(segment: Segment, options: Options) -> Support:
    """Which nodes of a segment it takes."""
    from backends.ncnn.support import support  # not at the top: the device does not need it

    return support(segment, options)


def misfit(options: Options) -> str:
    """Why no net with these options runs here, or an empty text."""
    if options.device == "cpu":
        return ""
    return vulkan_gpus().obstacle(options.gpu, options.fp16)


def machine(options: Options) -> Mapping[str, str]:
    """The GPU on which a net is compared with its segment, where it runs on one."""
    if options.device == "cpu" or misfit(options):
        return {}
    gpu = vulkan_gpus().gpus[options.gpu]
    return {"gpu": gpu.name, "driver": str(gpu.driver)}


def devices() -> Sequence[str]:
    """The GPUs that it can run on here."""
    query = vulkan_gpus()
    return [f"Vulkan GPU {line}" for line in query.lines()] or [f"no Vulkan GPU: {query.fault}"]


def _handover(artifact: Artifact, root: Path) -> EngineFacts:
    """How an app loads and calls an artifact."""
    from backends.ncnn.handover import engine_facts  # not at the top: it imports the engine

    return engine_facts(artifact, root)


ABOUT = About(
    summary="ncnn: CPUs of phones and boards, and GPUs through Vulkan",
    extra="ncnn",
    convert=("ncnn", "pnnx"),
    run=("ncnn",),
    border_obstacle=border_obstacle,
    support=_support,
    precisions={"fp16": {"fp16": True}},
    misfit=misfit,
    machine=machine,
    devices=devices,
    stand_in={"device": "cpu"},
    handover=_handover,
)


@dataclass(frozen=True)
class Options:
    """Options of ncnn.

    Attributes:
        threads: for each call; 0 leaves the number to the engine.
        fp16: half precision in the file and at run time. Without it both are fp32, and the
            half-precision options that ncnn turns on by default are off. A GPU that lacks it
            is refused.
        device: where it runs; layers that ncnn has no Vulkan shader for run on the CPU.
        gpu: the GPU's number among those with Vulkan.
    """

    threads: int = 0
    fp16: bool = False
    device: Literal["cpu", "vulkan"] = "cpu"
    gpu: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.threads <= MAX_THREADS:
            raise ValueError(f"threads: expected 0 to {MAX_THREADS}, got {self.threads}")
        if self.gpu < 0:
            raise ValueError(f"gpu: expected 0 or more, got {self.gpu}")


def runs_row_by_row(inputs: Specs, outputs: Specs) -> bool:
    """Whether all tensors share one dynamic number of rows and have no other dynamic dimension.

    The net is then converted for one row, and called for each.
    """
    row_dims = {spec.dims[:1] for spec in (*inputs, *outputs)}
    other_dims = [dim for spec in (*inputs, *outputs) for dim in spec.dims[1:]]
    varies = len(row_dims) == 1 and any(isinstance(dim, Dynamic) for dim in next(iter(row_dims)))
    return varies and not any(isinstance(dim, Dynamic) for dim in other_dims)


def one_row_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of a tensor with one row, where the number of rows is dynamic."""
    return tuple(1 if isinstance(dim, Dynamic) else dim for dim in spec.dims)


def net_shape(spec: TensorSpec) -> tuple[int, ...]:
    """The shape of a tensor in the net, where a single number has one axis."""
    return one_row_shape(spec) or (1,)

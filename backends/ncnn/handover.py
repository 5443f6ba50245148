"""How an app without this project's runtime loads and calls a converted net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from types import SimpleNamespace

from backends.contract import Artifact, Specs, TensorSpec
from backends.handover import EngineFacts, EngineTensor
from backends.ncnn import Options, net_shape, runs_row_by_row
from backends.ncnn.checking import NO_BATCH, read_axes
from backends.ncnn.example import example
from backends.ncnn.run import configure
from backends.options import parse_options

_SIDES = {1: ("w",), 2: ("w", "h"), 3: ("w", "h", "c"), 4: ("w", "h", "d", "c")}
_ALIGNED = 4  # floats: a channel begins at a multiple of 16 bytes
_NOTES = (
    "The options are set on Net::opt before load_param. fp16 is on by default in ncnn: an fp32 net "
    "with the defaults computes in half precision wherever the processor can.",
    "A Mat has its channels at distances of cstep floats, which may be more than w * h * d. Copy "
    "channel by channel, from and to Mat::channel(q), and take cstep from the Mat: the number here "
    "is of the version of ncnn that the net was converted for.",
    "Within a channel, w varies fastest, then h, then d. The axes of a tensor are c, d, h, w from "
    "the outermost to the innermost, without the batch axis.",
    "The Mat of an output may have other sides than here; its values are in the same order. Copy "
    "channel by channel, and take the result for an array of the shape that is given.",
    "An Extractor is for one call. A Net may serve several threads, an Extractor may not.",
)

_GPU_NOTES = (
    "Net::set_vulkan_device chooses the GPU by its number, before load_param. Where "
    "ncnn::get_gpu_count() is not above it, ncnn runs on the CPU without a word.",
    "ncnn turns off what a GPU lacks while it reads the parameters: look at the options of "
    "Net::opt again after load_param.",
)


def engine_facts(artifact: Artifact, root: Path) -> EngineFacts:
    """The facts of an artifact whose files are below ``root``.

    Raises:
        EngineError: the file with the batch axes is missing or damaged.
    """
    param, weights, axes_file = artifact.files
    axes = read_axes(root / axes_file, artifact.inputs, artifact.outputs)
    options = parse_options(Options, artifact.options, artifact.backend)
    inputs = _tensors("in", artifact.inputs, axes)
    outputs = _tensors("out", artifact.outputs, axes)
    settings = _settings(options)
    by_row = runs_row_by_row(artifact.inputs, artifact.outputs)
    return EngineFacts(
        library=f"ncnn {artifact.tools.get('ncnn', '')}".strip(),
        roles={
            param: "the layers, for Net::load_param",
            weights: "the weights, for Net::load_model",
            axes_file: "for this project's runtime: the batch axes, which are here too",
        },
        settings=settings,
        threads=options.threads,
        calls="row by row" if by_row else "once",
        inputs=inputs,
        outputs=outputs,
        notes=(*_NOTES, *_GPU_NOTES) if options.device == "vulkan" else _NOTES,
        language="C++",
        example=example(
            param,
            weights,
            settings,
            options.threads,
            options.gpu if options.device == "vulkan" else None,
            inputs,
            outputs,
        ),
    )


def _settings(options: Options) -> dict[str, bool | int | float | str]:
    """What the runtime sets of the engine's options, but the number of threads."""
    opt = SimpleNamespace()
    configure(opt, options)
    return {name: value for name, value in vars(opt).items() if name != "num_threads"}


def _tensors(prefix: str, specs: Specs, axes: Mapping[str, int]) -> tuple[EngineTensor, ...]:
    names = [f"{prefix}{index}" for index in range(len(specs))]
    return tuple(_tensor(name, spec, axes[name]) for name, spec in zip(names, specs, strict=True))


def _tensor(blob: str, spec: TensorSpec, axis: int) -> EngineTensor:
    shape = net_shape(spec)
    batch = shape[axis] if axis != NO_BATCH else 1
    sides = [size for place, size in enumerate(shape) if place != axis] or [1]
    return EngineTensor(
        tensor=spec.name,
        name=blob,
        shape=shape,
        batch_axis=None if axis == NO_BATCH else axis,
        layout={**mat_layout(sides), **({"n": batch} if batch > 1 else {})},
    )


def mat_layout(sides: Sequence[int]) -> dict[str, int]:
    """Number of axes, sides and ``cstep`` of the Mat of an array; empty for one of more than 4.

    Examples:
        >>> mat_layout([3, 5, 7])
        {'dims': 3, 'w': 7, 'h': 5, 'c': 3, 'cstep': 36}
    """
    names = _SIDES.get(len(sides))
    if names is None:
        return {}
    by_name = dict(zip(names, reversed(sides), strict=True))
    plane = prod(size for name, size in by_name.items() if name != "c")
    return {"dims": len(sides), **by_name, "cstep": -(-plane // _ALIGNED) * _ALIGNED}

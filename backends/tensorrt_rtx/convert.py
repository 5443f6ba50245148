"""Segment -> an engine of TensorRT for RTX, built without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tensorrt_rtx_bindings as trt

from backends.contract import Artifact, ConversionError, EngineError, Segment
from backends.nvidia.network import (
    ParsedSegment,
    add_profile,
    build_plan,
    configure,
    copy_model,
    parse_segment,
)
from backends.options import options_json
from backends.tensorrt_rtx import CURRENT, PORTABLE, Options, capabilities_of, obstacle
from backends.tensorrt_rtx.engine import BINDINGS
from backends.tensorrt_rtx.layers import check_types, describe_types, layer_types

if TYPE_CHECKING:
    from backends.nvidia.gpu import Gpu  # it imports pycuda, which a desk need not have

ENGINE = "engine.rtx"
_NO_PLUGIN = "ROIAlign plugin was not found"
_PORTABLE_TARGETS = "8.0, 8.6, 8.9, 12.0 and later"  # NVIDIA's default, by its documentation


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Build a strongly typed engine, which computes in the dtypes of the graph.

    The GPU's machine compiles the kernels when it loads the engine.

    Raises:
        ConversionError: an operator that the parser or the builder lacks, sizes that contradict
            the graph, or no GPU for ``targets=current``; with the node and NVIDIA's message.
    """
    if options.targets == CURRENT and (reason := obstacle()):
        raise ConversionError(
            f"segment '{segment.name}': targets=current cannot be built here: {reason}",
            do=f"Pass targets={PORTABLE} or a list such as [sm86, sm120], or build on the device.",
        )
    with _target_gpu(segment, options) as gpu:
        parsed = _parse(segment)
        (out / ENGINE).write_bytes(_build(parsed, options))
    types = layer_types(BINDINGS.messages.layers)
    check_types(parsed, types)
    return Artifact(
        name=segment.name,
        backend="tensorrt_rtx",
        files=(ENGINE, *(copy_model(segment, out) if options.strip else ())),
        inputs=segment.inputs,
        outputs=segment.outputs,
        options=options_json(options),
        tools={
            "tensorrt_rtx": trt.__version__,
            "compute_capability": _targets(options, gpu),
            "layers": describe_types(types),
        },
    )


@contextmanager
def _target_gpu(segment: Segment, options: Options) -> Iterator[Gpu | None]:
    """Make the GPU of ``targets=current`` the one that the builder sees; None for other targets."""
    if options.targets != CURRENT:
        yield None
        return
    from backends.nvidia.gpu import Gpu  # it needs a GPU's machine

    try:
        gpu = Gpu(options.device)
    except EngineError as error:
        raise ConversionError(f"segment '{segment.name}': {error}") from error
    try:
        with gpu.active():
            yield gpu
    finally:
        gpu.close()


def _parse(segment: Segment) -> ParsedSegment:
    trt.init_libnvinfer_plugins(BINDINGS.logger, "")
    try:
        return parse_segment(BINDINGS, segment)
    except ConversionError as error:
        # a plugin that starts CUDA is reported as one that is not there
        if _NO_PLUGIN in str(error) and (reason := obstacle()):
            raise ConversionError(
                str(error),
                do=f"\nNVIDIA's plugin for RoiAlign works only where CUDA does: {reason}. "
                "Build on the device (backend.build=device), or cut around it.",
            ) from error
        raise


def _build(parsed: ParsedSegment, options: Options) -> bytes:
    config = configure(parsed, options)
    # so that the builder tells the type of every layer, and the inspector does on the device
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    _set_targets(config, options)
    add_profile(parsed, config)
    try:
        return build_plan(parsed, config)
    except ConversionError as error:
        # the builder then runs kernels on the weights; NVIDIA's message does not say so
        if (options.refit or options.strip) and (reason := obstacle()):
            raise ConversionError(
                f"segment '{parsed.segment.name}': refit and strip need a GPU where the engine is "
                f"built: {reason}",
                do="Leave them out, or build on the device (backend.build=device).",
            ) from error
        raise


def _set_targets(config: trt.IBuilderConfig, options: Options) -> None:
    names = [f"SM{text.replace('.', '')}" for text in capabilities_of(options.targets)]
    if options.targets == CURRENT:
        names = ["CURRENT"]
    config.num_compute_capabilities = len(names)
    for number, name in enumerate(names):
        config.set_compute_capability(trt.ComputeCapability.__members__[name], number)


def _targets(options: Options, gpu: Gpu | None) -> str:
    """The compute capabilities that an engine is built for, for people."""
    if gpu is not None:
        return gpu.capability
    return ", ".join(capabilities_of(options.targets)) or _PORTABLE_TARGETS

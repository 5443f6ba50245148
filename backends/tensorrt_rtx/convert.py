"""Segment -> an engine of TensorRT for RTX, built without a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import tensorrt_rtx_bindings as trt

from backends.contract import Artifact, ConversionError, EngineError, Segment
from backends.nvidia.network import add_profile, build_plan, copy_model, parse_segment
from backends.options import options_json
from backends.tensorrt_rtx import CURRENT, PORTABLE, Options, obstacle
from backends.tensorrt_rtx.engine import BINDINGS

if TYPE_CHECKING:
    from backends.nvidia.gpu import Gpu  # it imports pycuda, which a desk need not have

ENGINE = "engine.rtx"
_MIB = 1 << 20
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
        (out / ENGINE).write_bytes(_build(segment, options))
    return Artifact(
        name=segment.name,
        backend="tensorrt_rtx",
        files=(ENGINE, *(copy_model(segment, out) if options.strip else ())),
        inputs=segment.inputs,
        outputs=segment.outputs,
        options=options_json(options),
        tools={"tensorrt_rtx": trt.__version__, "compute_capability": _targets(options, gpu)},
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


def _build(segment: Segment, options: Options) -> bytes:
    parsed = parse_segment(BINDINGS, segment)
    config = _configure(parsed.builder.create_builder_config(), options)
    add_profile(parsed, config)
    return build_plan(parsed, config)


def _configure(config: trt.IBuilderConfig, options: Options) -> trt.IBuilderConfig:
    flags = {
        trt.BuilderFlag.TF32: options.tf32,
        trt.BuilderFlag.REFIT: options.refit,
        trt.BuilderFlag.STRIP_PLAN: options.strip,
        trt.BuilderFlag.REFIT_IDENTICAL: options.strip and not options.refit,
    }
    for flag, enabled in flags.items():
        if enabled:
            config.set_flag(flag)
        else:
            config.clear_flag(flag)
    if options.workspace_mib:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_mib * _MIB)
    config.builder_optimization_level = options.level
    # so that the inspector can show the data type of every layer on the device
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    names = [f"SM{text.replace('.', '')}" for text in options.capabilities]
    if options.targets == CURRENT:
        names = ["CURRENT"]
    config.num_compute_capabilities = len(names)
    for number, name in enumerate(names):
        config.set_compute_capability(trt.ComputeCapability.__members__[name], number)
    return config


def _targets(options: Options, gpu: Gpu | None) -> str:
    """The compute capabilities that an engine is built for, for people."""
    if gpu is not None:
        return gpu.capability
    return ", ".join(options.capabilities) or _PORTABLE_TARGETS

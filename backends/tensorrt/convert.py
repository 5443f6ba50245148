"""Segment -> a TensorRT plan, built on the GPU that will run it."""

from __future__ import annotations

from pathlib import Path

import tensorrt as trt

from backends.contract import Artifact, ConversionError, EngineError, Segment
from backends.nvidia.gpu import Gpu
from backends.nvidia.network import add_profile, build_plan, configure, copy_model, parse_segment
from backends.options import options_json
from backends.tensorrt import Options
from backends.tensorrt.plan import BINDINGS, check_version, identity
from backends.tensorrt.timing import load_timings, save_timings, timing_file

PLAN = "engine.plan"

_HARDWARE = {
    "exact": "NONE",
    "same_capability": "SAME_COMPUTE_CAPABILITY",
    "ampere_plus": "AMPERE_PLUS",
}


def convert(segment: Segment, options: Options, out: Path) -> Artifact:
    """Build a strongly typed plan, which computes in the dtypes of the graph.

    Raises:
        ConversionError: an operator that TensorRT lacks, sizes that contradict the graph, or no
            implementation that fits; with the node and TensorRT's message.
    """
    try:
        check_version()
        gpu = Gpu(options.device)
    except EngineError as error:
        raise ConversionError(f"segment '{segment.name}': {error}") from error
    try:
        with gpu.active():
            (out / PLAN).write_bytes(_build(segment, options, gpu))
        tools = identity(gpu)
    finally:
        gpu.close()
    return Artifact(
        name=segment.name,
        backend="tensorrt",
        files=(PLAN, *(copy_model(segment, out) if options.strip else ())),
        inputs=segment.inputs,
        outputs=segment.outputs,
        options=options_json(options),
        tools=tools,
    )


def _build(segment: Segment, options: Options, gpu: Gpu) -> bytes:
    trt.init_libnvinfer_plugins(BINDINGS.logger, "")
    parsed = parse_segment(BINDINGS, segment)
    config = configure(parsed, options)
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    config.hardware_compatibility_level = _hardware(options.hardware)
    add_profile(parsed, config)
    timings = timing_file(options.timing_cache, gpu)
    load_timings(config, timings)
    plan = build_plan(parsed, config)
    save_timings(config, timings)
    return plan


def _hardware(option: str) -> trt.HardwareCompatibilityLevel:
    known = trt.HardwareCompatibilityLevel.__members__
    if _HARDWARE[option] not in known:
        raise ConversionError(
            f"hardware={option} is not known to TensorRT {trt.__version__}",
            expected=" or ".join(key for key, name in _HARDWARE.items() if name in known),
            got=option,
        )
    return known[_HARDWARE[option]]

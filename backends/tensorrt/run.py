"""TensorRT's device half."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import tensorrt as trt

from backends.contract import Artifact, files_of
from backends.nvidia.engine import (
    LoadedEngine,
    load_plan,
    new_runtime,
    read_plan,
    refit_from_model,
)
from backends.nvidia.gpu import Gpu
from backends.nvidia.runner import GpuRunner
from backends.options import parse_options
from backends.tensorrt import Options
from backends.tensorrt.plan import BINDINGS, check_fits, check_version


def load(artifact: Artifact, root: Path) -> GpuRunner:
    """Load a plan on its GPU. A plan contains code, which is run: load only trusted ones.

    Raises:
        EngineError: no such GPU, or the plan is damaged, or of another TensorRT or GPU.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    check_version()
    gpu = Gpu(options.device)
    try:
        check_fits(artifact, options, gpu)
        with gpu.active():
            engine = _load(files_of(artifact, root, (1 + options.strip,)), options)
    except BaseException:
        gpu.close()
        raise
    return GpuRunner(gpu, engine, artifact, options.cuda_graph)


def _load(files: Sequence[Path], options: Options) -> LoadedEngine:
    trt.init_libnvinfer_plugins(BINDINGS.logger, "")
    runtime = new_runtime(BINDINGS)
    # a version-compatible plan contains a runtime of its own version, which runs on the host
    runtime.engine_host_code_allowed = options.version_compatible
    engine = load_plan(BINDINGS, runtime, files[0].name, read_plan(files[0]))
    if options.strip:
        refit_from_model(BINDINGS, engine, files[1])
    return LoadedEngine(BINDINGS, runtime, engine.create_execution_context)

"""The device half of TensorRT for RTX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import tensorrt_rtx_bindings as trt

from backends.contract import Artifact, EngineError, files_of
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
from backends.tensorrt_rtx import Options
from backends.tensorrt_rtx.engine import BINDINGS, check_valid
from backends.tensorrt_rtx.runtime_cache import KernelCache, kernel_file

_KERNELS = {
    "lazy": trt.DynamicShapesKernelSpecializationStrategy.LAZY,
    "eager": trt.DynamicShapesKernelSpecializationStrategy.EAGER,
    "none": trt.DynamicShapesKernelSpecializationStrategy.NONE,
}


def load(artifact: Artifact, root: Path) -> GpuRunner:
    """Load an engine on a GPU, which compiles its kernels where no earlier load has done so.

    Raises:
        EngineError: no such GPU, or the engine is damaged, or of another version, or does not run
            on this GPU.
    """
    options = parse_options(Options, artifact.options, artifact.backend)
    gpu = Gpu(options.device)
    try:
        with gpu.active():
            engine = _load(artifact, files_of(artifact, root, (1 + options.strip,)), options, gpu)
    except BaseException:
        gpu.close()
        raise
    return GpuRunner(gpu, engine, artifact, graphs=False)  # this product captures graphs itself


def _load(artifact: Artifact, files: Sequence[Path], options: Options, gpu: Gpu) -> LoadedEngine:
    trt.init_libnvinfer_plugins(BINDINGS.logger, "")
    runtime = new_runtime(BINDINGS)
    plan = read_plan(files[0])
    check_valid(runtime, artifact, plan, gpu)
    engine = load_plan(BINDINGS, runtime, files[0].name, plan)
    if options.strip:
        refit_from_model(BINDINGS, engine, files[1])
    config = _runtime_config(engine, options)
    ran = _keep_kernels(config, options, plan, gpu)

    def new_context() -> trt.IExecutionContext | None:
        return engine.create_execution_context(config)

    return LoadedEngine(BINDINGS, runtime, new_context, ran)


def _runtime_config(engine: trt.ICudaEngine, options: Options) -> trt.IRuntimeConfig:
    config = engine.create_runtime_config()
    if options.cuda_graph:
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        if config.cuda_graph_strategy != trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE:
            raise EngineError(
                f"{BINDINGS.product} does not record this engine: {BINDINGS.messages.take()}",
                do="Leave the option cuda_graph out.",
            )
    config.dynamic_shapes_kernel_specialization_strategy = _KERNELS[options.dynamic_kernels]
    return config


def _keep_kernels(
    config: trt.IRuntimeConfig, options: Options, plan: bytes, gpu: Gpu
) -> Callable[[], None]:
    """Give the engine the kernels that were compiled before; returns what saves new ones."""
    file = kernel_file(options.runtime_cache, plan, gpu)
    if file is None:
        return lambda: None
    cache = config.create_runtime_cache()
    kernels = KernelCache(cache, file)
    config.set_runtime_cache(cache)
    return kernels.save

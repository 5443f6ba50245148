"""ONNX Runtime's sessions: on the CPU, or on a GPU."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import onnxruntime as ort
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from backends.contract import EngineError
from backends.files import utf8_path
from backends.onnxruntime import Options
from backends.options import clamp_threads

SILENT = 4  # errors are raised, and its log would print names of the model as they are
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
_MIB = 1 << 20
_SPIN, _STOP = "session.intra_op.allow_spinning", "session.force_spinning_stop"
_NO_FALLBACK = "session.disable_cpu_ep_fallback"
_FALL_BACK = "If the GPU has no kernel for a node, cpu_fallback=true runs it on the CPU."

_NO_KERNEL = re.compile(r"Could not find an implementation for (?P<operator>\w+)")

# the engine's exceptions have no base class of their own
FAILURES = (
    errors.Fail,
    errors.InvalidArgument,
    errors.InvalidGraph,
    errors.InvalidProtobuf,
    errors.NoModel,
    errors.NoSuchFile,
    errors.NotImplemented,
    errors.RuntimeException,
    # what the binding raises for other exceptions of C++, such as of a damaged file
    ValueError,
    TypeError,
    LookupError,
    RuntimeError,
    OverflowError,
    MemoryError,
)


def on_cpu(path: Path, options: Options) -> ort.InferenceSession:
    """A session on the CPU.

    Raises:
        EngineError: the file does not load.
    """
    return _session(path, _settings(options), [_CPU])


def on_gpu(path: Path, options: Options) -> ort.InferenceSession | None:
    """A session on the GPU, or None where there is no GPU and the CPU may be used instead.

    Raises:
        EngineError: the file does not load; or ``cpu_fallback`` is off and there is no GPU, or no
            GPU kernel for a node.
    """
    fault = gpu_fault()
    if not fault:
        settings = _settings(options)
        if not options.cpu_fallback:
            settings.add_session_config_entry(_NO_FALLBACK, "1")
        session = _session(path, settings, [(_CUDA, provider_options(options)), _CPU], _FALL_BACK)
        if session.get_providers()[0] == _CUDA:
            return session
        fault = "its CUDA provider does not start: the driver, CUDA or cuDNN is missing"
    if not options.cpu_fallback:
        raise EngineError(
            f"ONNX Runtime has no GPU here: {fault}",
            do="Install onnxruntime-gpu in the place of onnxruntime, with CUDA and cuDNN; or "
            "pass device=cpu, or cpu_fallback=true.",
        )
    warnings.warn(f"'{path.name}' runs on the CPU: {fault}", stacklevel=3)
    return None


def load_alone(model: bytes, options: Options) -> ort.InferenceSession:
    """Load a small model on the options' device, and change nothing in it.

    Raises:
        FAILURES: it does not load, such as for lack of a kernel.
    """
    settings = _settings(options)
    settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = 1
    providers: list[str | tuple[str, dict[str, str]]] = [_CPU]
    if options.device == "cuda":
        providers.insert(0, (_CUDA, provider_options(options)))
        if not options.cpu_fallback:
            settings.add_session_config_entry(_NO_FALLBACK, "1")
    return ort.InferenceSession(model, settings, providers=providers)


def provider_options(options: Options) -> dict[str, str]:
    """The options of ONNX Runtime's CUDA execution provider."""
    values = {
        "device_id": str(options.gpu),
        "use_tf32": str(int(options.tf32)),
        "cudnn_conv_algo_search": options.conv_search.upper(),
    }
    if options.gpu_memory_mib:
        values["gpu_mem_limit"] = str(options.gpu_memory_mib * _MIB)
    return values


def gpu_fault() -> str:
    """Why this build of the engine cannot use a GPU, or an empty text."""
    if _CUDA not in ort.get_available_providers():
        return "this build of it is for the CPU"
    ort.preload_dlls()  # CUDA's libraries may be in wheels, where the loader does not look
    return ""


def _settings(options: Options) -> ort.SessionOptions:
    settings = ort.SessionOptions()
    if not options.optimize_at_start:
        settings.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.intra_op_num_threads = clamp_threads(options.threads)
    settings.log_severity_level = SILENT
    settings.add_session_config_entry(_SPIN, str(int(options.spin != "off")))
    settings.add_session_config_entry(_STOP, str(int(options.spin == "run")))
    return settings


def _session(
    path: Path,
    settings: ort.SessionOptions,
    providers: list[str | tuple[str, dict[str, str]]],
    do: str = "",
) -> ort.InferenceSession:
    try:
        with utf8_path(path) as file:
            return ort.InferenceSession(file, settings, providers=providers)
    except FAILURES as error:
        advice = missing_kernel_advice(error) or do
        raise EngineError(f"'{path.name}' does not load: {error}", do=advice) from error


def missing_kernel_advice(error: Exception) -> str:
    """What to do where the engine has an operator, but not for the dtype that a node has."""
    match = _NO_KERNEL.search(str(error))
    if match is None:
        return ""
    return (
        f"ONNX Runtime has no {match['operator']} for the dtype of this node on this device, such "
        "as bfloat16 on a CPU: let the model compute it in float32 (weights in float32, and no "
        "torch.autocast in its forward), or choose another backend for this segment."
    )

"""Whether an engine can be loaded here: NVIDIA's own check, before any of it is run."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import tensorrt_rtx_bindings as trt

from backends.contract import Artifact, EngineError
from backends.nvidia.bindings import bindings_of

if TYPE_CHECKING:
    from backends.nvidia.gpu import Gpu  # it imports pycuda, which a desk need not have

BINDINGS = bindings_of(trt, "TensorRT for RTX")

_AGAIN = (
    "Build it again for this machine: deploy again with other backend.options.targets, or with "
    "backend.build=device and then python -m deploy.runtime build BUNDLE here."
)


def check_valid(runtime: trt.Runtime, artifact: Artifact, plan: bytes, gpu: Gpu) -> None:
    """Refuse an engine that does not fit this library or this GPU; warn where it fits badly.

    Raises:
        EngineError: with what it was built for, what is here, and NVIDIA's reasons.
    """
    validity, diagnostics = runtime.get_engine_validity(plan)
    if validity == trt.EngineValidity.VALID:
        return
    reasons = _reasons(int(diagnostics)) or BINDINGS.messages.take()
    if validity == trt.EngineValidity.SUBOPTIMAL:
        warnings.warn(
            f"the engine of '{artifact.name}' runs below its best on {gpu.name}: {reasons}",
            stacklevel=2,
        )
        return
    raise EngineError(
        f"the engine of '{artifact.name}' cannot be loaded here: {reasons}",
        expected=_described(artifact.tools),
        got=_described({"tensorrt_rtx": trt.__version__, "compute_capability": gpu.capability}),
        do=_AGAIN,
    )


def _described(tools: Mapping[str, str]) -> str:
    version, capability = tools.get("tensorrt_rtx"), tools.get("compute_capability")
    return f"TensorRT for RTX {version} and compute capability {capability}"


def _reasons(diagnostics: int) -> str:
    """NVIDIA's reasons in words, such as ``unsupported compute capability``; often none."""
    words = {
        trt.EngineInvalidityDiagnostics.VERSION_MISMATCH: "it is of another version",
        trt.EngineInvalidityDiagnostics.UNSUPPORTED_CC: "unsupported compute capability",
        trt.EngineInvalidityDiagnostics.OLD_CUDA_DRIVER: "the CUDA driver is too old",
        trt.EngineInvalidityDiagnostics.OLD_CUDA_RUNTIME: "the CUDA runtime is too old",
        trt.EngineInvalidityDiagnostics.INSUFFICIENT_GPU_MEMORY: "too little memory on the GPU",
        trt.EngineInvalidityDiagnostics.MALFORMED_ENGINE: "it is damaged or of another version",
        trt.EngineInvalidityDiagnostics.CUDA_ERROR: "CUDA failed",
    }
    return ", ".join(text for flag, text in words.items() if diagnostics & int(flag))

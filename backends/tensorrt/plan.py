"""Which TensorRT and which GPU a plan was built with, and whether it may be loaded here."""

from __future__ import annotations

from collections.abc import Mapping

import tensorrt as trt

from backends.contract import Artifact, EngineError
from backends.tensorrt import Options
from backends.tensorrt.gpu import Gpu

_AMPERE = (8, 0)


_OLDEST = 10


_AGAIN = (
    "Build it on this device: python -m deploy.runtime build BUNDLE, where the bundle was made "
    "with backend.build=device; else deploy it again here."
)


def check_version() -> None:
    """Refuse a TensorRT that names no tensors, or builds no strongly typed networks.

    Raises:
        EngineError: it is older than 10.
    """
    if _major(trt.__version__) < _OLDEST:
        raise EngineError(
            "TensorRT", expected=f"version {_OLDEST} or later", got=trt.__version__, do="Update it."
        )


def identity(gpu: Gpu) -> dict[str, str]:
    """What a plan is tied to, as the manifest keeps it."""
    return {
        "tensorrt": trt.__version__,
        "cuda": gpu.cuda,
        "gpu": gpu.name,
        "compute_capability": gpu.capability,
    }


def check_fits(artifact: Artifact, options: Options, gpu: Gpu) -> None:
    """Refuse a plan of another version or another GPU before a byte of it is read.

    Raises:
        EngineError: naming what it was built for, and what is here.
    """
    here = identity(gpu)
    missing = [key for key in here if key not in artifact.tools]
    if missing:
        raise EngineError(f"the plan does not say its {missing[0]}", do=_AGAIN)
    for fault in (_version_fault, _cuda_fault, _gpu_fault):
        if wanted := fault(artifact.tools, here, options):
            key, got = wanted
            raise EngineError(
                f"the plan of '{artifact.name}' was built for another {key}",
                expected=artifact.tools[got],
                got=here[got],
                do=_AGAIN,
            )


Fault = tuple[str, str] | None


def _version_fault(built: Mapping[str, str], here: Mapping[str, str], options: Options) -> Fault:
    was, now = built["tensorrt"], here["tensorrt"]
    if options.version_compatible and _major(was) == _major(now) and _numbers(was) <= _numbers(now):
        return None
    return None if was == now else ("TensorRT", "tensorrt")


def _cuda_fault(built: Mapping[str, str], here: Mapping[str, str], options: Options) -> Fault:
    older = _major(here["cuda"]) < _major(built["cuda"])
    return ("version of the CUDA driver", "cuda") if older else None


def _gpu_fault(built: Mapping[str, str], here: Mapping[str, str], options: Options) -> Fault:
    was, now = built["compute_capability"], here["compute_capability"]
    if options.hardware == "ampere_plus" and _numbers(now) >= _AMPERE:
        return None
    if was != now:
        return ("compute capability", "compute_capability")
    exact = options.hardware == "exact" and built["gpu"] != here["gpu"]
    return ("GPU", "gpu") if exact else None


def _major(version: str) -> int:
    return _numbers(version)[0]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())

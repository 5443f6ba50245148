"""The TensorRT and the GPU that a plan was built with, and whether it can be loaded here."""

from __future__ import annotations

from collections.abc import Mapping

import tensorrt as trt

from backends.contract import Artifact, EngineError
from backends.nvidia.bindings import bindings_of
from backends.nvidia.gpu import Gpu
from backends.tensorrt import Options

BINDINGS = bindings_of(trt, "TensorRT")

_AMPERE = (8, 0)
_OLDEST = 10

_AGAIN = (
    "Build it on this device: python -m deploy.runtime build BUNDLE, where the bundle was made "
    "with backend.build=device; else deploy it again here."
)


def check_version() -> None:
    """Refuse a TensorRT without named tensors and strongly typed networks.

    Raises:
        EngineError: it is older than 10.
    """
    if _major(trt.__version__) < _OLDEST:
        raise EngineError(
            "TensorRT", expected=f"version {_OLDEST} or later", got=trt.__version__, do="Update it."
        )


def identity(gpu: Gpu) -> dict[str, str]:
    """What a plan depends on, as ``tools`` of its artifact."""
    return {
        "tensorrt": trt.__version__,
        "cuda": gpu.cuda,
        "gpu": gpu.name,
        "compute_capability": gpu.capability,
    }


def check_fits(artifact: Artifact, options: Options, gpu: Gpu) -> None:
    """Refuse a plan of another version or another GPU before it is read.

    Raises:
        EngineError: with what it was built for, and what is here.
    """
    here = identity(gpu)
    missing = [key for key in here if key not in artifact.tools]
    if missing:
        raise EngineError(f"the plan does not say its {missing[0]}", do=_AGAIN)
    for check in (_version_mismatch, _cuda_mismatch, _gpu_mismatch):
        if mismatch := check(artifact.tools, here, options):
            what, key = mismatch
            raise EngineError(
                f"the plan of '{artifact.name}' was built for another {what}",
                expected=artifact.tools[key],
                got=here[key],
                do=_AGAIN,
            )


Mismatch = tuple[str, str] | None  # what differs, in words and as a key of ``identity``


def _version_mismatch(
    built: Mapping[str, str], here: Mapping[str, str], options: Options
) -> Mismatch:
    was, now = built["tensorrt"], here["tensorrt"]
    if options.version_compatible and _major(was) == _major(now) and _numbers(was) <= _numbers(now):
        return None
    return None if was == now else ("TensorRT", "tensorrt")


def _cuda_mismatch(built: Mapping[str, str], here: Mapping[str, str], options: Options) -> Mismatch:
    older = _major(here["cuda"]) < _major(built["cuda"])
    return ("version of the CUDA driver", "cuda") if older else None


def _gpu_mismatch(built: Mapping[str, str], here: Mapping[str, str], options: Options) -> Mismatch:
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

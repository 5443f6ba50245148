"""The device: opens bundles and runs them with NumPy, Pillow and the engines alone.

The public names are imported when they are first used, so that ``import deploy.runtime`` loads
neither NumPy nor an engine.

Example::

    from deploy.runtime import Pipeline

    with Pipeline.open("bundles/yolov3") as pipeline:
        detections = pipeline("photo.jpg")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from backends.contract import DeployError, EngineError, MissingLibraryError, TensorError
    from deploy.runtime.bundle.engine_choice import Choice
    from deploy.runtime.bundle.manifest import BundleError
    from deploy.runtime.execution.text_front_ends import TextError
    from deploy.runtime.inputs.iterables import read_inputs
    from deploy.runtime.inputs.sources import InputError
    from deploy.runtime.inputs.video import VideoError
    from deploy.runtime.pipeline import Pipeline
    from deploy.runtime.results.detections import Detections
    from deploy.runtime.vision.image import ImageError

__all__ = [
    "BundleError",
    "Choice",
    "DeployError",
    "Detections",
    "EngineError",
    "ImageError",
    "InputError",
    "MissingLibraryError",
    "Pipeline",
    "TensorError",
    "TextError",
    "VideoError",
    "read_inputs",
]

_MODULES = {
    "BundleError": "deploy.runtime.bundle.manifest",
    "Choice": "deploy.runtime.bundle.engine_choice",
    "DeployError": "backends.contract",
    "Detections": "deploy.runtime.results.detections",
    "EngineError": "backends.contract",
    "ImageError": "deploy.runtime.vision.image",
    "InputError": "deploy.runtime.inputs.sources",
    "MissingLibraryError": "backends.contract",
    "Pipeline": "deploy.runtime.pipeline",
    "TensorError": "backends.contract",
    "TextError": "deploy.runtime.execution.text_front_ends",
    "VideoError": "deploy.runtime.inputs.video",
    "read_inputs": "deploy.runtime.inputs.iterables",
}


def __getattr__(name: str) -> Any:
    """Import the module of a public name on its first use (PEP 562)."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = vars(import_module(_MODULES[name]))[name]
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

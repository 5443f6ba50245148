"""The device: opens bundles and runs them with NumPy, Pillow and the engines alone."""

from backends.contract import DeployError, EngineError, MissingLibraryError, TensorError
from deploy.runtime.bundle.engine_choice import Choice
from deploy.runtime.bundle.manifest import BundleError
from deploy.runtime.pipeline import Pipeline
from deploy.runtime.vision.detections import Detections
from deploy.runtime.vision.image import ImageError

__all__ = [
    "BundleError",
    "Choice",
    "DeployError",
    "Detections",
    "EngineError",
    "ImageError",
    "MissingLibraryError",
    "Pipeline",
    "TensorError",
]

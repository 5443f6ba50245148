"""The device: opens bundles and runs them with NumPy, Pillow and the engines alone."""

from backends.contract import DeployError, EngineError, MissingLibraryError, TensorError
from deploy.runtime.choices import Choice
from deploy.runtime.detections import Detections
from deploy.runtime.image import ImageError
from deploy.runtime.manifest import BundleError
from deploy.runtime.pipeline import Pipeline

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

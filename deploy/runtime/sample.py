"""A bundle's own sample."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.contract import Array
from deploy.runtime.detections import Detections
from deploy.runtime.manifest import BundleError, Manifest, verify_files

IMAGE = "sample/image.png"
DETECTIONS = "sample/detections.json"
TENSORS = "sample/tensors.npz"
PICTURE = "detections.png"


def step_sample(step: str) -> str:
    """The file with a step's inputs and outputs, in bundles that a device has to finish."""
    return f"sample/steps/{step}.npz"


@dataclass(frozen=True)
class Sample:
    """Inputs of the chain and PyTorch's outputs for them, by tensor name."""

    inputs: dict[str, Array]
    outputs: dict[str, Array]


def read_sample(bundle: Path, manifest: Manifest) -> Sample:
    """The bundle's tensors, after comparing their hash.

    Raises:
        BundleError: there is no sample, or it was changed.
    """
    if manifest.sample is None:
        raise BundleError(f"bundle '{bundle}' has no sample")
    return _read(bundle, manifest, manifest.sample)


def read_step_sample(bundle: Path, manifest: Manifest, step: str) -> Sample:
    """A step's tensors; errors as of ``read_sample``."""
    name = step_sample(step)
    if name not in manifest.files:
        raise BundleError(f"bundle '{bundle}' has no sample of step '{step}'")
    return _read(bundle, manifest, name)


def _read(bundle: Path, manifest: Manifest, name: str) -> Sample:
    verify_files(bundle, manifest, [name])
    with np.load(bundle / name, allow_pickle=False) as stored:
        sides = {
            side: {
                name.removeprefix(side): stored[name]
                for name in stored.files
                if name.startswith(side)
            }
            for side in ("input/", "output/")
        }
    return Sample(sides["input/"], sides["output/"])


def sample_picture(bundle: Path, manifest: Manifest) -> Path | None:
    """The bundle's picture, after comparing its hash; none where the model takes no picture."""
    if IMAGE not in manifest.files:
        return None
    verify_files(bundle, manifest, [IMAGE])
    return bundle / IMAGE


def expected_detections(bundle: Path, manifest: Manifest) -> Detections:
    """What PyTorch finds in the sample picture."""
    verify_files(bundle, manifest, [DETECTIONS])
    return Detections.from_json(json.loads((bundle / DETECTIONS).read_text()))

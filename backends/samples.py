"""The sample file of a segment or bundle: an npz with ``input/<name>`` and ``output/<name>``."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from backends.contract import Specs, Tensors
from deploy.runtime.accuracy.step_errors import select_tensors


def write_sample(path: Path, inputs: Specs, outputs: Specs, values: Tensors) -> None:
    """Write the values as ``input/<name>`` and ``output/<name>`` of an npz file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {f"input/{name}": value for name, value in select_tensors(inputs, values).items()}
    arrays |= {f"output/{name}": value for name, value in select_tensors(outputs, values).items()}
    np.savez_compressed(path, allow_pickle=False, **arrays)

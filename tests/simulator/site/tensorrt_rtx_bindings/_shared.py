"""What is as in the double of TensorRT is taken from there, as modules of this package."""

from __future__ import annotations

import sys
from pathlib import Path

sys.modules[__name__.rpartition(".")[0]].__path__.append(
    str(Path(__file__).resolve().parents[1] / "tensorrt")
)

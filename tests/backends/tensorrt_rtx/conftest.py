"""What the tests of TensorRT for RTX share."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path

import pytest

from backends.contract import Artifact, Segment
from backends.nvidia.runner import GpuRunner

ConvertRtx = Callable[..., tuple[Artifact, Path]]
LoadRtx = Callable[[Artifact, Path], GpuRunner]


@pytest.fixture
def convert_rtx(driver, tmp_path) -> ConvertRtx:
    """Converts a segment with options; the artifact and the folder of its files."""

    def make(segment: Segment, **options: object) -> tuple[Artifact, Path]:
        from backends.tensorrt_rtx import Options
        from backends.tensorrt_rtx.convert import convert

        out = tmp_path / f"{segment.name}.out"
        out.mkdir(exist_ok=True)
        return convert(segment, Options(**options), out), out

    return make


@pytest.fixture
def load_rtx(driver) -> LoadRtx:
    """Loads an artifact on the simulated GPU."""
    from backends.tensorrt_rtx.run import load

    return load


@pytest.fixture
def compiled_kernels() -> list[str]:
    """The kernels that the double has compiled in this process."""
    return importlib.import_module("tensorrt_rtx_bindings._context_factory").compiled

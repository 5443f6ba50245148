"""What the tests of TensorRT share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from backends.contract import Artifact, Segment

Convert = Callable[..., tuple[Artifact, Path]]


@pytest.fixture
def convert(driver, tmp_path) -> Convert:
    """Converts a segment with options; the artifact and the folder of its files."""

    def make(segment: Segment, **options: object) -> tuple[Artifact, Path]:
        from backends.tensorrt import Options
        from backends.tensorrt.convert import convert as build

        out = tmp_path / f"{segment.name}.out"
        out.mkdir(exist_ok=True)
        return build(segment, Options(**options), out), out

    return make

"""A segment as it is, for the device to convert."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from backends.contract import Artifact, Segment
from backends.options import Value
from deploy.recipe import BackendRecipe


def carry(
    segment: Segment,
    backend: BackendRecipe,
    options: Mapping[str, Value],
    out: Path,
) -> Artifact:
    """Copy a segment and the weights beside it into the folder ``out``.

    The weights keep their name, for the file refers to them by it.

    Returns:
        The artifact of which the device has yet to build the files.
    """
    out.mkdir(parents=True, exist_ok=True)
    files = [path for path in segment.onnx.parent.glob(f"{segment.onnx.name}*") if path.is_file()]
    for path in files:
        shutil.copyfile(path, out / path.name)
    return Artifact(
        name=segment.name,
        backend=backend.name,
        files=(),
        inputs=segment.inputs,
        outputs=segment.outputs,
        precision=backend.precision,
        options=options,
        source=tuple(sorted(path.name for path in files)),
    )

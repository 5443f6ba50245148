"""Steps without anything to do: no boxes, no rows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.contract import Array, Artifact, Dynamic, EngineError, Segment

Shapes = Mapping[str, tuple[int, ...]]


def may_be_empty(step: Artifact) -> bool:
    """Whether the number of something that it takes may be 0."""
    dims = (dim for spec in step.inputs for dim in spec.dims)
    return any(isinstance(dim, Dynamic) and dim.min == 0 for dim in dims)


def empty_outputs(step: Artifact | Segment, shapes: Shapes) -> dict[str, Array]:
    """What a step gives for inputs of which one is empty; engines take no such thing.

    Args:
        step: the step.
        shapes: of its inputs.

    Raises:
        EngineError: an output does not have the size that is 0, so that it is not known.
    """
    sizes = {
        dim.name: size
        for spec in step.inputs
        for dim, size in zip(spec.dims, shapes[spec.name], strict=True)
        if isinstance(dim, Dynamic)
    }
    found = {}
    for spec in step.outputs:
        shape = [sizes.get(dim.name, -1) if isinstance(dim, Dynamic) else dim for dim in spec.dims]
        if 0 not in shape or -1 in shape:
            raise EngineError(
                f"nothing to compute '{spec.name}' of",
                expected="at least one row",
                got=", ".join(f"{name}{list(shape)}" for name, shape in shapes.items()),
            )
        found[spec.name] = np.zeros(shape, spec.dtype)
    return found

"""Steps that get a batch of 0 rows, such as no boxes: their outputs without the engine."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from backends.contract import Array, Artifact, Dynamic, EngineError, Segment

Shapes = Mapping[str, tuple[int, ...]]


def may_be_empty(step: Artifact) -> bool:
    """Whether a dynamic dimension of an input may be 0."""
    dims = (dim for spec in step.inputs for dim in spec.dims)
    return any(isinstance(dim, Dynamic) and dim.min == 0 for dim in dims)


def empty_outputs(step: Artifact | Segment, shapes: Shapes) -> dict[str, Array]:
    """The outputs of a step for inputs of which one has no element; engines refuse such inputs.

    Args:
        step: the step.
        shapes: of its inputs, by name.

    Returns:
        Arrays without elements, in the dtype and shape of each output.

    Raises:
        EngineError: an output does not have the dimension that is 0, so its values are unknown.
    """
    sizes = {
        dim.name: size
        for spec in step.inputs
        for dim, size in zip(spec.dims, shapes[spec.name], strict=True)
        if isinstance(dim, Dynamic)
    }
    outputs = {}
    for spec in step.outputs:
        shape = [sizes.get(dim.name, -1) if isinstance(dim, Dynamic) else dim for dim in spec.dims]
        if 0 not in shape or -1 in shape:
            raise EngineError(
                f"nothing to compute '{spec.name}' of",
                expected="at least one row",
                got=", ".join(f"{name}{list(shape)}" for name, shape in shapes.items()),
            )
        outputs[spec.name] = np.zeros(shape, spec.dtype)
    return outputs

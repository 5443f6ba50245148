"""The number of dimensions of an engine's tensors, and the refusal of a segment by its border."""

from __future__ import annotations

from collections.abc import Callable

from backends.contract import ConversionError, Segment, Specs


def rank_obstacle(specs: Specs, most: int = 64) -> str:
    """Why an engine that wants to know each number of dimensions cannot take one of these tensors.

    Args:
        specs: the tensors.
        most: the largest number of dimensions.

    Returns:
        An empty text where it can.

    Examples:
        >>> from backends.contract import TensorSpec
        >>> rank_obstacle((TensorSpec("x", "float32", (1, 3)), TensorSpec("y", "float32", None)))
        "its tensors have a known number of dimensions: 'y' float32[...]"
    """
    for spec in specs:
        if spec.shape is None:
            return f"its tensors have a known number of dimensions: '{spec.name}' {spec}"
        if len(spec.shape) > most:
            return f"its tensors have at most {most} dimensions: '{spec.name}' {spec}"
    return ""


def check_border(segment: Segment, engine: str, obstacle: Callable[[Specs, Specs], str]) -> None:
    """Refuse a segment whose inputs and outputs its backend does not take.

    Args:
        segment: the segment.
        engine: the name of the engine, for people.
        obstacle: ``About.border_obstacle`` of the backend.

    Raises:
        ConversionError: with the tensor and what the engine takes.
    """
    if reason := obstacle(segment.inputs, segment.outputs):
        raise ConversionError(
            f"segment '{segment.name}': {engine} does not take its inputs and outputs: {reason}",
            do="Let the model have it in a dtype that it takes (in PyTorch: .float() in its "
            "forward), cut elsewhere, or choose another backend for this segment.",
        )

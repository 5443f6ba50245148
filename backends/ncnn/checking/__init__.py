"""Whether a net is what a converter would have written, before ncnn's own parser sees it.

ncnn believes its files: a damaged one makes it read beyond the weights, divide by zero, or ask for
more memory than there is. What is refused here is refused with the layer's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

from backends.contract import Dynamic, EngineError, Specs, TensorSpec
from backends.ncnn import goes_by_rows
from backends.ncnn.checking.axes import NO_BATCH, read_axes
from backends.ncnn.checking.blob import MOST_NUMBERS, Blob
from backends.ncnn.checking.files import check_file, read
from backends.ncnn.checking.graph import check_graph
from backends.ncnn.checking.param import AGAIN, Net, parse
from backends.ncnn.checking.shapes import propagate
from backends.ncnn.checking.sizes import check_size

__all__ = [
    "NO_BATCH",
    "Net",
    "check_net",
    "read_axes",
]

_MOST_BYTES = 1 << 24  # of text


def check_net(
    param: Path,
    weights: Path,
    inputs: Specs,
    outputs: Specs,
    axes: Mapping[str, int],
    has: Callable[[str], bool],
) -> Net:
    """Refuse a net that pnnx would not have written for these tensors.

    Every layer is checked: the text of its line, its blobs, its parameters, the bytes that it reads
    of the weights, and that it fits the sizes of what it gets. Of a layer of a later ncnn only the
    first two are, and its integers are bounded; what comes of its results is then not known.

    Args:
        param: the ``.param``.
        weights: the ``.bin``.
        inputs: of the net, in its order; one row where their number varies.
        outputs: likewise.
        axes: which axis of each is the batch, as of ``read_axes``.
        has: whether the engine has layers of a kind.

    Returns:
        The net as it was read.

    Raises:
        EngineError: with the file or the layer, what was expected of it, and what it has.
    """
    _check_specs(inputs, outputs)
    check_file(weights)
    net = parse(read(param, _MOST_BYTES), param.name)
    check_graph(net, param.name, len(inputs), len(outputs), has)
    check_size(net.layers, weights)
    given = {f"in{at}": _blob(spec, axes[f"in{at}"]) for at, spec in enumerate(inputs)}
    blobs = propagate(net.layers, given)
    for at, spec in enumerate(outputs):
        blob, total = blobs[f"out{at}"], prod(_shape(spec))
        if blob is not None and blob.total != total:
            raise EngineError(
                f"'{param.name}': '{spec.name}'",
                expected=f"{total} numbers",
                got=str(blob.total),
                do=AGAIN,
            )
    return net


def _check_specs(inputs: Specs, outputs: Specs) -> None:
    """The runner makes blobs of what fits the specs, so they must be those of one net."""
    varies = any(isinstance(dim, Dynamic) for spec in (*inputs, *outputs) for dim in spec.dims)
    if varies and not goes_by_rows(inputs, outputs):
        raise EngineError("an ncnn net", expected="fixed sizes, or rows that vary", got="others")
    for spec in (*inputs, *outputs):
        shape = _shape(spec)
        sized = shape and min(shape) >= 1 and prod(shape) <= MOST_NUMBERS
        if spec.dtype != "float32" or not sized:
            expected = f"float32, and 1 to {MOST_NUMBERS} numbers"
            raise EngineError(f"'{spec.name}' of an ncnn net", expected=expected, got=str(spec))


def _blob(spec: TensorSpec, axis: int) -> Blob:
    shape = _shape(spec)
    if axis == NO_BATCH:
        return Blob(shape)
    return Blob((*shape[:axis], *shape[axis + 1 :]), shape[axis])


def _shape(spec: TensorSpec) -> tuple[int, ...]:
    return tuple(1 if isinstance(dim, Dynamic) else dim for dim in spec.dims)

"""Checks of an ncnn net before ncnn's own parser sees it.

ncnn trusts its files: a damaged one makes it read beyond the weights, divide by zero, or ask for
more memory than there is. Most of that passes silently (docs/adr/0016), so it is refused here, with
the layer's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from pathlib import Path

from backends.contract import Dynamic, EngineError, Specs, TensorSpec
from backends.ncnn import net_shape, runs_row_by_row
from backends.ncnn.checking.blob import MAX_ELEMENTS, Blob
from backends.ncnn.checking.files import NO_BATCH, check_axes, check_file, read_axes, read_text
from backends.ncnn.checking.graph import check_graph
from backends.ncnn.checking.param import CONVERT_AGAIN, Net, parse
from backends.ncnn.checking.shapes import infer_blob_shapes
from backends.ncnn.checking.values import check_values
from backends.ncnn.checking.weights import check_weights

__all__ = [
    "NO_BATCH",
    "Net",
    "check_axes",
    "check_net",
    "read_axes",
]

_MAX_PARAM_BYTES = 1 << 24


def check_net(
    param: Path,
    weights: Path,
    inputs: Specs,
    outputs: Specs,
    axes: Mapping[str, int],
    has: Callable[[str], bool],
) -> Net:
    """Refuse a net that pnnx would not have written for these tensors.

    The text is parsed; then the graph, the values of parameters, the length of the weights and the
    shapes of all blobs are checked. Of a layer of a later ncnn only the first two are, its integers
    are bounded, and the shapes that depend on it are not known.

    Args:
        param: the ``.param`` file.
        weights: the ``.bin`` file.
        inputs: of the net, in its order; checked for one row where their number varies.
        outputs: likewise.
        axes: which axis of each is the batch, from ``read_axes``.
        has: whether the engine has layers of a kind.

    Returns:
        The parsed net.

    Raises:
        EngineError: names the file or the layer, what was expected and what was found.
    """
    check_specs(inputs, outputs)
    check_file(weights)
    net = parse_param(param)
    check_graph(net, param.name, len(inputs), len(outputs), has)
    for layer in net.layers:
        check_values(layer)
    check_weights(net.layers, weights)
    check_shapes(net, param.name, inputs, outputs, axes)
    return net


def check_specs(inputs: Specs, outputs: Specs) -> None:
    """Refuse tensors that no net could have: the runner makes blobs of what fits their specs.

    Raises:
        EngineError: another dtype than float32, no elements or too many, or sizes that vary.
    """
    varies = any(isinstance(dim, Dynamic) for spec in (*inputs, *outputs) for dim in spec.dims)
    if varies and not runs_row_by_row(inputs, outputs):
        raise EngineError("an ncnn net", expected="fixed sizes, or rows that vary", got="others")
    for spec in (*inputs, *outputs):
        shape = net_shape(spec)
        fits = spec.shape is not None and min(shape) >= 1 and prod(shape) <= MAX_ELEMENTS
        if spec.dtype != "float32" or not fits:
            expected = f"float32, and 1 to {MAX_ELEMENTS} numbers"
            raise EngineError(f"'{spec.name}' of an ncnn net", expected=expected, got=str(spec))


def parse_param(param: Path) -> Net:
    """Read and parse a ``.param`` file.

    Raises:
        EngineError: not a regular file, too large, or not a net.
    """
    return parse(read_text(param, _MAX_PARAM_BYTES), param.name)


def check_shapes(
    net: Net, file: str, inputs: Specs, outputs: Specs, axes: Mapping[str, int]
) -> None:
    """Refuse a net whose layers do not fit its inputs or each other, or that has other outputs.

    Raises:
        EngineError: names the layer or the output.
    """
    input_blobs = {
        f"in{index}": input_blob(spec, axes[f"in{index}"]) for index, spec in enumerate(inputs)
    }
    blobs = infer_blob_shapes(net.layers, input_blobs)
    for index, spec in enumerate(outputs):
        blob, total = blobs[f"out{index}"], prod(net_shape(spec))
        if blob is not None and blob.total != total:
            raise EngineError(
                f"'{file}': '{spec.name}'",
                expected=f"{total} numbers",
                got=str(blob.total),
                do=CONVERT_AGAIN,
            )


def input_blob(spec: TensorSpec, batch_axis: int) -> Blob:
    """The blob of an input, of which one axis may be the batch."""
    shape = net_shape(spec)
    if batch_axis == NO_BATCH:
        return Blob(shape)
    return Blob((*shape[:batch_axis], *shape[batch_axis + 1 :]), shape[batch_axis])

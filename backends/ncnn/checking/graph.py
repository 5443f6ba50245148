"""The structure of a net: its kinds of layers, and the blobs that connect them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from backends.ncnn.checking.param import Layer, Net, file_error

_MANY = 1 << 16

_ONE_TO_ONE = """
AbsVal BNLL BatchNorm Bias CELU Clip CumulativeSum DeepCopy Diag Dropout ELU Embed Erf Exp
ExpandDims Flatten Flip Fold GELU GLU GroupNorm HardSigmoid HardSwish InnerProduct InstanceNorm
InverseSpectrogram LRN LayerNorm Log MVN Mish Normalize PReLU Padding Permute PixelShuffle Pooling
Pooling1D Pooling3D Power RMSNorm ReLU Reduction Reorg SELU ShuffleChannel Shrink Sigmoid Softmax
Softplus Spectrogram Squeeze Swish TanH Threshold Tile UnaryOp Unfold
"""

_CONVOLUTIONS = [
    f"{word}{group}{rank}"
    for word in ("Convolution", "Deconvolution")
    for group in ("", "DepthWise")
    for rank in ("1D", "", "3D")
]

# of old converters; pnnx writes none of them
_OLD_KINDS = """
ArgMax Cast Dequantize DetectionOutput PSROIPooling Packing PriorBox Proposal Quantize ROIAlign
ROIPooling Requantize SPP StatisticsPooling YoloDetectionOutput Yolov3DetectionOutput
"""
_NOT_OF_PNNX = frozenset(_OLD_KINDS.split())

# numbers of bottoms and of tops of the kinds that pnnx writes
KINDS: Mapping[str, tuple[range, range]] = {
    kind: (range(bottoms[0], bottoms[1] + 1), range(tops[0], tops[1] + 1))
    for kind, bottoms, tops in (
        *((kind, (1, 1), (1, 1)) for kind in _ONE_TO_ONE.split()),
        *((kind, (1, 3), (1, 1)) for kind in _CONVOLUTIONS),
        ("BinaryOp", (1, 2), (1, 1)),
        ("Concat", (1, _MANY), (1, 1)),
        ("CopyTo", (2, 2), (1, 1)),
        ("Crop", (1, 10), (1, 1)),
        ("DeformableConv2D", (2, 3), (1, 1)),
        ("Einsum", (1, 10), (1, 1)),
        ("Eltwise", (2, _MANY), (1, 1)),
        ("GRU", (1, 2), (1, 2)),
        ("Gemm", (1, 3), (1, 1)),
        ("GridSample", (2, 2), (1, 1)),
        ("Input", (0, 0), (1, 1)),
        ("Interp", (1, 10), (1, 1)),
        ("LSTM", (1, 3), (1, 3)),
        ("MatMul", (2, 2), (1, 1)),
        ("MemoryData", (0, 0), (1, 1)),
        ("MultiHeadAttention", (1, 4), (1, 1)),
        ("Noop", (1, _MANY), (1, _MANY)),
        ("RNN", (1, 2), (1, 2)),
        ("Reshape", (1, 10), (1, 1)),
        ("RotaryEmbed", (3, 3), (1, 1)),
        ("SDPA", (3, 4), (1, 1)),
        ("Scale", (1, 2), (1, 1)),
        ("Slice", (1, 1), (1, _MANY)),
        ("Split", (1, 1), (1, _MANY)),
    )
}


def check_graph(net: Net, file: str, inputs: int, outputs: int, has: Callable[[str], bool]) -> None:
    """Refuse a net unless each blob goes from one layer to one later layer.

    ncnn frees a blob after the first layer that reads it, and would compute it again for the next.

    Args:
        net: the net.
        file: the name of its ``.param``.
        inputs: how many: ``in0`` and so on.
        outputs: how many: ``out0`` and so on.
        has: whether the engine has layers of a kind.

    Raises:
        EngineError: a layer that the engine lacks or pnnx does not write; a wrong number of bottoms
            or tops; a blob that no earlier layer writes, that two write, or that two read; wrong
            inputs, outputs or number of blobs.
    """
    written: set[str] = set()
    unread: set[str] = set()
    input_blobs: set[str] = set()
    for layer in net.layers:
        if not has(layer.kind):
            raise layer.fault("kind", "one that this ncnn has", layer.kind)
        _check_kind(layer)
        for blob in layer.bottoms:
            if blob not in unread:
                expected = "a blob that an earlier layer makes, and no other takes"
                raise layer.fault("bottoms", expected, f"'{blob}'")
            unread.remove(blob)
        if written.intersection(layer.tops) or len(set(layer.tops)) != len(layer.tops):
            raise layer.fault("tops", "new blobs", ", ".join(layer.tops)[:60])
        written.update(layer.tops)
        unread.update(layer.tops)
        if layer.kind == "Input":
            input_blobs.update(layer.tops)
    if len(written) != net.blobs:
        raise file_error(file, f"{net.blobs} blobs", str(len(written)))
    expected_inputs = {f"in{index}" for index in range(inputs)}
    if input_blobs != expected_inputs:
        raise file_error(file, f"the inputs {_join(expected_inputs)}", _join(input_blobs))
    expected_outputs = {f"out{index}" for index in range(outputs)}
    if not expected_outputs <= unread:
        raise file_error(file, f"the outputs {_join(expected_outputs)}", _join(unread))


def _check_kind(layer: Layer) -> None:
    """Of a kind that a later ncnn may add, only that it has bottoms and tops is known."""
    if layer.kind in _NOT_OF_PNNX:
        raise layer.fault("kind", "one that pnnx writes", layer.kind)
    bottoms, tops = KINDS.get(layer.kind, (range(1, _MANY), range(1, _MANY)))
    if len(layer.bottoms) not in bottoms:
        raise layer.fault("bottoms", _interval(bottoms), len(layer.bottoms))
    if len(layer.tops) not in tops:
        raise layer.fault("tops", _interval(tops), len(layer.tops))


def _interval(counts: range) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def _join(names: set[str]) -> str:
    return ", ".join(sorted(names))[:60] or "none"

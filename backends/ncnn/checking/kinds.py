"""The kinds of layers, and how many blobs each takes and makes."""

from __future__ import annotations

from collections.abc import Mapping

from backends.ncnn.checking.param import Layer

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


_OF_OTHERS = """
ArgMax Cast Dequantize DetectionOutput PSROIPooling Packing PriorBox Proposal Quantize ROIAlign
ROIPooling Requantize SPP StatisticsPooling YoloDetectionOutput Yolov3DetectionOutput
"""


_OF_OTHER_TOOLS = frozenset(_OF_OTHERS.split())  # converters of old; pnnx writes none of them


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


def check_kind(layer: Layer) -> None:
    """Refuse a layer that takes or makes another number of blobs than its kind does.

    Of a kind that a later ncnn may have, one that takes or makes none at all.

    Raises:
        EngineError: it does, or pnnx writes no layers of this kind.
    """
    if layer.kind in _OF_OTHER_TOOLS:
        raise layer.fault("kind", "one that pnnx writes", layer.kind)
    bottoms, tops = KINDS.get(layer.kind, (range(1, _MANY), range(1, _MANY)))
    if len(layer.bottoms) not in bottoms:
        raise layer.fault("bottoms", _words(bottoms), len(layer.bottoms))
    if len(layer.tops) not in tops:
        raise layer.fault("tops", _words(tops), len(layer.tops))


def _words(counts: range) -> str:
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"

"""Small nets in ncnn's text, with layers of every kind and their parameters as pnnx writes them."""

from __future__ import annotations

import struct
from pathlib import Path

from backends.contract import Specs, TensorSpec
from backends.ncnn.checking.param import parse
from backends.ncnn.checking.weights import weight_arrays

Sizes = tuple[int, ...]
FP16 = 0x01306B47
_MOST = 1 << 20

_ACTIVATIONS = """
AbsVal BNLL CELU Clip DeepCopy Dropout ELU Erf Exp GELU HardSigmoid HardSwish Log Mish Power ReLU
SELU Shrink Sigmoid Softplus Swish TanH Threshold UnaryOp
"""


def chain(*layers: str) -> list[str]:
    """Layers of one bottom and one top, each ``kind parameters``, from in0 to out0."""
    names = ["in0", *(f"b{at}" for at in range(1, len(layers))), "out0"]
    lines = []
    for at, layer in enumerate(layers):
        kind, _, params = layer.partition(" ")
        lines.append(f"{kind} layer{at} 1 1 {names[at]} {names[at + 1]} {params}")
    return lines


def text_of(inputs: int, lines: list[str]) -> str:
    """A whole ``.param``."""
    lines = [*(f"Input in{at} 0 1 in{at}" for at in range(inputs)), *lines]
    blobs = sum(int(line.split()[3]) for line in lines)
    return "\n".join(["7767517", f"{len(lines)} {blobs}", *lines, ""])


def weights_of(text: str) -> bytes:
    """Weights of just the right length, all small; of a net with many a part of them."""
    data = b""
    for layer in parse(text, "net").layers:
        for array in weight_arrays(layer):
            if not 0 <= array.count <= _MOST:
                return data
            data += bytes(4 * array.has_flag) + struct.pack("<f", 0.1) * array.count
    return data or bytes(4)


def specs(stem: str, shapes: list[Sizes]) -> Specs:
    """Tensors without a batch."""
    return tuple(TensorSpec(f"{stem}{at}", "float32", shape) for at, shape in enumerate(shapes))


def write(folder: Path, text: str, weights: bytes) -> tuple[Path, Path]:
    """The two files of a net."""
    param, binary = folder / "net.param", folder / "net.bin"
    param.write_text(text)
    binary.write_bytes(weights)
    return param, binary


NETS: dict[str, tuple[list[Sizes], list[str]]] = {
    "activations": ([(3, 4, 5)], chain(*(f"{kind} 0=0" for kind in _ACTIVATIONS.split()))),
    "convolutions": (
        [(3, 16, 20)],
        chain(
            "Convolution 0=8 1=5 11=3 12=2 13=1 14=1 2=1 3=1 4=2 5=1 6=360 9=2 -23310=1,0.1",
            "ConvolutionDepthWise 0=8 1=3 11=3 2=1 3=2 4=1 5=1 6=72 7=8 9=3 -23310=2,0.0,6.0",
            "Convolution 0=4 1=3 4=-233 5=0 6=288",
            "ConvolutionDepthWise 0=8 1=3 4=-234 6=144 7=2",
            "Deconvolution 0=6 1=4 11=4 13=2 3=2 14=1 4=1 5=1 6=768 18=0 19=0 9=1",
            "DeconvolutionDepthWise 0=6 1=3 3=2 4=1 5=1 6=54 7=6 18=1",
        ),
    ),
    "convolutions of lists": (
        [(6, 32)],
        chain(
            "Convolution1D 0=8 1=3 2=1 3=1 4=1 5=1 6=144 9=1",
            "ConvolutionDepthWise1D 0=8 1=3 3=2 4=0 5=1 6=24 7=8",
            "Deconvolution1D 0=5 1=4 2=2 3=3 4=1 15=2 5=1 6=160 18=2",
            "DeconvolutionDepthWise1D 0=5 1=3 6=15 7=5",
            "Pooling1D 0=1 7=1 8=14",
            "Pooling1D 0=0 1=3 2=2 5=0",
            "Pooling1D 0=1 1=2 2=1 5=2 6=1",
            "Pooling1D 0=1 4=1",
        ),
    ),
    "convolutions in space": (
        [(2, 8, 9, 10)],
        chain(
            "Convolution3D 0=4 1=3 11=3 21=3 4=1 14=1 24=1 5=1 6=216",
            "ConvolutionDepthWise3D 0=4 1=3 4=1 5=1 6=108 7=4",
            "Pooling3D 0=0 1=2 2=2 3=0 5=1",
            "Deconvolution3D 0=4 1=2 11=2 21=2 3=2 13=2 23=2 5=1 6=128 18=0 19=0 20=0",
            "DeconvolutionDepthWise3D 0=4 1=2 3=2 6=64 7=2",
            "Pooling3D 0=1 7=1 8=4 18=-233 28=5",
            "Pooling3D 0=1 4=1",
        ),
    ),
    "weights as blobs": (
        [(4, 8, 10), (5, 4, 3, 3), (5,), (5, 6, 3, 3)],
        [
            "Convolution a 3 1 in0 in1 in2 b 0=5 1=3 11=3 5=1 6=180 19=1 4=1",
            "Deconvolution d 2 1 b in3 out0 0=6 1=3 11=3 5=0 6=270 28=1 4=1",
        ],
    ),
    "deformable": (
        [(4, 8, 10), (18, 8, 10), (9, 8, 10)],
        ["DeformableConv2D a 3 1 in0 in1 in2 out0 0=6 1=3 11=3 4=1 14=1 5=1 6=216 9=1"],
    ),
    "pooling": (
        [(4, 9, 10)],
        chain(
            "Pooling 0=1 7=1 8=4 18=-233",
            "Pooling 0=0 1=3 2=2 5=0",
            "Pooling 0=1 1=2 2=1 5=2 6=1",
            "Pooling 0=1 1=3 3=1 5=1 6=0",
            "Pooling 0=1 4=1",
        ),
    ),
    "windows": (
        [(4, 8, 10)],
        chain(
            "Unfold 1=3 11=3 4=1 14=1",
            "Fold 1=3 11=3 4=1 14=1 20=10 21=8",
        ),
    ),
    "pads": (
        [(4, 8, 10)],
        chain(
            "Padding 0=1 1=1 2=2 3=1 4=2 7=1 8=1",
            "Padding 0=1 4=0 5=1.0 6=6",
            "Padding 0=1 4=1 7=1",
        ),
    ),
    "resizing": (
        [(16, 8, 10), (3, 40, 30)],
        [
            "Interp a 1 1 in0 b 0=1 1=2.0 2=1.5 6=0",
            "PixelShuffle b 1 1 b c 0=2 1=0",
            "Reorg c 1 1 c d 0=2 1=0",
            "Interp d 1 1 d e 0=2 3=20 4=30 6=1",
            "Split s 1 2 in1 f g",
            'Interp e 2 1 e f h 0=3 5=1 6=0 9="1w,//(1h,2)"',
            "Interp f 2 1 h g out0 0=2 5=1 6=0",
        ],
    ),
    "resizing of rows": (
        [(4, 8), (4,)],
        ["Interp a 1 1 in0 out0 0=2 1=1.0 2=2.0", "Interp b 1 1 in1 out1 0=2 3=5 4=6"],
    ),
    "norms": (
        [(4, 8, 10)],
        chain(
            "BatchNorm 0=4 1=1.000000e-5",
            "GroupNorm 0=2 1=4 2=1.000000e-5 3=1",
            "InstanceNorm 0=4 1=1.000000e-5 2=1",
            "LayerNorm 0=10 1=1.000000e-5 2=1",
            "LayerNorm 0=80 2=1",
            "RMSNorm 0=10 2=1",
            "LayerNorm 0=1 2=0",
            "Normalize 0=0 1=0 2=1.0e-10 3=4 4=1 9=1",
            "Normalize 0=1 1=1 3=1 4=1 9=2",
            "LRN 0=0 1=3 2=0.0001 3=0.75 4=1.0",
            "MVN 0=1 1=1",
            "PReLU 0=4",
            "PReLU 0=1",
            "Bias 0=4",
            "Scale 0=4 1=1",
        ),
    ),
    "axes": (
        [(4, 8, 10)],
        chain(
            "Softmax 0=-1 1=1",
            "CumulativeSum 0=1",
            "Flip -23300=2,0,-1",
            "ShuffleChannel 0=2 1=0",
            "GLU 0=1",
            "Reduction 0=3 1=0 -23303=2,1,2 4=1 5=1",
            "Squeeze -23303=1,-1",
            "ExpandDims -23303=2,0,-1",
            "Squeeze 0=1 1=1 11=1 2=1",
            "Reduction 0=0 1=1 4=0",
        ),
    ),
    "layouts": (
        [(4, 8, 10)],
        chain(
            "Reshape 0=0 1=-1",
            "Reshape 0=5 1=2 11=-1 2=4",
            "Permute 0=14",
            'Reshape 6="*(0w,0h),max(0d,0c),-1"',
            "Permute 0=3",
            "Tile -23302=3,2,1,3",
            "Tile 0=1 1=2",
            "Reshape 0=40 1=-1",
            "Permute 0=1",
            "Flatten",
        ),
    ),
    "rows from an axis, and back": (
        [(4, 8, 10)],
        chain("Reshape 0=10 1=8 2=4 12=233 13=0", "ReLU", "Reshape 0=80 1=4 12=0 13=233"),
    ),
    "parts": (
        [(4, 8, 10), (3, 4)],
        [
            "Split s 1 3 in0 a b c",
            "Slice i 1 3 a d e f 1=1 -23302=2,2,-3",
            "Slice t 1 2 b g h -23300=2,-233,-233 1=0",
            "Concat j 3 1 f d e k 0=1",
            "Crop l 1 1 k m -23309=2,1,-6 -23310=2,-233,-1 -23311=2,0,2",
            "Crop n 2 1 m in1 out0 0=1 1=2",
            "Crop o 1 1 g p 0=1 1=2 2=0 3=5 4=-233 5=2 6=1 7=1",
            "CopyTo q 2 1 h p out1 -23309=2,0,3 -23311=2,0,1",
            'Crop r 1 1 c out2 19="1,0" 20="//(0h,2),+(0w,-2)" 21="1,2"',
        ],
    ),
    "pairs": (
        [(4, 9, 10), (4,), (10,), (4, 9)],
        [
            "BinaryOp a 2 1 in0 in1 b 0=0",
            "BinaryOp b 2 1 in2 b c 0=2",
            "BinaryOp c 2 1 c in3 d 0=4",
            "BinaryOp d 1 1 d e 0=1 1=1 2=0.5",
            "Split s 1 3 e f g h",
            "Eltwise i 3 1 f g h j 0=1 -23301=3,1.0,2.0,0.5",
            "Noop k 1 1 j out0",
        ],
    ),
    "grid": (
        [(2, 8, 10), (5, 6, 2), (2, 5, 6)],
        [
            "Split s 1 2 in0 a b",
            "GridSample g 2 1 a in1 out0 0=1 1=1 2=0 3=0",
            "GridSample h 2 1 b in2 out1 0=3 1=3 2=1 3=1",
        ],
    ),
    "matrices": (
        [(6, 8), (6, 5), (3,), (4, 3, 5), (5,), (8,)],
        [
            "Gemm a 2 1 in0 in1 b 2=1 3=0",
            "Gemm b 1 1 b c 3=1 4=0 5=1 6=1 7=8 8=7 9=5 10=1",
            "Gemm c 1 1 c d 4=1 5=0 6=1 7=3 8=0 9=8 10=0",
            "Gemm d 1 1 d out0 3=1 5=1 6=1 10=-1 8=4 9=7 11=1 14=1",
            "MatMul e 2 1 in2 in3 f",
            "MatMul f 2 1 f in4 out1 0=1",
            "InnerProduct g 1 1 in5 h 0=16 1=1 2=128 9=1",
            "Embed h 1 1 h i 0=6 1=10 2=1 3=60",
            "InnerProduct i 1 1 i out2 0=2 1=0 2=12",
        ],
    ),
    "einsum": (
        [(4, 5), (3, 5, 6)],
        ["Einsum a 2 1 in0 in1 out0 -23300=11,105,108,44,106,108,107,45,62,105,106,107"],
    ),
    "attention": (
        [(6, 16), (9, 8), (9, 12), (4, 6, 6)],
        [
            "MultiHeadAttention a 3 1 in0 in1 in2 b 0=16 1=4 2=256 3=8 4=12",
            "MultiHeadAttention b 2 1 b in3 out0 0=16 1=4 2=256 5=1",
        ],
    ),
    "heads": (
        [(8, 6, 4), (2, 7, 4), (2, 7, 5), (6, 7), (6, 2), (6, 2)],
        [
            "RotaryEmbed r 3 1 in0 in4 in5 a 0=1",
            "SDPA s 4 1 a in1 in2 in3 out0 5=1",
        ],
    ),
    "recurrent": (
        [(7, 8), (1, 6)],
        [
            "MemoryData m 0 1 m 0=12 1=1 2=2",
            "RNN a 2 1 in0 m b 0=12 1=192 2=2",
            "LSTM b 1 3 b c h s 0=6 1=960 2=0 3=10",
            "GRU c 2 2 c in1 out0 out1 0=6 1=108 2=1",
        ],
    ),
    "scale by a blob": ([(4, 8, 10), (4,)], ["Scale a 2 1 in0 in1 out0 0=-233"]),
    "spectra": (
        [(100,), (9, 20, 2)],
        [
            "Spectrogram a 1 1 in0 out0 0=16 1=1 2=4 3=12 4=1 5=1 6=2 7=2 8=1",
            "InverseSpectrogram b 1 1 in1 out1 0=16 1=1 2=4 3=16 4=1 5=1 7=0",
        ],
    ),
    "diagonals": ([(5,)], chain("Diag 0=-2", "Diag 0=1")),
}

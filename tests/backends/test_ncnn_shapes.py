"""The sizes that are worked out before ncnn runs are those that it makes."""

import os
import re

import numpy as np
import pytest

from backends.contract import EngineError
from backends.ncnn.checking.blob import Blob, parse_expression
from backends.ncnn.checking.graph import KINDS
from backends.ncnn.checking.param import parse
from backends.ncnn.checking.shapes import infer_blob_shapes
from backends.ncnn.checking.values import check_values
from tests.backends.ncnn_nets import NETS, chain, text_of, weights_of, write

if "ncnn" not in os.environ.get("DEPLOY_TEST_BACKENDS", "ncnn").split(","):
    pytest.skip("ncnn is not among DEPLOY_TEST_BACKENDS", allow_module_level=True)

import ncnn


def sizes_of(shapes, lines, rows=1):
    net = parse(text_of(len(shapes), lines), "net.param")
    for layer in net.layers:
        check_values(layer)
    return infer_blob_shapes(net.layers, {f"in{at}": Blob(s, rows) for at, s in enumerate(shapes)})


@pytest.mark.parametrize("name", NETS)
def test_ncnn_makes_every_blob_of_the_size_that_was_worked_out(name, tmp_path):
    shapes, lines = NETS[name]
    blobs = sizes_of(shapes, lines)
    text = text_of(len(shapes), lines)
    param, weights = write(tmp_path, text, weights_of(text))
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    assert net.load_param(str(param)) == 0 and net.load_model(str(weights)) == 0
    extractor = net.create_extractor()
    extractor.set_light_mode(False)  # which would let a blob go when it was taken
    for at, shape in enumerate(shapes):
        extractor.input(f"in{at}", ncnn.Mat(np.ones(shape, np.float32)).clone())
    found = {}
    for blob in blobs:
        code, mat = extractor.extract(blob)
        found[blob] = mat.numpy(batch_index=0).shape if code == 0 else code
    assert found == {blob: (size.rows, *size.sizes) for blob, size in blobs.items()}


def test_there_is_a_net_with_layers_of_every_kind():
    kinds = {layer.kind for net in NETS.values() for layer in parse(text_of(0, net[1]), "").layers}
    assert kinds | {"Input"} == KINDS.keys()


def test_all_orders_of_axes_are_those_of_ncnn(tmp_path):
    for shape, count in (((2, 3), 2), ((2, 3, 4), 6), ((2, 3, 4, 5), 24)):
        for order in range(count):
            text = text_of(1, chain(f"Permute 0={order}"))
            param, weights = write(tmp_path, text, bytes(4))
            net = ncnn.Net()
            net.load_param(str(param))
            net.load_model(str(weights))
            extractor = net.create_extractor()
            extractor.input("in0", ncnn.Mat(np.ones(shape, np.float32)).clone())
            blob = sizes_of([shape], chain(f"Permute 0={order}"))["out0"]
            assert extractor.extract("out0")[1].numpy().shape == blob.sizes


def test_rows_go_with_the_blob_and_must_be_as_many():
    lines = ["BinaryOp a 2 1 in0 in1 out0 0=0"]
    assert sizes_of([(3, 4), (3, 4)], lines, rows=5)["out0"] == Blob((3, 4), 5)
    net = parse(text_of(2, lines), "net.param")
    with pytest.raises(EngineError, match=r"rows of its bottoms: expected one .*got \[2, 5\]"):
        infer_blob_shapes(net.layers, {"in0": Blob((3, 4), 2), "in1": Blob((3, 4), 5)})


def test_what_a_layer_of_a_later_ncnn_makes_is_not_known_nor_what_comes_of_it():
    blobs = sizes_of([(3, 4)], chain("Novelty 0=1", "ReLU", "InnerProduct 0=1 1=0 2=1"))
    assert [blobs[name] for name in ("b1", "b2", "out0")] == [None] * 3


def test_sizes_that_take_floats_to_compute_are_not_known():
    blobs = sizes_of([(4, 8)], chain('Reshape 6="ceil(/(0w,3)),-1"', "ReLU"))
    assert blobs["out0"] is None


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0w,1h,1c", [3, 5, 4]),
        ("*(0w,2),//(0h,2),-1", [6, 1, -1]),
        ("-(0n,+(1d,1)),max(0w,min(7,9))", [0, 7]),
        ("//(-7,2),neg(3),sqrt(4)", [-3, None, None]),
    ],
)
def test_expressions_have_the_values_that_ncnn_gives_them(text, values):
    assert parse_expression(text, [Blob((2, 3), 2), Blob((4, 5, 6))]) == values


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("+(0w)", r"2 operands for '\+'"),
        ("1w", "a bottom for '1w'"),
        ("//(1,0)", "no division by 0"),
        ("*(999999999,999999999)", r"32 bits for '\*'"),
        ("()", "at least one term"),
        ("system", "sizes, numbers and operators instead of 'system'"),
    ],
)
def test_an_expression_that_would_crash_ncnn_is_refused(text, message):
    with pytest.raises(ValueError, match=message):
        parse_expression(text, [Blob((2, 3))])


IMAGE = [(4, 8, 10)]
CONV = "Convolution 0=5 1=3"
FAULTS = [
    (IMAGE, chain(f"{CONV} 6=135"), "weights: expected 180 for 4 channels, got 135"),
    ([(4, 8)], chain(f"{CONV} 6=180"), "the rank of its bottom: expected 3"),
    (IMAGE, chain("Convolution 0=5 1=11 6=2420"), "its window: expected at most 8 long, got 11"),
    (IMAGE, chain(f"{CONV} 6=180 4=-233 15=2"), "pads: expected sizes, or one of -233 and -234"),
    (IMAGE, chain("Convolution 0=5 1=3 11=1 3=2 4=-233 6=60"), "its window: expected as long"),
    (IMAGE, chain("ConvolutionDepthWise 0=5 1=3 6=180 7=4"), "groups: expected a divisor of 4 and"),
    (IMAGE, chain(f"{CONV} 6=180 19=1"), "bottoms: expected one for each of its weights, got 1"),
    (
        [*IMAGE, (5, 4, 9)],
        ["Convolution a 2 1 in0 in1 out0 0=5 1=3 6=180 19=1"],
        r"weights: expected 5 x \.\.\. x \(3, 3\)",
    ),
    (
        [*IMAGE, (5, 4, 3, 3), (6,)],
        ["Convolution a 3 1 in0 in1 in2 out0 0=5 1=3 5=1 6=180 19=1"],
        "biases: expected 5",
    ),
    (IMAGE, chain("Deconvolution 0=5 1=3 4=40 6=180"), r"its result: .*1 x 5 x -70 x -68"),
    (
        IMAGE,
        chain("Deconvolution 0=5 1=65536 3=65536 11=1 6=1310720"),
        "what it pads or cuts: expected at most 536870912 numbers, got 5 x 458753 x 655360",
    ),
    (
        IMAGE,
        chain("Convolution 0=1 1=1 3=65536 4=65536 6=4"),
        "what it pads or cuts: expected at most 536870912 numbers, got 4 x 131080 x 131082",
    ),
    (
        [(1, 1 << 20, 1)],
        chain("Pooling 0=1 7=1 8=1 18=1048576"),
        "the size of its result: expected less for 1048576",
    ),
    (
        [*IMAGE, (9, 6, 8)],
        ["DeformableConv2D a 2 1 in0 in1 out0 0=5 1=3 6=180"],
        r"offsets: expected \[18, 6, 8\]",
    ),
    (IMAGE, chain("Pooling 0=0 1=9"), "its window: expected at most 8 long, got 9"),
    (IMAGE, chain("Pooling 0=0"), "its window: expected at least 1 long, got 0"),
    ([(36, 79)], chain("Fold 1=3 4=1 20=10 21=8"), "its bottom: expected a multiple of 9, and 80"),
    (IMAGE, chain("Padding 0=8 4=2"), "pads that reflect: expected less than"),
    (IMAGE, chain("Padding 7=1 6=4 0=1"), "values of channels: expected 5, got 4"),
    (IMAGE, chain("Padding 2=16777216 3=16777216"), "its result: expected 1 to 536870912 numbers"),
    (
        [(2, 4, 8, 10)],
        chain("Interp 0=1 3=2 4=2"),
        "the rank of its bottom: expected 1 to 3, got 4",
    ),
    (IMAGE, chain("Interp 0=1 1=65536.0 2=65536.0"), "its result: expected 1 to"),
    (IMAGE, chain("Interp 0=1 5=1"), "bottoms: expected one with the size to resize to"),
    (IMAGE, chain('Interp 0=1 9="1w,2"'), "size: expected a bottom for '1w'"),
    (IMAGE, chain('Interp 0=1 9="1,2,3"'), "size: expected width and height"),
    (IMAGE, chain("PixelShuffle 0=3"), "channels: expected a multiple of 9, got 4"),
    ([(4, 8)], chain("Reorg 0=2"), "the rank of its bottom: expected 3"),
    (IMAGE, chain("BatchNorm 0=5"), "channels: expected 4, got 5"),
    (IMAGE, chain("GroupNorm 0=3 1=4"), "groups: expected a divisor of 4, got 3"),
    (IMAGE, chain("InstanceNorm 0=3 2=1"), "channels: expected 4, got 3"),
    (IMAGE, chain("LayerNorm 0=9 2=1"), "the size of its weights: expected 10 or 80, got 9"),
    (IMAGE, chain("Normalize 3=3"), "channels: expected 4, got 3"),
    (IMAGE, chain("PReLU 0=5"), "channels: expected 4, got 5"),
    (IMAGE, chain("Scale 0=-233"), "bottoms: expected 2, got 1"),
    (IMAGE, chain("ShuffleChannel 0=3"), "groups: expected a divisor of the channels"),
    (IMAGE, chain("Softmax 0=3 1=1"), "axis: expected -3 to 2, got 3"),
    (IMAGE, chain("Flip -23300=1,-4"), "axis: expected -3 to 2, got -4"),
    ([(4,)], chain("Reduction 1=0 -23303=1,-4 5=1"), "axis: expected -1 to 0, got -4"),
    (IMAGE, chain("Reduction 1=0 -23303=1,3 5=1"), "axis: expected -3 to 2, got 3"),
    ([(1, 1)], chain("GLU 0=0"), "its result: expected 1 to"),
    ([(2, 4, 8, 10)], chain("LRN 1=3"), "the rank of its bottom: expected 1 to 3, got 4"),
    (IMAGE, chain("Diag 0=1"), "the rank of its bottom: expected 1 or 2, got 3"),
    ([(5, 7)], chain("Diag 0=7"), "its result: expected 1 to .* got 1 x 0"),
    ([(100,)], chain("Spectrogram 0=16 3=17"), "its window: expected at most 16, got 17"),
    ([(9,)], chain("Spectrogram 0=16 5=0"), "its result: expected 1 to"),
    ([(8, 20, 2)], chain("InverseSpectrogram 0=16"), "its bottom: expected 16 frequencies"),
    (IMAGE, chain("Reshape 0=5 1=-1 2=3"), "its shape: expected one of 320 numbers"),
    (IMAGE, chain("Reshape 1=320"), "its shape: expected a width, got none"),
    (IMAGE, chain('Reshape 6="+(0w)"'), r"its shape: expected 2 operands for '\+'"),
    (IMAGE, chain('Reshape 6="1,2,2,2,40"'), "its rank: expected 1 to 4, got 5"),
    (IMAGE, chain("Reshape 0=320 12=0 13=0"), "axes beside the batch: expected 1 to 4, got 0"),
    (IMAGE, chain("ExpandDims -23303=2,0,1"), "the rank of its result: expected at most 4, got 5"),
    ([(4,)], chain("ExpandDims -23303=2,0,0"), "axes: expected no axis twice"),
    (IMAGE, chain("Permute 0=6"), "order: expected 0 to 5, got 6"),
    (IMAGE, chain("Squeeze -23303=1,3"), "axis: expected -3 to 2, got 3"),
    ([*IMAGE, (4, 8, 9)], ["Concat a 2 1 in0 in1 out0 0=1"], "sizes beside axis 1: expected"),
    (IMAGE, ["Slice a 1 2 in0 b c -23300=1,2"], "parts: expected one for each of 2 tops"),
    (IMAGE, ["Slice a 1 2 in0 b c -23300=2,3,2"], "parts: expected 1 to 1 for 'c', got 2"),
    (IMAGE, ["Slice a 1 2 in0 b c -23302=1,9"], "parts: expected 1 to 4 for 'b', got 9"),
    (IMAGE, chain("Crop -23309=1,4 -23310=1,9 -23311=1,0"), "borders: expected a part of 4, got 4"),
    (IMAGE, chain("Crop -23309=1,0 -23310=1,1"), "borders: expected a start and an end for 3"),
    (IMAGE, chain("Crop 0=11 3=1 4=-233 5=-233"), "borders: expected a part of 10"),
    (IMAGE, chain("Crop 0=1"), "bottoms: expected one with the size to cut to"),
    (IMAGE, chain('Crop 19="0" 20="1" 21="()"'), "borders: expected at least one term"),
    (IMAGE, chain('Crop 19="0,0,0,0,0" 20="1" 21="1"'), "borders: expected at most 4, got 5"),
    (
        [*IMAGE, (4, 8, 2)],
        ["CopyTo a 2 1 in0 in1 out0 0=9"],
        "what it copies: expected a part of 10, got 2 from 9 on",
    ),
    ([*IMAGE, (4, 8)], ["CopyTo a 2 1 in0 in1 out0"], "the rank of what it copies: expected 3"),
    ([*IMAGE, (4, 8)], ["CopyTo a 2 1 in0 in1 out0 -23309=1,0"], "the rank of what it copies"),
    (
        [*IMAGE, (4, 7, 10)],
        ["BinaryOp a 2 1 in0 in1 out0 0=0"],
        "sizes: expected some that go with",
    ),
    (IMAGE, chain("BinaryOp 0=0"), "bottoms: expected 2, got 1"),
    ([*IMAGE, (4,)], ["Eltwise a 2 1 in0 in1 out0 0=1"], "sizes and factors: expected 2 of one"),
    (
        [*IMAGE, *IMAGE],
        ["Eltwise a 2 1 in0 in1 out0 0=1 -23301=1,1.0"],
        "sizes and factors: expected 2 of one size",
    ),
    ([*IMAGE, (5, 6, 3)], ["GridSample a 2 1 in0 in1 out0"], "grid: expected 2 numbers for each"),
    (IMAGE, chain("InnerProduct 0=3 2=900"), r"weights: expected some for \[4, 8, 10\] and 3"),
    (IMAGE, chain("Embed 0=3 1=4 3=13"), "weights: expected 3 for each of 4, got 13"),
    (
        [(6, 8)],
        chain("Gemm 3=1 5=1 6=1 10=-1 8=4 9=7"),
        "the inner sizes of its matrices: expected 8",
    ),
    (
        [(6, 8)],
        chain("Gemm 3=1 5=1 6=1 10=1 7=5 8=4 9=8"),
        "the size of what it adds: expected 6 x",
    ),
    ([(6, 8)], chain("Gemm 3=1 6=1 10=-1"), "bottoms: expected one for each matrix that is not"),
    ([(8,)], chain("Gemm 3=1 5=1 6=1 10=-1 8=4 9=8"), "the rank of its bottom: expected 2 or 3"),
    ([(6, 8), (7, 4)], ["MatMul a 2 1 in0 in1 out0"], r"sizes: expected a product with \[6, 8\]"),
    ([(2, 6, 8), (3, 8, 4)], ["MatMul a 2 1 in0 in1 out0"], "sizes: expected a product with"),
    ([(4, 5)], chain("Einsum -23300=6,105,107,45,62,105,106"), "equation: expected one for"),
    ([(4, 5)], chain("Einsum -23300=2,105,105"), "its bottom: expected a square matrix"),
    (
        [(6, 16)],
        chain("MultiHeadAttention 0=16 1=5 2=256"),
        "heads and bottoms: expected a divisor",
    ),
    ([(6, 9)], chain("MultiHeadAttention 0=16 1=4 2=256"), "queries, keys and values: expected"),
    (
        [(6, 16), (1, 6, 6)],
        ["MultiHeadAttention a 2 1 in0 in1 out0 0=16 1=4 2=256 5=1"],
        r"mask: expected \[4, 6, 6\]",
    ),
    (
        [(8, 6, 4), (3, 7, 4), (3, 7, 5)],
        ["SDPA a 3 1 in0 in1 in2 out0"],
        r"keys and values: expected some for \[8, 6, 4\]",
    ),
    (
        [(8, 6, 4), (2, 7, 4), (2, 7, 5)],
        ["SDPA a 3 1 in0 in1 in2 out0 5=1"],
        "bottoms: expected three",
    ),
    ([(4, 6, 8), (5, 4), (6, 4)], ["RotaryEmbed a 3 1 in0 in1 in2 out0"], "angles: expected some"),
    ([(7, 9)], chain("LSTM 0=12 1=384"), "weights: expected 432, got 384"),
    ([(2, 7, 8)], chain("GRU 0=12 1=288"), "its bottom: expected a matrix"),
    (
        [(7, 8), (1, 12)],
        ["LSTM a 2 1 in0 in1 out0 0=12 1=384"],
        "states: expected none or 2, got 1",
    ),
    ([(7, 8), (1, 11)], ["GRU a 2 1 in0 in1 out0 0=12 1=288"], "states: expected 1 x 12"),
    ([], ["MemoryData a 0 1 out0 0=65536 1=65536"], "its result: expected 1 to 536870912 numbers"),
    ([], ["MemoryData a 0 1 out0 0=2 11=2"], "its result: expected 1 to .* got 1 x 0 x 2 x 0 x 2"),
]


@pytest.mark.parametrize(("shapes", "lines", "message"), FAULTS)
def test_a_layer_that_does_not_fit_what_it_gets_is_refused_by_name(shapes, lines, message):
    kind, name = lines[0].split()[:2]
    with pytest.raises(EngineError, match=re.escape(f"ncnn layer '{name}' ({kind}): ") + message):
        sizes_of(shapes, lines)

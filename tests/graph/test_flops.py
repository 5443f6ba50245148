"""FLOPs: the shapes alone say what a node costs, and what they do not say is not counted as 0."""

from __future__ import annotations

import onnx
import onnx_ir as ir
import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from deploy.export.onnx_export import export
from deploy.graph.flops import Flops, node_flops, total_flops
from deploy.graph.nodes import MARK_DOMAIN, MARK_OP
from tests.helpers.chains import along_batch

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def nodes(inputs: str, body: str, opset: int = 23) -> list[ir.Node]:
    """The nodes of a graph in ONNX's own notation, shapes inferred; its last name is its output."""
    output = body.split("=")[0].split(",")[0].split()[-1]
    text = (
        f'<ir_version: 10, opset_import: ["": {opset}]> g ({inputs}) => (float {output}) {{{body}}}'
    )
    model = onnx.parser.parse_model(text)
    model.graph.output[0].type.tensor_type.ClearField("shape")
    return list(ir.from_proto(onnx.shape_inference.infer_shapes(model)).graph)


def flops(inputs: str, body: str, **sizes: int) -> int | None:
    (node,) = nodes(inputs, body)
    return node_flops(node, sizes)


COUNTS = {
    # MobileNetV2's first block at 112 x 112: 3.6 and 6.4 million multiply-adds
    "depthwise Conv": (
        "float[1,32,112,112] x, float[32,1,3,3] w",
        "y = Conv <group=32, pads=[1,1,1,1]> (x, w)",
        2 * 3_612_672,
    ),
    "pointwise Conv": (
        "float[1,32,112,112] x, float[16,32,1,1] w",
        "y = Conv (x, w)",
        2 * 6_422_528,
    ),
    "ConvTranspose in groups": (
        "float[1,8,5,5] x, float[8,3,2,2] w",
        "y = ConvTranspose <group=4, strides=[2,2]> (x, w)",
        2 * (8 * 25) * (3 * 4),
    ),
    "MatMul in batches": ("float[7,2,3] a, float[7,3,5] b", "y = MatMul (a, b)", 2 * 7 * 2 * 3 * 5),
    "MatMul of vectors": ("float[9] a, float[9] b", "y = MatMul (a, b)", 2 * 9),
    "Gemm, transposed": ("float[3,2] a, float[3,5] b", "y = Gemm <transA=1> (a, b)", 2 * 2 * 3 * 5),
    "Einsum as a product of matrices": (
        "float[4,2,3] a, float[4,5,3] b",
        'y = Einsum <equation="bij,bkj->bik"> (a, b)',
        2 * 4 * 2 * 3 * 5,
    ),
    "Einsum as an outer product": (
        "float[2] a, float[3] b",
        'y = Einsum <equation="i, j -> ij"> (a, b)',
        6,
    ),
    "Attention of four axes": (
        "float[2,4,6,8] q, float[2,4,10,8] k, float[2,4,10,16] v",
        "y = Attention (q, k, v)",
        2 * (2 * 4 * 6 * 10) * (8 + 16) + 5 * (2 * 4 * 6 * 10),
    ),
    "Attention of three axes": (
        "float[2,6,32] q, float[2,10,32] k, float[2,10,64] v",
        "y = Attention <q_num_heads=4, kv_num_heads=4> (q, k, v)",
        2 * (2 * 4 * 6 * 10) * (8 + 16) + 5 * (2 * 4 * 6 * 10),
    ),
    "Attention with a past": (
        "float[1,1,1,8] q, float[1,1,1,8] k, float[1,1,1,8] v, float[1,1,9,8] p, float[1,1,9,8] r",
        "y = Attention (q, k, v, , p, r)",
        2 * 10 * (8 + 8) + 5 * 10,
    ),
    "LSTM both ways": (
        "float[7,2,5] x, float[2,12,5] w, float[2,12,3] r",
        'y = LSTM <hidden_size=3, direction="bidirectional"> (x, w, r)',
        2 * 7 * 2 * (2 * 4 * 3 * 5 + 2 * 4 * 3 * 3),
    ),
    "GRU": (
        "float[7,2,5] x, float[1,9,5] w, float[1,9,3] r",
        "y = GRU <hidden_size=3> (x, w, r)",
        2 * 7 * 2 * (3 * 3 * 5 + 3 * 3 * 3),
    ),
    "RNN": (
        "float[7,2,5] x, float[1,3,5] w, float[1,3,3] r",
        "y = RNN <hidden_size=3> (x, w, r)",
        2 * 7 * 2 * (3 * 5 + 3 * 3),
    ),
    "MaxPool": (
        "float[1,4,8,8] x",
        "y = MaxPool <kernel_shape=[3,3], strides=[2,2]> (x)",
        4 * 3 * 3 * 9,
    ),
    "GlobalAveragePool": ("float[1,4,8,8] x", "y = GlobalAveragePool (x)", 256),
    "ReduceMean": ("float[4,6] x, int64[1] axes", "y = ReduceMean (x, axes)", 24),
    "Softmax": ("float[4,6] x", "y = Softmax (x)", 5 * 24),
    "LayerNormalization": ("float[4,6] x, float[6] s", "y = LayerNormalization (x, s)", 7 * 24),
    "Add with broadcasting": ("float[4,1] a, float[6] b", "y = Add (a, b)", 24),
    "Relu": ("float[4,6] x", "y = Relu (x)", 24),
    "Sum of three": ("float[4] a, float[4] b, float[4] c", "y = Sum (a, b, c)", 8),
    "Transpose": ("float[4,6] x", "y = Transpose (x)", 0),
    "Gather": ("float[4,6] x, int64[2] i", "y = Gather (x, i)", 0),
    "Identity of no known shape": ("float[a,b] x", "y = Identity (x)", 0),
    "Einsum of three": (
        "float[2] a, float[2] b, float[2] c",
        'y = Einsum <equation="i,i,i->i"> (a, b, c)',
        None,
    ),
    "Einsum of a diagonal": (
        "float[2,2] a, float[2] b",
        'y = Einsum <equation="ii,i->i"> (a, b)',
        None,
    ),
    "TopK": ("float[9] x, int64[1] k", "y, i = TopK (x, k)", None),
}


@pytest.mark.parametrize(("inputs", "body", "count"), COUNTS.values(), ids=COUNTS)
def test_a_node_counts(inputs, body, count):
    assert flops(inputs, body) == count


@pytest.mark.parametrize(
    ("mode", "count"), [("nearest", 0), ("linear", 2 * 96 * 4), ("cubic", 2 * 96 * 16)]
)
def test_a_resize_counts_the_neighbours_that_it_mixes(mode, count):
    (resize,) = nodes(
        "float[1,2,3,4] x, float[4] scales", f'y = Resize <mode="{mode}"> (x, , scales)'
    )
    resize.outputs[0].shape = ir.Shape([1, 2, 6, 8])
    assert node_flops(resize) == count


def test_a_dynamic_size_counts_at_the_size_it_is_given():
    conv = "float[batch,3,8,8] x, float[4,3,3,3] w", "y = Conv (x, w)"
    assert flops(*conv) is None
    assert flops(*conv, other=2) is None
    assert flops(*conv, batch=2) == 2 * flops(*conv, batch=1) == 2 * 2 * (4 * 6 * 6) * 27


def test_an_expression_of_a_dynamic_size_is_evaluated():
    relu = ir.node("Relu", [ir.Value(name="x")])
    relu.outputs[0].shape = ir.Shape([ir.SymbolicDim("batch") * 3, 5])
    assert node_flops(relu, {"batch": 2}) == 30


def test_an_unknown_shape_a_custom_operator_and_a_body_are_not_counted():
    unshaped = ir.node("Relu", [ir.Value(name="x")])
    custom = ir.node("Relu", [ir.Value(name="x", shape=ir.Shape([2]))], domain="my.ops")
    branch = nodes(
        "bool c, float[2] x",
        "y = If (c) <then_branch = t () => (float[2] a) {a = Relu(x)},"
        " else_branch = e () => (float[2] b) {b = Neg(x)}>",
    )[0]
    missing = ir.node("Conv", [ir.Value(name="x", shape=ir.Shape([1, 1, 2, 2])), None])
    missing.outputs[0].shape = ir.Shape([1, 1, 2, 2])
    assert [node_flops(node) for node in (unshaped, custom, branch, missing)] == [None] * 4
    assert total_flops([unshaped, custom]) == Flops(known=0, unknown=2)


def test_a_mark_costs_nothing():
    assert node_flops(ir.node(MARK_OP, [ir.Value(name="x")], domain=MARK_DOMAIN)) == 0


class Net(nn.Module):
    """Convolutions, attention by hand and linear layers."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.up = nn.ConvTranspose2d(8, 6, 2, stride=2, groups=2)
        self.qkv = nn.Linear(6, 18)
        self.head = nn.Linear(6, 5)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        x = self.up(torch.relu(self.depthwise(torch.relu(self.stem(image)))))
        q, k, v = self.qkv(x.flatten(2).transpose(1, 2)).chunk(3, dim=-1)
        with sdpa_kernel(SDPBackend.MATH):
            mixed = nn.functional.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])
        return self.head(mixed[:, 0].mean(1))


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """The same net exported for a batch of 2, and for any batch."""
    image, folder = {"image": torch.randn(2, 3, 8, 12)}, tmp_path_factory.mktemp("flops")
    fixed = export(Net().eval(), image, folder / "fixed")
    free = export(Net().eval(), image, folder / "free", along_batch(image, 1, 2, 4))
    return ir.load(fixed.onnx).graph, ir.load(free.onnx).graph


def products(graph: ir.Graph, kinds: tuple[str, ...] = PRODUCTS) -> list[ir.Node]:
    return [node for node in graph if node.op_type in kinds]


def test_the_products_agree_with_pytorchs_own_counter(graphs):
    fixed, _ = graphs
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        Net().eval()(torch.randn(2, 3, 8, 12))
    assert {node.op_type for node in products(fixed)} == set(PRODUCTS)
    assert total_flops(products(fixed)) == Flops(counter.get_total_flops(), 0)
    assert total_flops(fixed).unknown == 0
    assert total_flops(fixed).known > counter.get_total_flops()


def test_a_dynamic_export_counts_the_same_where_its_shapes_are_known(graphs):
    fixed, free = graphs
    kinds = ("Conv", "ConvTranspose", "Gemm")
    assert total_flops(products(free, kinds), {"batch": 2}) == total_flops(products(fixed, kinds))
    assert total_flops(products(free, kinds)) == Flops(0, len(products(free, kinds)))

"""The numbers of sizes that files write as text."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from backends.contract import UNBOUNDED, Dynamic
from deploy.graph.specs import spec_of
from deploy.graph.symbolic_dims import evaluate_dim

NO_EXPRESSIONS = ["", " ", "a b", "3x", "+", "(", "max(", "a%0", "mod(a, 0)", "a//0", "sqrt(0-1)"]
BOMBS = ["9**9**9", "(9**9)**9", "9**99", "9 ** a", "(" * 5000 + "a" + ")" * 5000, "-" * 9000 + "a"]


@pytest.mark.parametrize(
    "text, size",
    [("a", 7), ("2*a + 1", 15), ("floor(a/2)", 3), ("max(a, 9)", 9), ("a**2", 49), ("a - 1", 6)],
)
def test_an_expression_of_known_sizes_has_a_number(text, size):
    assert evaluate_dim(ir.SymbolicDim(text), {"a": 7}) == size


@pytest.mark.parametrize("text", [*NO_EXPRESSIONS, *BOMBS, "b", "a + b"])
def test_any_other_text_has_no_number_and_ends_at_once(text):
    assert evaluate_dim(ir.SymbolicDim(text), {"a": 7}) is None


@pytest.mark.parametrize("text", ["", "a b", "9**9**9"])
def test_a_tensor_whose_size_is_any_text_may_have_any_size(text):
    value = ir.Value(name="x", type=ir.TensorType(ir.DataType.FLOAT), shape=ir.Shape([text, 4]))
    spec = spec_of(value, {"a": Dynamic("a", 1, 2, 4)}, {}, "x")
    assert spec.shape is not None
    assert spec.shape[0] == Dynamic(text or "unknown", 0, 1, UNBOUNDED)

"""Constant folding: nodes that give the same values in every run become constants.

Once the sizes of the inputs are known, that holds of all that only computes with sizes. What is
computed of floating-point parameters alone stays. Results are small, and operators are those whose
cost is that of their result: a file of a stranger must not choose what is computed here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from onnx.shape_inference import InferenceError, infer_node_outputs

from backends.contract import Array
from deploy.graph.branch_inlining import inline_branch

_RESULT_BYTES = 1 << 20  # larger results, such as masks of long texts, stay as their nodes
_ALL_BYTES = 16 << 20  # of all results of one call

_STANDARD = ("", "ai.onnx")

_EVALUATED_NAMES = """
    Abs Add And ArgMax ArgMin Cast CastLike Ceil Clip Compress Concat ConstantOfShape CumSum Div
    Equal Expand EyeLike Flatten Floor Gather GatherElements GatherND Greater GreaterOrEqual
    Identity Less LessOrEqual Max Min Mod Mul Neg NonZero Not OneHot Or Pad Pow Range Reciprocal
    ReduceMax ReduceMean ReduceMin ReduceProd ReduceSum Reshape Round ScatterElements ScatterND
    Sign Slice Split Sqrt Squeeze Sub Tile Transpose Trilu Unsqueeze Where Xor
"""
_EVALUATED = frozenset(_EVALUATED_NAMES.split())
_OF_SIZES = frozenset(("Shape", "Size"))

_FAILURES = (  # of the reference implementation, for values that an operator does not take
    ArithmeticError,
    AttributeError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)


def has_constants_to_fold(model: onnx.ModelProto) -> bool:
    """Whether a look at the graph shows a node that ``fold_constants`` might fold.

    Nothing is computed.
    """
    known = {tensor.name for tensor in model.graph.initializer if _is_small(tensor)}
    for node in model.graph.node:
        if node.op_type == "Constant":
            known.update(node.output)
        elif node.op_type in _OF_SIZES or (
            node.op_type in (*_EVALUATED, "If") and known.issuperset(filter(None, node.input))
        ):
            return True
    return False


def fold_constants(model: onnx.ModelProto) -> bool:
    """Replace nodes whose results are known by constants, and each known ``If`` by its branch.

    Tensors keep their names. Weights that are not in the file itself stay where they are.

    Args:
        model: with the shapes that are known; its nodes in topological order. It is changed.

    Returns:
        Whether anything changed.
    """
    return _Folding(model).run()


class _Folding:
    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._graph = graph
        self._opsets = {
            "" if opset.domain in _STANDARD else opset.domain: opset.version
            for opset in model.opset_import
        }
        self._opset_imports = list(model.opset_import)
        self._ir_version = model.ir_version
        self._types = {
            value.name: value.type for value in (*graph.input, *graph.value_info, *graph.output)
        }
        self._types |= {
            tensor.name: helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            for tensor in graph.initializer
        }
        self._values: dict[str, Array] = {
            tensor.name: numpy_helper.to_array(tensor)
            for tensor in graph.initializer
            if _is_small(tensor)
        }
        # what is computed of parameters alone is the model's own, and no matter of sizes
        self._parameters = {name for name, value in self._values.items() if value.dtype.kind == "f"}
        self._sizes: dict[str, list[int | None]] = {}  # what is known of the results of Shape
        self._names = {name for node in graph.node for name in (*node.input, *node.output)}
        self._names.update(value.name for value in (*graph.input, *graph.initializer))
        self._bytes = 0

    def run(self) -> bool:
        pending = deque(self._graph.node)
        nodes: list[onnx.NodeProto] = []
        changed = False
        while pending:
            node = pending.popleft()
            if node.op_type == "Constant":
                self._remember(node)
                nodes.append(node)
            elif node.op_type == "If" and node.input[0] in self._values:
                pending.extendleft(reversed(self._branch(node)))
                changed = True
            elif (results := self._results(node)) is not None:
                nodes.extend(self._as_constants(node, results))
                changed = True
            else:
                nodes.append(node)
        if changed:
            nodes = [_copy(node) for node in nodes]  # of those that live in the list below
            del self._graph.node[:]
            self._graph.node.extend(nodes)
        return changed

    def _branch(self, node: onnx.NodeProto) -> Sequence[onnx.NodeProto]:
        graph = self._graph
        branch = inline_branch(node, bool(self._values[node.input[0]].all()), self._names)
        self._names.update(name for inner in branch.nodes for name in inner.output)
        self._names.update(tensor.name for tensor in branch.initializers)
        # of both branches together, and of no use for the one that is taken
        stale = [value for value in graph.value_info if value.name in set(node.output)]
        for value in stale:
            graph.value_info.remove(value)
        graph.initializer.extend(branch.initializers)
        graph.value_info.extend(branch.value_info)
        for name in node.output:
            self._types.pop(name, None)
        self._types |= {value.name: value.type for value in branch.value_info}
        for tensor in branch.initializers:
            self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            if _is_small(tensor):
                self._values[tensor.name] = numpy_helper.to_array(tensor)
        return branch.nodes

    def _remember(self, node: onnx.NodeProto) -> None:
        (attribute,) = node.attribute or (onnx.AttributeProto(),)
        if attribute.name == "value" and _is_small(attribute.t):
            self._values[node.output[0]] = numpy_helper.to_array(attribute.t)
        elif attribute.name in ("value_int", "value_ints"):
            value = helper.get_attribute_value(attribute)
            self._values[node.output[0]] = np.array(value, np.int64)
        elif attribute.name in ("value_float", "value_floats"):
            value = helper.get_attribute_value(attribute)
            self._values[node.output[0]] = np.array(value, np.float32)

    def _as_constants(self, node: onnx.NodeProto, results: Sequence[Array]) -> list[onnx.NodeProto]:
        constants = []
        for name, result in zip(filter(None, node.output), results, strict=True):
            self._values[name] = result
            self._bytes += result.nbytes
            tensor = numpy_helper.from_array(result, name)
            constants.append(helper.make_node("Constant", [], [name], value=tensor))
        return constants

    def _results(self, node: onnx.NodeProto) -> Sequence[Array] | None:
        """The values of the node's outputs that have names, where they are known and small."""
        if node.domain not in _STANDARD or self._bytes > _ALL_BYTES:
            return None
        if node.op_type == "Shape":
            return self._shape(node)
        if node.op_type == "Size":
            sizes = self._known_sizes(node.input[0])
            known = [size for size in sizes or (None,) if size is not None]
            complete = sizes is not None and len(known) == len(sizes)
            return [np.array(np.prod(known, dtype=np.int64))] if complete else None
        if node.op_type in ("Gather", "Slice") and node.input[0] in self._sizes:
            return self._selected_sizes(node)
        names = [name for name in node.input if name]
        complete = all(name in self._values for name in names)
        if node.op_type not in _EVALUATED or not complete or self._parameters.issuperset(names):
            return None
        return self._evaluated(node, {name: self._values[name] for name in names})

    def _known_sizes(self, name: str) -> list[int | None] | None:
        """The sizes of a tensor, None for each open one; None for an unknown rank."""
        tensor = self._types[name].tensor_type if name in self._types else None
        if tensor is None or not tensor.HasField("shape"):
            return None
        return [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]

    def _shape(self, node: onnx.NodeProto) -> Sequence[Array] | None:
        sizes = self._known_sizes(node.input[0])
        if sizes is None:
            return None
        limits = {attribute.name: attribute.i for attribute in node.attribute}
        sizes = sizes[limits.get("start", 0) : limits.get("end", len(sizes))]
        if None in sizes:
            self._sizes[node.output[0]] = sizes
            return None
        return [np.array(sizes, np.int64)]

    def _selected_sizes(self, node: onnx.NodeProto) -> Sequence[Array] | None:
        """What Gather or Slice takes of sizes, if it takes only known ones."""
        sizes = self._sizes[node.input[0]]
        if not all(name in self._values for name in node.input[1:] if name):
            return None
        values = {name: self._values[name] for name in node.input[1:] if name}
        # open sizes as -1, which no known size is
        data = np.array([-1 if size is None else size for size in sizes], np.int64)
        results = self._evaluated(node, {**values, node.input[0]: data})
        return results if results is not None and (results[0] >= 0).all() else None

    def _evaluated(
        self, node: onnx.NodeProto, values: Mapping[str, Array]
    ) -> Sequence[Array] | None:
        """The node's results by ONNX's reference implementation, if they are small."""
        expected = self._expected(node, values)
        if expected is None:
            return None
        try:
            with np.errstate(all="raise"):
                computed = self._evaluator(node, values).run(None, dict(values))
        except _FAILURES:
            return None
        results = [np.asarray(result) for result in computed]
        fits = len(expected) == len(results) and all(map(_fits, results, expected))
        return results if fits else None

    def _evaluator(self, node: onnx.NodeProto, values: Mapping[str, Array]) -> ReferenceEvaluator:
        # of a single node it would take the newest version of the operator
        inputs = [onnx.ValueInfoProto(name=name) for name in values]
        outputs = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        graph = helper.make_graph([node], "node", inputs, outputs)
        return ReferenceEvaluator(graph, opsets=self._opsets)

    def _expected(
        self, node: onnx.NodeProto, values: Mapping[str, Array]
    ) -> Sequence[onnx.TypeProto] | None:
        """The types of the node's outputs, known before they are computed; None for large ones."""
        tensors = {name: numpy_helper.from_array(value, name) for name, value in values.items()}
        types = {
            name: helper.make_tensor_type_proto(tensor.data_type, tensor.dims)
            for name, tensor in tensors.items()
        }
        try:
            schema = defs.get_schema(node.op_type, self._opsets.get("", 1), "")
            outputs = infer_node_outputs(
                schema,
                node,
                types,
                tensors,
                opset_imports=self._opset_imports,
                ir_version=self._ir_version,
            )
        except (defs.SchemaError, InferenceError, *_FAILURES):
            return None
        inputs = sum(value.nbytes for value in values.values())
        kinds = [outputs[name] for name in node.output if name in outputs]
        return kinds if all(_is_bounded(node, kind, inputs) for kind in kinds) else None


def _is_bounded(node: onnx.NodeProto, kind: onnx.TypeProto, input_bytes: int) -> bool:
    tensor = kind.tensor_type
    if not tensor.HasField("shape") or not tensor.elem_type:
        return False
    dims = tensor.shape.dim
    if not all(dim.HasField("dim_value") for dim in dims):
        # the two whose result is as large as their input at most
        return node.op_type in ("NonZero", "Compress") and input_bytes <= _RESULT_BYTES
    return _byte_count(tensor.elem_type, [dim.dim_value for dim in dims]) <= _RESULT_BYTES


def _fits(result: Array, kind: onnx.TypeProto) -> bool:
    tensor = kind.tensor_type
    dims = tensor.shape.dim
    return (
        result.dtype == helper.tensor_dtype_to_np_dtype(tensor.elem_type)
        and result.ndim == len(dims)
        and all(
            dim.dim_value == size
            for dim, size in zip(dims, result.shape, strict=True)
            if dim.HasField("dim_value")
        )
    )


def _is_small(tensor: onnx.TensorProto) -> bool:
    """Whether its values are in the file, of a type that NumPy has, and few."""
    inside = tensor.data_location != onnx.TensorProto.EXTERNAL
    if not inside or tensor.data_type in (onnx.TensorProto.STRING, onnx.TensorProto.UNDEFINED):
        return False
    return _byte_count(tensor.data_type, tensor.dims) <= _RESULT_BYTES


def _byte_count(dtype: int, dims: Sequence[int]) -> float:
    try:
        size = helper.tensor_dtype_to_np_dtype(dtype).itemsize
    except KeyError:
        return float("inf")
    return float(np.prod(dims, dtype=np.float64)) * size


def _copy(node: onnx.NodeProto) -> onnx.NodeProto:
    copy = onnx.NodeProto()
    copy.CopyFrom(node)
    return copy

"""A network, which only a parser fills."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._dims import Dims
from ._enums import DataType, LayerType

if TYPE_CHECKING:
    import onnx


_PRODUCTS = {
    "Conv": LayerType.CONVOLUTION,
    "ConvTranspose": LayerType.DECONVOLUTION,
    "Gemm": LayerType.MATRIX_MULTIPLY,
    "MatMul": LayerType.MATRIX_MULTIPLY,
}


class ITensor:
    def __init__(self, name: str, shape: list[int], dtype: DataType, decides_shapes: bool) -> None:
        self.name = name
        self._shape, self._dtype, self._decides_shapes = shape, dtype, decides_shapes

    @property
    def shape(self) -> Dims:
        return Dims(self._shape)

    @property
    def dtype(self) -> DataType:
        return self._dtype

    @property
    def is_shape_tensor(self) -> bool:
        return self._decides_shapes


class ILayer:
    """A node of the graph; the operators that multiply have their own types."""

    def __init__(self, name: str, kind: LayerType, outputs: list[ITensor]) -> None:
        self.name = name
        self._type, self._outputs = kind, outputs

    @property
    def type(self) -> LayerType:
        return self._type

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


class INetworkDefinition:
    def __init__(self, name: str) -> None:
        self.name = name
        self._model: onnx.ModelProto | None = None
        self._inputs: list[ITensor] = []
        self._outputs: list[ITensor] = []
        self._layers: list[ILayer] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    @property
    def num_outputs(self) -> int:
        return len(self._outputs)

    @property
    def num_layers(self) -> int:
        return len(self._layers)

    def get_layer(self, index: int) -> ILayer:
        return self._layers[index]

    def get_input(self, index: int) -> ITensor:
        return self._inputs[index]

    def get_output(self, index: int) -> ITensor:
        return self._outputs[index]


def fill(network: INetworkDefinition, model: onnx.ModelProto) -> None:
    """Put a parsed graph into the network."""
    from ._graph import inputs, sizes
    from ._operators import TYPES
    from ._shape_tensors import shape_tensors

    decisive = shape_tensors(model.graph)

    def tensor(value: onnx.ValueInfoProto) -> ITensor:
        dtype = TYPES[value.type.tensor_type.elem_type]
        return ITensor(value.name, sizes(value), dtype, value.name in decisive)

    network._model = model
    network._inputs = [tensor(value) for value in inputs(model.graph)]
    network._outputs = [tensor(value) for value in model.graph.output]
    values = (*inputs(model.graph), *model.graph.value_info, *model.graph.output)
    known = {value.name: tensor(value) for value in values if value.type.tensor_type.elem_type}
    network._layers = [
        ILayer(
            node.name or node.op_type,
            _PRODUCTS.get(node.op_type, LayerType.IDENTITY),
            [known[name] for name in node.output if name in known],
        )
        for node in model.graph.node
    ]

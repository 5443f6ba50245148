"""The types in which the layers of a built engine compute, as the builder describes them.

A request for half precision that ends in an engine of fp32 is silent elsewhere. Here the types of
the engine's layers are counted, recorded, and compared with those of the network.
"""

from __future__ import annotations

import re
from collections import Counter

import tensorrt_rtx_bindings as trt

from backends.contract import ConversionError
from backends.nvidia.network import ParsedSegment

# of a line such as: Name: conv, ..., Outputs: [ { Name: y, ..., Datatype: Half, ...}], TacticName:
_OUTPUTS = re.compile(r"^Name: .*? Outputs: \[(?P<outputs>.*?)\], TacticName:", re.MULTILINE)
_TYPE = re.compile(r"Datatype: (\w+)")
_COMPUTING = re.compile(r"\[ONNX Layer: ")  # layers that only move data have no layer of the graph
_WORDS = {
    trt.DataType.FLOAT: "Float",
    trt.DataType.HALF: "Half",
    trt.DataType.BF16: "BFloat16",
}
_PRODUCTS = (
    trt.LayerType.CONVOLUTION,
    trt.LayerType.DECONVOLUTION,
    trt.LayerType.MATRIX_MULTIPLY,
)


def layer_types(description: str) -> Counter[str]:
    """How many layers that compute have their first output in each type, by the builder's words.

    Args:
        description: the builder's log message of a plan, at detailed verbosity.
    """
    lines = [line for line in description.splitlines() if _COMPUTING.search(line)]
    outputs = [match["outputs"] for line in lines if (match := _OUTPUTS.match(line))]
    types = [match[1] for text in outputs if (match := _TYPE.search(text))]
    return Counter(types)


def check_types(parsed: ParsedSegment, built: Counter[str]) -> None:
    """Refuse an engine without any layer in a type that the network multiplies in.

    Args:
        parsed: the network.
        built: the types of the engine's layers.

    Raises:
        ConversionError: the engine computes in other types than the network.
    """
    expected = {_WORDS.get(kind) for kind in _product_types(parsed.network)} - {None}
    missing = sorted(kind for kind in expected if kind and not built[kind])
    if missing:
        raise ConversionError(
            f"segment '{parsed.segment.name}': the engine has no layer in {', '.join(missing)}, "
            "in which the graph has convolutions or matrix products",
            got=describe_types(built),
            do="Choose another precision, or another backend for this segment.",
        )


def describe_types(built: Counter[str]) -> str:
    """Such as ``71 Half, 3 Float``."""
    return ", ".join(f"{count} {kind}" for kind, count in built.most_common()) or "none"


def _product_types(network: trt.INetworkDefinition) -> set[trt.DataType]:
    layers = (network.get_layer(number) for number in range(network.num_layers))
    return {layer.get_output(0).dtype for layer in layers if layer.type in _PRODUCTS}

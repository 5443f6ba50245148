"""The outputs of a model: their names, and a value of its own for each in the exported graph."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

import onnx_ir as ir
import torch
from onnx_ir.passes.common import NameFixPass

from backends.contract import DeployError
from deploy.export.nested_tensors import named_tensors, unknown_containers

_RESULT = "output"  # a result without a key, and the prefix of one whose key an input has

_FLOATS = (torch.float16, torch.float32, torch.float64)


class OutputError(DeployError):
    """A result of ``forward`` that cannot become outputs of a graph."""


def named_outputs(result: Any, inputs: Collection[str]) -> list[tuple[str, torch.Tensor]]:
    """The tensors that ``forward`` returns, each under the name of its output.

    The names are keys or fields; else ``output``, or ``output.0`` and so on. In a chain equal names
    are equal tensors, so that a result with the name of an input is called ``output.<name>``.

    Args:
        result: what ``forward`` returns.
        inputs: the names of the model's inputs.

    Raises:
        OutputError: there is no tensor, two have one name, one has a dtype that NumPy lacks, or
            some lie in an unknown container.
    """
    for container in unknown_containers(result, ""):
        name = container.type.__name__
        raise OutputError(
            f"the model returns {f'{container.path!r} as ' if container.path else ''}{name}, "
            "whose tensors would be lost",
            expected="tensors in lists, tuples, dicts, dataclasses, or classes that "
            "torch.utils._pytree knows",
            do=f"{container.remedy} Or return it not at all: a Transformers model returns no cache "
            "with use_cache: false in the params of its config.",
        )
    named = [
        (f"{_RESULT}.{name}" if name in inputs else name, tensor)
        for name, tensor in named_tensors(result, _RESULT)
    ]
    names = [name for name, _ in named]
    if not names:
        raise OutputError("the model returns no tensor", do="Return one from forward.")
    for name, tensor in named:
        _check_crosses(name, tensor)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise OutputError(
            f"two results of the model are called '{repeated[0]}'",
            do="Rename one of their keys in what forward returns.",
        )
    return named


def _check_crosses(name: str, tensor: torch.Tensor) -> None:
    """Refuse tensors that no array outside torch can be.

    Raises:
        OutputError: naming the output, and what to return instead.
    """
    if tensor.is_complex():
        do = "Return torch.view_as_real of it: real and imaginary part in a last axis of 2."
    elif tensor.is_quantized:
        do = "Return it dequantized: dequantize()."
    elif tensor.layout is not torch.strided:
        do = "Return it dense: to_dense()."
    elif tensor.is_floating_point() and tensor.dtype not in _FLOATS:
        do = "Return it as float(), or pass model.dtype=float32 if the whole model has that dtype."
    else:
        return
    kind = tensor.dtype if tensor.layout is torch.strided else f"{tensor.layout} {tensor.dtype}"
    raise OutputError(
        f"result '{name}' of the model",
        expected="a dense tensor of real numbers in a dtype that NumPy has",
        got=str(kind),
        do=do,
    )


def name_graph_outputs(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Name the graph's inputs and outputs; other values that have such a name get another one.

    An output is no weight and no other output: the exporter leaves an Identity there. It is an
    input only where ``forward`` returns that unchanged under its own name, which it keeps.
    """
    graph = model.graph
    for value, name in zip(graph.inputs, inputs, strict=True):
        value.name = name
    for number, (value, name) in enumerate(zip(tuple(graph.outputs), outputs, strict=True)):
        source = _passed_through(value)
        if source is not None and name == f"{_RESULT}.{source.name}":
            graph.outputs[number] = source
            graph.remove(cast(ir.Node, value.producer()), safe=True)
        else:
            value.name = name
    NameFixPass()(model)


def _passed_through(value: ir.Value) -> ir.Value | None:
    """The graph's input that an output is."""
    node = value.producer()
    source = node.inputs[0] if node is not None and node.op_type == "Identity" else None
    return source if source is not None and source.is_graph_input() else None

"""An ``If`` whose condition is known -> the nodes of the branch that it takes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import onnx
from onnx import helper


@dataclass(frozen=True)
class InlinedBranch:
    """What takes the place of an ``If``.

    Attributes:
        nodes: in the order of the branch; they give the outputs of the ``If`` by their names.
        initializers: of the branch.
        value_info: of the branch.
    """

    nodes: tuple[onnx.NodeProto, ...]
    initializers: tuple[onnx.TensorProto, ...]
    value_info: tuple[onnx.ValueInfoProto, ...]


def inline_branch(node: onnx.NodeProto, taken: bool, used: Collection[str]) -> InlinedBranch:
    """The nodes of one branch of an ``If``.

    Args:
        node: the ``If``.
        taken: its condition.
        used: the names of the graph around it. Tensors of the branch keep theirs where they can.
    """
    wanted = "then_branch" if taken else "else_branch"
    branch = onnx.GraphProto()
    branch.CopyFrom(next(a.g for a in node.attribute if a.name == wanted))
    names = _new_names(branch, node, used)
    for inner in branch.node:
        _rename(inner, names)
    for named in (*branch.initializer, *branch.value_info):
        named.name = names.get(named.name, named.name)
    copies = []
    for result, target in zip(branch.output, node.output, strict=True):
        source = names.get(result.name, result.name)
        if target and source != target:
            copies.append(helper.make_node("Identity", [source], [target]))
    return InlinedBranch(
        (*branch.node, *copies), tuple(branch.initializer), tuple(branch.value_info)
    )


def _new_names(
    branch: onnx.GraphProto, node: onnx.NodeProto, used: Collection[str]
) -> dict[str, str]:
    """The new name of each tensor of the branch that cannot keep its own."""
    computed = [name for inner in branch.node for name in inner.output if name]
    results = zip(branch.output, node.output, strict=True)
    names: dict[str, str] = {}
    for result, target in results:
        if target and result.name in computed:
            names.setdefault(result.name, target)
    taken = {*used, *names.values()}
    for name in (*computed, *(tensor.name for tensor in branch.initializer)):
        if name not in names and name in taken:
            names[name] = _free_name(name, taken)
        taken.add(names.get(name, name))
    return names


def _free_name(name: str, taken: Collection[str]) -> str:
    number = 2
    while f"{name}_{number}" in taken:
        number += 1
    return f"{name}_{number}"


def _rename(node: onnx.NodeProto, names: Mapping[str, str]) -> None:
    """Rename what a node reads and gives, and what its bodies read of the graph around them."""
    _replace(node.input, names)
    _replace(node.output, names)
    for attribute in node.attribute:
        for body in [attribute.g] if attribute.HasField("g") else attribute.graphs:
            own = {value.name for value in (*body.input, *body.initializer)}
            own |= {name for inner in body.node for name in inner.output}
            outer = {old: new for old, new in names.items() if old not in own}
            for inner in body.node:
                _rename(inner, outer)
            for output in body.output:
                output.name = outer.get(output.name, output.name)


def _replace(listed: Iterable[str], names: Mapping[str, str]) -> None:
    listed[:] = [names.get(name, name) for name in listed]  # type: ignore[index]

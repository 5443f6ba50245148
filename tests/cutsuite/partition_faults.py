"""Ways to make the partition wrong, to see that the suite notices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from backends.contract import TensorSpec
from deploy.graph import index as graph_index
from deploy.graph.specs import spec_of
from deploy.graph.writing import write_model
from deploy.partition import extract, segments
from deploy.partition.backward_slice import BackwardSlice, Subgraph
from deploy.partition.cut_points import CutPoints, PartitionError
from deploy.partition.tensor_names import NamedChain, name_tensors


def lose_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """A segment lacks the first of the stored tensors that it uses."""
    whole = BackwardSlice.subgraph

    def without(backward_slice: BackwardSlice, *args: Any) -> Subgraph:
        subgraph = whole(backward_slice, *args)
        return replace(subgraph, weights=subgraph.weights[1:])

    monkeypatch.setattr(BackwardSlice, "subgraph", without)


def swap_two_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first two tensors at the first border have each other's names."""

    def swapped(subgraphs: Sequence[Subgraph], cut_points: CutPoints) -> NamedChain:
        chain = name_tensors(subgraphs, cut_points)
        first, *rest = chain.subgraphs
        if len(first.outputs) < 2:
            return chain
        one, two, *others = first.outputs
        outputs = (replace(one, value=two.value), replace(two, value=one.value), *others)
        return replace(chain, subgraphs=(replace(first, outputs=outputs), *rest))

    monkeypatch.setattr(segments, "name_tensors", swapped)


def change_a_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every stored tensor is larger by one."""

    def changed(segment: ir.Model, path: Path, inline_bytes: int) -> None:
        for value in segment.graph.initializers.values():
            assert value.const_value is not None, "it is stored"
            value.const_value = ir.tensor(value.const_value.numpy() + 1, name=value.name)
        write_model(segment, path, inline_bytes)

    monkeypatch.setattr(segments, "write_model", changed)


def forget_what_bodies_capture(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only a node's own inputs count."""
    monkeypatch.setattr(
        graph_index, "node_reads", lambda node: [v for v in node.inputs if v is not None]
    )


def let_sequences_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """A sequence is taken for a tensor."""

    def lax(value: ir.Value, *rest: Any) -> TensorSpec:
        if isinstance(value.type, ir.SequenceType):
            return TensorSpec("", "float32", None)
        return spec_of(value, *rest)

    monkeypatch.setattr(extract, "spec_of", lax)


def promise_another_size(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first dimension of every tensor is 7, say the specs."""

    def wrong(*args: Any) -> TensorSpec:
        return replace(spec_of(*args), shape=(7, *spec_of(*args).dims[1:]))

    monkeypatch.setattr(extract, "spec_of", wrong)


def refuse_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every tensor is refused, and by the wrong name."""

    def refuse(*_: object) -> TensorSpec:
        raise PartitionError("value 'nobody' cannot cross a border")

    monkeypatch.setattr(extract, "spec_of", refuse)

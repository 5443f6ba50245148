"""A case -> a model that can be cut and compared, or the reason why not."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from backends.contract import Dim, Dynamic, TensorSpec
from deploy.graph.exported import Exported
from tests.cutsuite.cases import Case, Inputs
from tests.cutsuite.engine import FAILURES, Engine, Feed, types_of
from tests.cutsuite.reading import Reading, read
from tests.cutsuite.values import Tensor, tensor

Tensors = Mapping[str, Tensor]
UNKNOWN = "unknown to onnx"


@dataclass(frozen=True)
class Model:
    """A model that can be cut, with what the whole of it gives.

    Attributes:
        name: the case's.
        reading: who needs what in it.
        types: of its inputs and of every tensor that a cut could go through, as ONNX Runtime
            knows them; ``UNKNOWN`` where neither the file nor onnx's own inference does.
        runs: inputs, and the outputs of the whole for them; none where one of them is no tensor.
        exported: with sizes as in the first run.
        dynamic: the same with the sizes open that the file leaves open, if it does.
        valid: whether onnx's checker accepts the file.
    """

    name: str
    reading: Reading
    types: Mapping[str, str]
    runs: tuple[tuple[Tensors, Tensors], ...]
    exported: Exported
    dynamic: Exported | None
    valid: bool

    @property
    def half(self) -> bool:
        """Whether any of its tensors is fp16, which ONNX Runtime computes in fp32 and rounds."""
        return any("float16)" in kind and "bfloat16" not in kind for kind in self.types.values())


class UnusableError(Exception):
    """Why a case is left out."""


def usable(case: Case, folder: Path) -> Model:
    """Write and run the whole.

    Raises:
        UnusableError: it does not run, or proves nothing.
    """
    proto = case.model()
    if len(proto.graph.node) < 2:
        raise UnusableError("it has one node")
    reading = read(proto)
    if not reading.inputs:
        raise UnusableError("it has no input")
    path = case.write(folder)
    whole = _loaded(path)
    feeds = [_feed(reading, inputs) for inputs in case.inputs()]
    _check_repeats(whole, feeds)
    if len(reading.free) < 2:
        raise UnusableError("nothing to cut: fewer than two of its nodes depend on an input")
    makes = [name for node in sorted(reading.free) for name in reading.makes[node]]
    types = {**whole.inputs, **whole.outputs, **types_of(path, makes)}
    types |= dict.fromkeys(types.keys() - _known(proto), UNKNOWN)
    exported = [Exported(path, specs, by_name=True) for specs in _specs(proto, reading, feeds[0])]
    return Model(
        case.name,
        reading,
        types,
        tuple((feed, whole(feed)) for feed in map(_tensors, feeds) if whole.has_tensors_alone),
        exported[0],
        exported[1] if exported[0] != exported[1] else None,
        _valid(path),
    )


def _loaded(path: Path) -> Engine:
    try:
        return Engine(path)
    except FAILURES as error:
        raise UnusableError("ONNX Runtime does not load it") from error


def _check_repeats(whole: Engine, feeds: list[Feed]) -> None:
    try:
        repeats = all(whole.repeats(feed) for feed in feeds)
    except FAILURES as error:
        raise UnusableError("ONNX Runtime does not run it on its inputs") from error
    if not repeats:
        raise UnusableError("two runs of it differ")


def _feed(reading: Reading, inputs: Inputs) -> Feed:
    pairs = zip(reading.inputs, inputs, strict=True)
    return {name: v if isinstance(v, list) else tensor(np.asarray(v)) for name, v in pairs}


def _tensors(feed: Feed) -> Tensors:
    return {name: value for name, value in feed.items() if isinstance(value, Tensor)}


def _specs(proto: onnx.ModelProto, reading: Reading, feed: Feed) -> list[tuple[TensorSpec, ...]]:
    """The inputs with sizes as they are in ``feed``, and as the file has them."""
    values = {value.name: value for value in proto.graph.input}
    pairs = [(values[name], value) for name, value in _tensors(feed).items()]
    return [
        tuple(TensorSpec(value.name, given.dtype, given.shape) for value, given in pairs),
        tuple(TensorSpec(value.name, given.dtype, _open(value, given)) for value, given in pairs),
    ]


def _open(value: onnx.ValueInfoProto, given: Tensor) -> tuple[Dim, ...] | None:
    tensor_type = value.type.tensor_type
    if not tensor_type.HasField("shape"):
        return None
    pairs = enumerate(zip(tensor_type.shape.dim, given.shape, strict=True))
    return tuple(
        size
        if dim.HasField("dim_value")
        else Dynamic(dim.dim_param or f"{value.name}_{axis}", 0, size, 1 << 20)
        for axis, (dim, size) in pairs
    )


def _known(proto: onnx.ModelProto) -> set[str]:
    graph = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    return {value.name for value in (*graph.input, *graph.output, *graph.value_info)}


def _valid(path: Path) -> bool:
    try:
        onnx.checker.check_model(str(path))
    except onnx.checker.ValidationError:
        return False
    return True

"""ONNX graph -> a file, its large weights copied beside it without holding them in memory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import onnx
import onnx_ir as ir

_ALIGN = 64  # so that engines can map a weight where it lies
_BLOCK = 1 << 20  # a buffer of this size copies faster than copy_file_range


@dataclass(frozen=True)
class _ByteRange:
    """Bytes of a file, or those of a tensor, which makes them when it is written; and a target."""

    source: str | ir.TensorProtocol
    start: int
    count: int
    target: int


class WeightsFile:
    """A file of external data that is to be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ranges: list[_ByteRange] = []
        self._end = 0

    def add(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        """Reserve space for a tensor; the result is the same tensor in this file."""
        offset, count = -(-self._end // _ALIGN) * _ALIGN, tensor.nbytes
        self._end = offset + count
        if isinstance(tensor, ir.ExternalTensor):
            source = _ByteRange(str(tensor.path), tensor.offset or 0, count, offset)
        else:
            source = _ByteRange(tensor, 0, count, offset)
        self._ranges.append(source)
        return ir.ExternalTensor(
            self._path.name,
            offset,
            count,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=tensor.name or "",
            base_dir=self._path.parent,
        )

    def write(self) -> None:
        """Write the file, or leave none behind.

        Raises:
            OSError: a source ends too early, or there is no room.
        """
        try:
            with ExitStack() as stack:
                self._write(stack)
        except BaseException:
            self._path.unlink(missing_ok=True)
            raise

    def _write(self, stack: ExitStack) -> None:
        target = stack.enter_context(self._path.open("wb", buffering=0))
        paths = {part.source for part in self._ranges if isinstance(part.source, str)}
        files = {path: stack.enter_context(FileIO(path)) for path in paths}
        buffer = memoryview(bytearray(_BLOCK))
        for part in self._ranges:
            target.seek(part.target)
            if isinstance(part.source, str):
                _copy(files[part.source], part, target, buffer)
            else:
                _write_all(target, memoryview(part.source.tobytes()))


def _copy(source: FileIO, part: _ByteRange, target: FileIO, buffer: memoryview) -> None:
    source.seek(part.start)
    left = part.count
    while left:
        count = source.readinto(buffer[: min(left, len(buffer))])
        if not count:
            raise OSError(f"'{source.name}' ends {left} bytes too early")
        _write_all(target, buffer[:count])
        left -= count


def _write_all(target: FileIO, block: memoryview) -> None:
    while block:
        block = block[target.write(block) :]


INLINE_BYTES = 1 << 20  # of weights that stay in the graph's own file

MIN_IR_VERSION = 4  # the first in which an initializer need not be a graph input too

_SMALL = 1024  # bytes of a weight that stays in the graph: shapes and axes, which readers look at


def write_model(segment: ir.Model, path: Path, inline_bytes: int) -> WeightsFile | None:
    """Save the graph.

    Returns:
        The file of its weights, to be written beside it, if they have more than
        ``inline_bytes``; else None, for they are in the graph's own file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = {weight: weight.const_value for weight in segment.graph.initializers.values()}
    sizes = {weight: _byte_count(tensor) for weight, tensor in weights.items()}
    external = sum(size for size in sizes.values() if size > _SMALL) > inline_bytes
    file = WeightsFile(path.with_name(f"{path.name}.data")) if external else None
    for weight, tensor in weights.items():
        if tensor is not None:
            move = file.add if file is not None and sizes[weight] > _SMALL else _in_memory
            weight.const_value = move(tensor)
    proto = ir.to_proto(segment)
    for weight, tensor in weights.items():  # another segment may use it too
        weight.const_value = tensor
    _drop_infos_of_outputs(proto.graph)
    path.write_bytes(proto.SerializeToString())
    return file


def _drop_infos_of_outputs(graph: onnx.GraphProto) -> None:
    """An output says of itself what it is."""
    outputs = {value.name for value in graph.output}
    for index in reversed(range(len(graph.value_info))):
        if graph.value_info[index].name in outputs:
            del graph.value_info[index]


def _byte_count(tensor: ir.TensorProtocol | None) -> int:
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.nbytes


def _in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    """The tensor itself, or what its file has; the library would map the whole file for each."""
    if not isinstance(tensor, ir.ExternalTensor):
        return tensor
    with FileIO(str(tensor.path)) as file:
        file.seek(tensor.offset or 0)
        raw = file.read(tensor.nbytes)
    if len(raw) < tensor.nbytes:
        raise OSError(f"'{file.name}' ends {tensor.nbytes - len(raw)} bytes too early")
    shape = tensor.shape.numpy()
    return ir.serde.TensorProtoTensor(
        onnx.TensorProto(name=tensor.name, data_type=tensor.dtype, dims=shape, raw_data=raw)
    )

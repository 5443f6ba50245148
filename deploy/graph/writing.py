"""ONNX graph -> a file, its large weights copied beside it without holding them in memory."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from io import FileIO
from pathlib import Path

import onnx_ir as ir

_ALIGN = 64  # so that engines can map a weight where it lies


_BLOCK = 1 << 20  # through a buffer of this size bytes move faster than by copy_file_range


@dataclass(frozen=True)
class _Stretch:
    """Bytes of a file, or a tensor that makes its own when they are due, and where they go."""

    source: str | ir.TensorProtocol
    start: int
    count: int
    target: int


class WeightsFile:
    """A file of weights that is to be written."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stretches: list[_Stretch] = []
        self._end = 0

    def place(self, tensor: ir.TensorProtocol) -> ir.ExternalTensor:
        """Give a tensor its place; the result is the same tensor in this file."""
        offset, count = -(-self._end // _ALIGN) * _ALIGN, tensor.nbytes
        self._end = offset + count
        if isinstance(tensor, ir.ExternalTensor):
            stretch = _Stretch(str(tensor.path), tensor.offset or 0, count, offset)
        else:
            stretch = _Stretch(tensor, 0, count, offset)
        self._stretches.append(stretch)
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
        paths = {one.source for one in self._stretches if isinstance(one.source, str)}
        sources = {path: stack.enter_context(FileIO(path)) for path in paths}
        buffer = memoryview(bytearray(_BLOCK))
        for one in self._stretches:
            target.seek(one.target)
            if isinstance(one.source, str):
                _copy(sources[one.source], one, target, buffer)
            else:
                _put(target, memoryview(one.source.tobytes()))


def _copy(source: FileIO, stretch: _Stretch, target: FileIO, buffer: memoryview) -> None:
    source.seek(stretch.start)
    left = stretch.count
    while left:
        count = source.readinto(buffer[: min(left, len(buffer))])
        if not count:
            raise OSError(f"'{source.name}' ends {left} bytes too early")
        _put(target, buffer[:count])
        left -= count


def _put(target: FileIO, block: memoryview) -> None:
    while block:
        block = block[target.write(block) :]


INLINE_BYTES = 1 << 20


WEIGHTS_APART = 4  # the first version of the format in which a weight need not be an input too


_SMALL = 1024  # bytes of a weight that stays in the graph: shapes and axes, which readers look at


def write_model(segment: ir.Model, path: Path, inline_bytes: int) -> WeightsFile | None:
    """Save the graph.

    Returns:
        The file of its weights, to be written beside it, where they are more than
        ``inline_bytes``; else they are in the graph's own file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    weights = segment.graph.initializers.values()
    sizes = {weight: _bytes(weight) for weight in weights}
    beside = sum(size for size in sizes.values() if size > _SMALL) > inline_bytes
    file = WeightsFile(path.with_name(f"{path.name}.data")) if beside else None
    for weight, size in sizes.items():
        if weight.const_value is not None:
            place = file.place if file is not None and size > _SMALL else _in_memory
            weight.const_value = place(weight.const_value)
    path.write_bytes(ir.to_proto(segment).SerializeToString())
    return file


def _bytes(value: ir.Value) -> int:
    tensor = value.const_value
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.nbytes


def _in_memory(tensor: ir.TensorProtocol) -> ir.TensorProtocol:
    if isinstance(tensor, ir.ExternalTensor):
        return ir.Tensor(tensor.numpy(), dtype=tensor.dtype, name=tensor.name)
    return tensor

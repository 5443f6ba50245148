"""The files of a net: none is opened unless it is a regular one, or read beyond a bound."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from backends.contract import EngineError, Specs
from backends.files import file_fault
from backends.ncnn import net_shape
from backends.ncnn.checking.param import CONVERT_AGAIN, file_error

NO_BATCH = 233  # as a batch axis: pnnx's value for a tensor without one

_MAX_AXES_BYTES = 1 << 20
_MAX_RANK = 4  # of an ncnn blob, without the batch


def check_file(path: Path) -> None:
    """Require a regular file.

    Raises:
        EngineError: it is a link, a folder, a FIFO or a device, or does not exist.
    """
    if fault := file_fault(path.parent, path.name):
        raise EngineError(f"'{path.name}' {fault}", do=CONVERT_AGAIN)


def read_text(path: Path, max_bytes: int) -> str:
    """The text of a regular file in UTF-8.

    Raises:
        EngineError: not a regular file, larger than ``max_bytes``, or not UTF-8.
    """
    check_file(path)
    try:
        with path.open("rb") as file:
            data = file.read(max_bytes + 1)
        text = data.decode()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(f"'{path.name}' cannot be read: {error}", do=CONVERT_AGAIN) from error
    if len(data) > max_bytes:
        raise file_error(path.name, f"at most {max_bytes} bytes", "more")
    return text


def read_axes(path: Path, inputs: Specs, outputs: Specs) -> Mapping[str, int]:
    """Read which axis of each input and output tensor is the batch.

    Args:
        path: the JSON file that the converter wrote beside the net.
        inputs: of the net, in its order.
        outputs: likewise.

    Returns:
        An axis for each of ``in0``, ``in1``, ..., ``out0``, ...; 233 for a tensor without a batch.

    Raises:
        EngineError: the file is missing or damaged, or does not fit these tensors.
    """
    try:
        axes = json.loads(read_text(path, _MAX_AXES_BYTES))
    except (ValueError, RecursionError) as error:
        raise file_error(path.name, "JSON", str(error)[:60]) from error
    check_axes(path.name, axes, inputs, outputs)
    checked: Mapping[str, int] = axes
    return checked


def check_axes(file: str, axes: object, inputs: Specs, outputs: Specs) -> None:
    """Refuse batch axes that do not fit the tensors of a net; see ``read_axes``.

    Raises:
        EngineError: names the file and the tensor.
    """
    specs = {f"in{index}": spec for index, spec in enumerate(inputs)}
    specs |= {f"out{index}": spec for index, spec in enumerate(outputs)}
    if not isinstance(axes, dict) or axes.keys() != specs.keys():
        got = ", ".join(sorted(axes))[:60] if isinstance(axes, dict) else type(axes).__name__
        raise file_error(file, f"an axis for each of {', '.join(specs)}"[:80], got)
    for blob, axis in axes.items():
        _check_axis(file, blob, axis, len(net_shape(specs[blob])))


def _check_axis(file: str, blob: str, axis: object, rank: int) -> None:
    if type(axis) is not int or axis not in (*range(rank), NO_BATCH):
        raise file_error(file, f"0 to {rank - 1} or {NO_BATCH} for '{blob}'", repr(axis)[:40])
    blob_rank = rank if axis == NO_BATCH else rank - 1
    if blob.startswith("in") and not 1 <= blob_rank <= _MAX_RANK:
        expected = f"1 to {_MAX_RANK} axes beside the batch of '{blob}'"
        raise file_error(file, expected, str(blob_rank))

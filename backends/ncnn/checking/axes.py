"""Which axis of each input and output is the batch, from the file beside the net."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from backends.contract import EngineError, Specs
from backends.ncnn.checking.files import read
from backends.ncnn.checking.param import AGAIN

NO_BATCH = 233


_MOST_BYTES = 1 << 20


_MOST_RANK = 4  # of a blob, beside the batch


def read_axes(path: Path, inputs: Specs, outputs: Specs) -> Mapping[str, int]:
    """The axis of ``in0`` and so on, ``out0`` and so on; 233 where none is the batch.

    Raises:
        EngineError: no such file, or one that says something else.
    """
    try:
        axes = json.loads(read(path, _MOST_BYTES))
    except (ValueError, RecursionError) as error:
        raise _fault(path, "JSON", str(error)[:60]) from error
    specs = {f"in{at}": spec for at, spec in enumerate(inputs)}
    specs |= {f"out{at}": spec for at, spec in enumerate(outputs)}
    if not isinstance(axes, dict) or axes.keys() != specs.keys():
        got = ", ".join(sorted(axes))[:60] if isinstance(axes, dict) else type(axes).__name__
        raise _fault(path, f"an axis for each of {', '.join(specs)}"[:80], got)
    for name, axis in axes.items():
        rank = len(specs[name].dims)
        if type(axis) is not int or axis not in (*range(rank), NO_BATCH):
            raise _fault(path, f"0 to {rank - 1} or {NO_BATCH} for '{name}'", repr(axis)[:40])
        beside = rank if axis == NO_BATCH else rank - 1
        if name.startswith("in") and not 1 <= beside <= _MOST_RANK:
            expected = f"1 to {_MOST_RANK} axes beside the batch of '{name}'"
            raise _fault(path, expected, str(beside))
    return axes


def _fault(path: Path, expected: str, got: str) -> EngineError:
    return EngineError(f"'{path.name}'", expected=expected, got=got, do=AGAIN)

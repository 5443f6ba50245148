"""What it costs that compiled code stays within its arrays: checked arguments, or every index.

    python scripts/bench_bounds.py

Medians in us of calls in turns: the machine code alone, with its arguments checked (as it runs),
and compiled with numba's ``boundscheck``.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from types import FunctionType
from typing import Any

import numba
import numpy as np

from deploy.models.yolov3 import decoding_numba
from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.decoding import CompiledMapDecoder, Thresholds
from deploy.runtime.vision import nms_compiled
from deploy.runtime.vision.compiling import CompiledFunction
from tests.models.yolov3.plain import crowded_maps

HALF = np.array(ANCHORS["darknet53"], np.float32) / 2
CALLS = 200

Call = Callable[..., Any]


def with_bounds_checked(names: dict[str, Any]) -> dict[str, Any]:
    """A module's functions, compiled anew so that every index is checked."""
    names = dict(names)
    for name, function in names.items():
        if isinstance(function, CompiledFunction):
            code = function.machine_code.py_func.__code__
            names[name] = numba.njit(
                FunctionType(code, names, name), nogil=True, error_model="numpy", boundscheck=True
            )
    return names


def decoder(decode_maps: Call) -> Call:
    """A decoder that runs this code."""
    made = CompiledMapDecoder(HALF, Thresholds())
    made._decode_maps = decode_maps
    return made


def row(what: str, calls: Mapping[str, Call], *arguments: Any) -> str:
    """The median of each, called in turns, as a line of the table."""
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for name in [*calls] * CALLS:
        start = time.perf_counter()
        calls[name](*arguments)
        seconds[name].append(time.perf_counter() - start)
    cells = (f"{1e6 * statistics.median(of):,.1f}" for of in seconds.values())
    return f"| {what} | {' | '.join(cells)} |"


def main() -> None:
    """Print a table."""
    checked = with_bounds_checked({**vars(nms_compiled), **vars(decoding_numba)})
    greedy, decode_maps = nms_compiled.greedy, decoding_numba.decode_maps
    decoders = {
        "alone": decoder(decode_maps.machine_code),
        "arguments checked": decoder(decode_maps),
        "indices checked": decoder(checked["decode_maps"]),
    }
    print(f"| us | {' | '.join(decoders)} |\n|---|---|---|---|")
    for candidates in (0, 100, 1000):
        maps = [raw[0] for raw in crowded_maps(candidates, 608, 80)]
        print(row(f"decoding at 608, {candidates:,} candidates", decoders, maps))
    suppressions = {
        "alone": greedy.machine_code,
        "arguments checked": greedy,
        "indices checked": checked["greedy"],
    }
    rs = np.random.RandomState(0)
    for count in (100, 1000, 6000):
        corner, side = rs.uniform(0, 600, (count, 2)), rs.uniform(5, 60, (count, 2))
        boxes = np.concatenate((corner, corner + side), 1).astype(np.float32)
        arguments = boxes, rs.permutation(count), rs.randint(80, size=count), 0.5, count
        print(row(f"suppression of {count:,} boxes", suppressions, *arguments))


if __name__ == "__main__":
    main()

"""The host steps are several times as fast as the plain way of doing the same in PyTorch.

python tests/models/mask_rcnn/test_speed.py  prints the times, in milliseconds.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from plain import detections, plain_paste, plain_proposals, rpn_maps

from deploy.models.mask_rcnn.masks import paste
from deploy.models.mask_rcnn.proposals import Proposals

SIZE = (800, 1333)
ROUNDS = 5


def proposals(kind: str) -> tuple[Callable[[], object], Callable[[], object]]:
    maps = rpn_maps(kind, *SIZE)
    step = Proposals(*SIZE)
    return lambda: step.choose(*maps), lambda: plain_proposals(*maps, *SIZE)


def masks() -> tuple[Callable[[], object], Callable[[], object]]:
    found = detections(100, *SIZE)
    return lambda: paste(*found, *SIZE), lambda: plain_paste(*found, *SIZE)


CASES = {
    "proposals, noise": lambda: proposals("noise"),
    "proposals, objects": lambda: proposals("objects"),
    "100 masks": masks,
}


def seconds(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def measure(pair: tuple[Callable[[], object], Callable[[], object]]) -> tuple[float, float]:
    """The least seconds of both, taken in turns: what else runs here only adds to them."""
    for call in pair:
        call()
    rounds = [[seconds(call) for call in pair] for _ in range(ROUNDS)]
    ours, plain = (min(side) for side in zip(*rounds, strict=True))
    return ours, plain


@pytest.mark.parametrize("case", ["proposals, objects", "100 masks"])
def test_it_takes_a_fifth_of_the_time_at_most(case):
    ours, plain = measure(CASES[case]())
    assert plain > 5 * ours


if __name__ == "__main__":
    for name, case in CASES.items():
        ours, plain = measure(case())
        print(f"{name:20}{ours * 1e3:8.1f}{plain * 1e3:8.1f}{plain / ours:8.1f}x")

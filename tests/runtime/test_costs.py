"""What is done at every picture does not come to cost more: counted, since clocks are noisy.

A bound is what was counted on CPython 3.11 with NumPy 2.4, and a quarter more. Where one is broken,
something that was done once is done for every box, anchor or picture; where that has to be, count
anew.
"""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from deploy.models.mask_rcnn import boxes
from deploy.models.mask_rcnn.host import Proposals
from deploy.models.yolov3 import decoding_numba
from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.decoding import CompiledMapDecoder, NumpyMapDecoder, Thresholds
from deploy.runtime import Pipeline
from deploy.runtime.execution.chain import Chain
from deploy.runtime.vision import nms
from deploy.runtime.vision.image import Pre, decode
from deploy.runtime.vision.preprocess import Preprocessor
from tests.conftest import step
from tests.helpers.costs import Cost, cost_of
from tests.helpers.scaler.run import Scaler
from tests.models.mask_rcnn.plain import rpn_maps
from tests.models.yolov3.plain import crowded_maps

MORE = 1.25
HALF = np.array(ANCHORS["darknet53"], np.float32) / 2


def holds(cost: Cost, *, instructions: int, kilobytes: float) -> bool:
    """Whether a cost is within its bounds; a test that fails shows it."""
    print(cost)
    return cost.instructions <= MORE * instructions and cost.bytes <= MORE * 1000 * kilobytes


@pytest.fixture
def in_numpy(monkeypatch):
    """As on a device without numba."""
    for module in (nms, boxes):
        monkeypatch.setattr(module, "can_compile", lambda: False)


@pytest.mark.parametrize(
    ("candidates", "instructions", "kilobytes"),
    [(0, 1739, 184), (100, 4830, 204), (1000, 5678, 807)],
)
def test_post_processing_of_yolov3(candidates, instructions, kilobytes, in_numpy):
    maps = [raw[0] for raw in crowded_maps(candidates, 608, 80)]
    decode_maps = NumpyMapDecoder(HALF, Thresholds())
    assert holds(cost_of(lambda: decode_maps(maps)), instructions=instructions, kilobytes=kilobytes)


def test_boxes_are_decoded_until_the_last_one_that_is_wanted_and_compared_in_their_class(
    monkeypatch,
):
    calls = Counter()

    def counted(name):
        code = getattr(decoding_numba, name)
        monkeypatch.setattr(
            decoding_numba, name, lambda *arguments: (calls.update([name]), code(*arguments))[1]
        )

    decode_maps = CompiledMapDecoder(HALF, Thresholds())
    decode_maps._decode_maps = decoding_numba.decode_maps.machine_code.py_func
    counted("_corners")
    counted("overlaps")
    found = decode_maps([raw[0] for raw in crowded_maps(1000, 320, 80)])
    assert len(found.boxes) == 100
    # of 1,000 candidates; beside all better boxes each of them takes some 5,000 comparisons
    assert calls == {"_corners": 103, "overlaps": 222}


def test_proposals_of_mask_rcnn(in_numpy):
    proposals = Proposals(800, 1333)
    logits, deltas = rpn_maps("objects", 800, 1333)
    cost = cost_of(lambda: proposals.select(logits, deltas))
    assert holds(cost, instructions=8476, kilobytes=6383)


def test_a_picture_that_shrinks():
    picture = np.zeros((480, 640, 3), np.uint8)
    letterbox = Preprocessor(Pre("image", 320, 320, (0, 0, 0), (255, 255, 255)))
    cost = cost_of(lambda: letterbox(decode(picture)))
    assert holds(cost, instructions=2290, kilobytes=1540)


def test_the_runtime_is_imported_without_what_few_bundles_need():
    code = """
import sys, numpy
before = set(sys.modules)
from deploy.runtime import Pipeline
from deploy.runtime.execution.chain import Chain
print(*sorted(set(sys.modules) - before))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    modules = done.stdout.split()
    later = {"importlib.metadata", "importlib.resources", "email", "PIL.ImageDraw", "numba", "cv2"}
    assert not later & set(modules)
    assert len(modules) <= 1.1 * 171


def test_a_chain_of_twelve_steps(make_bundle):
    names = [f"t{number}" for number in range(13)]
    chain = [step(f"s{target}", source, target) for source, target in pairwise(names)]
    first, last = replace(chain[0].inputs[0], name="t0"), chain[-1].outputs[0]
    bundle = make_bundle([(one, 1.0) for one in chain], inputs=(first,), outputs=(last,))
    inputs = {"t0": np.ones((1, 2), np.float32)}
    with Pipeline.open(bundle, trusted=True) as pipeline:
        cost = cost_of(lambda: pipeline.chain(inputs))
    assert holds(cost, instructions=3898, kilobytes=2.8)


def _cost_of_a_chain(engines):
    """What a call costs of a chain of so many engines that compute almost nothing."""
    names = [f"t{number}" for number in range(engines + 1)]
    steps = [step(f"s{target}", source, target) for source, target in pairwise(names)]
    runners = [(one, Scaler(one, 1.0)) for one in steps]
    inputs = {"t0": np.ones((1, 2), np.float32)}
    with Chain(runners, steps[0].inputs, steps[-1].outputs) as chain:
        return cost_of(lambda: chain(inputs))


def test_a_border_between_two_engines():
    alone, ten = _cost_of_a_chain(1), _cost_of_a_chain(10)
    border = Cost((ten.instructions - alone.instructions) // 9, (ten.bytes - alone.bytes) // 9)
    assert holds(border, instructions=323, kilobytes=0.1)

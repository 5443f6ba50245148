"""What a tensor may be: sizes that vary, in steps where there are any, and texts that say so."""

from __future__ import annotations

import numpy as np
import pytest

from backends.codec import from_json, to_json
from backends.contract import UNBOUNDED, Dynamic, TensorError, TensorSpec, check_inputs

HEIGHT = Dynamic("height", 32, 320, 640, 32)
SPEC = TensorSpec("x", "float32", (1, HEIGHT, 320))


@pytest.mark.parametrize("size", [32, 352, 640])
def test_a_size_in_steps_passes_the_door(size):
    check_inputs((SPEC,), {"x": np.zeros((1, size, 320), np.float32)})


@pytest.mark.parametrize(
    ("size", "advice"),
    [
        (321, "Axis 1 is a multiple of 32: resize or pad to 320 or 352.$"),
        (639, "Axis 1 is a multiple of 32: resize or pad to 608 or 640.$"),
        (641, "Axis 1 is a multiple of 32: resize or pad to 640.$"),
        (5, "Axis 1 is a multiple of 32: resize or pad to 32.$"),
        (999, "Axis 1 is a multiple of 32: resize or pad to 320.$"),
        (672, "672, 320]$"),
    ],
)
def test_a_size_between_two_steps_is_refused_at_the_door_with_the_nearest_ones(size, advice):
    with pytest.raises(TensorError, match=r"expected float32\[1, 32..640 by 32, 320\], got") as e:
        check_inputs((SPEC,), {"x": np.zeros((1, size, 320), np.float32)})
    assert str(e.value).endswith(advice.rstrip("$"))


def test_a_size_without_a_known_end_is_written_without_one():
    assert str(TensorSpec("y", "float32", (Dynamic("n", 0, 1, UNBOUNDED), 4))) == "float32[0.., 4]"


def test_steps_are_kept_in_a_bundle_and_bundles_from_before_have_steps_of_1():
    stored = to_json(SPEC)
    assert from_json(TensorSpec, stored, "x") == SPEC
    del stored["shape"][1]["multiple"]
    older = from_json(TensorSpec, stored, "x")
    assert older.accepts((1, 321, 320)) and not SPEC.accepts((1, 321, 320))

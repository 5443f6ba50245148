"""What a host step calls: tensors in the dtypes that the segment takes, errors by its name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.contract import EngineError, TensorError, TensorSpec, check_inputs
from deploy.runtime.execution.host_steps import SegmentCall
from tests.conftest import step

HALF = replace(step("decoder", "x", "y"), inputs=(TensorSpec("x", "float16", (1, 2)),))


def echo(inputs):
    (found,) = check_inputs(HALF.inputs, inputs)
    return {"y": found}


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_floats_of_the_other_precision_are_converted(dtype):
    found = SegmentCall(HALF, echo)({"x": np.ones((1, 2), dtype)})["y"]
    assert found.dtype == np.float16 and (found == 1).all()


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": np.ones((1, 2), np.int64)}, r"segment 'decoder': input 'x': .* got int64\[1, 2\]"),
        ({"x": np.ones((1, 3), "f4")}, r"segment 'decoder': input 'x': .* got float16\[1, 3\]"),
        (
            {"z": np.ones((1, 2), "f4")},
            "segment 'decoder': inputs: expected x, got 1 of other names",
        ),
    ],
)
def test_anything_else_is_refused_by_the_segments_name(inputs, message):
    with pytest.raises(EngineError, match=message) as caught:
        SegmentCall(HALF, echo)(inputs)
    assert isinstance(caught.value.__cause__, TensorError)


def test_an_engine_that_fails_is_named():
    def broken(_):
        raise EngineError("out of memory")

    with pytest.raises(EngineError, match="segment 'decoder': out of memory"):
        SegmentCall(HALF, broken)({"x": np.ones((1, 2), "f2")})

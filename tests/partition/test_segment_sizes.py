"""A range or a fixed value for a dynamic size of one segment."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.graph.exported import Exported
from deploy.partition.cut_points import Cut, PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import from_text, run
from tests.helpers.cuts_across import (
    HEADER,
)


def varying(folder):
    """A batch that varies, and a number of rows that depends on the data."""
    text = f"""{HEADER} g (float[batch,3] x) => (float[found,3] y)
    {{
      a = Neg(x)
      i = NonZero(a)
      t = Transpose(i)
      rows = GatherND(a, t)
      wide = Unsqueeze(rows, one)
      y = Mul(wide, w)
    }}"""
    text = text.replace("{\n", "<int64[1] one = {1}, float[3] w = {1.0, 2.0, 3.0}> {\n", 1)
    exported = from_text(text, folder / "whole")
    spec = TensorSpec("x", "float32", (Dynamic("batch", 1, 2, 8), 3))
    return Exported(exported.onnx, (spec,), by_name=True)


def sized(folder, dynamic):
    cuts = [Cut("a", ["x"], ["rows"]), Cut("b", ["rows"], ["y"], None, dynamic)]
    return partition(varying(folder), cuts, folder / "cut").segments[1]


def test_a_size_of_one_segment_alone_has_the_range_it_is_given(tmp_path):
    span = Dynamic("rows", 1, 4, 9)
    (rows,) = sized(tmp_path, {"rows": {0: span}}).inputs
    (dim,) = rows.dims
    assert (dim.min, dim.opt, dim.max) == (1, 4, 9)
    (anything,) = sized(tmp_path, {}).inputs[0].dims
    assert (anything.min, anything.max) == (0, 2**31 - 1)


def test_a_size_may_be_fixed_for_one_segment(tmp_path):
    segment = sized(tmp_path, {"rows": {0: Dynamic("rows", 4, 4, 4)}})
    assert segment.inputs[0].dims == (4,)
    (value,) = onnx.load(segment.onnx).graph.input
    assert [dim.dim_value for dim in value.type.tensor_type.shape.dim] == [4]
    found = run(segment.onnx, {"rows": np.ones(4, np.float32)})
    assert found["y"].shape == (4, 3)


@pytest.mark.parametrize(
    ("dynamic", "message"),
    [
        (
            {"y": {1: Dynamic("k", 1, 2, 3)}},
            r"dynamic.y.1: expected the size 3, which the model fixes, got 1 to 3. Let it vary in",
        ),
        (
            {"row": {0: Dynamic("k", 1, 2, 3)}},
            r"dynamic.row of segment 'b': expected one of its tensors rows, y, got row",
        ),
        (
            {"x": {0: Dynamic("k", 1, 2, 3)}},
            r"dynamic.x of segment 'b': expected one of its tensors rows, y, got x",
        ),
        ({"rows": {1: Dynamic("k", 1, 2, 3)}}, r"dynamic.rows.1: expected an axis of "),
        ({"rows": {-1: Dynamic("k", 1, 2, 3)}}, r"dynamic.rows.-1: expected an axis of "),
    ],
)
def test_a_size_that_contradicts_the_model_is_refused(tmp_path, dynamic, message):
    with pytest.raises(PartitionError, match=message):
        sized(tmp_path, dynamic)


def test_a_size_that_the_model_fixes_may_be_repeated(tmp_path):
    assert sized(tmp_path, {"y": {1: Dynamic("k", 3, 3, 3)}}).outputs[0].dims[1] == 3

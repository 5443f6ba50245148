"""Outputs: named by the keys of the result, whatever else in the graph has that name."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from deploy.export.graph_outputs import OutputError, named_outputs
from deploy.export.onnx_export import export, reference_values
from deploy.mark import mark_here
from deploy.partition.segments import partition
from tests.helpers.chains import arrays, chain, run

X = {"x": torch.rand(2, 3)}


class Net(nn.Module):
    def __init__(self, function):
        super().__init__()
        torch.manual_seed(0)
        self.function = function
        self.weight, self.linear = nn.Parameter(torch.rand(3)), nn.Linear(3, 3)

    def forward(self, x):
        return self.function(self, mark_here("mul", self.linear(x) * 2), x)


CASES = {
    "names in the graph": (
        lambda net, h, x: {
            "softmax": h.softmax(0).flip(1),
            "mul": h.relu() + 1,
            "add": h * 3,
            "linear.weight": h + 2,
            "val_0": h.mean(0),
        },
        ["softmax", "mul", "add", "linear.weight", "val_0"],
    ),
    "weights and constants": (
        lambda net, h, x: {"w": net.weight, "again": net.weight, "ones": torch.ones(3), "y": h},
        ["w", "again", "ones", "y"],
    ),
    "one twice": (lambda net, h, x: {"a": h, "b": h, "c": (h, h)}, ["a", "b", "c.0", "c.1"]),
    "an input": (lambda net, h, x: {"x": x, "y": h + 1, "z": x}, ["x", "y", "z"]),
    "an input's name": (lambda net, h, x: {"x": h + 1, "z": x}, ["output.x", "z"]),
}


@pytest.mark.parametrize(("function", "names"), CASES.values(), ids=CASES)
def test_a_result_keeps_its_key_and_its_value_in_the_whole_model_and_when_cut(
    tmp_path, function, names
):
    exported = export(Net(function), X, tmp_path)
    assert [spec.name for spec in exported.outputs] == names
    values = reference_values(Net(function), X)
    for name, value in run(exported.onnx, arrays(X)).items():
        np.testing.assert_allclose(value, values[name], rtol=1e-5, atol=1e-6)
    for across in ([], [["mul:output"]]):
        cutting = partition(exported, [], tmp_path / str(len(across)), across=across)
        computed = {**arrays(X), **chain(cutting.segments, arrays(X))}
        assert len(cutting.results) == len(names)
        for name in cutting.results:
            expected = values[cutting.points.get(name, name)]
            np.testing.assert_allclose(computed[name], expected, rtol=1e-5, atol=1e-6)


def test_an_input_that_is_only_passed_on_crosses_a_cut(tmp_path):
    class Unused(nn.Module):
        def forward(self, x, extra):
            return {"extra": extra, "y": mark_here("m", x * 2) + 1}

    exported = export(Unused(), {**X, "extra": torch.ones(4)}, tmp_path)
    cutting = partition(exported, [], tmp_path / "cut", across=[["m"]])
    assert [spec.name for spec in cutting.segments[0].inputs] == ["x", "extra"]
    assert set(cutting.results) == {"extra", "y"}


def test_an_input_changed_in_place_is_no_longer_the_input(tmp_path):
    class InPlace(nn.Module):
        def forward(self, x):
            return {"x": x.mul_(2)}

    exported = export(InPlace(), X, tmp_path)
    (output,) = run(exported.onnx, arrays(X)).values()
    np.testing.assert_array_equal(output, reference_values(InPlace(), X)["output.x"])
    np.testing.assert_array_equal(output, X["x"] * 2)


def test_two_results_of_one_name_are_refused():
    with pytest.raises(OutputError, match=r"two results of the model are called 'a\.0'. Rename"):
        named_outputs({"a.0": X["x"], "a": [X["x"]]}, [])


def test_a_result_whose_tensors_would_be_lost_is_refused_by_the_name_of_its_class():
    result = {"y": X["x"], "cache": SimpleNamespace(keys=[X["x"]])}
    message = "the model returns 'cache' as SimpleNamespace, whose tensors would be lost"
    with pytest.raises(OutputError, match=message) as caught:
        named_outputs(result, [])
    assert "use_cache: false" in str(caught.value)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.ones(2, dtype=torch.complex64), "got torch.complex64. Return torch.view_as_real"),
        (torch.ones(2, dtype=torch.bfloat16), "got torch.bfloat16. Return it as float"),
        (torch.ones(2, 2).to_sparse(), "got torch.sparse_coo torch.float32. Return it dense"),
    ],
)
def test_a_result_that_no_array_can_be_says_what_to_return(tensor, message):
    with pytest.raises(OutputError, match=message):
        named_outputs({"y": tensor}, [])

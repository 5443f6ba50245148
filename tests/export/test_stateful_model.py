"""A model with its state as inputs and outputs computes what the model itself does."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from deploy.export.onnx_export import export, reference_values
from deploy.export.stateful_model import StatefulModel
from deploy.recipe.schema import RecipeError
from tests.helpers.chains import arrays, run


class Average(nn.Module):
    """A moving average, changed in place or by another tensor."""

    def __init__(self, in_place):
        super().__init__()
        self.in_place = in_place
        self.register_buffer("average", torch.zeros(1, 4))
        self.count = torch.zeros(1)  # no buffer

    def forward(self, x):
        self.count = self.count + 1
        if self.in_place:
            self.average.mul_(0.5).add_(x)
        else:
            self.average = 0.5 * self.average + x
        return self.average.tanh() / self.count


STATE = {"average": "average", "count": "count"}


@pytest.mark.parametrize("in_place", [True, False])
def test_a_series_of_calls_is_that_of_the_model_itself(in_place):
    model, stateful = Average(in_place), StatefulModel(Average(in_place), ["x"], STATE)
    state = stateful.initial_state
    for value in (1.0, -2.0, 3.0):
        x = torch.full((1, 4), value)
        outputs = stateful(x, *state.values())
        state = {name: outputs[f"{name}_next"] for name in state}
        torch.testing.assert_close(outputs["output"], model(x))
    assert float(stateful.model.average.sum()) == 0, "the model's own state is put back"


def test_the_tensors_that_are_given_stay_as_they_are():
    state = torch.ones(1, 4)
    StatefulModel(Average(True), ["x"], STATE)(torch.ones(1, 4), state, torch.ones(1))
    assert state.tolist() == [[1, 1, 1, 1]]


@pytest.mark.parametrize("in_place", [True, False])
def test_an_export_has_the_state_and_agrees_with_the_model(in_place, tmp_path):
    stateful = StatefulModel(Average(in_place).eval(), ["x"], STATE)
    inputs = {name: torch.rand(1, 4) for name in ("x", "average")} | {"count": torch.ones(1)}
    exported = export(stateful, inputs, tmp_path)
    expected = reference_values(stateful, inputs)
    assert [spec.name for spec in exported.inputs] == ["x", "average", "count"]
    outputs = run(exported.onnx, arrays(inputs), exported.inputs)
    assert sorted(outputs) == ["average_next", "count_next", "output"]
    for name, value in outputs.items():
        torch.testing.assert_close(torch.tensor(value), torch.tensor(expected[name]))


@pytest.mark.parametrize("path", ["averag", "inner.average", "in_place"])
def test_a_state_that_is_not_there_is_refused_with_those_that_are(path):
    message = rf"model\.state '{path}': expected a tensor that the model keeps \(average\)"
    with pytest.raises(RecipeError, match=message):
        StatefulModel(Average(True), ["x"], {path: path})

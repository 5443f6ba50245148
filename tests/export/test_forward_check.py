"""A forward that is no function of its inputs is refused by name; harmless state is not."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from deploy.export.export_failures import ExportError
from deploy.export.forward_check import check_forward
from deploy.export.onnx_export import eager_outputs

X = {"x": torch.linspace(-1, 1, 16).reshape(2, 8)}


class Net(nn.Module):
    """A forward made from a function of the module and ``x``."""

    def __init__(self, function):
        super().__init__()
        self.linear, self.norm = nn.Linear(8, 8), nn.BatchNorm1d(8)
        self.register_buffer("memory", torch.zeros(2, 8))
        self.calls, self.rows, self.kept = 0, [], None
        self.function = function

    def forward(self, x):
        return self.function(self, x)


def check(function):
    model = Net(function).eval()
    check_forward(model, lambda inputs: eager_outputs(model, inputs), X)
    return model


def decay(m, x):
    return m.memory.mul_(0.5).add_(m.linear(x)).tanh()


def slow_average(m, x):
    m.memory = 0.999 * m.memory + 0.001 * x
    return x - m.memory


def counter(m, x):
    m.calls += 1
    return x * m.calls


def list_of_rows(m, x):
    m.rows.append(x)
    return sum(m.rows)


def first_input(m, x):
    if m.kept is None:
        m.kept = x.mean()
    return x - m.kept


def parameter(m, x):
    m.linear.bias.data.add_(1)
    return m.linear(x)


@pytest.mark.parametrize(
    ("function", "path"),
    [
        (decay, "memory"),
        (slow_average, "memory"),
        (counter, "calls"),
        (list_of_rows, "rows"),
        (first_input, "kept"),
        (parameter, "linear.bias"),
    ],
)
def test_state_that_a_later_result_depends_on_is_refused_by_its_path(function, path):
    with pytest.raises(ExportError, match=f"^forward changes {path}, and a later result depends"):
        check(function)


@pytest.mark.parametrize("function", [decay, slow_average])
def test_of_buffers_the_way_out_is_model_state(function):
    with pytest.raises(ExportError, match=r"Pass 'model\.state=\[memory\]': each becomes an input"):
        check(function)


@pytest.mark.parametrize("function", [counter, list_of_rows, first_input, parameter])
def test_of_other_state_the_way_out_is_to_pass_it_in_and_out(function):
    with pytest.raises(ExportError, match="pass it into forward as a tensor, and return the new"):
        check(function)


def table_of_positions(m, x):
    if m.kept is None or m.kept.shape != x.shape[1:]:
        m.kept = torch.arange(x.shape[1]).float()
    return x + m.kept


def unused_counter(m, x):
    m.calls += 1
    m.memory.add_(1)
    return m.linear(x)


def input_in_place(m, x):
    return x.mul_(2) + 1


@pytest.mark.parametrize("function", [table_of_positions, unused_counter, input_in_place])
def test_state_that_no_result_depends_on_does_no_harm_and_is_put_back(function):
    model = check(function)
    assert (model.calls, model.kept, float(model.memory.sum())) == (0, None, 0.0)


@pytest.mark.parametrize(
    ("function", "operator"),
    [
        (lambda m, x: F.dropout(x, 0.5), "bernoulli"),
        (lambda m, x: x + torch.rand_like(x), "rand_like"),
        (lambda m, x: x + torch.randn(8), "randn"),
        (lambda m, x: x[:, torch.randperm(8)], "randperm"),
        (lambda m, x: F.gumbel_softmax(x), "exponential"),
        (lambda m, x: x * torch.empty(8).uniform_(), "uniform"),
    ],
)
def test_a_random_operator_is_named_with_its_line(function, operator):
    message = rf"the model is random: it draws numbers in {operator} \(test_forward_check.py:\d+\)"
    with pytest.raises(ExportError, match=message):
        check(function)


def test_random_numbers_that_no_result_depends_on_do_no_harm():
    check(lambda m, x: x + 0 * torch.rand(8))


@pytest.mark.parametrize(
    "function", [lambda m, x: x * random.random(), lambda m, x: x * float(np.random.rand())]
)
def test_random_numbers_of_others_are_found_by_the_result(function):
    message = r"random, or keeps state outside its modules: .*another 'output' \(max_abs"
    with pytest.raises(ExportError, match=message):
        check(function)


def test_results_of_different_shapes_are_different():
    def grow(m, x):
        m.calls += 1
        return x[:, : m.calls]

    with pytest.raises(ExportError, match=r"\(\[2, 1\] and \[2, 2\]\)"):
        check(grow)


def trained_by_itself(m, x):
    m.norm.train()
    return m.norm(x)


@pytest.mark.parametrize(
    "function",
    [
        trained_by_itself,
        lambda m, x: F.batch_norm(x, m.memory[0], m.memory[1] + 1, training=True),
    ],
)
def test_a_batch_normalisation_in_training_mode_is_refused_with_its_line(function):
    message = r"a batch normalisation is in training mode \(test_forward_check.py:\d+\)"
    with pytest.raises(ExportError, match=message):
        check(function)


def test_normalisation_without_running_statistics_is_no_training():
    check(lambda m, x: F.instance_norm(x[:, None]))


def test_a_nan_equals_itself():
    check(lambda m, x: x / 0 * 0)


def test_a_forward_that_fails_on_the_sample_says_so():
    with pytest.raises(ExportError, match=r"the model does not run on its sample: mat1 and mat2"):
        check(lambda m, x: m.linear(x[:, :3]))

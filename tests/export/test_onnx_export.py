"""Export: a whole model that runs, knows its marks, and keeps the ranges that it was given."""

from __future__ import annotations

import logging
import warnings

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import nn

from backends.contract import Dynamic
from deploy.export.export_failures import ExportError
from deploy.export.graph_outputs import OutputError
from deploy.export.onnx_export import export, reference_values
from deploy.mark import MarkError, mark, mark_here
from tests.helpers.chains import along_batch, arrays, net, run, samples

X = {"x": torch.rand(2, 3)}
BATCH = along_batch(X, 1, 2, 5)


class Function(nn.Module):
    """A forward of ``x`` made from a function."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


def export_function(function, folder, inputs=None):
    return export(Function(function), inputs or {"x": torch.rand(2, 3)}, folder)


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.fixture(scope="module")
def exported_net(tmp_path_factory):
    return export(net(), samples(), tmp_path_factory.mktemp("export"))


def test_the_marked_model_runs_in_onnx_runtime_and_agrees_with_the_reference(exported_net):
    values = reference_values(net(), samples())
    for name, value in run(exported_net.onnx, arrays(samples()), exported_net.inputs).items():
        close(value, values[name])


def test_specs_name_the_parameters_and_the_results(exported_net):
    assert {spec.name: str(spec) for spec in exported_net.inputs} == {
        "image": "float32[1, 3, 8, 8]",
        "bias": "float32[1, 1, 1, 2]",
    }
    assert {spec.name: str(spec) for spec in exported_net.outputs} == {
        "logits": "float32[1, 4, 8, 2]",
        "means": "float32[1, 4]",
    }


def test_every_marked_tensor_is_listed_in_order(exported_net):
    assert [str(at) for at in exported_net.marks] == [
        "stem:input.image",
        "stem:output.stem",
        "twice:input.x",
        "twice:output.twice",
        "middle:output.middle",
        "twice[1]:input.x",
        "twice[1]:output.twice",
        "head:input.maps.deep.0",
        "head:input.maps.deep.1",
        "head:input.maps.skip",
        "head:input.bias",
        "head:output.logits",
        "head:output.means",
    ]


def test_the_reference_has_a_value_for_every_point_input_and_output(exported_net):
    names = {str(at) for at in exported_net.marks}
    names |= {spec.name for spec in (*exported_net.inputs, *exported_net.outputs)}
    assert reference_values(net(), samples()).keys() == names


def test_two_exports_in_one_process_have_the_same_marks(exported_net, tmp_path):
    assert export(net(), samples(), tmp_path).marks == exported_net.marks


def test_batch_norm_is_fused(exported_net):
    ops = [node.op_type for node in ir.load(exported_net.onnx).graph]
    assert "BatchNormalization" not in ops


def test_nothing_is_logged_printed_or_warned(tmp_path, capfd):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        export_function(lambda x: x + 1, tmp_path)
    assert not caught
    assert capfd.readouterr() == ("", "")
    assert logging.root.manager.disable == 0


def test_the_model_keeps_its_training_flags(tmp_path):
    model = net().train()
    model.norm.eval()
    export(model, samples(), tmp_path)
    reference_values(model, samples())
    assert model.training
    assert model.conv.training
    assert not model.norm.training


@pytest.mark.parametrize("sample", [1, 3])
def test_a_dynamic_batch_survives(tmp_path, sample):
    exported = export(net(), samples(sample), tmp_path, along_batch(samples(), 1, 2, 5))
    assert str(exported.inputs[0]) == "float32[1..5, 3, 8, 8]"
    assert str(exported.outputs[1]) == "float32[1..5, 4]"
    for batch in (1, 2, 5):
        values = reference_values(net(), samples(batch))
        for name, value in run(exported.onnx, arrays(samples(batch))).items():
            close(value, values[name])


def test_a_batch_of_one_size_is_static(tmp_path):
    exported = export(net(), samples(), tmp_path, along_batch(samples(), 3, 3, 3))
    assert str(exported.inputs[0]) == "float32[3, 3, 8, 8]"


def test_a_size_that_follows_from_the_batch_has_its_range(tmp_path):
    model = Function(lambda x: x.reshape(-1, 1))
    exported = export(model, {"x": torch.rand(1, 3)}, tmp_path, BATCH)
    (dim, _) = exported.outputs[0].shape
    assert (dim.min, dim.opt, dim.max) == (3, 6, 15)


def test_a_size_that_depends_on_the_data_may_be_anything(tmp_path):
    exported = export_function(lambda x: x.nonzero(), tmp_path)
    assert exported.outputs[0].dtype == "int64"
    assert exported.outputs[0].accepts((0, 2))
    assert exported.outputs[0].accepts((6, 2))


def test_an_axis_that_forward_fixes_is_an_error(tmp_path):
    model = Function(lambda x: x.reshape(2, 3) + 1)
    with pytest.raises(ExportError, match=r"axis 'batch' of input 'x': expected 1 to 5, got fixed"):
        export(model, {"x": torch.rand(2, 3)}, tmp_path, BATCH)


def test_an_axis_that_an_input_lacks_is_refused(tmp_path):
    with pytest.raises(ExportError, match="input 'x': expected an axis 0 for 'batch', got a scal"):
        export(Function(lambda x: x), {"x": torch.tensor(1.0)}, tmp_path, BATCH)
    wide = {"x": {2: Dynamic("width", 1, 2, 5)}}
    with pytest.raises(ExportError, match="input 'x': expected an axis 2 for 'width', got 2 axes"):
        export(Function(lambda x: x), X, tmp_path, wide)


def test_several_axes_vary_and_one_name_is_one_size(tmp_path):
    model = Sum()
    rows, columns = Dynamic("rows", 1, 3, 8), Dynamic("columns", 1, 2, 8)
    axes = {"x": {0: rows, 1: columns}, "y": {1: rows}}
    exported = export(model, {"x": torch.rand(3, 2), "y": torch.rand(5, 3)}, tmp_path, axes)
    assert [str(spec) for spec in exported.inputs] == ["float32[1..8, 1..8]", "float32[5, 1..8]"]
    assert str(exported.outputs[0]) == "float32[1..8, 1..8]"
    for rows_now, columns_now in ((1, 1), (3, 2), (8, 5)):
        x, y = torch.rand(rows_now, columns_now), torch.rand(5, rows_now)
        found = run(exported.onnx, {"x": x.numpy(), "y": y.numpy()})
        close(found["output"], model(x, y))


class Sum(nn.Module):
    """Two inputs that share a size."""

    def forward(self, x, y):
        return x + y.sum(0)[:, None]


def test_inputs_may_have_names_that_are_no_parameters(tmp_path):
    exported = export_function(lambda x: x + 1, tmp_path, {"image": torch.rand(2, 3)})
    assert [spec.name for spec in exported.inputs] == ["image"]
    assert "image" in reference_values(Function(lambda x: x + 1), {"image": torch.rand(2, 3)})


def test_inputs_are_given_by_the_order_of_parameters_and_not_of_the_mapping(tmp_path):
    inputs = dict(reversed(samples().items()))
    exported = export(net(), inputs, tmp_path)
    assert [spec.name for spec in exported.inputs] == ["image", "bias"]
    for name, value in run(exported.onnx, arrays(inputs), exported.inputs).items():
        close(value, reference_values(net(), inputs)[name])


def test_inputs_of_which_only_some_are_parameters_are_refused(tmp_path):
    inputs = {"image": torch.rand(1), "other": torch.rand(1)}
    with pytest.raises(ExportError, match=r"forward \(image, bias\), or none of them, got image"):
        export(net(), inputs, tmp_path)


@pytest.mark.parametrize(
    ("function", "names"),
    [
        (lambda x: x + 1, ["output"]),
        (lambda x: (x + 1, [x + 2]), ["output.0", "output.1.0"]),
        (lambda x: {"a": x + 1, "b": (x + 2, None)}, ["a", "b.0"]),
        (lambda x: (x, x), ["output.0", "output.1"]),
    ],
)
def test_results_are_named_by_key_or_number(tmp_path, function, names):
    exported = export_function(function, tmp_path)
    assert [spec.name for spec in exported.outputs] == names
    x = torch.rand(2, 3)
    values = reference_values(Function(function), {"x": x})
    found = run(exported.onnx, {"x": x.numpy()})
    assert all((found[name] == values[name]).all() for name in names)


def test_a_forward_without_tensors_is_refused(tmp_path):
    with pytest.raises(OutputError, match="the model returns no tensor"):
        export_function(lambda x: None, tmp_path)


def test_an_operator_without_onnx_form_is_named(tmp_path):
    with pytest.raises(ExportError, match=r"No ONNX function found for .*linalg_eig"):
        export_function(lambda x: torch.linalg.eig(x)[0].real, tmp_path, {"x": torch.rand(3, 3)})


def test_a_mark_that_does_not_fit_is_the_marks_own_error(tmp_path):
    with pytest.raises(MarkError, match=r"list of 2 \(a, b\), got FakeTensor"):
        export_function(mark("m", outputs=["a", "b"])(lambda x: x), tmp_path)


def test_equal_marks_on_one_tensor_are_not_merged(tmp_path):
    def twins(x):
        return mark_here("h", x) + mark_here("h", x)

    exported = export_function(twins, tmp_path)
    ops = [node.op_type for node in ir.load(exported.onnx).graph]
    assert ops.count("Mark") == 2


def test_a_marked_parameter_changed_in_place_keeps_its_value_before(tmp_path):
    values = reference_values(Function(lambda x: x.add_(1)), {"x": torch.zeros(2)})
    assert (values["x"] == 0).all()


class Windows(nn.Module):
    """Attention windows of 8 by 8 pixels, behind a stride of 4: sides are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 4, stride=4)

    def forward(self, x):
        patches = self.patches(x)
        batch, channels, height, width = patches.shape
        parts = patches.view(batch, channels, height // 8, 8, width // 8, 8)
        return patches, parts.permute(0, 2, 4, 1, 3, 5).reshape(-1, channels, 8, 8)


def test_a_size_may_vary_in_steps(tmp_path):
    height, width = (Dynamic(name, 32, 64, 320, 32) for name in ("height", "width"))
    torch.manual_seed(0)
    model = Windows().eval()
    x = torch.rand(1, 3, 64, 64)
    exported = export(model, {"x": x}, tmp_path, {"x": {2: height, 3: width}})
    assert exported.inputs[0].dims == (1, 3, height, width)
    assert [str(spec) for spec in exported.outputs] == [
        "float32[1, 4, 8..80, 8..80]",
        "float32[1..100, 4, 8, 8]",
    ]
    for sides in ((32, 320), (96, 64)):
        x = torch.rand(1, 3, *sides)
        found = run(exported.onnx, {"x": x.numpy()})
        with torch.no_grad():
            for name, expected in zip(("output.0", "output.1"), model(x), strict=True):
                close(found[name], expected)


def test_a_size_that_varies_in_steps_of_which_there_is_one_alone_is_fixed(tmp_path):
    exported = export(
        Windows(), {"x": torch.rand(1, 3, 64, 32)}, tmp_path,
        {"x": {2: Dynamic("height", 32, 64, 96, 32), 3: Dynamic("width", 32, 32, 32, 32)}},
    )  # fmt: skip
    assert str(exported.inputs[0]) == "float32[1, 3, 32..96 by 32, 32]"

"""What a target may return: each kind of module deploys, or is one sentence with a way out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from torch import nn

from backends.contract import Dynamic
from deploy.export.export_failures import ExportError
from deploy.export.module_kinds import WrappedModule, plain_module
from deploy.export.module_marks import mark_modules
from deploy.export.onnx_export import export, reference_values
from deploy.export.torch_source import model_identity
from deploy.mark import MarkError
from deploy.recipe.schema import MarkRecipe, RecipeError
from tests.helpers.chains import arrays, run

WHERE = "model.target nets:make"
BATCH = {"image": {0: Dynamic("batch", 1, 2, 4)}}


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.body, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 2)

    def forward(self, image):
        return self.head(self.body(image).relu().mean((2, 3)))


class Loop(nn.Module):
    """Control flow that depends on the data, several results, a default."""

    def forward(self, x: torch.Tensor, y: torch.Tensor, times: int = 2):
        for step in range(times):
            x = x + step
        if bool(x.sum() > 0):
            x = x * 2
        return {"sum": x + y, "rows": y.reshape(y.shape[0], -1), "x": x}


def image(batch: int = 1) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    return {"image": torch.rand(batch, 3, 6, 6)}


def net() -> nn.Module:
    return Net().eval()


def program(batch: int = 1, dynamic=None) -> torch.export.ExportedProgram:
    return torch.export.export(net(), (image(batch)["image"],), dynamic_shapes=dynamic)


def saved_script(path) -> nn.Module:
    torch.jit.save(torch.jit.script(net()), path / "net.pt")
    return torch.jit.load(path / "net.pt")


def saved_program(path) -> torch.export.ExportedProgram:
    batch = torch.export.Dim("batch", min=1, max=8)
    torch.export.save(program(2, ({0: batch},)), path / "net.pt2")
    return torch.export.load(path / "net.pt2")


KINDS = {
    "scripted": saved_script,
    "traced": lambda path: torch.jit.trace(net(), image()["image"]),
    "frozen": lambda path: torch.jit.freeze(torch.jit.script(net())),
    "script within": lambda path: nn.Sequential(torch.jit.script(net().body), nn.Flatten()),
    "graph module": lambda path: torch.fx.symbolic_trace(net()),
    "exported program": saved_program,
    "optimised": lambda path: torch.compile(net()),
    "optimised in parts": lambda path: nn.Sequential(torch.compile(net().body), nn.Flatten()),
    "data parallel": lambda path: nn.DataParallel(torch.compile(net())),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore")
def test_every_kind_of_module_exports_with_a_dynamic_batch(tmp_path, kind):
    model = plain_module(KINDS[kind](tmp_path), WHERE)
    exported = export(model, image(), tmp_path, BATCH)
    assert str(exported.inputs[0]) == "float32[1..4, 3, 6, 6]"
    for batch in (1, 3):
        values = reference_values(model, image(batch))
        for name, value in run(exported.onnx, arrays(image(batch))).items():
            np.testing.assert_allclose(value, values[name], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_the_module_of_a_program_keeps_its_mode_and_its_sizes(tmp_path):
    model = plain_module(program().module(), WHERE)
    export(model, image(), tmp_path)
    with pytest.raises(ExportError, match=r"cannot be exported: Guard failed"):
        export(model, image(), tmp_path, BATCH)


@pytest.mark.filterwarnings("ignore")
def test_control_flow_and_results_of_a_script_are_kept(tmp_path):
    model = plain_module(torch.jit.script(Loop()), WHERE)
    inputs = {"y": torch.rand(2, 3), "x": torch.rand(2, 3)}
    exported = export(model, inputs, tmp_path)
    assert [spec.name for spec in exported.inputs] == ["x", "y"]
    assert [spec.name for spec in exported.outputs] == ["sum", "rows", "output.x"]
    for sign in (1, -9):
        tensors = {name: sign * value for name, value in inputs.items()}
        values = reference_values(model, tensors)
        for name, value in run(exported.onnx, arrays(tensors), exported.inputs).items():
            np.testing.assert_allclose(value, values[name], rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_a_script_that_the_tracer_cannot_take_says_what_to_return(tmp_path):
    class Mixed(nn.Module):
        def forward(self, x: torch.Tensor):
            return {"one": x, "two": [x]}

    model = plain_module(torch.jit.script(Mixed()), WHERE)
    with pytest.raises(ExportError, match="Let forward return tensors, a tuple or list of tensors"):
        export(model, {"x": torch.rand(2)}, tmp_path)


@pytest.mark.parametrize("kind", ["graph module", "exported program", "optimised", "data parallel"])
@pytest.mark.filterwarnings("ignore")
def test_parts_have_the_paths_that_they_had_in_the_module_itself(tmp_path, kind):
    model = plain_module(KINDS[kind](tmp_path), WHERE)
    marks = {"m": MarkRecipe("body"), "all": MarkRecipe("", "input")}
    with mark_modules(model, marks):
        exported = export(model, image(), tmp_path)
        values = reference_values(model, image())
    assert {str(at) for at in exported.marks} == {"m:output.m", "all:input.image"}
    np.testing.assert_allclose(values["m:output.m"], net().body(image()["image"]).detach())


def test_a_mark_in_a_script_is_refused_with_another_way_to_cut():
    model = plain_module(torch.jit.script(net()), WHERE)
    message = r"model.marks.m is on a TorchScript .* cut the ONNX file of that run"
    with pytest.raises(MarkError, match=message), mark_modules(model, {"m": MarkRecipe("body")}):
        pass


class Float(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(4, 8), nn.Linear(8, 2)

    def forward(self, x):
        return self.two(self.one(x).relu())


def quantized(seed: int = 0) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = torch.ao.quantization.QuantWrapper(Float()).eval()
        model.qconfig = torch.ao.quantization.get_default_qconfig("x86")
        prepared = torch.ao.quantization.prepare(model)
        torch.manual_seed(seed)
        prepared(torch.rand(8, 4))
        return torch.ao.quantization.convert(prepared)


@pytest.mark.filterwarnings("ignore")
def test_a_quantized_module_exports_bit_by_bit(tmp_path):
    model = plain_module(quantized(), WHERE)
    inputs = {"x": torch.rand(1, 4)}
    exported = export(model, inputs, tmp_path)
    (value,) = run(exported.onnx, arrays(inputs)).values()
    np.testing.assert_array_equal(value, reference_values(model, inputs)["output"])


@pytest.mark.filterwarnings("ignore")
def test_modules_that_differ_in_code_or_packed_weights_have_another_identity():
    def identity(model: nn.Module) -> str:
        return model_identity(plain_module(model, WHERE))

    class Twice(Net):
        def forward(self, image):
            return 2 * super().forward(image)

    assert identity(quantized()) == identity(quantized())
    assert identity(quantized()) != identity(quantized(seed=1))
    scripts = [torch.jit.trace(model.eval(), image()["image"]) for model in (Net(), Twice())]
    assert identity(scripts[0]) != identity(scripts[1])


@pytest.mark.filterwarnings("ignore")
def test_a_module_that_is_quantized_while_it_runs_is_refused_by_its_layer():
    model = torch.ao.quantization.quantize_dynamic(Float().eval(), {nn.Linear})
    message = r"nets:make: layer 'one': .* got Linear, quantized while it runs \(quantize_dynamic\)"
    with pytest.raises(RecipeError, match=message):
        plain_module(model, WHERE)


def sparse() -> nn.Module:
    model = Float()
    model.one.weight = nn.Parameter(model.one.weight.detach().to_sparse())
    return model


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda: lambda x: x, "expected a torch.nn.Module, got function. Return an nn.Module"),
        (lambda: net().state_dict(), "got OrderedDict. These are weights alone: name the model's"),
        (lambda: None, "got NoneType. Name a class or function that returns the model"),
        (sparse, "weight 'one.weight': expected a dense tensor, got torch.sparse_coo"),
        (lambda: Float().to("meta"), "weight 'one.weight': expected values, got none"),
    ],
)
def test_what_cannot_be_exported_says_what_to_return(value, message):
    with pytest.raises(RecipeError, match=f"{WHERE}: .*{message}|{WHERE}: {message}"):
        plain_module(value(), WHERE)


def test_a_plain_module_is_itself_in_evaluation_mode():
    model = Net().train()
    assert plain_module(model, WHERE) is model
    assert not isinstance(model, WrappedModule)
    assert not model.body.training


@pytest.mark.parametrize(
    ("dtype", "hint"),
    [
        (torch.float16, "pass model.dtype=float32, or model.inputs.image.dtype=float16"),
        (torch.bfloat16, "Its weights are bfloat16 and input 'image' is float32: pass model.dtype"),
    ],
)
def test_weights_of_another_float_than_the_input_say_which_word_to_pass(tmp_path, dtype, hint):
    with pytest.raises(ExportError, match=hint):
        export(net().to(dtype), image(), tmp_path)
    with pytest.raises(ExportError, match=rf"does not run on its sample: .*{hint}"):
        reference_values(net().to(dtype), image())


def test_weights_and_inputs_in_half_precision_export(tmp_path):
    inputs = {"image": image()["image"].half()}
    exported = export(net().half(), inputs, tmp_path)
    assert [str(spec) for spec in exported.outputs] == ["float16[1, 2]"]
    (value,) = run(exported.onnx, arrays(inputs)).values()
    np.testing.assert_allclose(value, reference_values(net().half(), inputs)["output"], atol=1e-3)

"""What an export costs: counted, and not timed."""

from __future__ import annotations

import gc

import pytest
import torch

from deploy.export.export_failures import ExportError
from deploy.export.torch_source import TorchSource
from deploy.recipe.schema import InputRecipe, ModelRecipe
from tests.helpers.chains import arrays, samples

SHAPES = {name: InputRecipe(list(value.shape)) for name, value in samples().items()}
RECIPES = {
    "static": ModelRecipe("net", "tests.helpers.chains:net", inputs=SHAPES),
    "dynamic": ModelRecipe(
        "net",
        "tests.helpers.chains:net",
        inputs={name: InputRecipe(["batch", *one.shape[1:]]) for name, one in SHAPES.items()},
        dynamic={"batch": [1, 2, 5]},
    ),
}


@pytest.fixture(params=RECIPES)
def source_to_export(request):
    return TorchSource(RECIPES[request.param], ["some"])


def counted(monkeypatch, owner, name):
    calls, original = [], getattr(owner, name)

    def call(*args, **kwargs):
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, call)
    return calls


def collections() -> int:
    """Searches for garbage so far."""
    return sum(generation["collections"] for generation in gc.get_stats())


def test_a_model_is_traced_decomposed_and_optimised_once(source_to_export, tmp_path, monkeypatch):
    passes = [
        counted(monkeypatch, torch.export, "export"),
        counted(monkeypatch, torch.export.ExportedProgram, "run_decompositions"),
        counted(monkeypatch, torch.onnx.ONNXProgram, "optimize"),
    ]
    source_to_export.export(arrays(samples()), tmp_path)
    assert [len(calls) for calls in passes] == [1, 1, 1]


def test_nothing_searches_for_garbage_before_an_export_has_ended(source_to_export, tmp_path):
    before = collections()
    source_to_export.export(arrays(samples()), tmp_path)
    assert collections() - before <= 1  # the one behind it, for all that was made
    assert gc.isenabled()


def test_garbage_is_searched_for_again_after_an_export_that_fails(tmp_path):
    source = TorchSource(RECIPES["static"], ["some"])
    with pytest.raises(ExportError, match="the model does not run on its sample"):
        source.export(arrays(samples()) | {"image": arrays(samples())["bias"]}, tmp_path)
    assert gc.isenabled()

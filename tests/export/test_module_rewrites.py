"""Rewrites of module classes, and the export of a rewritten model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from transformers import BertConfig, BertModel
from transformers.activations import GELUActivation
from transformers.models.bert.modeling_bert import BertIntermediate

from deploy.export.onnx_export import export
from deploy.export.rewrites import apply_rewrites
from deploy.mark import capture, mark, mark_here
from deploy.rewrite import RewriteError, rewrite
from tests.helpers.chains import run


def act(module):
    return nn.Sequential(nn.Dropout(), nn.Tanh())


def of_acts(theirs):
    shared = theirs.Act()
    return nn.ModuleDict(
        {"a": shared, "b": theirs.SubAct(), "c": nn.Sequential(shared, theirs.Act()), "d": shared}
    )


def test_every_instance_of_exactly_the_class_is_replaced_and_comes_back(third_party_module):
    model = of_acts(third_party_module)
    before = list(model.named_modules(remove_duplicate=False))
    with apply_rewrites(model, [rewrite("theirs.code.Act")(act)]):
        assert type(model["a"]) is type(model["c"][1]) is nn.Sequential
        assert type(model["b"]) is third_party_module.SubAct
        assert list(model) == ["a", "b", "c", "d"]
    after = list(model.named_modules(remove_duplicate=False))
    assert [name for name, _ in after] == [name for name, _ in before]
    assert all(new is old for (_, new), (_, old) in zip(after, before, strict=True))


def test_a_shared_module_is_replaced_by_one_and_the_same(third_party_module):
    model = of_acts(third_party_module)
    with apply_rewrites(model, [rewrite("theirs.code.Act")(act)]):
        assert model["a"] is model["c"][0] is model["d"]
        assert model["a"] is not model["c"][1]


def test_new_modules_are_in_the_mode_of_the_old_ones_and_flags_come_back(third_party_module):
    model = of_acts(third_party_module)
    model["c"].eval()
    with apply_rewrites(model, [rewrite("theirs.code.Act")(act)]):
        assert not any(part.training for part in model["c"][1].modules())
        model.train()
        model["b"].eval()
    flags = {name: module.training for name, module in model.named_modules()}
    assert flags == {"": True, "a": False, "b": True, "c": False, "c.1": False}


def test_a_module_kept_within_the_new_one_keeps_its_own_mode():
    model = nn.ModuleList([nn.Sequential(nn.BatchNorm1d(2).eval())])
    wrap = rewrite("torch.nn.Sequential")(lambda module: nn.ModuleList([module, nn.Identity()]))
    with apply_rewrites(model, [wrap]):
        assert model[0].training
        assert not model[0][0][0].training
    assert type(model[0]) is nn.Sequential


def test_children_are_replaced_before_their_parent():
    inner = rewrite("torch.nn.ReLU")(lambda module: nn.Tanh())
    outer = rewrite("torch.nn.Sequential")(lambda module: module[0])
    model = nn.ModuleList([nn.Sequential(nn.ReLU())])
    with apply_rewrites(model, [outer, inner]):
        assert type(model[0]) is nn.Tanh
    assert type(model[0][0]) is nn.ReLU


def test_a_replacement_may_keep_a_module_and_may_be_a_class(third_party_module):
    class Wrapped(nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    model = of_acts(third_party_module)
    kept = dict(model)
    with apply_rewrites(model, [rewrite("theirs.code.Act")(lambda module: module)]):
        assert dict(model) == kept
    with apply_rewrites(model, [rewrite("theirs.code.Act")(Wrapped)]):
        assert model["a"].module is kept["a"]
    assert dict(model) == kept


def test_a_replacement_that_is_no_module_is_refused_and_nothing_stays_changed(third_party_module):
    model = of_acts(third_party_module)
    kept = list(model.modules())
    answers = iter([nn.Tanh(), None])
    wrong = rewrite("theirs.code.Act")(lambda module: next(answers))
    with pytest.raises(RewriteError, match=r"expected a torch.nn.Module to be .* got NoneType"):
        apply_rewrites(model, [wrong]).__enter__()
    assert list(model.modules()) == kept


def test_the_model_itself_is_not_replaced(third_party_module):
    with pytest.raises(RewriteError, match=r"of the model itself, Act\. Rewrite its `forward`"):
        apply_rewrites(third_party_module.Act(), [rewrite("theirs.code.Act")(act)]).__enter__()


def test_an_inner_block_sees_the_modules_of_the_outer_one():
    model = nn.ModuleList([nn.ReLU(), None])
    outer = rewrite("torch.nn.ReLU")(lambda module: nn.Tanh())
    inner = rewrite("torch.nn.Tanh")(lambda module: nn.Sigmoid())
    with apply_rewrites(model, [outer]):
        with apply_rewrites(model, [inner]):
            assert type(model[0]) is nn.Sigmoid
        assert type(model[0]) is nn.Tanh
    assert type(model[0]) is nn.ReLU


@pytest.fixture(scope="module")
def bert():
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=40,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=16,
    )
    return BertModel(config).eval()


IDS = {"input_ids": torch.arange(12).reshape(2, 6)}


@rewrite("transformers.models.bert.modeling_bert.BertIntermediate.forward", when="transformers>=4")
def intermediate(original, self, hidden_states):
    return mark_here("wide", original(self, mark_here("narrow", hidden_states)))


class Gelu(nn.Module):
    @mark("gelu", inputs=["x"], outputs="y")
    def forward(self, x):
        return 0.5 * x * (1 + torch.erf(x * 0.5**0.5))


@rewrite("transformers.activations.GELUActivation")
def gelu(module):
    return Gelu()


CASES = [
    pytest.param(intermediate, ["narrow:output.narrow", "wide:output.wide"], id="method"),
    pytest.param(gelu, ["gelu:input.x", "gelu:output.y"], id="module"),
]


def twice(points):
    return points + [point.replace(":", "[1]:") for point in points]


@pytest.mark.parametrize(("rewritten", "points"), CASES)
def test_marks_in_rewrites_are_captured(bert, rewritten, points):
    eager = bert(**IDS).last_hidden_state
    with apply_rewrites(bert, [rewritten]), capture() as values:
        torch.testing.assert_close(bert(**IDS).last_hidden_state, eager, rtol=0, atol=1e-5)
    assert list(values) == twice(points)
    with capture() as values:
        assert torch.equal(bert(**IDS).last_hidden_state, eager)
    assert not values


@pytest.mark.parametrize(("rewritten", "points"), CASES)
def test_a_rewritten_model_is_exported_and_left_as_it_was(bert, tmp_path, rewritten, points):
    classes = (BertIntermediate, GELUActivation)
    before = [dict(vars(owner)) for owner in classes]
    modules = list(bert.named_modules())
    eager = bert(**IDS).last_hidden_state
    with apply_rewrites(bert, [rewritten]):
        exported = export(bert, IDS, tmp_path)
    assert [str(at) for at in exported.marks] == twice(points)
    found = run(exported.onnx, {"input_ids": IDS["input_ids"].numpy()})
    np.testing.assert_allclose(found["last_hidden_state"], eager.detach(), rtol=0, atol=1e-5)
    for owner, names in zip(classes, before, strict=True):
        assert vars(owner).keys() == names.keys()
        assert all(vars(owner)[name] is value for name, value in names.items())
    assert list(bert.named_modules()) == modules
    assert torch.equal(bert(**IDS).last_hidden_state, eager)


def test_torchs_own_gelu_is_swapped_and_exported(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.GELU()).eval()
    x = torch.rand(2, 3)
    eager, old = model(x), model[1]
    with apply_rewrites(model, [rewrite("torch.nn.GELU")(gelu.replacement)]):
        exported = export(model, {"input": x}, tmp_path)
    found = run(exported.onnx, {"input": x.numpy()})
    np.testing.assert_allclose(found["output"], eager.detach(), rtol=0, atol=1e-5)
    assert model[1] is old
    assert [str(at) for at in exported.marks] == ["gelu:input.x", "gelu:output.y"]

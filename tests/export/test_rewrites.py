"""A rewrite is in place within its block, and nowhere else."""

from __future__ import annotations

import importlib
import inspect
import sys

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

THEIRS = '''
from torch import nn

LIMIT = 3

def double(x):
    """Theirs."""
    return x * 2

class Base:
    def inherited(self, x):
        return x + 1

class Thing(Base):
    table = {}

    def method(self, x, *, scale=1):
        return x * scale

    @staticmethod
    def static(x):
        return x - 1

    @classmethod
    def make(cls, x):
        return cls.__name__, x

    @property
    def size(self):
        return 5

class Act(nn.Module):
    def forward(self, x):
        return x.relu()

class SubAct(Act):
    pass
'''


@pytest.fixture
def third_party_module(tmp_path, monkeypatch):
    """A package that is not ours."""
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "__init__.py").write_text("from theirs.code import double as code")
    (tmp_path / "theirs" / "code.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    yield importlib.import_module("theirs.code")
    for name in ("theirs", "theirs.code"):
        del sys.modules[name]


def add_ten(original, *args, **kwargs):
    return original(*args, **kwargs) + 10


def refused(target, message, replacement=add_ten):
    with (
        pytest.raises(RewriteError, match=message),
        apply_rewrites(None, [rewrite(target)(replacement)]),
    ):
        pytest.fail("a wrong target was taken")


# Functions and methods


def test_a_function_of_a_module_gets_the_original(third_party_module):
    before = dict(vars(third_party_module))
    with apply_rewrites(None, [rewrite("theirs.code.double")(add_ten)]):
        assert third_party_module.double(1) == 12
        assert third_party_module.double.__doc__ == "Theirs."
    assert third_party_module.double(1) == 2
    assert dict(vars(third_party_module)) == before
    assert list(vars(third_party_module)) == list(before)


def test_a_method_gets_the_original_unbound_and_keeps_its_signature(third_party_module):
    def method(original, self, x, *, scale=1):
        assert inspect.isfunction(original)
        return type(self).__name__, original(self, x, scale=scale + 1)

    thing, before = third_party_module.Thing(), dict(vars(third_party_module.Thing))
    with apply_rewrites(None, [rewrite("theirs.code.Thing.method")(method)]):
        assert thing.method(2, scale=3) == ("Thing", 8)
        assert list(inspect.signature(thing.method).parameters) == ["x", "scale"]
    assert thing.method(2, scale=3) == 6
    assert all(vars(third_party_module.Thing)[name] is value for name, value in before.items())
    assert list(vars(third_party_module.Thing)) == list(before)


def test_a_static_method_stays_one(third_party_module):
    raw = vars(third_party_module.Thing)["static"]
    with apply_rewrites(None, [rewrite("theirs.code.Thing.static")(add_ten)]):
        assert third_party_module.Thing.static(1) == third_party_module.Thing().static(1) == 10
    assert vars(third_party_module.Thing)["static"] is raw


def test_a_class_method_stays_one_and_its_original_takes_the_class(third_party_module):
    def make(original, cls, x):
        return ("new", *original(cls, x))

    class Mine(third_party_module.Thing):
        pass

    raw = vars(third_party_module.Thing)["make"]
    with apply_rewrites(None, [rewrite("theirs.code.Thing.make")(make)]):
        assert (
            third_party_module.Thing.make(1)
            == third_party_module.Thing().make(1)
            == ("new", "Thing", 1)
        )
        assert Mine.make(1) == ("new", "Mine", 1)
    assert vars(third_party_module.Thing)["make"] is raw


def test_an_inherited_method_is_put_on_the_class_alone_and_removed_again(third_party_module):
    with apply_rewrites(None, [rewrite("theirs.code.Thing.inherited")(add_ten)]):
        assert third_party_module.Thing().inherited(1) == 12
        assert third_party_module.Base().inherited(1) == 2
    assert "inherited" not in vars(third_party_module.Thing)
    assert third_party_module.Thing().inherited(1) == 2


def test_a_builtin_of_a_class_is_not_bound():
    class Mine:
        build = len

    sys.modules[__name__].Mine = Mine
    try:
        with apply_rewrites(None, [rewrite(f"{__name__}:Mine.build")(add_ten)]):
            assert Mine().build([1]) == 11
    finally:
        del sys.modules[__name__].Mine
    assert vars(Mine)["build"] is len


def test_a_module_and_a_function_of_one_name_are_told_apart(third_party_module):
    with apply_rewrites(None, [rewrite("theirs.code")(add_ten)]):
        assert sys.modules["theirs"].code(1) == 12
        assert third_party_module.double(1) == 2
    with apply_rewrites(None, [rewrite("theirs.code.double")(add_ten)]):
        assert third_party_module.double(1) == 12
        assert sys.modules["theirs"].code(1) == 2


@pytest.mark.parametrize("target", ["theirs.code:Thing.method", "theirs.code.Thing.method"])
def test_both_spellings_find_the_target(third_party_module, target):
    with apply_rewrites(None, [rewrite(target)(add_ten)]):
        assert third_party_module.Thing().method(1) == 11


def test_blocks_nest_and_end_one_by_one(third_party_module):
    def triple(original, x):
        return original(x) * 3

    outer, inner = rewrite("theirs.code.double")(add_ten), rewrite("theirs.code.double")(triple)
    with apply_rewrites(None, [outer]):
        with apply_rewrites(None, [inner]):
            assert third_party_module.double(1) == 36
        assert third_party_module.double(1) == 12
    assert third_party_module.double(1) == 2


def test_an_error_in_the_block_restores_everything_and_comes_out(third_party_module):
    rewrites = [rewrite(f"theirs.code.{name}")(add_ten) for name in ("double", "Thing.inherited")]
    before = third_party_module.double
    with pytest.raises(ZeroDivisionError), apply_rewrites(None, rewrites):
        raise ZeroDivisionError
    assert third_party_module.double is before
    assert "inherited" not in vars(third_party_module.Thing)


# Targets that are refused


def test_an_unknown_name_is_refused_with_the_nearest_ones(third_party_module):
    refused("theirs.code.duoble", r"theirs\.code has no 'duoble'\. Did you mean double")
    refused("theirs.code.Thing.metod", r"Thing has no 'metod'\. Did you mean method\?")
    refused("theirs.cod.double", r"theirs has no 'cod'\. Did you mean code\?")
    refused("theirs.code:Thnig.method", r"no 'Thnig'\. Did you mean Thing\?")
    refused("theirs.code.zzzzzz", r"no 'zzzzzz'\. Check the name, or narrow `when`")


def test_a_package_that_is_not_installed_says_what_to_do():
    refused("nowhere.code.f", r"module 'nowhere' cannot be imported.*say in `when`")
    refused("nowhere.code:f", r"module 'nowhere' cannot be imported.*say in `when`")


def test_a_module_that_fails_to_import_is_refused_with_its_cause(third_party_module, tmp_path):
    (tmp_path / "theirs" / "broken.py").write_text("import no_such_library")
    refused("theirs.broken.f", r"module 'theirs.broken' cannot be imported: .*no_such_library")


def test_what_is_no_function_is_refused(third_party_module):
    refused("theirs.code.LIMIT", "expected a function, a method or a module class, got int")
    refused("theirs.code.Thing.table", "got dict")
    refused("theirs.code.Thing.size", r"got a property\. Rewrite a method that it calls")
    refused("theirs.code.Thing", r"got another class\. Rewrite one of its methods")
    refused("theirs.code.double.x", "expected double to be a class or module, got function")


def test_a_class_that_is_fixed_is_refused():
    refused("builtins.dict.get", r"got dict, which is immutable: cannot set 'get'")


def test_one_wrong_target_leaves_all_as_they_were(third_party_module):
    before, good = third_party_module.double, rewrite("theirs.code.double")(add_ten)
    for wrong, message in (
        ("theirs.code.nothing", "no 'nothing'"),
        ("builtins.dict.get", "immutable"),
    ):
        bad = rewrite(wrong)(add_ten)
        with pytest.raises(RewriteError, match=message), apply_rewrites(None, [good, bad]):
            pytest.fail("a wrong target was taken")
        assert third_party_module.double is before


def test_two_rewrites_of_one_target_in_one_block_are_refused():
    one, two = rewrite("torch.nn.GELU")(nn.Identity), rewrite("torch.nn.modules.GELU")(add_ten)
    with pytest.raises(RewriteError, match=r"got .*Identity and .*add_ten\. Choose one, or nest"):
        apply_rewrites(None, [one, two]).__enter__()


# Module classes


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


# A model that is not ours, exported


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

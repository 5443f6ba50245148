"""Marks on modules: as if they stood on their forward, and gone again afterwards."""

from __future__ import annotations

import gc
import weakref
from typing import NamedTuple

import pytest
import torch
from torch import nn

from deploy.export.module_marks import mark_modules
from deploy.export.onnx_export import export
from deploy.graph.points import PointError
from deploy.mark import MarkError, capture, exporting
from deploy.partition.segments import partition
from deploy.recipe.schema import MarkRecipe
from tests.helpers.chains import arrays, chain, run

X = torch.arange(6.0).reshape(2, 3)


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Block(nn.Module):
    """Keywords, nested values, defaults."""

    def __init__(self):
        super().__init__()
        self.own = nn.Linear(3, 3)

    def forward(self, maps, *rest, scale=1.0, bias=None, **options):
        y = self.own(maps["deep"][0] - maps["deep"][1]) * scale
        y = y if bias is None else y + bias
        return Pair(y, sum([*rest, *options.values()], y))


class Net(nn.Module):
    """A layer that is called twice and has two paths."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 3)
        self.again = self.layer
        self.block = Block()

    def forward(self, x):
        y = self.layer(x)
        z = self.again(y.relu())
        return self.block({"deep": (z, y)}, x, bias=y, more=z).right


class Tree(nn.Module):
    """Calls itself; at depth 1 it fails and is caught where ``fails`` is set."""

    def __init__(self, fails=False):
        super().__init__()
        self.fails = fails

    def forward(self, x, depth=2):
        if self.fails and depth == 1:
            raise ValueError("too deep")
        if depth:
            try:
                x = self(x + 1, depth - 1)
            except ValueError:
                x = x + 10
        return x * 2


def captured(model, *args, **marks):
    """The points of one forward, with marks of these paths or recipes."""
    recipes = {k: MarkRecipe(m) if isinstance(m, str) else m for k, m in marks.items()}
    with mark_modules(model, recipes), capture() as values:
        model(*args)
    return values


@pytest.mark.parametrize(
    ("at", "points"),
    [
        ("input", ["k:input.input", "k[1]:input.input"]),
        ("output", ["k:output.k", "k[1]:output.k"]),
        ("both", ["k:input.input", "k:output.k", "k[1]:input.input", "k[1]:output.k"]),
    ],
)
def test_a_mark_is_on_the_side_of_each_call_that_it_names(at, points):
    values = captured(Net(), X, k=MarkRecipe("layer", at))
    assert list(values) == points
    model = Net()
    first = model.layer(X)
    second = model.layer(first.relu())
    expected = {
        "k:input.input": X,
        "k:output.k": first,
        "k[1]:input.input": first.relu(),
        "k[1]:output.k": second,
    }
    assert all(torch.equal(value, expected[point]) for point, value in values.items())


def test_a_mark_is_on_the_output_unless_it_says_otherwise():
    assert list(captured(Net(), X, k="block.own")) == ["k:output.k"]


def test_arguments_have_the_names_of_their_parameters():
    assert list(captured(Net(), X, k=MarkRecipe("block", "both"))) == [
        "k:input.maps.deep.0",
        "k:input.maps.deep.1",
        "k:input.rest.0",
        "k:input.bias",
        "k:input.options.more",
        "k:output.k.left",
        "k:output.k.right",
    ]


def test_a_module_may_have_several_marks_and_each_of_its_paths_finds_it():
    assert list(captured(Net(), X, a="layer", b="again")) == [
        *["a:output.a", "b:output.b"],
        *["a[1]:output.a", "b[1]:output.b"],
    ]


def test_the_empty_path_is_the_model_itself():
    assert list(captured(Net(), X, all=MarkRecipe("", "both"))) == [
        "all:input.x",
        "all:output.all",
    ]


def test_a_side_without_tensors_has_no_point():
    class Silent(nn.Module):
        def forward(self, x):
            self.seen = x

    values = captured(nn.Sequential(Silent()), X, k=MarkRecipe("0", "both"))
    assert list(values) == ["k:input.x"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("blok.own", r"model.marks.k.module: expected the path of a module.*, got 'blok.own'. Did"),
        ("blok.own", r"Did you mean block.own"),
        ("zzz", r"got 'zzz'. See model.named_modules\(\)"),
    ],
)
def test_a_path_that_leads_nowhere_is_refused_with_the_nearest_ones(path, message):
    with pytest.raises(MarkError, match=message):
        captured(Net(), X, k=path)


def test_a_name_that_no_point_can_spell_is_refused():
    with pytest.raises(PointError, match="name of a mark"):
        captured(Net(), X, **{"a:b": "layer"})


def hooks_of(model):
    return [
        hook
        for module in model.modules()
        for name, hooks in vars(module).items()
        if "hooks" in name and isinstance(hooks, dict)
        for hook in hooks
    ]


def test_nothing_is_left_behind():
    model = Net()
    with mark_modules(model, {"a": MarkRecipe("layer"), "b": MarkRecipe("block")}):
        assert hooks_of(model)
    assert not hooks_of(model)


def test_nothing_is_left_behind_by_an_error():
    model = Net()
    with pytest.raises(ZeroDivisionError), mark_modules(model, {"a": MarkRecipe("layer")}):
        raise ZeroDivisionError
    assert not hooks_of(model)
    with (
        pytest.raises(MarkError),
        mark_modules(model, {"a": MarkRecipe("layer"), "b": MarkRecipe("no")}),
    ):
        pass
    assert not hooks_of(model)


BOTH = {name: MarkRecipe(name, "both") for name in ("layer", "block", "block.own")}


def test_results_and_gradients_have_the_same_bits():
    def bits(model, **inputs):
        model.zero_grad()
        y = model(**inputs)
        y.sum().backward()
        return [y.detach(), *(p.grad.clone() for p in model.parameters())]

    model = Net()
    plain = bits(model, x=X)
    with mark_modules(model, BOTH):
        found = bits(model, x=X)
        with capture() as values:
            again = bits(model, x=X)
    assert len(values) > 8
    assert all(map(torch.equal, plain, found))
    assert all(map(torch.equal, plain, again))


def test_torch_compile_sees_no_mark():
    model = Net()
    with mark_modules(model, BOTH):
        compiled = torch.compile(model, fullgraph=True, backend="eager")
        assert torch.equal(compiled(X), model(X))


def test_a_plain_torch_export_sees_no_mark():
    model = Net()
    with mark_modules(model, BOTH):
        graph = torch.export.export(model, (X,)).graph
    assert not [node for node in graph.nodes if "symbolic" in str(node.target)]


def test_an_export_has_them_and_can_be_cut_there(tmp_path):
    model = Net().eval()
    with mark_modules(model, BOTH):
        exported = export(model, {"x": X}, tmp_path)
    across = [["layer"], ["layer[1]", "layer"], ["block.own:output", "block:input"]]
    cutting = partition(exported, [], tmp_path / "cut", across=across)
    assert len(cutting.segments) == 4
    values = chain(cutting.segments, arrays({"x": X}))
    whole = run(exported.onnx, arrays({"x": X}))
    assert (values["output"] == whole["output"]).all()


def test_while_exporting_the_values_that_go_on_are_the_marked_ones():
    with mark_modules(Net(), {"k": MarkRecipe("block", "both")}) as _, exporting() as marks:
        pass
    assert not marks
    model = Net()
    with mark_modules(model, {"k": MarkRecipe("block", "both")}), exporting() as marks:
        program = torch.export.export(model, (X,))
    nodes = [node for node in program.graph.nodes if "symbolic" in str(node.target)]
    assert len(nodes) == len(marks) == 7


def test_a_module_that_calls_itself_ends_the_call_that_began_last():
    values = captured(Tree(), X, k=MarkRecipe("", "both"))
    assert list(values) == [
        *["k:input.x", "k[1]:input.x", "k[2]:input.x"],
        *["k[2]:output.k", "k[1]:output.k", "k:output.k"],
    ]
    assert torch.equal(values["k[2]:output.k"], (X + 2) * 2)
    assert torch.equal(values["k:output.k"], (X + 2) * 8)


def test_a_call_that_fails_within_another_does_not_end_that_one():
    values = captured(Tree(fails=True), X, k=MarkRecipe("", "both"))
    assert list(values) == ["k:input.x", "k[1]:input.x", "k:output.k"]
    assert torch.equal(values["k:output.k"], (X + 10) * 2)


def test_a_forward_that_fails_does_not_disturb_the_next_capture():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(4, 4))
    recipes = {"a": MarkRecipe("0", "both"), "b": MarkRecipe("1", "both")}
    with mark_modules(model, recipes):
        with pytest.raises(RuntimeError, match="cannot be multiplied"), capture():
            model(X)
        model[1] = nn.Identity()
        with capture() as values:
            model(X)
    assert list(values) == ["a:input.input", "a:output.a"]


def test_a_capture_that_begins_or_ends_within_a_forward_sees_whole_calls_only():
    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            with capture() as self.seen:
                return self.inner(x)

    model = Outer()
    with mark_modules(model, {"o": MarkRecipe("", "both"), "i": MarkRecipe("inner")}):
        model(X)
        assert list(model.seen) == ["i:output.i"]
        with capture() as values:
            model(X)
        assert list(model.seen) == ["i:output.i"]
        assert list(values) == ["o:input.x", "o:output.o"]


def test_a_capture_is_forgotten_with_its_tensors():
    model = Net()
    with mark_modules(model, BOTH):
        with capture() as values:
            model(X)
        found = [weakref.ref(value) for value in values.values()]
        del values
        gc.collect()
        assert not any(ref() is not None for ref in found)

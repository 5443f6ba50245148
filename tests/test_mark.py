"""Marks name tensors, and otherwise are not there."""

from __future__ import annotations

import dataclasses
import doctest
from collections import OrderedDict
from typing import NamedTuple

import pytest
import torch

import deploy.mark
from deploy.graph.points import PointError
from deploy.mark import MarkError, capture, exporting, mark, mark_here
from tests.helpers.chains import net, samples


class Pair(NamedTuple):
    boxes: torch.Tensor
    scores: torch.Tensor


@dataclasses.dataclass(frozen=True)
class Feats:
    p3: torch.Tensor
    name: str
    p4: list[torch.Tensor]


ONE, TWO = torch.ones(2), torch.full((2,), 2.0)


def points(function, *args, **kwargs):
    with capture() as values:
        function(*args, **kwargs)
    return list(values)


def test_eager_results_have_the_same_bits_and_gradients_as_without_marks():
    model, inputs = net(), samples()
    out = model(**inputs)["logits"]
    out.sum().backward()
    marked = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for name in ("stem", "twice", "head"):
        setattr(model, name, getattr(type(model), name).__wrapped__.__get__(model))
    plain = model(**inputs)["logits"]
    plain.sum().backward()
    assert torch.equal(out, plain)
    assert all(torch.equal(a, p.grad) for a, p in zip(marked, model.parameters(), strict=True))


def test_the_returned_object_is_the_functions_own():
    own = [ONE, {"a": TWO}]
    function = mark("m")(lambda x: own)
    assert function(ONE) is own
    assert mark_here("h", own) is own
    with capture():
        assert function(ONE) is own
        assert mark_here("h", own) is own


def test_the_function_gets_the_very_objects_that_it_was_called_with():
    nested = {"x": [ONE]}
    function = mark("m")(lambda x: x)
    with capture():
        assert function(nested) is nested


def test_torch_compile_sees_no_mark():
    model, inputs = net().eval(), samples()
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    assert torch.equal(compiled(**inputs)["logits"], model(**inputs)["logits"])


def test_a_plain_torch_export_sees_no_mark():
    graph = torch.export.export(net().eval(), (), samples()).graph
    assert not [node for node in graph.nodes if "symbolic" in str(node.target)]


def test_parameters_are_found_by_position_by_keyword_and_by_default():
    @mark("m", inputs=["b", "a"])
    def function(a, b=TWO):
        return a + b

    assert points(function, ONE) == ["m:input.b", "m:input.a", "m:output.m"]
    assert points(function, b=ONE, a=ONE) == ["m:input.b", "m:input.a", "m:output.m"]


def test_by_default_every_parameter_that_holds_tensors_is_marked_but_not_self():
    class Owner:
        @mark("m")
        def method(self, a, flag, *rest, **options):
            return a

    found = points(Owner().method, ONE, True, TWO, ONE, scale=TWO, mode="x")
    assert found == [
        "m:input.a",
        "m:input.rest.0",
        "m:input.rest.1",
        "m:input.options.scale",
        "m:output.m",
    ]


def test_nested_values_get_dotted_names():
    value = [Pair(ONE, TWO), OrderedDict(x=(ONE,)), Feats(ONE, "n", [TWO]), None, 3, {}]
    assert points(mark_here, "h", value) == [
        "h:output.h.0.boxes",
        "h:output.h.0.scores",
        "h:output.h.1.x.0",
        "h:output.h.2.p3",
        "h:output.h.2.p4.0",
    ]


def test_while_exporting_nested_values_keep_their_types():
    class Model(torch.nn.Module):
        def forward(self, x):
            value = mark_here("h", [Pair(x, x), OrderedDict(x=(x,)), Feats(x, "n", [x])])
            assert isinstance(value[0], Pair)
            assert isinstance(value[1], OrderedDict)
            assert isinstance(value[2], Feats)
            assert value[2].name == "n"
            return value[0].boxes + value[1]["x"][0] + value[2].p4[0]

    with exporting() as marks:
        program = torch.export.export(Model(), (ONE,))
    assert len(marks) == 5
    nodes = [node for node in program.graph.nodes if "symbolic" in str(node.target)]
    assert len(nodes) == 5


def test_results_are_named_one_by_one_or_as_a_whole():
    def of(outputs, value):
        return points(mark("m", inputs=[], outputs=outputs)(lambda: value))

    assert of(["boxes", "scores"], (ONE, [TWO])) == ["m:output.boxes", "m:output.scores.0"]
    assert of(["feats"], [ONE, TWO]) == ["m:output.feats.0", "m:output.feats.1"]
    assert of("feat", ONE) == ["m:output.feat"]
    assert of(None, Pair(ONE, TWO)) == ["m:output.m.boxes", "m:output.m.scores"]


def test_named_results_come_back_as_the_type_they_had():
    class Model(torch.nn.Module):
        @mark("m", outputs=["a", "b"])
        def pair(self, x):
            return Pair(x, x + 1)

        def forward(self, x):
            return self.pair(x).scores

    with exporting() as marks:
        torch.export.export(Model(), (ONE,))
    assert [str(at) for at in marks] == ["m:input.x", "m:output.a", "m:output.b"]


def test_calls_are_counted_within_one_capture_and_never_across():
    function = mark("m", inputs=["x"], outputs="y")(lambda x: x)
    for _ in range(2):
        with capture() as values:
            function(ONE)
            function(TWO)
        assert list(values) == ["m:input.x", "m:output.y", "m[1]:input.x", "m[1]:output.y"]
        assert torch.equal(values["m[1]:input.x"], TWO)


def test_the_same_tensor_twice_is_two_points():
    function = mark("m", inputs=["a", "b"])(lambda a, b: a)
    assert points(function, ONE, ONE) == ["m:input.a", "m:input.b", "m:output.m"]


def test_a_capture_keeps_values_that_are_changed_in_place_later():
    with capture() as values:
        mark_here("h", torch.zeros(2)).add_(1)
    assert torch.equal(values["h:output.h"], torch.zeros(2))


def test_a_captured_error_ends_the_capture():
    with pytest.raises(ZeroDivisionError), capture():
        raise ZeroDivisionError
    with capture() as values:
        pass
    mark_here("h", ONE)
    assert not values


def test_an_input_that_is_none_is_left_out():
    function = mark("m", inputs=["x", "y"])(lambda x, y=None: x)
    assert points(function, ONE) == ["m:input.x", "m:output.m"]


def test_an_unknown_parameter_is_refused_where_the_mark_is_written():
    with pytest.raises(MarkError, match=r"inputs of mark 'm': .*function \(a, b\), got c"):
        mark("m", inputs=["a", "c"])(lambda a, b: a)


def test_an_input_without_tensors_is_refused():
    function = mark("m", inputs=["x"])(lambda x: ONE)
    with pytest.raises(MarkError, match=r"input 'x' of mark 'm': .*got object without any"):
        points(function, object())
    with pytest.raises(MarkError, match=r"value of mark 'h': .*got int without any"):
        points(mark_here, "h", 3)


def test_a_wrong_number_of_results_names_both():
    function = mark("m", outputs=["a", "b"])(lambda x: (x, x, x))
    with pytest.raises(MarkError, match=r"list of 2 \(a, b\), got tuple of 3"):
        points(function, ONE)
    function = mark("m", outputs=["a", "b"])(lambda x: x)
    with pytest.raises(MarkError, match=r"list of 2 \(a, b\), got Tensor"):
        points(function, ONE)


@pytest.mark.parametrize("outputs", [[], ["a", "a"]])
def test_result_names_must_be_distinct(outputs):
    with pytest.raises(MarkError, match="outputs of mark 'm': expected distinct names"):
        mark("m", outputs=outputs)(lambda x: x)


def test_two_tensors_of_one_name_are_refused():
    with pytest.raises(MarkError, match=r"two tensors are called h:output.h.1"):
        points(mark_here, "h", {1: ONE, "1": TWO})


def test_a_mark_above_staticmethod_says_where_it_belongs():
    with pytest.raises(MarkError, match=r"got staticmethod\. Write @mark below @staticmethod"):
        mark("m")(staticmethod(lambda x: x))
    with pytest.raises(MarkError, match="expected a function or method, got property"):
        mark("m")(property(lambda self: 1))


def test_a_name_that_no_point_can_spell_is_refused():
    with pytest.raises(PointError, match="name of a mark"):
        mark("a:b")


@pytest.mark.parametrize("name", deploy.mark.__all__)
def test_every_public_name_has_an_example_that_runs(name):
    (example, *_) = doctest.DocTestFinder(recurse=False).find(
        vars(deploy.mark)[name], globs=dict(vars(deploy.mark))
    )
    assert example.examples
    assert doctest.DocTestRunner().run(example).failed == 0

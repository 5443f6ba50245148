"""Nested values: every container is rebuilt as it was, and one that hides tensors is named."""

from __future__ import annotations

import dataclasses
import types
from collections import OrderedDict, UserDict, defaultdict, deque
from typing import NamedTuple

import pytest
import torch
from torch.utils import _pytree as pytree
from transformers import DynamicCache
from transformers.modeling_outputs import BaseModelOutput

from deploy.export.nested_tensors import (
    ContainerError,
    iter_tensors,
    named_tensors,
    replace_children,
    replace_tensors,
    unknown_containers,
)
from deploy.mark import MarkError, capture, mark, mark_here

T = torch.ones(2)


class Pair(NamedTuple):
    left: object
    right: object = None


@dataclasses.dataclass
class Plain:
    left: object
    right: object = None
    count: int = 3


@dataclasses.dataclass(frozen=True, slots=True)
class Slots:
    left: object
    right: object = None


class Tagged(list):
    def __init__(self, values, tag):
        super().__init__(values)
        self.tag = tag


class Ordered(OrderedDict):
    pass


class Registered:
    def __init__(self, left, right):
        self.left, self.right = left, right


class WithKeys(Registered):
    pass


class Opaque:
    __slots__ = ("state",)

    def __init__(self, state):
        self.state = state


class Unchangeable(dict):
    def __setitem__(self, key, value):
        raise TypeError("it is frozen")


def with_keys(value):
    return [(pytree.GetAttrKey(name), getattr(value, name)) for name in ("left", "right")], None


def flatten(value):
    return [value.left, value.right], None


pytree.register_pytree_node(Registered, flatten, lambda values, _: Registered(*values))
pytree.register_pytree_node(
    WithKeys, flatten, lambda values, _: WithKeys(*values), flatten_with_keys_fn=with_keys
)


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        (lambda: [T, None], ["r.0"]),
        (lambda: Tagged([T], "tag"), ["r.0"]),
        (lambda: deque([1, T]), ["r.1"]),
        (lambda: Pair(T), ["r.left"]),
        (lambda: torch.rand(2, 3).max(1), ["r.0", "r.1"]),
        (lambda: {"a": T, 1: (T,)}, ["r.a", "r.1.0"]),
        (lambda: Ordered(a=T, none=None), ["r.a"]),
        (lambda: defaultdict(list, a=T), ["r.a"]),
        (lambda: UserDict(a=T), ["r.a"]),
        (lambda: Plain(T), ["r.left"]),
        (lambda: Slots(None, T), ["r.right"]),
        (lambda: Registered(T, {"a": T}), ["r.0", "r.1.a"]),
        (lambda: WithKeys(None, T), ["r.right"]),
        (
            lambda: BaseModelOutput(last_hidden_state=T, hidden_states=(T, T)),
            ["r.last_hidden_state", "r.hidden_states.0", "r.hidden_states.1"],
        ),
    ],
    ids=lambda value: type(value()).__name__ if callable(value) else "",
)
def test_a_container_is_rebuilt_as_one_of_its_class(value, paths):
    before = value()
    after = replace_tensors(before, lambda path, tensor: tensor + 1, "r")
    assert type(after) is type(before)
    assert [path for path, _ in iter_tensors(after, "r")] == paths
    pairs = zip(iter_tensors(before, ""), iter_tensors(after, ""), strict=True)
    assert all(torch.equal(new, old + 1) for (_, old), (_, new) in pairs)


def test_attributes_of_a_container_are_kept():
    assert replace_tensors(Tagged([T], "tag"), lambda path, x: x + 1, "").tag == "tag"
    assert replace_tensors(Plain(T, count=7), lambda path, x: x + 1, "").count == 7
    assert replace_tensors(defaultdict(list, a=T), lambda path, x: x + 1, "")["new"] == []


def test_a_container_whose_tensors_are_not_replaced_is_the_same_object():
    value = BaseModelOutput(last_hidden_state=T)
    assert replace_tensors(value, lambda path, tensor: tensor, "") is value


def test_a_container_that_cannot_be_rebuilt_is_named():
    with pytest.raises(ContainerError, match=r"a Unchangeable cannot be rebuilt .*: it is frozen"):
        replace_tensors(Unchangeable(a=T), lambda path, tensor: tensor + 1, "")


@pytest.mark.parametrize("key", ["", 0])
def test_results_without_a_usable_key_are_numbered(key):
    assert [name for name, _ in named_tensors({key: T}, "output")] == [f"output.{key}"]


def test_an_object_that_hides_tensors_is_named_with_its_path():
    cache = DynamicCache()
    assert not list(unknown_containers({"cache": cache}, ""))
    cache.update(torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1, 1), 0)
    values = {"a": types.SimpleNamespace(deep=[{"x": T}]), "b": (Opaque(T), T), "cache": cache}
    found = [(item.path, item.type) for item in unknown_containers(values, "")]
    assert found == [("a", types.SimpleNamespace), ("b.0", Opaque), ("cache", DynamicCache)]


def test_objects_without_tensors_modules_and_functions_hide_none():
    values = [types.SimpleNamespace(a=1), torch.nn.Linear(1, 1), lambda: T, torch.Tensor, "text"]
    assert not list(unknown_containers(values, ""))


def test_a_mark_on_what_hides_its_tensors_says_how_to_show_them():
    @mark("m", inputs=["state"])
    def takes(state):
        return state.state

    def gives(x):
        return mark_here("h", Opaque(x))

    for function, argument, what in (
        (takes, Opaque(T), "input 'state' of mark 'm'"),
        (mark("m")(lambda x: Opaque(x)), T, "output of mark 'm'"),
        (gives, T, "value of mark 'h'"),
    ):
        with capture(), pytest.raises(MarkError) as caught:
            function(argument)
        assert str(caught.value).startswith(f"{what}: expected tensors, also within lists")
        assert "got a Opaque, whose tensors would be lost" in str(caught.value)
        assert "Register Opaque with torch.utils._pytree.register_pytree_node" in str(caught.value)


def test_results_with_names_of_their_own_stay_in_a_container_of_their_class():
    new = {"boxes": T, "scores": T + 1}  # as a mark with two outputs names the elements
    for before in (Pair(T, T), [T, T], (T, T), Tagged([T, T], "tag")):
        after = replace_children(before, new)
        assert type(after) is type(before)
        assert torch.equal(after[1], T + 1)

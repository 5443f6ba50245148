"""What a call changes in a model: every kind is seen by its path, and put back."""

from __future__ import annotations

from collections import defaultdict, deque
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from deploy.export.module_state import ModuleState, find_tensor, restored_state


class Settings:
    """An object of the user's that is no module."""

    def __init__(self):
        self.count = 0

    def __call__(self, x):
        return x


class Everything(nn.Module):
    """Holds state of each kind, and a function that changes some of it."""

    def __init__(self, change=None):
        super().__init__()
        self.inner = nn.Linear(2, 2)
        self.inner.register_buffer("memory", torch.zeros(2))
        self.plain = torch.zeros(2)
        self.number = 0
        self.rows = [1]
        self.queue = deque([1])
        self.table = {"a": {3: 4}}
        self.groups = defaultdict(list)
        self.seen = {1}
        self.settings = Settings()
        self.names = SimpleNamespace(count=0)
        self.pair = (torch.zeros(1), [0])
        self.change = change

    def forward(self, x):
        self.change(self)
        return x


CHANGES = {
    "a buffer in place": (lambda m: m.inner.memory.add_(1), "inner.memory"),
    "a buffer by another": (lambda m: setattr(m.inner, "memory", torch.ones(2)), "inner.memory"),
    "a buffer behind autograd": (lambda m: m.inner.memory.data.add_(1), "inner.memory"),
    "a tensor in place": (lambda m: m.plain.add_(1), "plain"),
    "a tensor by another": (lambda m: setattr(m, "plain", torch.zeros(3)), "plain"),
    "a tensor in a tuple": (lambda m: m.pair[0].add_(1), "pair"),
    "a counter": (lambda m: setattr(m, "number", m.number + 1), "number"),
    "a new attribute": (lambda m: setattr(m, "cache", torch.ones(2)), "cache"),
    "an attribute that goes": (lambda m: delattr(m, "number"), "number"),
    "a list": (lambda m: m.rows.append(2), "rows"),
    "a list in a tuple": (lambda m: m.pair[1].append(2), "pair"),
    "a queue": (lambda m: m.queue.append(2), "queue"),
    "a set": (lambda m: m.seen.add(2), "seen"),
    "a value deep in a table": (lambda m: m.table["a"].update({3: 5}), "table.a"),
    "a default of a table": (lambda m: m.groups["x"].append(1), "groups.x"),
    "an object's attribute": (lambda m: setattr(m.settings, "count", 1), "settings.count"),
    "a namespace's attribute": (lambda m: setattr(m.names, "count", 1), "names.count"),
    "the mode of a module": (lambda m: m.inner.train(), "inner.training"),
    "a module by another": (lambda m: setattr(m, "inner", nn.Identity()), "inner"),
}


@pytest.mark.parametrize("kind", CHANGES)
def test_a_change_is_named_and_undone(kind):
    change, path = CHANGES[kind]
    model = Everything(change).eval()
    with torch.no_grad(), restored_state(model) as state:
        model(torch.ones(1))
        assert state.changes() == [path]
    assert state.changes() == []


def test_a_call_that_changes_nothing_has_no_changes():
    model = Everything(lambda m: m.inner(torch.ones(2)))
    state = ModuleState(model)
    model(torch.ones(1))
    assert state.changes() == []


@pytest.mark.parametrize(
    "change", [lambda m: m.inner.bias.mul_(2), lambda m: m.inner.bias.data.mul_(2)]
)
def test_a_parameter_that_changes_in_place_is_named(change):
    model = Everything(change)
    with torch.no_grad(), restored_state(model) as state:
        model(torch.ones(1))
        assert state.changes() == ["inner.bias"]


def test_hooks_are_no_state():
    model = Everything()
    state = ModuleState(model)
    model.register_forward_hook(lambda *_: None)
    assert state.changes() == []


class HooksOnce(nn.Module):
    """Registers hooks in its first call, and remembers that it has, as transformers does."""

    def __init__(self):
        super().__init__()
        self.linear, self.installed = nn.Linear(2, 2), False

    def forward(self, x):
        if not self.installed:
            self.linear.register_forward_hook(lambda module, args, result: 2 * result)
            self.installed = True
        return self.linear(x)


def test_hooks_that_a_call_registers_go_with_the_flag_that_says_so():
    model, x = HooksOnce(), torch.ones(1, 2)
    with torch.no_grad():
        results = []
        for _ in range(3):
            with restored_state(model) as state:
                results.append(model(x))
                assert state.changes() == ["installed"]
    assert all(torch.equal(result, results[0]) for result in results)


def test_state_is_put_back_after_an_error_too():
    def fail(model):
        model.rows.append(2)
        raise ValueError("halfway")

    model = Everything(fail)
    with pytest.raises(ValueError, match="halfway"), restored_state(model):
        model(torch.ones(1))
    assert model.rows == [1]


def test_a_model_that_refers_to_itself_is_looked_at_once():
    model = Everything(lambda m: m.rows.append(2))
    model.table["model"] = model
    model.settings.model = model
    with restored_state(model) as state:
        model(torch.ones(1))
        assert state.changes() == ["rows"]


def test_a_tensor_is_found_by_its_path():
    model = Everything()
    assert find_tensor(model, "inner.memory").value is model.inner.memory
    assert find_tensor(model, "plain").value is model.plain
    for path in ("inner.weight", "number", "nothing", "nothing.memory", "inner"):
        assert find_tensor(model, path) is None

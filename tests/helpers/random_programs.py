"""Random PyTorch modules with random marks, as Python text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import nn

from deploy.mark import mark, mark_here
from deploy.recipe.schema import MarkRecipe
from tests.helpers.random_function import MAP, WIDE, Method, Value, Writer
from tests.helpers.random_statements import border, steps

MODULES = ("", "lin0", "lin1", "conv", "block", "block.own")


@dataclass
class Feats:
    deep: torch.Tensor
    name: str
    skip: list[torch.Tensor]


class Pair(NamedTuple):
    left: torch.Tensor
    right: torch.Tensor


class Block(nn.Module):
    """A module with a keyword argument and a default."""

    def __init__(self) -> None:
        super().__init__()
        self.own = nn.Linear(4, 4)

    def forward(self, a, *, b=None):
        return {"sum": self.own(a) + (a if b is None else b), "same": [a]}


class Base(nn.Module):
    """What every program may use."""

    def __init__(self) -> None:
        super().__init__()
        self.lin0, self.lin1 = nn.Linear(4, 4), nn.Linear(4, 4)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.block = Block()
        self.weight = nn.Parameter(torch.rand(1, 4))
        self.register_buffer("steps", torch.arange(4).view(1, 4))


@dataclass
class Program:
    """The text of a module ``Model``, its inputs, and marks on modules of it."""

    text: str
    inputs: list[Value]
    marks: dict[str, MarkRecipe]
    dynamic: bool

    def __str__(self) -> str:
        sizes = ", ".join(f"{value.text}: {value.kind}{value.dims}" for value in self.inputs)
        return f"{self.text}\n# inputs {sizes}\n# marks {self.marks}\n# dynamic {self.dynamic}"

    def model(self, *, marked: bool = True) -> nn.Module:
        """The module, always with the same weights; its own marks can be left out."""
        plain = {"mark": lambda *_, **__: lambda function: function, "mark_here": lambda _, x: x}
        names: dict[str, Any] = {"torch": torch, "Base": Base, "Pair": Pair, "Feats": Feats}
        names |= {"mark": mark, "mark_here": mark_here} if marked else plain
        exec(self.text, names)  # its own text
        torch.manual_seed(0)
        return names["Model"]().eval()

    def samples(self, batch: int) -> dict[str, torch.Tensor]:
        """An input of each name."""
        torch.manual_seed(batch)
        return {value.text: _sample(value, batch) for value in self.inputs}


def _sample(value: Value, batch: int) -> torch.Tensor:
    if value.kind == "f":
        return torch.randn(batch, *value.dims)
    found = torch.randint(0, 5, (batch, *value.dims))
    return found > 2 if value.kind == "b" else found


def _method(draw: Any, name: str, lines: list[str]) -> Method:
    takes = [Value("a", draw(st.sampled_from([WIDE, MAP])))]
    w = Writer(draw, [*takes], prefix="t")
    if draw(st.booleans()):
        takes = [takes[0], Value("a2", WIDE, draw(st.sampled_from("ffi")))]
        w.pool.clear()
        w.unpack("a", ["{0}['p']", "{0}['q'][0]"], takes)
    other = w.any(dims=WIDE)
    if other:
        w.let(f"{other.text} if b is None else b", WIDE)
    steps(w, 3)
    gives = [w.join(), *w.some(draw(st.integers(0, 1)))]
    text, gets = w.nested(gives)
    inputs = draw(st.sampled_from(["", ", inputs=['a']"]))
    outputs = ", outputs=['u', 'v']" if text.startswith("(") and draw(st.booleans()) else ""
    lines += [
        f"    @mark('{name}'{inputs}{outputs})",
        f"    def {name}(self, a, *, b=None):",
        *(f"        {line}" for line in w.lines),
        f"        return {text}",
    ]
    return Method(takes, other is not None, gives, gets)


@st.composite
def programs(draw: Any) -> Program:
    """Random programs."""
    inputs = [Value("x0", WIDE)]
    more = [Value("x1", MAP), Value("x2", WIDE, "i"), Value("x3", WIDE, "b"), Value("x4", WIDE)]
    inputs += draw(st.lists(st.sampled_from(more), max_size=2, unique=True))
    lines = ["class Model(Base):"]
    methods = {name: _method(draw, name, lines) for name in ("m0", "m1")}
    w = Writer(draw, [*inputs], methods=methods)
    for _ in range(draw(st.integers(2, 3))):
        steps(w, 5, least=2)
        border(w)
    steps(w, 4)
    result = _result(w)
    lines.append(f"    def forward(self, {', '.join(value.text for value in inputs)}):")
    lines += [f"        {line}" for line in w.lines]
    lines.append(f"        return {result}")
    paths = draw(st.lists(st.sampled_from(MODULES), max_size=2, unique=True))
    sides = st.sampled_from(["input", "output", "both"])
    marks = {f"k{number}": MarkRecipe(path, draw(sides)) for number, path in enumerate(paths)}
    dynamic = draw(st.sampled_from([True, True, False]))
    return Program("\n".join(lines), inputs, marks, dynamic)


def _result(w: Writer) -> str:
    """At least one result that is computed from an input."""
    w.used.discard("x0")
    return w.nested([w.join(), *w.some(3)])[0]

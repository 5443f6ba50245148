"""A random function as it is written, value by value."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

WIDE, MAP = (4,), (3, 4, 4)  # the shapes that layers take, without the batch


@dataclass(frozen=True)
class Value:
    """A tensor of a program: float (f), int (i) or bool (b); ``fixed`` ones are of batch 1."""

    text: str
    dims: tuple[int, ...]
    kind: str = "f"
    fixed: bool = False


@dataclass
class Writer:
    """One function's body as it grows."""

    draw: Any
    pool: list[Value]
    prefix: str = "v"
    methods: dict[str, Method] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    count: int = 0

    def any(self, *, kind: str = "f", **wanted: Any) -> Value | None:
        """One of the values that have what is wanted, mostly one that nothing uses yet."""
        fits = [
            value
            for value in self.pool
            if value.kind in kind and all(getattr(value, k) == want for k, want in wanted.items())
        ]
        fresh = [value for value in fits if value.text not in self.used] * 3
        chosen = self.draw(st.sampled_from([*fresh, *fits[::-1]])) if fits else None
        self.used.add(chosen.text if chosen else "")
        return chosen

    def new(self, *values: tuple[tuple[int, ...], str, bool]) -> list[str]:
        """Names for new values of these dims, kinds and whether they are fixed."""
        names = []
        for dims, kind, fixed in values:
            names.append(f"{self.prefix}{self.count}")
            self.pool.append(Value(names[-1], dims, kind, fixed))
            self.count += 1
        return names

    def let(self, text: str, dims: tuple[int, ...], kind: str = "f", fixed: bool = False) -> None:
        """A statement that makes one value."""
        self.lines.append(f"{self.new((dims, kind, fixed))[0]} = {text}")

    def nested(self, values: list[Value]) -> tuple[str, list[str]]:
        """An expression that holds the values, and how to get each out of it."""
        texts = [value.text for value in values]
        if len(values) == 1:
            one = texts[0]
            forms = [(one, ["{0}"]), (f"[{one}]", ["{0}[0]"]), (f"{{'a': {one}}}", ["{0}['a']"])]
        elif len(values) == 2:
            one, two = texts
            forms = [
                (f"({one}, {two})", ["{0}[0]", "{0}[1]"]),
                (f"{{'a': {one}, 'b': [{two}]}}", ["{0}['a']", "{0}['b'][0]"]),
                (f"Pair({one}, {two})", ["{0}.left", "{0}.right"]),
                (f"Feats({one}, 'n', [{two}])", ["{0}.deep", "{0}.skip[0]"]),
            ]
        else:
            one, *rest = texts
            gets = [f"{{0}}[1]['{number}']" for number in range(len(rest))]
            inner = ", ".join(f"'{number}': {text}" for number, text in enumerate(rest))
            forms = [(f"[{one}, {{{inner}}}, None]", ["{0}[0]", *gets])]
        return self.draw(st.sampled_from(forms))

    def unpack(self, source: str, gets: list[str], values: list[Value]) -> None:
        """Statements that take the values out of a nested one."""
        for get, value in zip(gets, values, strict=True):
            self.let(get.format(source), value.dims, value.kind, value.fixed)

    def some(self, most: int, kind: str = "fib") -> list[Value]:
        """One or more values, perhaps the same twice."""
        found = [self.any(kind=kind) for _ in range(self.draw(st.integers(1, max(1, most))))]
        return [value for value in found if value is not None]

    def join(self) -> Value:
        """One value of all that nothing uses yet, but for some that nothing ever uses."""
        fresh = [value for value in self.pool if value.text not in self.used]
        if len(fresh) > 1 and self.draw(st.integers(0, 3)) == 0:
            fresh.pop(self.draw(st.integers(0, len(fresh) - 1)))
        self.used |= {value.text for value in fresh}
        means = [f"{value.text}.float().flatten(1).mean(1, keepdim=True)" for value in fresh]
        fixed = all(value.fixed for value in fresh)
        self.let(" + ".join(["self.weight", *means]), WIDE, "f", fixed)
        return self.pool[-1]


@dataclass(frozen=True)
class Method:
    """A marked method: the values that it takes and gives, and how they are nested."""

    takes: list[Value]
    second: bool
    gives: list[Value]
    gets: list[str]

"""A configuration of MMDeploy, which is a Python file, read without running it."""

from __future__ import annotations

import ast
import operator
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from backends.contract import DeployError
from backends.files import not_regular

_MOST_BYTES = 1 << 20
_MOST_BASES = 20  # one inside the other
_MOST_ITEMS = 10_000  # of a range, or of a text or list that is repeated
_BASES, _DELETE = "_base_", "_delete_"

_OPERATORS: Mapping[type[ast.AST], Callable[..., Any]] = MappingProxyType(
    {
        ast.Add: operator.add,
        ast.Sub: operator.sub,
        ast.Mult: operator.mul,
        ast.FloorDiv: operator.floordiv,
        ast.Div: operator.truediv,
        ast.LShift: operator.lshift,
        ast.USub: operator.neg,
        ast.UAdd: operator.pos,
        ast.Not: operator.not_,
    }
)
_CALLS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {"dict": dict, "list": list, "tuple": tuple, "range": range, "str": str, "int": int}
)


class ConfigFileError(DeployError):
    """A file that is no configuration, or one that has to be run to be understood."""


def read_config(path: Path) -> dict[str, Any]:
    """The values of a configuration and of its bases.

    Nothing is run: assignments of literals, ``dict()``, arithmetic, f-strings and comprehensions
    over ``range`` are evaluated here, and anything else is refused.

    Args:
        path: a Python file; the files of its ``_base_`` are relative to it.

    Returns:
        Each name of the file with its value; mappings are merged into those of the bases.

    Raises:
        ConfigFileError: a file is missing, is no Python, or does more than assign values.
    """
    return _read(path, ())


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in above or len(above) >= _MOST_BASES:
        raise ConfigFileError(f"'{path}' is a base of itself, or lies too deep in others")
    own = _Evaluator(path).values()
    bases = own.pop(_BASES, [])
    merged: dict[str, Any] = {}
    for base in [bases] if isinstance(bases, str) else bases:
        merged = _merged(merged, _read(path.parent / str(base), (*above, path.resolve())))
    return _merged(merged, own)


def _merged(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """The base's values with the own ones over them; ``_delete_=True`` drops the base's."""
    merged = dict(base)
    for key, value in own.items():
        below = merged.get(key)
        if isinstance(value, dict):
            keep = isinstance(below, dict) and not value.get(_DELETE, False)
            plain = {name: item for name, item in value.items() if name != _DELETE}
            merged[key] = _merged(below if keep and below is not None else {}, plain)
        else:
            merged[key] = value
    return merged


class _Evaluator:
    """Evaluates the assignments of one file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, Any] = {}

    def values(self) -> dict[str, Any]:
        """Each assigned name with its value."""
        for statement in self._tree().body:
            if isinstance(statement, ast.Assign) and len(statement.targets) == 1:
                (target,) = statement.targets
                if isinstance(target, ast.Name):
                    self._names[target.id] = self._value(statement.value)
                    continue
            is_text = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
            if not is_text:
                raise self._refusal(statement)
        return self._names

    def _tree(self) -> ast.Module:
        if got := not_regular(self._path):
            raise ConfigFileError(
                f"configuration '{self._path}'",
                expected="a file of Python",
                got=got,
                do="A base is looked for beside its file: keep the folders of the checkout."
                if got == "nothing"
                else "",
            )
        if self._path.stat().st_size > _MOST_BYTES:
            raise ConfigFileError(
                f"configuration '{self._path}'", expected=f"at most {_MOST_BYTES:,} bytes"
            )
        try:
            return ast.parse(self._path.read_bytes())
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ConfigFileError(f"configuration '{self._path}' is no Python") from error

    def _value(self, node: ast.expr) -> Any:
        try:
            return self._evaluated(node)
        except (ArithmeticError, TypeError, ValueError, LookupError) as error:
            raise self._refusal(node) from error

    def _evaluated(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value):
                return value
            case ast.Name(id) if id in self._names:
                return self._names[id]
            case ast.List(items):
                return [self._evaluated(item) for item in items]
            case ast.Tuple(items):
                return tuple(self._evaluated(item) for item in items)
            case ast.Dict(keys, items) if None not in keys:
                pairs = zip(keys, items, strict=True)
                return {self._evaluated(key): self._evaluated(item) for key, item in pairs if key}
            case ast.Call(ast.Name(id), arguments, keywords) if id in _CALLS:
                return self._called(_CALLS[id], arguments, keywords)
            case ast.BinOp(left, kind, right) if type(kind) in _OPERATORS:
                return self._combined(kind, self._evaluated(left), self._evaluated(right))
            case ast.UnaryOp(kind, operand) if type(kind) in _OPERATORS:
                return _OPERATORS[type(kind)](self._evaluated(operand))
            case ast.Subscript(value, index):
                return self._evaluated(value)[self._evaluated(index)]
            case ast.JoinedStr(parts):
                return "".join(str(self._evaluated(part)) for part in parts)
            case ast.FormattedValue(value, -1, None):
                return self._evaluated(value)
            case ast.ListComp(element, [ast.comprehension(ast.Name(id), source, [], 0)]):
                return self._comprehended(element, id, source)
        raise self._refusal(node)

    def _called(
        self, function: Callable[..., Any], arguments: list[ast.expr], keywords: list[ast.keyword]
    ) -> Any:
        named = {keyword.arg: self._evaluated(keyword.value) for keyword in keywords if keyword.arg}
        result = function(*(self._evaluated(argument) for argument in arguments), **named)
        return self._bounded(result)

    def _combined(self, kind: ast.operator, left: Any, right: Any) -> Any:
        if isinstance(kind, ast.LShift) and not (isinstance(right, int) and 0 <= right <= 64):
            raise ValueError("a shift over more bits")
        if isinstance(kind, ast.Mult):
            lengths = [len(side) for side in (left, right) if isinstance(side, list | tuple | str)]
            counts = [side for side in (left, right) if isinstance(side, int)]
            if lengths and max(counts, default=0) * lengths[0] > _MOST_ITEMS:
                raise ValueError("too many items")
        return _OPERATORS[type(kind)](left, right)

    def _comprehended(self, element: ast.expr, name: str, source: ast.expr) -> list[Any]:
        outside = dict(self._names)
        results = []
        for item in self._bounded(self._evaluated(source)):
            self._names[name] = item
            results.append(self._evaluated(element))
        self._names = outside
        return results

    @staticmethod
    def _bounded(value: Any) -> Any:
        if isinstance(value, range) and len(value) > _MOST_ITEMS:
            raise ValueError("too many items")
        return value

    def _refusal(self, node: ast.stmt | ast.expr) -> ConfigFileError:
        return ConfigFileError(
            f"configuration '{self._path}', line {node.lineno}",
            expected="plain values: literals, dict(), arithmetic, f-strings and earlier names",
            got=type(node).__name__,
            do="Write the value that this line computes.",
        )

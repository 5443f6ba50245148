"""The classes, members and parameters that Python sources or stubs declare."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

Parameters = dict[str, set[str]]  # function -> its parameters; of what is no function, none


@dataclass
class Declared:
    """A class: what it is derived from, and its members."""

    bases: list[str] = field(default_factory=list)
    members: Parameters = field(default_factory=dict)
    documentation: str = ""


Surface = dict[str, Declared]


def surface(files: Iterable[Path]) -> Surface:
    """The public classes of some files; module-level functions are the members of ``""``."""
    found: Surface = {"": Declared()}
    for path in files:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = _declared(node)
            else:
                _add(found[""].members, node)
    return found


def members(of: Surface, name: str) -> Parameters:
    """A class's own members and those of its bases."""
    inherited: Parameters = {}
    for base in of[name].bases:
        if base in of:
            inherited |= members(of, base)
    return inherited | of[name].members


def documented(declared: Declared) -> dict[str, list[str]]:
    """The methods that a class's documentation tells users to write, and their parameters."""
    found = re.findall(r"def (\w+)\((.*)\):", declared.documentation)
    return {name: parameters.split(", ") for name, parameters in found}


def _declared(node: ast.ClassDef) -> Declared:
    found = Declared(bases=[ast.unparse(base) for base in node.bases])
    found.documentation = ast.get_docstring(node) or ""
    for part in node.body:
        _add(found.members, part)
    for name in _set_by_methods(node):
        found.members.setdefault(name, set())
    return found


def _set_by_methods(node: ast.ClassDef) -> list[str]:
    attributes = (part for part in ast.walk(node) if isinstance(part, ast.Attribute))
    stored = (one for one in attributes if isinstance(one.ctx, ast.Store))
    return [one.attr for one in stored if ast.unparse(one.value) == "self"]


def _add(found: Parameters, node: ast.stmt) -> None:
    if isinstance(node, ast.FunctionDef):
        named = (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)
        setter = any(ast.unparse(one).endswith(".setter") for one in node.decorator_list)
        names = set() if setter else {one.arg for one in named} - {"self"}
        found[node.name] = found.get(node.name, set()) | names
    elif isinstance(node, ast.ClassDef):
        found[node.name] = set()
    elif isinstance(node, ast.AnnAssign):
        found.setdefault(ast.unparse(node.target), set())
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            found.setdefault(ast.unparse(target), set())

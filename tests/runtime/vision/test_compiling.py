"""Compiled code reads no memory but its arrays', whatever it is called with.

The functions are found by a scan, so that a new one is tested too.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest

from backends.contract import Array, TensorError
from deploy.models.yolov3.anchors import ANCHORS
from deploy.models.yolov3.decoding import (
    CompiledMapDecoder,
    NumpyMapDecoder,
    Thresholds,
    make_map_decoder,
)
from deploy.runtime.vision import compiling
from deploy.runtime.vision.argument_rules import ArrayOf, Each, Least, Number, Rule
from deploy.runtime.vision.compiling import (
    CompiledFunction,
    can_compile,
    compiled,
    declared_rules,
    without_compiling,
)
from deploy.runtime.vision.nms import compiled_nms

ROOT = Path(__file__).parents[3]


def modules() -> Iterator[tuple[str, ast.Module]]:
    for folder in ("deploy", "backends"):
        for path in (ROOT / folder).rglob("*.py"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            yield name.removesuffix(".__init__"), ast.parse(path.read_text())


def names_of(node: ast.AST) -> set[str]:
    """Every name and attribute in a piece of code."""
    parts = [*ast.walk(node)]
    names = {part.id for part in parts if isinstance(part, ast.Name)}
    return names | {part.attr for part in parts if isinstance(part, ast.Attribute)}


def compiled_functions() -> list[tuple[str, str]]:
    """Module and name of every function that ``compiled`` decorates."""
    return [
        (module, node.name)
        for module, tree in modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        if any("compiled" in names_of(decorator) for decorator in node.decorator_list)
    ]


def function(module: str, name: str) -> CompiledFunction:
    found = getattr(importlib.import_module(module), name)
    assert isinstance(found, CompiledFunction)
    return found


FUNCTIONS = compiled_functions()
EVERY = pytest.mark.parametrize(("module", "name"), FUNCTIONS, ids=[name for _, name in FUNCTIONS])


def test_the_scan_finds_them():
    assert {name for _, name in FUNCTIONS} >= {"greedy", "decode_maps", "find_candidates"}


def test_nothing_is_compiled_but_by_this_decorator():
    here = compiling.__name__
    users = {module for module, name in imports() if name in (here, f"{here}.compiled")}
    assert {module for module, name in imports() if name.split(".")[0] == "numba"} == {here}
    assert users == {module for module, _ in FUNCTIONS}


def imports() -> Iterator[tuple[str, str]]:
    """Each module of this project, with the name of everything that it imports."""
    for module, tree in modules():
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                yield from ((module, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                yield from ((module, f"{node.module}.{alias.name}") for alias in node.names)


class Sizes(dict[str, int]):
    """A size for every name; small, and each another one."""

    def __init__(self, rs: np.random.RandomState, low: int = 1) -> None:
        self._rs, self._low = rs, low

    def __missing__(self, name: str) -> int:
        taken = set(self.values())
        free = [size for size in range(self._low, self._low + 12) if size not in taken]
        self[name] = int(self._rs.choice(free))
        return self[name]

    def of(self, size: Any) -> int:
        if isinstance(size, Least):
            self[size.name] = max(size.low, self[size.name])
            return self[size.name]
        return self[size] if isinstance(size, str) else 3 if size is None else size


def valid(rule: Rule, sizes: Sizes, rs: np.random.RandomState) -> Any:
    """An argument that a rule accepts."""
    if isinstance(rule, Number):
        return 5 if rule.whole else 0.3
    if isinstance(rule, Each):
        return tuple(valid(rule.item, sizes, rs) for _ in range(sizes.of(rule.count)))
    assert isinstance(rule, ArrayOf)
    shape = [sizes.of(size) for size in rule.shape]
    if rule.index_of:
        return rs.randint(sizes[rule.index_of], size=shape)
    return rs.normal(0, 3, shape).astype(dtype_of(rule))


def dtype_of(rule: ArrayOf) -> str:
    return str(rule._dtype or "float32")


def arguments(of: CompiledFunction, seed: int = 0) -> tuple[list[Any], Sizes]:
    rs = np.random.RandomState(seed)
    sizes = Sizes(rs)
    for rule in of.rules.values():  # bounds first, so that all arrays have these sizes
        valid(rule, sizes, rs)
    return [valid(rule, sizes, rs) for rule in of.rules.values()], sizes


def uses(rule: Rule) -> list[str]:
    """The named sizes of a rule's axes, which are one size in all arguments."""
    if isinstance(rule, Each):
        count = [rule.count] if isinstance(rule.count, str) else []
        return [*count, *uses(rule.item)]
    if not isinstance(rule, ArrayOf):
        return []
    names = [size.name if isinstance(size, Least) else size for size in rule.shape]
    return [name for name in names if isinstance(name, str)]


def wrong(rule: Rule, value: Any, shared: set[str]) -> Iterator[Any]:
    """Arguments that a rule does not accept, each near to one that it accepts."""
    yield from (None, "text", [value], object())
    if isinstance(rule, Number):
        yield from [np.zeros(2), True, *([1.5, 10**30, -(10**30)] if rule.whole else [])]
    elif isinstance(rule, Each):
        if isinstance(rule.count, int) or rule.count in shared:
            yield from (value[:-1], (*value, value[0]), ())
        for index in range(len(value)):
            items = list(value)
            within = shared | set(uses(rule.item)) if len(value) > 1 else shared
            for item in wrong(rule.item, value[index], within):
                yield (*items[:index], item, *items[index + 1 :])
    elif isinstance(rule, ArrayOf):
        yield from wrong_arrays(rule, value, shared)


def wrong_arrays(rule: ArrayOf, value: Array, shared: set[str]) -> Iterator[Any]:
    yield from (value[None], value[..., None], value.tolist())
    if value.ndim:
        yield value[0]
    if rule._dtype is not None:
        yield from (value.astype("float64"), value.astype("int8"), value.astype(object))
    for axis, size in enumerate(rule.shape):
        name = size.name if isinstance(size, Least) else size
        if isinstance(size, int) or name in shared:
            count = value.shape[axis]
            for other in {0, 1, count - 1, count + 1, 2 * count} - {count}:
                yield np.resize(value, (*value.shape[:axis], other, *value.shape[axis + 1 :]))
        elif isinstance(size, Least):
            for other in range(size.low):
                yield value.take(range(other), axis)
    if rule.index_of:
        for index in (-1, 10**6, 2**62, -(2**62), -(2**63), 2**63 - 1):
            outside = value.copy()
            outside[-1] = index
            yield outside


@EVERY
def test_it_runs_with_what_its_declarations_accept(module, name):
    of = function(module, name)
    for seed in range(3):
        of(*arguments(of, seed)[0])


@EVERY
def test_every_wrong_rank_size_dtype_and_index_is_one_error_that_names_the_argument(module, name):
    of = function(module, name)
    good, _ = arguments(of)
    mentions = Counter(size for rule in of.rules.values() for size in uses(rule))
    shared = {size for size, count in mentions.items() if count > 1}
    tried = 0
    for index, (argument, rule) in enumerate(of.rules.items()):
        for bad in wrong(rule, good[index], shared):
            with pytest.raises(TensorError, match=f" of {name}: expected .*, got ") as raised:
                of(*good[:index], bad, *good[index + 1 :])
            assert argument in str(raised.value) or shared
            tried += 1
    assert tried >= 4 * len(good)
    assert of(*good) is not None  # nothing of it was written to


@EVERY
@pytest.mark.parametrize("seed", range(6))
def test_within_its_declarations_it_stays_within_its_arrays(module, name, seed):
    """Python itself checks every index of the same code."""
    of = function(module, name)
    good, _ = arguments(of, seed)
    with np.errstate(all="ignore"):
        of.machine_code.py_func(*good)


@EVERY
def test_another_number_of_arguments_is_refused(module, name):
    of = function(module, name)
    with pytest.raises(TensorError, match=f"arguments of {name}: expected {len(of.rules)}, got 0"):
        of()


def test_an_argument_that_declares_nothing_is_refused_at_import():
    def total(values: Array, most: int) -> float:
        return float(values[:most].sum())

    with pytest.raises(TypeError, match="argument 'values' of total declares no rule"):
        compiled(total)


def test_what_a_function_relies_on_is_in_its_signature():
    def total(values: Annotated[Array, ArrayOf("float32", "n")], pair: tuple[float, float]) -> None:
        """Nothing."""

    # annotations are texts here, and these names are local
    total.__annotations__ = dict(inspect.get_annotations(total, eval_str=True))
    assert list(map(str, declared_rules(total).values())) == [
        "float32[n]",
        "a tuple of 2 times a number",
    ]


@pytest.mark.parametrize(
    "half",
    [np.zeros((3, 3, 1)), np.zeros((3, 3)), np.zeros((3, 0, 2)), np.zeros((2, 3, 2)), np.zeros(0)],
)
def test_a_decoder_is_not_made_with_other_anchors(half):
    with pytest.raises(TensorError, match=r"anchors: expected \[3, 1 or more, 2\], got"):
        CompiledMapDecoder(half.astype(np.float32), Thresholds())


def test_a_decoder_refuses_other_maps():
    decode = CompiledMapDecoder(np.array(ANCHORS["darknet53"], np.float32) / 2, Thresholds())
    maps = [np.zeros((3 * 7, 2, 2), np.float32)] * 3
    decode(maps)
    with pytest.raises(TensorError, match=r"maps of decode_maps: .*attributes >= 5, any\], got"):
        decode([np.zeros((3 * 4, 2, 2), np.float32)] * 3)
    with pytest.raises(TensorError, match=r"half of decode_maps: expected .*, where levels = 2"):
        decode(maps[:2])


@pytest.mark.parametrize(
    ("boxes", "scores", "labels"), [(2, 3, 3), (3, 4, 3), (3, 3, 2), (0, 1, 1)]
)
def test_suppression_takes_as_many_boxes_as_scores_and_labels(boxes, scores, labels):
    with pytest.raises(TensorError, match=r"(order|labels) of greedy: expected int64"):
        compiled_nms()(np.zeros((boxes, 4)), np.zeros(scores), np.zeros(labels, int), 0.5, 10)


def test_a_block_without_compiling_runs_in_numpy_and_so_do_its_children(monkeypatch):
    monkeypatch.setattr(compiling, "_is_installed", lambda: True)
    half = np.array(ANCHORS["darknet53"], np.float32) / 2
    assert can_compile()
    with without_compiling():
        assert not can_compile()
        with without_compiling():
            pass
        assert not can_compile()
        assert isinstance(make_map_decoder(half, Thresholds()), NumpyMapDecoder)
        code = "from deploy.runtime.vision.compiling import can_compile; print(can_compile())"
        child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert child.stdout == "False\n"
    assert can_compile()


def test_a_compilation_that_takes_long_is_announced(monkeypatch, caplog):
    monkeypatch.setattr(compiling, "_NOTICE_AFTER", 0.05)
    monkeypatch.setattr(compiling, "_machine_code", lambda function: function)

    @compiled
    def slow(count: int) -> int:
        time.sleep(0.3)
        return count

    assert slow(3) == 3
    assert "compiling host steps to machine code, once per installation" in caplog.text
    caplog.clear()
    assert slow(4) == 4
    assert not caplog.text

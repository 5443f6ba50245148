"""What NVIDIA's backends call, and what their doubles answer to, is as in its own bindings."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.backends.tensorrt import bindings
from tests.backends.tensorrt.programs import (
    EXPRESSIONS,
    OF_ITS_OWN,
    REMOVED,
    RTX_EXPRESSIONS,
    RTX_HELPERS,
    RTX_WRONG,
    VALUES,
    WRONG,
)
from tests.backends.tensorrt.surface import Surface, documented, members, surface

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SITE = ROOT / "tests" / "simulator" / "site"
OLDER = {"reallocate_output"}  # methods that newer ones replace


def ours(version: str) -> list[Path]:
    """Our files that call this version."""
    rooms = ("nvidia", "tensorrt_rtx" if version == bindings.RTX else "tensorrt")
    return [path for room in rooms for path in sorted((ROOT / "backends" / room).glob("*.py"))]


def package(version: str) -> str:
    """The package of the double of this version."""
    return "tensorrt_rtx_bindings" if version == bindings.RTX else "tensorrt"


@pytest.fixture(params=[*bindings.VERSIONS, bindings.RTX])
def version(request) -> str:
    return request.param


@pytest.fixture
def real(version) -> Surface:
    """What NVIDIA's module declares."""
    return surface(bindings.stub_files(version))


@pytest.fixture
def double(version) -> Surface:
    """What the double declares, in files of its own and in those that it shares."""
    folders = (SITE / "tensorrt", SITE / package(version))
    files = {path.name: path for folder in folders for path in sorted(folder.glob("*.py"))}
    return surface(files.values())


@pytest.mark.parametrize("version", [*bindings.VERSIONS, bindings.JETPACK_6, bindings.RTX])
def test_every_call_of_ours_is_one_of_nvidias(version):
    assert bindings.mypy(version, ours(version)) == []


def test_a_wrong_call_is_found(version, tmp_path):
    removed = REMOVED if version >= "11" else ""
    of_rtx = RTX_WRONG if version == bindings.RTX else ""
    for name, text in (("wrong", WRONG), ("removed", removed), ("of_rtx", of_rtx)):
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        found = {int(line.split(":")[1]) for line in bindings.mypy(version, [path])}
        lines = enumerate(text.splitlines(), start=1)
        assert found == {number for number, line in lines if line.endswith("# wrong")}


def test_tensorrt_10_still_has_what_11_removed(tmp_path):
    path = tmp_path / "removed.py"
    path.write_text(REMOVED)
    assert bindings.mypy("10.16.1.11", [path]) == []


def test_what_tensorrt_calls_back_has_the_right_names(version, real):
    checked = 0
    for name, base, methods in derived(ours(version)):
        wanted = documented(real[base])
        assert wanted, base
        for method in wanted.keys() - OLDER - {"__init__"}:
            assert methods.get(method) == wanted[method], f"{name}.{method}"
            checked += 1
    assert checked >= 3


def derived(files: list[Path]) -> Iterator[tuple[str, str, dict[str, list[str]]]]:
    """Our classes that derive from TensorRT's, and the parameters of their methods."""
    for path in files:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.ClassDef):
                continue
            functions = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            methods = {one.name: [named.arg for named in one.args.args] for one in functions}
            for base in map(ast.unparse, node.bases):
                if base.startswith("trt."):
                    yield node.name, base.removeprefix("trt."), methods


def test_the_double_has_nothing_of_its_own(version, real, double):
    public = exported(package(version))
    assert len(public) > 30
    own = [name for name in public if name not in real and name not in members(real, "")]
    for name in public & double.keys():
        own += [f"{name}.{member}" for member in strangers(real, double, name)]
    functions = public & members(double, "").keys()
    own += sorted(f"{name}()" for name in functions if not same(real, double, "", name))
    assert own == []


def test_something_of_its_own_would_be_found(real, tmp_path):
    path = tmp_path / "double.py"
    path.write_text(OF_ITS_OWN)
    double = surface([path])
    found = [f"{name}.{one}" for name in double if name for one in strangers(real, double, name)]
    assert sorted(found) == ["Builder.build", "Builder.create_network", "Builder.own", "Dims.FEW"]


def exported(package: str) -> set[str]:
    """The double's public names."""
    for node in ast.parse((SITE / package / "__init__.py").read_text()).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    raise AssertionError("no __all__")


def strangers(real: Surface, double: Surface, name: str) -> Iterator[str]:
    """Members of a class of the double that the real one lacks, or with other parameters."""
    for member in members(double, name):
        # most of the real ones are made by others, and have no constructor
        made = member == "__init__" and member in members(real, name)
        if (made or not member.startswith("_")) and not same(real, double, name, member):
            yield member


def same(real: Surface, double: Surface, name: str, member: str) -> bool:
    called_back = documented(real[name]).get(member)
    theirs = members(real, name).get(member, called_back)
    return theirs is not None and members(double, name)[member] <= set(theirs)


def test_the_double_answers_as_nvidias_module(version, double):
    numbers = [
        f"int(trt.{name}.{member})"
        for name in exported(package(version)) & double.keys()
        if {"Named", "Ordered"} & set(double[name].bases)
        for member in double[name].members
        if member.isupper()
    ]
    assert len(numbers) > 60
    code = program([*EXPRESSIONS.strip().splitlines(), *numbers])
    if version == bindings.RTX:
        code = rtx_program([*EXPRESSIONS.strip().splitlines(), *numbers])
    theirs, ours = bindings.run_with_bindings(version, code), run_with_double(version, code)
    assert answers(ours) == answers(theirs)


def answers(printed: str) -> dict[str, str]:
    """What a program found; NVIDIA's own logger prints before it."""
    found: dict[str, str] = json.loads(printed.splitlines()[-1])
    return found


def program(asked: list[str]) -> str:
    """What prints the values of expressions."""
    return VALUES.replace("ASKED", repr(asked))


def rtx_program(asked: list[str]) -> str:
    """The same with TensorRT for RTX, and with expressions for it alone."""
    package = "tensorrt_rtx_bindings"
    code = program([*asked, *RTX_EXPRESSIONS.strip().splitlines()])
    code = code.replace("from tensorrt import", f"from {package} import")
    code = code.replace("import tensorrt as", f"import {package} as")
    return code.replace("class Uninitialised", f"{RTX_HELPERS}\nclass Uninitialised")


def run_with_double(version: str, code: str) -> str:
    asked = {**os.environ, "PYTHONPATH": str(SITE)}
    if version == bindings.RTX:
        asked["SIM_CUDA_DEVICES"] = ""  # NVIDIA's module sees no GPU here either
    else:
        asked["SIM_TENSORRT_VERSION"] = version
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=asked)
    assert done.returncode == 0, done.stderr
    return done.stdout

"""The program for a device needs a bare Python alone."""

from __future__ import annotations

import ast
import sys
import tomllib
from pathlib import Path

import pytest

from deploy.devices.device_program import device_program
from deploy.devices.session import LEAST_PYTHON, start_line

ROOT = Path(__file__).parents[2]
PACKAGE = "deploy.devices.on_device"
SOURCES = sorted((ROOT / PACKAGE.replace(".", "/")).glob("*.py"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_it_imports_the_standard_library_and_its_own_modules_alone(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        for name in names:
            assert name.split(".")[0] in sys.stdlib_module_names or name.startswith(PACKAGE)


def test_the_text_has_every_module():
    text = device_program("~/chain")
    for path in SOURCES:
        assert path.stem == "__init__" or f"'{PACKAGE}.{path.stem}'" in text


def test_the_oldest_python_is_the_projects():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["requires-python"] == f">={'.'.join(map(str, LEAST_PYTHON))}"


def test_the_first_line_is_for_every_shell():
    assert not set(start_line()) & set("'!\\\n$`")

"""The examples in docstrings run, and every public name has one and stands in the API reference."""

from __future__ import annotations

import doctest
import inspect
import re
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest

from deploy.runtime import DeployError
from tests.helpers.commands import output_of

ROOT = Path(__file__).parent.parent
PUBLIC = (
    "deploy.mark",
    "deploy.rewrite",
    "deploy.runtime",
    "backends.contract",
    "backends.error_metrics",
    "backends.options",
)
SCENE = ROOT / "deploy" / "models" / "yolov3" / "demo" / "samples" / "scene_00.png"


def with_examples() -> list[str]:
    """Every module of both packages that has an example somewhere."""
    files = [path for top in ("backends", "deploy") for path in (ROOT / top).rglob("*.py")]
    parts = [
        path.relative_to(ROOT).with_suffix("").parts for path in files if ">>> " in path.read_text()
    ]
    return sorted(".".join(names).removesuffix(".__init__") for names in parts)


def public_names(module: ModuleType) -> dict[str, object]:
    """The classes and functions that a user may import from a module."""
    names = getattr(module, "__all__", None) or [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]
    values = {name: getattr(module, name) for name in names}
    return {name: v for name, v in values.items() if inspect.isclass(v) or inspect.isroutine(v)}


def has_example(value: object) -> bool:
    """Whether its docstring, or that of a public member of the class, has an example."""
    members = vars(value).items() if inspect.isclass(value) else ()
    parts = [value, *(member for name, member in members if not name.startswith("_"))]
    return any(">>> " in (inspect.getdoc(part) or "") for part in parts)


def needs_example(value: object) -> bool:
    """Errors below ``DeployError`` are raised by the project alone."""
    return not (inspect.isclass(value) and issubclass(value, DeployError)) or value is DeployError


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Where the examples run: a bundle of the demo and a picture, under the names that they use."""
    folder = tmp_path_factory.mktemp("examples")
    (folder / "photo.jpg").write_bytes(SCENE.read_bytes())
    words = ["+model=yolov3", "+backend=onnxruntime", f"bundle={folder / 'bundles' / 'yolov3'}"]
    output_of("deploy", *words, "verify.images=1", "bench.runs=0", cwd=folder)
    return folder


@pytest.mark.parametrize("name", with_examples())
def test_the_examples_of_a_module_run(name, request, monkeypatch, tmp_path):
    module = import_module(name)
    source = Path(inspect.getfile(module)).read_text()
    assert "+SKIP" not in source, "an example that does not run shows nothing"
    assert not re.search(r"^ +Example:$", source, flags=re.MULTILINE), (
        "write 'Examples:', the section that the API reference knows"
    )
    monkeypatch.chdir(request.getfixturevalue("folder") if "bundles/" in source else tmp_path)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.attempted and not result.failed


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_has_an_example(name):
    names = public_names(import_module(name))
    assert names
    lacking = [f"{name}.{k}" for k, v in names.items() if needs_example(v) and not has_example(v)]
    assert not lacking, f"write an example (>>>) in the docstring of {', '.join(lacking)}"


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_name_stands_in_the_api_reference(name):
    pages = "".join(path.read_text() for path in (ROOT / "docs" / "reference").glob("*.md"))
    listed = set(re.findall(r"^::: (\S+)", pages, flags=re.MULTILINE))
    names = {f"{name}.{public}" for public in public_names(import_module(name))}
    assert name in listed or names <= listed, f"not in docs/reference: {sorted(names - listed)}"

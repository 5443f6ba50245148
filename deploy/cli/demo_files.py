"""The files of the demo models: beside their code, or in a distribution of their own."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

from deploy.recipe.schema import RecipeError

_MODELS = Path(__file__).resolve().parents[1] / "models"
_PACKAGE = "backend_chain_demo"  # of deploy/models/pyproject.toml


def demo_file(name: str) -> str:
    """The path of a demo model's file or folder, which ``${asset:NAME}`` in YAML stands for.

    Args:
        name: such as ``yolov3/demo/weights.safetensors``.

    Raises:
        RecipeError: it is nowhere; the text says what to install.
    """
    for folder in _folders():
        if (folder / name).exists():
            return str(folder / name)
    raise RecipeError(
        f"'{name}' of the demo is not installed",
        do="Run in the repository: pip install ./deploy/models (or with a wheel: pip install "
        "backend_chain_demo-VERSION-py3-none-any.whl). Or pass files of your own.",
    )


def _folders() -> Iterator[Path]:
    yield _MODELS
    spec = find_spec(_PACKAGE)
    yield from map(Path, (spec and spec.submodule_search_locations) or ())

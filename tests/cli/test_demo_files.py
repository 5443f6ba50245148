"""The files of the demo are found in a clone and in a distribution of their own."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import pytest

from deploy.cli import demo_files
from deploy.cli.compose import compose
from deploy.cli.demo_files import demo_file
from deploy.recipe.schema import RecipeError

ROOT = Path(__file__).parents[2]
WEIGHTS = "yolov3/demo/weights.safetensors"


def test_a_clone_has_them_beside_the_models():
    assert Path(demo_file(WEIGHTS)) == ROOT / "deploy" / "models" / WEIGHTS


def test_without_them_the_error_says_what_to_install_and_own_files_need_none(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_files, "_MODELS", tmp_path)
    message = (
        f"^model.weights: '{WEIGHTS}' of the demo is not installed.*pip install ./deploy/models"
    )
    with pytest.raises(RecipeError, match=message):
        compose(["+model=yolov3"])
    own = ("model.weights=mine.pt", "model.samples=pictures", "model.eval=null")
    assert compose(["+model=yolov3", *own]).model.weights == "mine.pt"


def test_the_distribution_of_the_demo_is_found(monkeypatch, tmp_path):
    monkeypatch.setattr(demo_files, "_MODELS", tmp_path / "nowhere")
    weights = tmp_path / "backend_chain_demo" / WEIGHTS
    weights.parent.mkdir(parents=True)
    weights.touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    assert Path(demo_file(WEIGHTS)) == weights


def test_both_distributions_are_of_one_version_and_every_demo_is_in_the_second():
    files = (ROOT / "pyproject.toml", ROOT / "deploy" / "models" / "pyproject.toml")
    main, demo = (tomllib.loads(file.read_text()) for file in files)
    assert main["project"]["version"] == demo["project"]["version"]
    models = ROOT / "deploy" / "models"
    folders = {str(path.relative_to(models)) for path in models.glob("*/demo")}
    assert folders == demo["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"].keys()

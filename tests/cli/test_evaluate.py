"""A chain beside the model that it was made of, on a COCO set."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from deploy.cli.compose import compose, from_plain
from deploy.cli.main import run_command
from deploy.pipeline.build_record import read_build_record, write_build_record
from deploy.recipe.schema import RecipeError
from tests.helpers.commands import BACKENDS, output_of

WORDS = ["+model=yolov3", f"+backend={BACKENDS[0]}"]


@pytest.fixture(scope="module")
def evaluated_bundle(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("evaluated")
    output_of("deploy", *WORDS, "bench.runs=0", "bundle=b", cwd=folder)
    return folder / "b"


def refusal(*words: object) -> str:
    with pytest.raises(SystemExit) as ended:
        run_command("evaluate", [*map(str, words)])
    assert str(ended.value.code).startswith("error: ")
    return str(ended.value.code)


def test_both_are_evaluated_on_the_models_own_set(evaluated_bundle):
    said = output_of(
        "deploy", "evaluate", evaluated_bundle, "--limit", 4, cwd=evaluated_bundle.parent
    )
    assert said.splitlines()[0].split() == ["chain", "PyTorch"]
    title, *scores = said.splitlines()[1].rsplit(maxsplit=2)
    assert title == "boxes mAP@.5:.95"
    assert scores[0] == scores[1] and float(scores[0]) > 0.7
    assert said.count("per second over 4 runs") == 2


def test_the_report_has_the_figures_of_both(evaluated_bundle):
    data = Path(compose(WORDS).model.eval)
    words = ["deploy", "evaluate", evaluated_bundle, data, "--limit", 2, "--json", "-"]
    said = output_of(*words, cwd=evaluated_bundle.parent)
    report = json.loads(said)
    assert report["chain"]["scores"] == pytest.approx(report["model"]["scores"], abs=1e-3)
    assert "yolov3" in report["chain"]["milliseconds"]
    assert list(report["model"]["milliseconds"]) == ["decode", "pre", "model", "post", "total"]


@pytest.mark.parametrize("model", ["yolov3", "mask_rcnn", "seq2seq", "resnet", "unet"])
def test_a_recipe_comes_back_as_it_was(model, tmp_path):
    recipe = compose([f"+model={model}", f"+backend={BACKENDS[0]}"])
    (tmp_path / "b.work").mkdir()
    write_build_record(tmp_path / "b.work", recipe, {"x": "image"})
    given, points = read_build_record(tmp_path / "b")
    assert asdict(from_plain(given)) == asdict(recipe)
    assert points == {"x": "image"}


def test_without_the_folder_beside_it_the_device_command_is_named(evaluated_bundle, tmp_path):
    shutil.copytree(evaluated_bundle, tmp_path / "alone")
    said = refusal(tmp_path / "alone")
    assert f"expected '{tmp_path / 'alone.work' / 'made.json'}'" in said
    assert "FileNotFoundError" in said and "python -m deploy.runtime eval" in said


def test_a_model_without_a_set_of_its_own_needs_one(evaluated_bundle, tmp_path):
    shutil.copytree(evaluated_bundle, tmp_path / "b")
    work = tmp_path / "b.work"
    work.mkdir()
    recipe = compose([*WORDS, "model.eval=null"])
    write_build_record(work, recipe, {})
    assert "no data set: expected DATASET," in refusal(tmp_path / "b")


def test_a_recipe_of_another_version_is_refused_by_its_key():
    with pytest.raises(RecipeError, match="Key 'colour' not in 'ModelRecipe'"):
        from_plain({"model": {"name": "n", "colour": "red"}, "backend": {"name": "b"}})

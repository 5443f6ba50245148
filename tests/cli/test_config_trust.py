"""Configuration that somebody else wrote sets values, and runs nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from deploy.cli.compose import compose
from deploy.cli.config_trust import check_folder
from deploy.pipeline.build_record import read_build_record, write_build_record
from deploy.recipe.output_paths import WorkFile
from deploy.recipe.schema import RecipeError
from tests.helpers.commands import BACKENDS, error_of

MODEL = """\
defaults: [module]
name: theirs
target: os:system
params: {command: touch ran}
inputs: {x: {shape: [1, 3]}}
"""
WORDS = ["deploy", "--config-dir", "theirs", "+model=theirs", f"+backend={BACKENDS[0]}"]


@pytest.fixture
def untrusted_folder(tmp_path) -> Path:
    """A working folder with a stranger's configuration in it."""
    (tmp_path / "theirs" / "model").mkdir(parents=True)
    (tmp_path / "theirs" / "model" / "theirs.yaml").write_text(MODEL)
    return tmp_path


def write(folder: Path, text: str, name: str = "recipe/theirs.yaml") -> None:
    path = folder / "theirs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_code_that_a_file_names_does_not_run(untrusted_folder):
    error = error_of(*WORDS, cwd=untrusted_folder)
    assert "model.target=os:system is code that a configuration file names, not the comm" in error
    assert "If you know what it does, add code=os to the command line" in error
    assert not (untrusted_folder / "ran").exists()


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("name: theirs\ntarget: deploy.models.yolov3.build:YOLOv3\n"
         "params: {backbone: {target: os:system, params: {command: touch ran}}}\n",
         "model.params.backbone.target=os:system"),
        ("name: theirs\ntarget: deploy.models.yolov3.build:YOLOv3\nrewrites: [evil]\n",
         "model.rewrites=evil"),
        ("name: theirs\ntarget: deploy.models.yolov3.build:YOLOv3\nreaders: {.w: 'os:system'}\n",
         "model.readers=os:system"),
    ],
)  # fmt: skip
def test_no_key_of_a_recipe_reaches_code_by_itself(untrusted_folder, text, key):
    write(untrusted_folder, text, "model/theirs.yaml")
    with pytest.raises(RecipeError, match=f"{key} is code that a configuration file names"):
        compose(WORDS[3:], untrusted_folder / "theirs")


def test_a_file_cannot_allow_its_own_code(untrusted_folder):
    write(untrusted_folder, "# @package _global_\ncode: [os]\n")
    error = error_of(*WORDS, "+recipe=theirs", cwd=untrusted_folder)
    assert "model.target=os:system is code that a configuration file names" in error


@pytest.mark.parametrize("word", ["code=os", "code=[torch.nn, os]", "model.target=os:system"])
def test_code_that_the_command_line_names_is_the_users_own(untrusted_folder, word):
    words = [*WORDS[3:], word]
    assert compose(words, untrusted_folder / "theirs").model.target == "os:system"


CALLBACK = "callbacks: {theirs: {_target_: os.system, command: touch ran}}"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("recipe/theirs.yaml", f"# @package _global_\nhydra:\n  {CALLBACK}\n"),
        ("recipe/theirs.yaml", f"# @package hydra\n{CALLBACK}\n"),
        ("recipe/theirs.yaml", "# @package hydra.launcher\n_target_: os.system\n"),
        ("recipe/theirs.yaml", '# @package _global_\n"h\\u0079dra": {verbose: true}\n'),
        ("recipe/theirs.yaml", "defaults: [{override /hydra/launcher: theirs}]\n"),
        ("recipe/theirs.yaml", "defaults: ['/model@hydra.callbacks: theirs']\n"),
        ("hydra/callbacks/theirs.yaml", CALLBACK),
    ],
)
def test_a_file_cannot_reach_into_hydra(untrusted_folder, name, text):
    write(untrusted_folder, text, name)
    with pytest.raises(RecipeError, match="sets what Hydra itself does: expected values of a rec"):
        check_folder(untrusted_folder / "theirs")


def test_no_folder_that_hydra_is_given_goes_unseen(untrusted_folder):
    write(untrusted_folder, f"# @package _global_\nhydra:\n  {CALLBACK}\n")
    for words in (WORDS, ["deploy", "+model=yolov3", "hydra.searchpath=['file://theirs']"]):
        assert "sets what Hydra itself does" in error_of(*words, cwd=untrusted_folder)
    assert not (untrusted_folder / "ran").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!python/object/apply:os.system ['touch ran']", "is not readable: could not determ"),
        ("a: &a [x,x,x,x,x,x,x,x,x]\n"
         + "\n".join(f"{n}: &{n} [*{m},*{m},*{m},*{m},*{m},*{m},*{m},*{m},*{m}]"
                     for m, n in zip("abcdefg", "bcdefgh", strict=True)), "more than 100,000 val"),
        ("[" * 5000, "is not readable"),
        ("a: " + "x" * (1 << 21), "expected a file of at most 1 MiB"),
        ("a: [", "is not readable"),
    ],
)  # fmt: skip
def test_yaml_that_is_meant_to_do_harm_is_refused(tmp_path, text, message):
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        check_folder(tmp_path)


def test_what_a_bundle_was_made_of_counts_only_where_this_user_wrote_it(tmp_path):
    recipe = compose(["+model=yolov3", f"+backend={BACKENDS[0]}"])
    work = tmp_path / "b.work"
    work.mkdir()
    write_build_record(work, recipe, {"x": "image"})
    assert read_build_record(tmp_path / "b", trusted=False)[1] == {"x": "image"}
    made = json.loads((work / WorkFile.BUILD_RECORD).read_text())
    made["recipe"]["model"]["target"] = "os:system"
    (work / WorkFile.BUILD_RECORD).write_text(json.dumps(made))
    message = r"was not written by a run of yours on this machine, .* code \(os:system\)"
    with pytest.raises(RecipeError, match=message):
        read_build_record(tmp_path / "b", trusted=False)
    assert read_build_record(tmp_path / "b", trusted=True)[0]["model"]["target"] == "os:system"

"""Configuration that somebody else wrote sets values, and runs nothing."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from deploy.cli.compose import compose
from deploy.cli.config_trust import check_arguments, check_folders
from deploy.pipeline.build_record import read_build_record, write_build_record
from deploy.recipe.output_paths import WorkFile
from deploy.recipe.schema import RecipeError
from deploy.recipe.shipped import conf_folder
from tests.fuzzing import trees
from tests.fuzzing.configurations import FOLDER, configuration_tree
from tests.fuzzing.draw import Draw
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
        ("recipe/theirs.yaml", f" # @package hydra\n{CALLBACK}\n"),
        ("recipe/theirs.yaml", f"# a comment\u2028# @package hydra\n{CALLBACK}\n"),
        ("recipe/theirs.yaml", f"\ufeff# @package hydra\n{CALLBACK}\n"),
        ("recipe/theirs.yaml", "# @package hydra.launcher\n_target_: os.system\n"),
        ("recipe/theirs.yaml", '# @package _global_\n"h\\u0079dra": {verbose: true}\n'),
        ("recipe/theirs.yaml", "# @package _global_\nmodel: {params: {_target_: os.system}}\n"),
    ],
)
def test_a_file_cannot_reach_into_hydra(untrusted_folder, name, text):
    write(untrusted_folder, text, name)
    with pytest.raises(RecipeError, match="recipe/theirs' sets what Hydra itself does: expected v"):
        judge(untrusted_folder)


@pytest.mark.parametrize(
    "text",
    [
        "defaults: [{override /hydra/job_logging: theirs}]\n",
        "# @package _global_\ndefaults: [{override /hydra/launcher: theirs}]\n",
        "defaults: ['/model@hydra.callbacks: theirs']\n",
        "defaults: [{/hydra/callbacks@hydra.callbacks: theirs}]\n",
        "# @package _global_\ndefaults: [{override /hydra/output: theirs}]\n",
    ],
)
def test_a_list_of_defaults_cannot_change_hydra(untrusted_folder, text):
    for group in ("launcher", "job_logging", "callbacks", "output"):
        write(untrusted_folder, CALLBACK, f"hydra/{group}/theirs.yaml")
    write(untrusted_folder, text)
    with pytest.raises((RecipeError, HydraException), match=r"what Hydra itself does|Could not"):
        judge(untrusted_folder)


def test_the_shipped_choice_of_logging_wins(untrusted_folder):
    write(untrusted_folder, CALLBACK, "hydra/job_logging/theirs.yaml")
    write(
        untrusted_folder,
        "# @package _global_\ndefaults: [{override /hydra/job_logging: theirs}]\n",
    )
    judge(untrusted_folder)


def judge(folder: Path, *words: str, mode: RunMode = RunMode.RUN) -> None:
    """What becomes of a recipe of the untrusted folder."""
    check_folders([folder / "theirs"], ["+model=yolov3", "+recipe=theirs", *words], mode)


def test_files_that_include_each_other_are_one_error(untrusted_folder):
    write(untrusted_folder, "defaults: [theirs]\n")
    with pytest.raises(RecipeError, match="its lists of defaults include each other"):
        judge(untrusted_folder)


def test_a_file_that_is_reached_through_a_link_is_refused(untrusted_folder):
    write(untrusted_folder, CALLBACK, "elsewhere/theirs.yaml")
    (untrusted_folder / "theirs" / "recipe").symlink_to("elsewhere")
    with pytest.raises(RecipeError, match="recipe': expected a file of its folder, got a link"):
        judge(untrusted_folder)


def test_what_a_sweep_chooses_is_looked_at_job_by_job(untrusted_folder):
    write(untrusted_folder, "# @package _global_\nbench: {runs: 0}\n", "recipe/good.yaml")
    write(untrusted_folder, f"# @package hydra\n{CALLBACK}\n", "recipe/evil.yaml")
    folders, words = [untrusted_folder / "theirs"], ["+model=yolov3", "+recipe=good,evil"]
    with pytest.raises(RecipeError, match="evil' sets what Hydra itself does"):
        check_folders(folders, words, RunMode.MULTIRUN)
    check_folders(folders, ["+model=yolov3", "+recipe=good"], RunMode.MULTIRUN)
    for sweep in ("-m", "hydra.mode=MULTIRUN"):
        words = ["--config-dir", "theirs", "+model=yolov3", "+recipe=good,evil", sweep]
        error = error_of("deploy", *words, cwd=untrusted_folder)
        assert "evil' sets what Hydra itself does" in error


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("cache: /tmp/theirs", "sets cache, which says where files are written"),
        ("bundle: {folder: /tmp/theirs}", "sets bundle.folder, which says where files are"),
        ("bundle: /tmp/theirs", "sets bundle, which says where files are written"),
        ("bundle: {sign: /etc/key}", "sets bundle.sign, which says where files are written"),
        ("model: {weights: /etc/passwd}", "sets model.weights to a file outside its folder"),
        ("model: {eval: ../../../etc/x}", "sets model.eval to a file outside its folder"),
        ("model: {name: '${oc.env:HOME}'}", "model.name calls the resolver 'oc.env'"),
        ("model: {name: '${stem:${oc.env:HOME}}'}", "model.name calls the resolver 'oc.env'"),
        ("model: {weights: '${asset:../../../etc/passwd}'}", "calls the resolver 'asset'"),
        ("model: {name: '${now:%Y}'}", "model.name calls the resolver 'now'"),
    ],
)  # fmt: skip
def test_a_file_neither_reads_nor_writes_elsewhere(untrusted_folder, text, message):
    write(untrusted_folder, f"# @package _global_\n{text}\n")
    with pytest.raises(RecipeError, match=re.escape(message)):
        judge(untrusted_folder)


def test_values_and_files_of_its_own_are_what_a_folder_may_set(untrusted_folder):
    write(
        untrusted_folder,
        "# @package _global_\nmodel: {weights: theirs/w.pth, name: '${stem:${model.weights}}'}\n"
        "bench: {runs: '${verify.images}'}\n",
    )
    judge(untrusted_folder)


def test_files_elsewhere_are_read_where_the_user_knows_the_folder(untrusted_folder):
    write(untrusted_folder, "# @package _global_\nmodel: {weights: /data/w.pth}\n")
    judge(untrusted_folder, "code=net")


@pytest.mark.parametrize("option", ["--config-name", "--config-path", "--experimental-rerun"])
def test_options_that_replace_the_configuration_are_refused(option, tmp_path):
    error = error_of("deploy", option, "theirs", "+model=yolov3", cwd=tmp_path)
    assert f"error: {option}: expected the configuration of this project" in error


@pytest.mark.parametrize("name", ["os", "image", "yolov3", "sys", "e", "deploy"])
def test_a_word_of_the_shipped_configuration_is_no_code_of_it(untrusted_folder, name):
    text = f"name: theirs\ntarget: deploy.models.yolov3.build:YOLOv3\nrewrites: ['{name}']\n"
    write(untrusted_folder, text, "model/theirs.yaml")
    with pytest.raises(RecipeError, match=f"model.rewrites={name} is code that a configuration"):
        compose(WORDS[3:], untrusted_folder / "theirs")


def reaches_hydra(folder: Path, words: list[str]) -> bool:
    """Whether the canary stands in Hydra's own settings, which Hydra acts on."""
    search = f"hydra.searchpath=['file://{folder / FOLDER}']"
    with initialize_config_dir(str(conf_folder()), version_base="1.3"):
        loader = GlobalHydra.instance().config_loader()
        try:
            config = loader.load_configuration("deploy", [*words, search], RunMode.RUN)
        except (HydraException, OmegaConfBaseException, YAMLError, ValueError, RecursionError):
            return False
    return "fuzzing.canary" in OmegaConf.to_yaml(config.hydra)


@pytest.mark.slow
def test_no_generated_folder_that_reaches_hydra_is_accepted(tmp_path):
    attacks = accepted = 0
    for seed in range(200):
        folder = tmp_path / str(seed)
        trees.write(configuration_tree(Draw(random.Random(seed), [], tmp_path / "outside")), folder)
        words = ["+model=yolov3", "+recipe=a"]
        attacked = _is_small(folder) and reaches_hydra(folder, words)
        try:
            check_folders([folder / FOLDER], words)
        except (RecipeError, HydraException, OmegaConfBaseException):
            attacks += attacked
        else:
            assert not attacked, seed
            accepted += 1
    assert attacks > 5 and accepted > 20  # of each there are some


def _is_small(folder: Path) -> bool:
    """Whether there is nothing that Hydra alone would read for ever."""
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    return all(path.is_file() and path.stat().st_size < 100_000 for path in files)


@pytest.mark.parametrize("name", ["recipe/theirs.yaml", "recipe", "other.yaml"])
def test_no_file_that_a_link_leads_to_is_read(untrusted_folder, name):
    write(untrusted_folder, "x: 1\n", "recipe/theirs.yaml")
    link = untrusted_folder / "theirs" / name
    if link.exists():
        link.rename(untrusted_folder / "elsewhere")
    else:
        (untrusted_folder / "elsewhere").write_text("a: [not yaml")
    link.symlink_to(untrusted_folder / "elsewhere")
    with pytest.raises(RecipeError, match="expected a file of its folder, got a link"):
        judge(untrusted_folder)


def test_a_name_that_leads_out_of_the_folder_is_refused(untrusted_folder):
    write(untrusted_folder, "# @package _global_\ndefaults: [/../elsewhere/evil]\n")
    (untrusted_folder / "elsewhere").mkdir()
    (untrusted_folder / "elsewhere" / "evil.yaml").write_text("x: 1\n")
    with pytest.raises(RecipeError, match="expected a file of its folder, got a path out of it"):
        judge(untrusted_folder)


@pytest.mark.parametrize(
    "text",
    ["# @package _global_ # more\n", "model: {}\nmodel: {}\n"],
)
def test_a_file_that_hydra_cannot_read_is_one_error(untrusted_folder, text):
    write(untrusted_folder, text)
    with pytest.raises(RecipeError, match=r"configuration of '.*theirs' is not readable: "):
        judge(untrusted_folder)


def test_no_folder_that_hydra_is_given_goes_unseen(untrusted_folder):
    write(untrusted_folder, f"# @package _global_\nhydra:\n  {CALLBACK}\n")
    for words in (WORDS, ["deploy", "+model=yolov3", "hydra.searchpath=['file://theirs']"]):
        error = error_of(*words, "+recipe=theirs", cwd=untrusted_folder)
        assert "sets what Hydra itself does" in error
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
        check_folders([tmp_path], ["+model=yolov3"])


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


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_a_folder_cannot_hide_behind_another_one_that_is_not_composed(sign, tmp_path):
    """Hydra takes the last list; judged were both, of which the first one hides the files."""
    for name in ("shown", "used"):
        (tmp_path / name).mkdir()
    words = [f"{sign}hydra.searchpath=['file://{tmp_path}/shown']"]
    words += [f"hydra.searchpath=['file://{tmp_path}/used']"]
    with pytest.raises(RecipeError, match=r"searchpath: expected one list of folders, got 2 lists"):
        check_arguments(["+model=yolov3", *words])


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("model: {weights: /etc/passwd}", "model.weights=mine.pt"),
        ("model: {files: {mel: {file: /etc/passwd}}}", "model.files.mel.file=mine.onnx"),
        ("model: {files: {mel: /etc/passwd}}", "model.files.mel=mine.onnx"),
    ],
)
def test_a_path_on_the_command_line_replaces_that_of_a_file_as_the_refusal_says(
    untrusted_folder, text, word
):
    folder, key = untrusted_folder / "theirs", word.partition("=")[0]
    write(untrusted_folder, f"# @package _global_\n{text}\n")
    words = ["+model=onnx_files" if "files" in key else "+model=yolov3", "+recipe=theirs"]
    message = f"Give it on the command line, where it replaces this one: {key}=PATH"
    with pytest.raises(RecipeError, match=re.escape(message)):
        compose(words, folder)
    model = compose([*words, word], folder).model
    assert "mine." in (model.weights or model.files["mel"].file)
    assert "passwd" not in str(model)
    with pytest.raises(RecipeError, match="to a file outside its folder"):
        compose([*words, "model.name=other"], folder)


def test_a_file_that_says_where_files_are_written_is_told_to_leave_it(untrusted_folder):
    write(untrusted_folder, "# @package _global_\nbundle: {folder: /tmp/theirs}\n")
    with pytest.raises(RecipeError, match="Remove it there, and give it on the command line"):
        judge(untrusted_folder)
    with pytest.raises(RecipeError, match="Remove it there, and give it on the command line"):
        compose(["+model=yolov3", "+recipe=theirs", "bundle.folder=b"], untrusted_folder / "theirs")

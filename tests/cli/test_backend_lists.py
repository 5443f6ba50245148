"""A list of backends or precisions is one backend for each, in the order in which they stand."""

from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from backends.contract import OptionError
from deploy.cli.compose import compose, from_plain
from deploy.convert import checked_options
from deploy.recipe.schema import RecipeError
from deploy.recipe.validate import check_backends, check_recipe
from tests.helpers.commands import BACKENDS, error_of

FIRST, SECOND = BACKENDS[:2]
WORDS = ("+model=yolov3", "+partition=by_stage")


def kinds(recipe, segment):
    return [(one.name, one.precision) for one in recipe.backends_of(segment)]


def test_a_list_of_backends_is_for_every_segment_without_its_own():
    recipe = compose(
        [*WORDS, f"+backend=[{FIRST},{SECOND}]", f"+backend@chain.head=[{SECOND},{FIRST}]"]
    )
    assert kinds(recipe, "neck") == [(FIRST, "fp32"), (SECOND, "fp32")]
    assert kinds(recipe, "head") == [(SECOND, "fp32"), (FIRST, "fp32")]
    assert recipe.backend_of("head").name == SECOND


def test_a_segment_with_one_of_its_own_has_no_others():
    recipe = compose([*WORDS, f"+backend=[{FIRST},{SECOND}]", f"+backend@chain.head={FIRST}"])
    assert kinds(recipe, "head") == [(FIRST, "fp32")]


def test_a_list_of_precisions_is_each_of_them_for_each_backend():
    words = [*WORDS, f"+backend=[{FIRST},{SECOND}]", "backend.precision=[fp32,fp16]"]
    pairs = [(name, precision) for name in (FIRST, SECOND) for precision in ("fp32", "fp16")]
    assert kinds(compose(words), "head") == pairs


def test_a_recipe_of_ones_own_may_list_them_too(tmp_path):
    (tmp_path / "recipe").mkdir()
    (tmp_path / "recipe" / "both.yaml").write_text(
        "# @package _global_\n"
        "defaults:\n  - /model: yolov3\n  - /partition: by_stage\n"
        f"  - /backend: {FIRST}\n  - /backend@chain.head: [{FIRST}, {SECOND}]\n  - _self_\n"
    )
    recipe = compose(["+recipe=both"], tmp_path)
    assert kinds(recipe, "head") == [(FIRST, "fp32"), (SECOND, "fp32")]
    assert kinds(recipe, "neck") == [(FIRST, "fp32")]


@pytest.fixture
def user_config(tmp_path):
    """A folder of configuration with a backend file in it."""
    (tmp_path / "theirs" / "backend").mkdir(parents=True)
    text = f"name: {SECOND}\noptions: {{threads: 3}}\n"
    (tmp_path / "theirs" / "backend" / "slow.yaml").write_text(text)
    return tmp_path


def test_a_file_of_ones_own_may_stand_in_a_list(user_config):
    recipe = compose([*WORDS, f"+backend=[{FIRST},slow]"], user_config / "theirs")
    assert kinds(recipe, "head") == [(FIRST, "fp32"), (SECOND, "fp32")]
    assert [one.options["threads"] for one in recipe.backends_of("head")] == [0, 3]


@pytest.mark.parametrize("way", ["--config-dir=theirs", "hydra.searchpath=[file://theirs]"])
def test_the_command_line_finds_such_a_file_too(user_config, way):
    words = [*WORDS, f"+backend=[{FIRST},slow]", "+backend.options.colour=red"]
    if way.startswith("hydra"):
        way = way.replace("theirs", str(user_config / "theirs"))
    assert f"option 'colour' of {FIRST}" in error_of("deploy", way, *words, cwd=user_config)


def test_each_backend_gets_the_words_that_it_has_and_its_own_defaults_else():
    alone = [checked_options(compose([*WORDS, f"+backend={one}"]).backend) for one in BACKENDS]
    recipe = compose([*WORDS, f"+backend=[{','.join(BACKENDS)}]"])
    assert [checked_options(one) for one in recipe.backends_of("head")] == alone
    recipe = compose([*WORDS, "+backend=[onnxruntime,ncnn]", "backend.options.spin=off"])
    first, second = map(checked_options, recipe.backends_of("head"))
    assert first["spin"] == "off" and "spin" not in second


def test_one_backend_may_be_listed_for_each_of_its_devices():
    recipe = compose([*WORDS, "+backend=[ncnn,ncnn_vulkan]", "backend.options.threads=2"])
    first, second = map(checked_options, recipe.backends_of("head"))
    assert (first["device"], second["device"]) == ("cpu", "vulkan")
    assert first["threads"] == second["threads"] == 2
    check_backends(recipe)


def test_a_word_that_none_of_them_has_is_refused():
    recipe = compose([*WORDS, f"+backend=[{FIRST},{SECOND}]", "+backend.options.colour=red"])
    with pytest.raises(OptionError, match=f"option 'colour' of {FIRST}: expected one of"):
        checked_options(recipe.backend)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["+backend=[FIRST,SECOND]", "backend.precision=[]"], r"precision: expected at least one"),
        (
            ["+backend=FIRST", "backend.precision=[fp16,fp16]"],
            "backends of segment 'backbone': expected each on a device in a precision once, "
            "got FIRST in fp16",
        ),
        (
            ["+backend=ncnn_vulkan", "backend.precision=[fp16,fp16]"],
            "expected each on a device in a precision once, got ncnn on vulkan in fp16 twice",
        ),
        (
            ["+backend=[FIRST,SECOND]", "backend.cast.io=true"],
            r"cast\.io with several backends for segment 'backbone'.*All of them need the same",
        ),
        (
            ["+backend=FIRST", "+also=[{segment: tail, backend: {name: SECOND}}]"],
            "also: expected one of the segments backbone, neck, head, got tail",
        ),
        (["+backend=[FIRST,nothing]"], "backend: expected one of .*, got nothing"),
        (["+backend=FIRST", "chain=3"], "chain: "),
        (["+backend=FIRST", "+also=3"], "also: "),
        (["+backend=[FIRST,SECOND]", "backend.options=3"], "options: "),
    ],
)
def test_what_cannot_be_is_refused(words, message):
    named = lambda text: text.replace("FIRST", FIRST).replace("SECOND", SECOND)  # noqa: E731
    with pytest.raises(RecipeError, match=named(message)):
        recipe = compose([*WORDS, *map(named, words)])
        check_recipe(recipe)
        check_backends(recipe)


def test_a_rank_is_the_recipe_with_the_further_backends_in_their_place():
    recipe = compose([*WORDS, f"+backend=[{FIRST},{SECOND}]", f"+backend@chain.head={FIRST}"])
    ranked = recipe.with_alternative(1)
    assert (ranked.backend.name, ranked.backend_of("head").name) == (SECOND, FIRST)
    assert ranked.also == []


def test_what_a_bundle_was_made_of_can_be_read_again():
    recipe = compose([*WORDS, f"+backend=[{FIRST},{SECOND}]", "backend.precision=[fp32,fp16]"])
    assert from_plain(asdict(recipe)) == recipe != replace(recipe, also=[])

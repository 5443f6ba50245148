"""Recipes are checked once, at the door, and every refusal names its key."""

from dataclasses import replace

import pytest
from omegaconf import OmegaConf

from backends.contract import Dynamic
from deploy.cli.compose import check_order, compose, to_recipe
from deploy.partition.segments import partition_recipe
from deploy.recipe.dynamic_shapes import dynamic_axes, named_ranges, typical_shape
from deploy.recipe.schema import RecipeError
from deploy.recipe.validate import check_recipe
from deploy.runtime.execution.host_steps import HostStepError
from deploy.runtime.execution.post_steps import PostError
from tests.helpers.chains import from_text

GOOD = {
    "model": {"name": "m", "target": "a:b", "inputs": {"x": {"shape": [1, 3, 8, 8]}}},
    "backend": {"name": "some"},
}


def host(name, outputs=("tokens",), **more):
    """A host step as YAML has it."""
    tensors = {tensor: {"shape": [1]} for tensor in outputs}
    params = {"size": 7}
    return {"name": name, "id": "mask_rcnn.roi_align", "outputs": tensors, "params": params, **more}


def recipe(**changes):
    config = OmegaConf.create(GOOD)
    for key, value in changes.items():
        OmegaConf.update(config, key.replace("__", "."), value, merge=False, force_add=True)
    return to_recipe(config)


def test_defaults_are_filled_in():
    made = recipe()
    check_recipe(made)
    assert made.model.inputs["x"].dtype == "float32"
    assert made.partition.segments == []


def test_a_segment_may_have_its_own_backend():
    made = recipe(
        partition={"segments": [{"name": "head", "start": ["a:input"], "end": ["a:output"]}]},
        chain={"head": {"name": "other"}},
    )
    check_recipe(made)
    assert made.backend_of("head").name == "other"
    assert made.backend_of("neck").name == "some"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"model__foo": 1},
            r"model\.foo: Key 'foo' not in 'ModelRecipe'\. Its keys are name, target",
        ),
        ({"foo": 1}, r"foo: Key 'foo' not in 'Recipe'"),
        (
            {"verify__images": "x"},
            r"verify\.images: Value 'x' of type 'str' could not be converted",
        ),
    ],
)
def test_a_wrong_key_or_type_is_named(changes, message):
    with pytest.raises(RecipeError, match=message):
        recipe(**changes)


def test_a_missing_backend_lists_the_backends():
    with pytest.raises(
        RecipeError, match=r"Pass \+backend=NAME, one of ncnn, ncnn_vulkan, onnxruntime"
    ):
        to_recipe(OmegaConf.create({"model": GOOD["model"]}))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model__dtype": "float23"}, r"model\.dtype: expected float16, .*, got 'float23'"),
        (
            {"model__inputs__x__dtype": "bfloat16"},
            r"model\.inputs\.x\.dtype: expected float32, .* got bfloat16\. Take float32, and pass",
        ),
        ({"model__inputs__x__dtype": "complex64"}, r"got complex64\. Take real and imaginary part"),
        ({"model__inputs__x__dtype": "flot32"}, r"got flot32\. Did you mean float32"),
        (
            {"model__target": "???"},
            "expected a target, a file or files, got none of them. Pass",
        ),
        (
            {"model__file": "a.onnx"},
            "expected a target, a file or files, got target and file",
        ),
        (
            {"model__target": None, "model__file": "a.onnx", "model__weights": "w.pth"},
            "model.weights does nothing for an ONNX file",
        ),
        ({"model__marks": {"a": {"module": "b", "at": "end"}}}, r"model\.marks\.a\.at: .*got end"),
        (
            {"model__inputs__x__value": 3},
            "model.inputs.x.value does nothing for a model in Python. Leave the input out, and",
        ),
        ({"model__inputs": {}}, "model.inputs: expected at least one input"),
        ({"model__inputs__x__range": [1]}, "model.inputs.x.range: expected the smallest and the"),
        (
            {"model__inputs__x__shape": ["n", 3]},
            r"size 'n' of model.inputs.x.shape: .*got none. Pass model.dynamic=\{n: \[min, opt, ",
        ),
        ({"model__dynamic": {"n": [1, 2, 3]}}, "model.dynamic.n is no size of an input. Use n"),
        (
            {"model__dynamic": {"batch": [1, 2, 3]}, "model__inputs__y": {"shape": []}},
            "model.inputs.y: expected a batch axis, got a scalar",
        ),
        (
            {"partition": {"cuts": [["a"], {"b": 3}]}},
            r"partition\.cuts\.1: expected a mark.*got .*b.: 3",
        ),
        (
            {"partition": {"cuts": ["a"], "segments": [{"name": "s", "start": [], "end": []}]}},
            "partition: expected segments or cuts, got both",
        ),
        (
            {"partition": {"cuts": ["a"]}, "chain": {"part2": {"name": "b"}}},
            "chain.part2: expected one of the segments part0, part1, got part2",
        ),
        ({"model__inputs__x__shape": [1, 0]}, r"model\.inputs\.x\.shape: expected sizes from 1 up"),
        (
            {"chain": {"neck": {"name": "b"}}},
            "chain.neck: expected one of the segments model, got neck",
        ),
        (
            {"partition": {"host": [host("loop", calls=["model", "decoder"])]}},
            r"partition\.host\.loop\.calls: expected one of the segments model, got decoder",
        ),
        (
            {"partition": {"cuts": ["a"], "host": [host("loop", calls=["part2"])]}},
            r"partition\.host\.loop\.calls: expected one of the segments part0, part1, got part2",
        ),
        (
            {"partition": {"host": [host("loop", calls=["other"]), host("other", ["z"])]}},
            r"partition\.host\.loop\.calls: expected one of the segments model, got other",
        ),
        (
            {"partition": {"host": [host("idle", [])]}},
            r"partition\.host\.idle\.outputs: expected at least one tensor, such as .*, got none",
        ),
        (
            {"partition": {"host": [host("one"), host("two")]}},
            r"'tokens' is produced twice: .*got host step 'one' and host step 'two'\. Rename it",
        ),
        (
            {
                "partition": {
                    "segments": [{"name": "s", "start": [], "end": [], "outputs": ["tokens"]}],
                    "host": [host("one")],
                }
            },
            "tensor 'tokens' is produced twice: .*got segment 's' and host step 'one'",
        ),
        ({"model__pre": {"input": "y"}}, "model.pre.input 'y': expected an input of shape"),
        ({"convert__timeout": 0}, "convert.timeout: expected a number in its range, got 0"),
        ({"verify__images": 0}, "verify.images"),
        ({"verify__min_matched": 2}, "verify.min_matched"),
        ({"bench__runs": -1}, "bench.runs"),
    ],
)
def test_what_no_stage_could_carry_out_is_refused(changes, message):
    with pytest.raises(RecipeError, match=message):
        check_recipe(recipe(**changes))


def test_a_host_step_without_code_is_refused_with_the_ids_that_have_some():
    lost = {**host("loop"), "id": "seq2seq.gredy"}
    message = r"host step 'loop': expected one of .*seq2seq\.greedy.*got 'seq2seq\.gredy'\. Correct"
    with pytest.raises(HostStepError, match=message):
        check_recipe(recipe(partition={"host": [lost]}))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"size": 7.5}, r"size: expected int from 1 to 64, got 7\.5"),
        ({"size": 10**9}, r"size: expected int from 1 to 64, got 1000000000"),
        ({}, "parameter 'size' is missing"),
        ({"size": 7, "sides": 2}, "unknown parameter 'sides': expected size, rois, output"),
        ({"size": 7, "rois": [[1]]}, r"rois: expected a string, got \[\[1\]\]"),
    ],
)
def test_parameters_of_a_host_step_are_checked_before_the_model_is_built(params, message):
    refusal = r"host step 'pool' \(mask_rcnn\.roi_align\) does not take its parameters: "
    with pytest.raises(HostStepError, match=refusal + message):
        check_recipe(recipe(partition={"host": [host("pool", params=params)]}))


@pytest.mark.parametrize(
    ("post", "message"),
    [
        (
            {"id": "yolov3.boxes", "params": {"num_classes": 2, "max_per_img": 1.5}},
            r"'yolov3\.boxes' does not take its parameters: max_per_img: expected int from 1 to "
            r"10,000, got 1\.5",
        ),
        (
            {"id": "yolov3.boxes", "params": {"num_classes": 2, "iou_thr": float("nan")}},
            r"parameters\.iou_thr: expected a finite number, got nan",
        ),
        ({"id": "yolov3.boxen"}, r"host step 'yolov3\.boxen': expected one of .*yolov3\.boxes"),
    ],
)
def test_so_are_those_of_the_post_processing(post, message):
    with pytest.raises(PostError, match=message):
        check_recipe(recipe(model__post=[{"border": ["y:output"], **post}]))


@pytest.mark.parametrize(
    "words",
    [
        ["+model=yolov3"],
        ["+model=yolov3_coco", "+partition=head_in_engine"],
        ["+model=mask_rcnn"],
        ["+model=mask_rcnn_coco", "+partition=regions_in_engine"],
        ["+model=seq2seq"],
        ["+model=resnet"],
        ["+model=unet"],
    ],
    ids=" ".join,
)
def test_the_parameters_of_every_shipped_model_pass(words):
    check_recipe(compose([*words, "+backend=onnxruntime"]))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"classes": ["dog", "x" * 2_000]},
            r"model\.classes\[1\]: expected a string of length 0 to 1,000, got one of len",
        ),
        (
            {"classes": ["\ud800"]},
            r"model\.classes\[0\]: expected valid text, got half",
        ),
        ({"classes": ["c"] * 100_001}, "array of length 0 to 100,000, got one of length 10"),
        ({"name": "m" * 2_000}, "model.name: expected a string of length 0 to 1,000"),
    ],
)
def test_names_that_no_manifest_may_have_are_refused_at_the_desk(changes, message):
    plain = recipe()
    with pytest.raises(RecipeError, match=message):
        check_recipe(replace(plain, model=replace(plain.model, **changes)))


def test_a_segment_that_is_cut_away_at_the_end_is_refused_once_that_is_known(tmp_path):
    exported = from_text(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[2] x) => (float[2] y) { y = Neg(x) }',
        tmp_path,
    )
    made = recipe(partition={"cuts": ["y"], "host": [host("loop", calls=["part1"])]})
    check_recipe(made)
    with pytest.raises(RecipeError, match=r"host\.loop\.calls: expected .* part0, got part1"):
        partition_recipe(made, exported, tmp_path)


def test_names_in_shapes_are_the_axes_that_vary():
    made = recipe(
        model__dynamic={"batch": [1, 2, 4], "width": [8, 16, 32]},
        model__inputs={"x": {"shape": ["batch", 3, "width"]}, "y": {"shape": [2, "width"]}},
    )
    check_recipe(made)
    assert {name: sorted(of) for name, of in dynamic_axes(made.model).items()} == {
        "x": [0, 2],
        "y": [1],
    }
    assert typical_shape(made.model, "x") == (2, 3, 16)


def test_a_batch_that_no_shape_names_is_the_first_axis_of_every_input():
    made = recipe(model__dynamic={"batch": [1, 2, 4]})
    check_recipe(made)
    assert dynamic_axes(made.model)["x"][0].max == 4


def test_a_preset_stands_behind_the_model_whose_cuts_it_replaces():
    check_order(["+model=yolov3", "+partition=end2end", "+backend=ncnn"])
    check_order(["+partition=end2end"])
    with pytest.raises(RecipeError, match=r"\+partition= stands before the model"):
        check_order(["+partition=end2end", "+model=yolov3"])


def test_ranges_become_dimensions():
    assert named_ranges({"batch": [1, 4, 16]})["batch"].opt == 4


def test_a_range_may_go_in_steps():
    sizes = {"min": 32, "opt": 320, "max": 640, "multiple": 32}
    assert named_ranges({"height": sizes})["height"] == Dynamic("height", 32, 320, 640, 32)
    del sizes["multiple"]
    assert named_ranges({"height": sizes})["height"].multiple == 1
    made = recipe(model__dynamic={"n": {"min": 2, "opt": 2, "max": 4, "multiple": 2}})
    made.model.inputs["x"].shape = ["n", 3]
    assert typical_shape(made.model, "x") == (2, 3)


def test_a_range_whose_ends_are_no_steps_is_refused_with_one_that_is():
    sizes = {"min": 1, "opt": 300, "max": 640, "multiple": 32}
    message = (
        r"model\.dynamic\.height: expected min, opt and max that are multiples of multiple.*"
        r"Such as \{min: 32, opt: 288, max: 640, multiple: 32\}"
    )
    with pytest.raises(RecipeError, match=message):
        named_ranges({"height": sizes})
    with pytest.raises(RecipeError, match="multiples of multiple, which is 1 or more"):
        named_ranges({"height": sizes | {"multiple": 0}})


@pytest.mark.parametrize(
    "sizes",
    [[1, 2], [0, 1, 2], [4, 1, 16], "1,2,3", 7, [1, "2", 3], [True, 1, 2], {"min": 1, "max": 3},
     {"min": 1, "opt": 2, "max": 3, "step": 1}],
)  # fmt: skip
def test_a_range_that_does_not_ascend_is_refused(sizes):
    with pytest.raises(RecipeError, match=r"model\.dynamic\.batch: expected \[min, opt, max\]"):
        named_ranges({"batch": sizes})

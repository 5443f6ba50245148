"""model.pre: what it leaves open follows from the inputs, and errors say what to write."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deploy.cli.catalog import config_choices
from deploy.cli.compose import check_order, compose
from deploy.cli.words import expand_words
from deploy.recipe.preprocessing import preprocessing
from deploy.recipe.sample_inputs import real_samples, sample_inputs, sample_pictures
from deploy.recipe.schema import InputRecipe, ModelRecipe, PreRecipe, RecipeError
from deploy.recipe.validate import check_recipe
from deploy.runtime.vision.pre import Pre

SIDES = {"h": {"min": 32, "opt": 64, "max": 128, "multiple": 32}}


def model(shape=(1, 3, 64, 64), dtype="float32", others=None, dynamic=None, **pre) -> ModelRecipe:
    inputs = {"image": InputRecipe(list(shape), dtype), **(others or {})}
    fields = {"inputs": inputs, "dynamic": dynamic or {}, "pre": PreRecipe(**pre)}
    return ModelRecipe("m", target="a:b", **fields)


def made(*arguments, **keywords) -> Pre:
    recipe = model(*arguments, **keywords)
    assert recipe.pre is not None
    return preprocessing(recipe, recipe.pre)


def preset(*words: str, shape="[1, 3, 64, 64]", dtype="float32") -> Pre:
    inputs = f"model.inputs={{image: {{shape: {shape}, dtype: {dtype}}}}}"
    recipe = compose(["+model=module", "model.target=a:b", inputs, *words])
    check_recipe(recipe)
    assert recipe.model.pre is not None
    return preprocessing(recipe.model, recipe.model.pre)


def test_without_parameters_a_picture_is_letterboxed_to_values_from_0_to_1():
    expected = Pre("image", 64, 64, (0.0,) * 3, (255.0,) * 3, scaled_decoding=True)
    assert made() == expected


@pytest.mark.parametrize(
    ("shape", "layout", "order", "size"),
    [
        ((1, 3, 32, 48), "nchw", "rgb", (32, 48)),
        ((1, 32, 48, 3), "nhwc", "rgb", (32, 48)),
        ((1, 1, 32, 48), "nchw", "grey", (32, 48)),
        ((1, 32, 48, 1), "nhwc", "grey", (32, 48)),
        ((1, 3, 32, 3), "nchw", "rgb", (32, 3)),
    ],
)
def test_layout_channels_and_size_are_those_of_the_input(shape, layout, order, size):
    pre = made(shape)
    assert (pre.layout, pre.order, (pre.height, pre.width)) == (layout, order, size)
    assert len(pre.mean) == len(pre.std) == pre.channels


def test_a_layout_that_the_shape_leaves_open_can_be_said():
    assert made((1, 3, 32, 3), layout="nhwc").height == 3


def test_one_number_is_that_of_all_channels():
    pre = made(mean=127.5, std=128, pad=[1, 2, 3])
    assert (pre.mean, pre.std, pre.pad) == ((127.5,) * 3, (128.0,) * 3, (1.0, 2.0, 3.0))


def test_a_pad_in_pixels_is_what_a_pixel_becomes():
    assert made(pad_pixel=255, mean=55, std=100).pad == 2.0
    assert made(pad_pixel=[55, 155, 255], mean=55, std=100).pad == (0.0, 1.0, 2.0)
    assert made(dtype="uint8", pad_pixel=114).pad == 114


def test_an_input_of_uint8_takes_pixels():
    pre = made((1, 64, 48, 3), "uint8")
    assert (pre.mean, pre.std, pre.layout) == ((0.0,) * 3, (1.0,) * 3, "nhwc")


def test_a_crop_is_said_in_pixels_or_as_a_share():
    assert made(resize="crop").cover == (64, 64)
    assert made((1, 3, 224, 224), resize="crop", crop_pct=0.875).cover == (256, 256)
    assert made((1, 3, 320, 224), resize="crop", crop_pct=0.875).cover == (365, 256)
    assert made(resize="crop", crop_pct=0.875, shortest=72).cover == (72, 72)


def test_dynamic_sizes_have_their_largest_and_a_multiple():
    pre = made((1, 3, "h", "h"), dynamic=SIDES, multiple=32)
    assert (pre.height, pre.width, pre.multiple) == (128, 128, 32)
    assert made(multiple=32).multiple == 0  # of a fixed size, which every picture is padded to


def test_the_picture_goes_to_the_only_input_of_its_shape():
    size = {"size": InputRecipe([1, 2], "int64")}
    assert made(others=size, values={"size": ["width", 7]}).values == {"size": ("width", 7)}


TWO = {"mask": InputRecipe([1, 1, 64, 64])}
VARYING = {"shape": (1, 3, "h", 64), "dynamic": SIDES}
SIZE = {"others": {"size": InputRecipe([1, 2], "int64")}}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"resize": "letterboxed"}, r"resize: expected one of letterbox, .* Did you mean letterbo"),
        ({"align": "center"}, r"model\.pre\.align: .* Did you mean centre\?"),
        ({"interpolation": "cubic"}, "Did you mean bicubic"),
        ({"layout": "NHWC"}, "Did you mean nhwc"),
        ({"order": "gray"}, "Did you mean grey"),
        ({"order": "grey"}, "order: expected rgb or bgr, since the input has 3 channels, got grey"),
        ({"mean": [1, 2]}, r"model\.pre\.mean: expected a number, or a list of 3, .*\[1, 2\]"),
        ({"std": "wide"}, r"model\.pre\.std: expected a number, or a list of 3"),
        ({"std": 0}, r"model\.pre\.std: expected numbers other than 0"),
        (
            {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
            r"from 0 to 255, got .* Pass model\.pre\.mean=\[123\.675, 116\.28, 103\.53\] "
            r"model\.pre\.std=\[58\.395, 57\.12, 57\.375\]\.",
        ),
        ({"pad": 1, "pad_pixel": 1}, r"got both\. Set one of them to null"),
        ({"pad_pixel": 300}, r"pad_pixel: expected pixels from 0 to 255, got 300"),
        (
            {"shortest": 72},
            r"expected model\.pre\.resize=crop, .* got model\.pre\.resize=letterbox",
        ),
        ({"resize": "crop", "crop_pct": 87.5}, "a share from 0.01 to 1, such as 0.875"),
        ({"resize": "crop", "shortest": 0}, r"shortest: expected from 1 to 100,000, got 0"),
        ({"multiple": -3}, r"multiple: expected from 1 to 4,096, got -3"),
        (VARYING, r"vary: expected .*Pass model\.pre\.multiple=32, or give the input fixed sizes"),
        ({**VARYING, "multiple": 8}, r"multiple: expected a multiple of 32, as model\.dynamic\.h"),
        ({**VARYING, "resize": "stretch", "multiple": 32}, r"vary: .*got resize stretch"),
        ({"dtype": "uint8", "std": 255}, r"the input is uint8, .* model\.pre\.std=1, or \+pre=pix"),
        ({"dtype": "uint8", "pad": 0.5}, r"pad: expected a pixel from 0 to 255 for .* uint8"),
        ({"dtype": "int64"}, r"of float16, float32, float64, uint8, got image int64\[1, 3, 64"),
        ({"shape": (1, 64, 64)}, r"expected an input of shape \[batch, 3, height, width\] or"),
        ({"input": "img"}, r"'img': expected .*\. Pass model\.pre\.input=image\."),
        ({"others": TWO}, r"of image, mask, got none\. Pass model\.pre\.input=image"),
        ({**SIZE, "values": {"size": ["widht", 1]}}, "Did you mean width"),
        (
            {**SIZE, "values": {"size": [1]}},
            r"values\.size: expected as many values as int64\[1, 2",
        ),
        ({**SIZE, "values": {"size": [1, 2e9]}}, r"model\.pre\.values\.size\[1\]: expected"),
        ({"values": {"size": [1]}}, r"values\.size: expected an input of the model \(image\)"),
    ],
)
def test_what_does_not_fit_is_refused_with_what_to_write(fields, message):
    with pytest.raises(RecipeError, match=message):
        made(**fields)


PRESETS = {
    "imagenet": {"resize": "crop", "cover": (73, 73), "interpolation": "bilinear"},
    "imagenet_stretch": {"resize": "stretch", "mean": (123.675, 116.28, 103.53)},
    "coco": {"resize": "letterbox", "align": "corner", "std": (255.0,) * 3, "pad": 0.0},
    "yolo": {"resize": "letterbox", "align": "centre", "pad": 114 / 255},
    "clip": {"resize": "crop", "cover": (64, 64), "interpolation": "bicubic"},
    "ppocr": {"order": "bgr", "mean": (127.5,) * 3, "std": (127.5,) * 3, "align": "corner"},
    "pixels": {"mean": (0.0,) * 3, "std": (1.0,) * 3},
}


def test_every_preset_is_known_here():
    assert PRESETS.keys() == config_choices("pre").keys()


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_a_word_of_the_command_line(name):
    for word in (f"+pre={name}", f"pre={name}"):
        pre = preset(*expand_words([word]))
        assert {key: getattr(pre, key) for key in PRESETS[name]} == PRESETS[name]


def test_parameters_behind_a_preset_replace_its_own():
    pre = preset("+pre=imagenet", "model.pre.shortest=72", "model.pre.order=bgr")
    assert (pre.cover, pre.order) == ((72, 72), "bgr")


def test_single_parameters_need_no_preset():
    assert preset("model.pre.std=1", "model.pre.mean=[1,2,3]").mean == (1.0, 2.0, 3.0)


def test_presets_fit_grey_and_uint8_inputs_where_they_can():
    assert preset("+pre=coco", shape="[1, 1, 64, 64]").order == "grey"
    assert preset("+pre=pixels", shape="[1, 64, 64, 3]", dtype="uint8").layout == "nhwc"
    with pytest.raises(RecipeError, match=r"or \+pre=pixels in the place of another preset"):
        preset("+pre=yolo", dtype="uint8")


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("+pre=imagnet", r"pre: expected one of .*got imagnet\. Did you mean imagenet\?"),
        ("pre={std: 255}", r"Parameters are model\.pre=\{std: 255\}"),
        ("model.pre=coco", r"Pass \+pre=coco behind \+model=\."),
    ],
)
def test_words_that_mix_presets_and_parameters_are_answered(word, message):
    with pytest.raises(RecipeError, match=message):
        expand_words([word])


def test_a_preset_stands_behind_the_model_whose_pre_would_replace_it():
    check_order(["+model=module", "+pre=coco"])
    with pytest.raises(RecipeError, match=r"\+pre= stands before the model"):
        check_order(["+pre=coco", "+model=module"])


def test_an_input_beside_the_picture_needs_its_values():
    inputs = "model.inputs={x: {shape: [1, 3, 8, 8]}, size: {shape: [1, 2]}}"
    words = ["+model=module", "model.target=a:b", inputs, "+pre=coco"]
    with pytest.raises(
        RecipeError, match=r"'size' beside the picture 'x'.*model\.pre\.values=\{si"
    ):
        check_recipe(compose(words))
    check_recipe(compose([*words, "model.pre.values={size: [tensor_width, tensor_height]}"]))


@pytest.fixture
def photo(tmp_path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    return tmp_path / "a.png"


def test_samples_are_of_the_inputs_dtype_layout_and_typical_size(photo):
    recipe = model((2, "h", 64, 3), "float16", SIZE["others"], SIDES, multiple=32)
    recipe.pre.values = {"size": ["width", "tensor_height"]}
    samples = sample_inputs(recipe, [photo])
    assert (samples["image"].shape, samples["image"].dtype) == ((2, 64, 64, 3), np.float16)
    assert samples["size"].tolist() == [[96, 64]]
    assert samples["size"].dtype == np.int64
    assert not samples["image"][:, 32:].any()  # 96 x 48 becomes 64 x 32


def test_without_pictures_the_values_are_those_of_one_that_fills_the_tensor():
    recipe = model(**SIZE, values={"size": ["width", "tensor_height"]})
    assert sample_inputs(recipe, [])["size"].tolist() == [[64, 64]]


def test_stored_samples_without_a_picture_take_it_with_its_values(photo, tmp_path):
    noise = {"noise": InputRecipe([1, 3])}
    recipe = model(others={**noise, **SIZE["others"]}, values={"size": ["width", "height"]})
    np.savez(tmp_path / "a.npz", noise=np.ones((1, 3), np.float32))
    recipe.samples = str(tmp_path)
    (sample,) = real_samples(recipe, [photo])
    assert sample["size"].tolist() == [[96, 48]]
    assert sample["noise"].tolist() == [[1, 1, 1]]
    assert sample["image"].shape == (1, 3, 64, 64)


def test_a_picture_alone_is_a_sample(photo):
    recipe = model()
    recipe.samples = str(photo)
    assert sample_pictures(recipe, 4) == [photo]
    assert real_samples(recipe, [photo]) == []

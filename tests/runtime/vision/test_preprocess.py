"""Pictures are written into memory that was given back, and leave no trace in it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.runtime.vision.pre import Pre
from deploy.runtime.vision.preprocess import Preparer, Preprocessor
from tests.helpers.costs import peak

PRE = Pre("image", 32, 48, (1.0, 2.0, 3.0), (2.0, 3.0, 4.0), pad=0.5)


def preparer(batch=1, dtype="float32"):
    return Preparer(PRE, (TensorSpec("image", dtype, (batch, 3, 32, 48)),))


def scene(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 255, (height, width, 3), np.uint8)


@pytest.mark.parametrize("sizes", [((64, 96), (20, 100)), ((20, 100), (100, 20))])
def test_what_is_given_back_is_written_again_without_a_trace(sizes):
    used, fresh = preparer(), preparer()
    first = used([scene(*sizes[0])])
    used.release(first)
    second = used([scene(*sizes[1], seed=1)])
    assert second.tensor is first.tensor
    expected = fresh([scene(*sizes[1], seed=1)])
    assert np.array_equal(second.inputs["image"], expected.inputs["image"])
    assert second.placements == expected.placements


def test_what_is_still_in_use_is_left_alone():
    prepare = preparer()
    first = prepare([scene(64, 96)])
    before = first.inputs["image"].copy()
    second = prepare([scene(64, 96, seed=1)])
    assert not np.shares_memory(first.tensor, second.tensor)
    assert np.array_equal(first.inputs["image"], before)


def test_a_batch_is_each_picture_and_a_short_one_repeats_its_last():
    prepare, alone = preparer(batch=3), preparer()
    scenes = [scene(64, 96), scene(20, 30, seed=1)]
    prepared = prepare(scenes)
    single = [alone([one]).inputs["image"][0] for one in scenes]
    assert np.array_equal(prepared.inputs["image"], np.stack([*single, single[1]]))
    assert len(prepared.placements) == 2
    prepare.release(prepared)
    assert prepare(scenes[::-1]).tensor is prepared.tensor


def test_batches_of_several_sizes_have_memory_of_their_own():
    prepare = preparer(batch=Dynamic("batch", 1, 2, 4))
    for _ in range(2):
        one, two = prepare([scene(8, 8)]), prepare([scene(8, 8)] * 2)
        assert (len(one.tensor), len(two.tensor)) == (1, 2)
        prepare.release(one)
        prepare.release(two)


def test_half_precision_gets_a_copy_of_its_own():
    prepare = preparer(dtype="float16")
    prepared = prepare([scene(64, 96)])
    assert prepared.inputs["image"].dtype == np.float16
    assert not np.shares_memory(prepared.inputs["image"], prepared.tensor)


def test_a_picture_of_the_models_size_takes_no_memory_in_the_long_run():
    pre = Pre("image", 320, 320, (0, 0, 0), (255, 255, 255))
    prepare = Preparer(pre, (TensorSpec("image", "float32", (1, 3, 320, 320)),))
    picture = scene(320, 320)
    prepare.release(prepare([picture]))
    assert peak(lambda: prepare.release(prepare([picture]))) < 64 << 10  # its tensor has 1.2 MB


CENTRED = replace(PRE, align="centre")
CROPPED = replace(PRE, resize="crop", cover=(40, 40))
STRETCHED = replace(PRE, resize="stretch")
MODES = (PRE, CENTRED, CROPPED, STRETCHED)


@pytest.mark.parametrize("pre", MODES)
@pytest.mark.parametrize("sizes", [((64, 96), (20, 100)), ((20, 100), (100, 20))])
def test_no_mode_leaves_a_trace_in_used_memory(pre, sizes):
    used = Preparer(pre, (TensorSpec("image", "float32", (1, 3, 32, 48)),))
    first = used([scene(*sizes[0])])
    used.release(first)
    second = used([scene(*sizes[1], seed=1)])
    assert second.tensor is first.tensor
    expected, _ = Preprocessor(pre)(scene(*sizes[1], seed=1))
    np.testing.assert_array_equal(second.inputs["image"], expected)


def test_a_centred_picture_has_a_band_on_either_side():
    tensor, placement = Preprocessor(CENTRED)(np.full((10, 60, 3), 255, np.uint8))
    filled = tensor[0, 0, :, 0] != 0.5
    assert np.flatnonzero(filled).tolist() == list(range(12, 20))  # 8 of 32 rows
    assert (placement.offset_x, placement.offset_y) == (0, 12)


def test_the_pad_may_be_of_each_channel():
    tensor, _ = Preprocessor(replace(CENTRED, pad=(1.0, 2.0, 3.0)))(scene(10, 60))
    assert tensor[0, :, 0, 0].tolist() == [1, 2, 3]


@pytest.mark.parametrize("mode", ["corner", "centre", "crop", "stretch"])
@pytest.mark.parametrize("size", [(100, 301), (301, 100), (25, 31)])
def test_a_mark_in_the_picture_is_found_where_its_box_says(mode, size):
    """Through pixels: a white square becomes bright cells, and their edges are its box."""
    by_mode = {
        "corner": replace(PRE, height=128, width=96),
        "centre": replace(CENTRED, height=128, width=96),
        "crop": replace(CROPPED, height=128, width=96, cover=(140, 140)),
        "stretch": replace(STRETCHED, height=128, width=96),
    }
    pre = replace(by_mode[mode], mean=(0.0,) * 3, std=(255.0,) * 3, pad=0.0)
    height, width = size
    box = np.array([[width * 0.4, height * 0.4, width * 0.6, height * 0.6]]).round()
    image = np.zeros((height, width, 3), np.uint8)
    left, top, right, bottom = box[0].astype(int)
    image[top:bottom, left:right] = 255
    tensor, placement = Preprocessor(pre)(image)
    rows, columns = np.nonzero(tensor[0, 0] > 0.5)
    bright = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], float)
    pixel = 1 / min(placement.scale_x, placement.scale_y)  # of the tensor
    np.testing.assert_allclose(placement.boxes_back(bright), box, atol=pixel)


def test_channels_last_is_the_same_tensor_with_its_axes_in_another_order():
    for pre in MODES:
        first, placement = Preprocessor(pre)(scene(50, 70))
        last, same = Preprocessor(replace(pre, layout="nhwc"))(scene(50, 70))
        assert last.shape == (1, 32, 48, 3)
        np.testing.assert_array_equal(last.transpose(0, 3, 1, 2), first)
        assert placement == same


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
def test_an_input_of_uint8_gets_the_pixels_themselves(layout):
    pre = Pre("image", 32, 48, (0.0,) * 3, (1.0,) * 3, pad=114, layout=layout)
    spec = TensorSpec("image", "uint8", pre.shape(1, 32, 48))
    tensor = Preparer(pre, (spec,))([scene(32, 24)]).inputs["image"]
    assert tensor.dtype == np.uint8
    channels = tensor[0] if layout == "nhwc" else tensor[0].transpose(1, 2, 0)
    np.testing.assert_array_equal(channels[:, :24], scene(32, 24))
    assert (channels[:, 24:] == 114).all()


def test_one_channel_is_grey():
    pre = Pre("image", 32, 48, (0.0,), (1.0,), order="grey")
    tensor, _ = Preprocessor(pre)(scene(32, 48))
    red, green, blue = scene(32, 48).transpose(2, 0, 1).astype(float)
    luma = 0.299 * red + 0.587 * green + 0.114 * blue
    assert tensor.shape == (1, 1, 32, 48)
    np.testing.assert_allclose(tensor[0, 0], luma, atol=0.51)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "lanczos"])
def test_a_crop_without_scaling_is_a_part_of_the_picture(interpolation):
    pre = replace(CROPPED, cover=(50, 80), interpolation=interpolation, mean=(0,) * 3, std=(1,) * 3)
    tensor, _ = Preprocessor(pre, "uint8")(scene(50, 80))
    np.testing.assert_array_equal(tensor[0].transpose(1, 2, 0), scene(50, 80)[9:41, 16:64])


def test_tensors_of_dynamic_size_hold_the_largest_picture_of_a_batch():
    side = Dynamic("side", 32, 64, 128, multiple=32)
    pre = replace(PRE, height=128, width=128, multiple=32)
    prepare = Preparer(pre, (TensorSpec("image", "float32", (2, 3, side, side)),))
    prepared = prepare([scene(100, 200), scene(64, 64)])
    assert prepared.inputs["image"].shape == (2, 3, 128, 128)
    prepared = prepare([scene(20, 200)])
    assert prepared.inputs["image"].shape == (2, 3, 32, 128)
    prepare.release(prepared)
    assert prepare([scene(20, 200)]).tensor is not prepared.tensor


def test_values_beside_the_picture_are_those_of_each_picture_of_the_batch():
    pre = Pre(
        *("image", 64, 64, (0.0,) * 3, (255.0,) * 3),
        values={
            "scale_factor": ("scale_y", "scale_x"),
            "orig_target_sizes": ("width", "height"),
            "im_shape": ("scaled_height", "scaled_width"),
            "threshold": (0.25,),
        },
    )
    specs = (
        TensorSpec("orig_target_sizes", "int64", (2, 2)),
        TensorSpec("image", "float32", (2, 3, 64, 64)),
        TensorSpec("scale_factor", "float32", (2, 2)),
        TensorSpec("im_shape", "float32", (2, 2)),
        TensorSpec("threshold", "float32", ()),
    )
    inputs = Preparer(pre, specs)([scene(32, 128), scene(64, 64)]).inputs
    assert inputs["orig_target_sizes"].tolist() == [[128, 32], [64, 64]]
    assert inputs["scale_factor"].tolist() == [[0.5, 0.5], [1, 1]]
    assert inputs["im_shape"].tolist() == [[16, 64], [64, 64]]
    assert inputs["threshold"].item() == 0.25
    assert all(inputs[spec.name].dtype == spec.dtype for spec in specs)
    assert all(inputs[spec.name].shape == spec.shape for spec in specs)

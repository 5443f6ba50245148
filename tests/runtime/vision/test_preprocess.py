"""Pictures are written into memory that was given back, and leave no trace in it."""

from __future__ import annotations

import numpy as np
import pytest

from backends.contract import Dynamic, TensorSpec
from deploy.runtime.vision.image import Pre
from deploy.runtime.vision.preprocess import Preparer
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

"""RoIAlign in PyTorch and on the host do what its definition says, and both the same."""

import mask_golden
import numpy as np
import pytest
import torch

from backends.contract import TensorError
from deploy.models.mask_rcnn import roi_align_numpy, roi_align_torch
from deploy.models.mask_rcnn.roi_align_numpy import RoIAlign


def bilinear(plane, y, x):
    """A sample of a map (H, W) as mmcv takes it; nothing is more than a cell outside."""
    height, width = plane.shape
    if not (-1 <= y <= height and -1 <= x <= width):
        return 0.0
    y, x = min(max(y, 0), height - 1), min(max(x, 0), width - 1)
    low_y, low_x = int(y), int(x)
    high_y, high_x = min(low_y + 1, height - 1), min(low_x + 1, width - 1)
    upper = plane[low_y, low_x] * (1 - x + low_x) + plane[low_y, high_x] * (x - low_x)
    lower = plane[high_y, low_x] * (1 - x + low_x) + plane[high_y, high_x] * (x - low_x)
    return upper * (1 - y + low_y) + lower * (y - low_y)


def by_definition(plane, box, size, samples=0):
    """One region of one map, cell by cell and sample by sample."""
    x1, y1, x2, y2 = (edge - 0.5 for edge in box)
    cell_x, cell_y = (x2 - x1) / size, (y2 - y1) / size
    across, down = samples or int(np.ceil(cell_x)), samples or int(np.ceil(cell_y))
    out = np.zeros((size, size))
    for row, column in np.ndindex(size, size):
        taken = [
            bilinear(
                plane,
                y1 + cell_y * (row + (y + 0.5) / down),
                x1 + cell_x * (column + (x + 0.5) / across),
            )
            for y in range(down)
            for x in range(across)
        ]
        out[row, column] = sum(taken) / max(len(taken), 1)
    return out


BOXES = {
    "inside": (2.2, 1.4, 9.7, 12.9),
    "less than a cell": (3.1, 3.3, 3.4, 3.5),
    "many samples in a cell": (0.0, 0.0, 13.0, 11.0),
    "over the edges": (-3.5, -2.0, 16.0, 15.5),
    "far outside": (40.0, 2.0, 44.0, 9.0),
    "a line": (2.0, 3.0, 2.0, 9.0),
    "a point": (5.0, 5.0, 5.0, 5.0),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("samples", [0, 2])
def test_a_region_is_pooled_as_the_definition_says(box, samples):
    feat = np.random.RandomState(0).standard_normal((1, 2, 11, 13)).astype(np.float32)
    rois = torch.tensor([(0.0, *(4 * edge for edge in box))])
    got = roi_align_torch.roi_align(torch.from_numpy(feat), rois, 3, 0.25, samples)[0]
    empty = box[0] == box[2] or box[1] == box[3]
    wanted = [
        np.zeros((3, 3)) if empty else by_definition(plane, box, 3, samples) for plane in feat[0]
    ]
    np.testing.assert_allclose(got, np.stack(wanted), rtol=0, atol=1e-5)


def pyramid(channels=8, height=320, width=448):
    rs = np.random.RandomState(1)
    sides = [(height // stride, width // stride) for stride in (4, 8, 16, 32)]
    return [rs.standard_normal((1, channels, *side)).astype(np.float32) for side in sides]


def regions(count=300):
    """Regions of all sizes and shapes, some over the edges, some without an area."""
    rs = np.random.RandomState(2)
    centre, sides = rs.uniform(-20, 470, (count, 2)), np.exp(rs.uniform(0, 6.6, (count, 2)))
    sides[:5, 0] = 0
    rois = np.concatenate((np.zeros((count, 1)), centre - sides / 2, centre + sides / 2), axis=1)
    return rois.astype(np.float32)


@pytest.mark.parametrize("size", [7, 14])
def test_the_host_pools_as_pytorch_does_on_every_level(size):
    feats, rois = pyramid(), regions()
    assert set(roi_align_numpy.assign_levels(rois, 4)) == {0, 1, 2, 3}
    wanted = roi_align_torch.multi_level_roi_align(
        [torch.from_numpy(feat) for feat in feats], torch.tensor(rois), size
    )
    got = roi_align_numpy.multi_level_roi_align(feats, rois, size)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=0, atol=2e-4)


def test_both_choose_the_same_level_for_mmdetections_proposals():
    rois = mask_golden.rois()
    wanted = roi_align_torch.assign_levels(torch.from_numpy(rois), 4)
    np.testing.assert_array_equal(roi_align_numpy.assign_levels(rois, 4), wanted)


def test_a_region_looks_at_the_picture_that_it_names():
    feat = torch.rand(2, 3, 8, 8)
    rois = torch.tensor([[1.0, 2, 2, 20, 24], [0, 2, 2, 20, 24]])
    both = roi_align_torch.multi_level_roi_align([feat], rois, 4)
    assert torch.equal(
        both[0], roi_align_torch.multi_level_roi_align([feat.flip(0)], rois[1:], 4)[0]
    )
    assert torch.equal(both[1], roi_align_torch.multi_level_roi_align([feat], rois[1:], 4)[0])


def test_no_region_is_no_row():
    feats, none = pyramid(), np.zeros((0, 5), np.float32)
    assert roi_align_numpy.multi_level_roi_align(feats, none, 7).shape == (0, 8, 7, 7)
    torches = [torch.from_numpy(feat) for feat in feats]
    assert roi_align_torch.multi_level_roi_align(torches, torch.from_numpy(none), 7).shape == (
        0,
        8,
        7,
        7,
    )


def test_the_host_step_names_its_tensors():
    feats = {f"feats.{level}": feat for level, feat in enumerate(pyramid())}
    step = RoIAlign(14, rois="mask_rois", output="mask_feats")
    found = step({**feats, "mask_rois": regions(6)})
    assert found["mask_feats"].shape == (6, 8, 14, 14)


def test_other_shapes_are_refused():
    feats = {f"feats.{level}": feat for level, feat in enumerate(pyramid())}
    with pytest.raises(TensorError, match=r"feats and rois: expected \[1, C, H, W\] each, and"):
        RoIAlign(7)({**feats, "rois": np.zeros((3, 4), np.float32)})


@pytest.mark.parametrize("corner", [np.nan, np.inf, -np.inf, 1e9, 3e38])
def test_a_region_without_end_is_refused_before_it_is_sampled(corner):
    feats = {f"feats.{level}": np.zeros((1, 2, 8, 8), np.float32) for level in range(4)}
    regions = np.array([[0, 0, 0, 9, 9], [0, 1, 1, corner, 9]], np.float32)
    with pytest.raises(TensorError, match=r"regions: expected finite, and sides of at most \[512"):
        RoIAlign(7)({**feats, "rois": regions})

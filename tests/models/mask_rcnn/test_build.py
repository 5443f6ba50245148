"""Mask R-CNN in PyTorch has MMDetection's names, shapes and numbers."""

import hashlib

import mask_golden
import numpy as np
import pytest
import torch

from deploy.models.mask_rcnn.build import MaskRCNN

RUN = mask_golden.RUN


def narrow(**arguments) -> MaskRCNN:
    torch.manual_seed(0)
    return MaskRCNN(num_classes=3, width=0.125, **arguments).eval()


@pytest.fixture(scope="module")
def feats(golden_model):
    with torch.no_grad():
        return golden_model.extract_feat(torch.from_numpy(mask_golden.image()))


def test_the_state_dict_has_the_published_names_shapes_and_dtypes(golden_model):
    state = golden_model.state_dict()
    rows = [
        [key, list(value.shape), str(value.dtype)[len("torch.") :]] for key, value in state.items()
    ]
    assert rows == mask_golden.KNOWN["keys"]


def test_the_golden_weights_are_those_of_the_golden_run():
    digest = hashlib.sha256()
    for key, value in mask_golden.weights().items():
        digest.update(key.encode())
        digest.update(value.numpy().tobytes())
    assert digest.hexdigest() == mask_golden.KNOWN["sha256"]


def test_the_feature_maps_are_mmdetections(feats):
    assert [feat.shape[2:] for feat in feats] == [(side, side) for side in (80, 40, 20, 10, 5)]
    for level in (3, 4):
        got = feats[level].numpy().ravel()[::11]
        np.testing.assert_allclose(got, RUN[f"feat_{level}"], rtol=0, atol=5e-4)


def test_the_rpn_is_mmdetections(golden_model, feats):
    with torch.no_grad():
        logits, deltas = golden_model.rpn(feats)
    for level in mask_golden.LEVELS:
        for name, got in (("rpn_cls", logits[level]), ("rpn_reg", deltas[level])):
            np.testing.assert_allclose(got, RUN[f"{name}_{level}"], rtol=0, atol=1e-4)


def test_the_box_head_says_of_mmdetections_proposals_what_mmdetections_says(golden_model, feats):
    with torch.no_grad():
        pooled = golden_model.roi_feats(feats[:4], torch.from_numpy(mask_golden.rois()), 7)
        logits, deltas = golden_model.bbox_head_forward(pooled)
    np.testing.assert_allclose(logits, RUN["cls_score"], rtol=0, atol=1e-4)
    got = deltas.reshape(1000, 80, 4)[RUN["pair_roi"].astype(int), RUN["pair_class"].astype(int)]
    np.testing.assert_allclose(got, RUN["deltas"], rtol=0, atol=4e-3)  # those are float16


def test_the_mask_head_draws_for_mmdetections_boxes_what_mmdetections_draws(golden_model, feats):
    boxes = np.pad(RUN["dets"][:, :4], ((0, 0), (1, 0)))
    with torch.no_grad():
        pooled = golden_model.roi_feats(feats[:4], torch.from_numpy(boxes), 14)
        masks = golden_model.mask_head(pooled)
    got = masks[torch.arange(100), torch.from_numpy(RUN["labels"])]
    np.testing.assert_allclose(got, RUN["mask_logits_of_label"], rtol=0, atol=2e-3)


def test_a_narrow_model_takes_any_size_and_finds_what_its_limits_let_through():
    model = narrow(proposals={"max_per_img": 20}, detections={"max_per_img": 7, "score_thr": 0.01})
    with torch.no_grad():
        found = model(torch.rand(1, 3, 96, 130))
    assert len(found["scores"]) == 7
    assert found["boxes"].shape == (7, 4)
    assert found["labels"].dtype == torch.int64
    assert found["mask_logits"].shape == (7, 3, 28, 28)


@pytest.mark.parametrize(
    "limits", [{"proposals": {"min_size": 1e4}}, {"detections": {"score_thr": 1.0}}]
)
def test_a_model_that_finds_nothing_gives_no_rows(limits):
    with torch.no_grad():
        found = narrow(**limits)(torch.rand(1, 3, 64, 64))
    shapes = [tuple(found[name].shape) for name in ("boxes", "scores", "labels", "mask_logits")]
    assert shapes == [(0, 4), (0,), (0,), (0, 3, 28, 28)]


def test_every_part_can_be_trained():
    model = narrow().train()
    feats = model.extract_feat(torch.rand(2, 3, 64, 64))
    logits, deltas = model.rpn(feats)
    rois = torch.tensor([[0, 4, 4, 40, 50], [1, 0, 0, 64, 64], [1, 10, 3, 30, 9]]).float()
    scores, moves = model.bbox_head_forward(model.roi_feats(feats[:4], rois, 7, samples=2))
    masks = model.mask_head(model.roi_feats(feats[:4], rois, 14, samples=2))
    sum(part.square().mean() for part in (*logits, *deltas, scores, moves, masks)).backward()
    without = [name for name, weight in model.named_parameters() if weight.grad is None]
    assert without == []


@pytest.mark.parametrize("arguments", [{"num_classes": 0}, {"width": 0}])
def test_a_wrong_argument_is_named(arguments):
    with pytest.raises(ValueError, match="expected num_classes >= 1 and width > 0, got"):
        MaskRCNN(**arguments)

"""Segments cut out of the exported model, with host steps between them, find what it finds."""

from dataclasses import dataclass
from pathlib import Path

import mask_golden
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch

from backends.contract import Dynamic, Segment
from deploy.export.onnx_export import export
from deploy.graph.exported import Exported
from deploy.models.mask_rcnn.build import MaskRCNN
from deploy.models.mask_rcnn.host import HOST_STEPS
from deploy.models.mask_rcnn.post import MaskPost
from deploy.partition.cut_points import Cut
from deploy.partition.segments import partition
from deploy.runtime.vision.image import Placement

RUN = mask_golden.RUN
MAPS = [f"extract_feat:output.feats.{level}" for level in range(4)]
MANY, SOME = Dynamic("", 1, 300, 1000), Dynamic("", 1, 20, 100)
FEATURES = Cut("features", ["detector_forward:input"], [*MAPS, "rpn_head:output"])

# RoIAlign in the engine, or on the host
IN_ENGINE = [
    FEATURES,
    Cut(
        "box_head",
        [*MAPS, "proposals:output"],
        ["bbox_head_forward:output"],
        dynamic={"rois": {0: MANY}},
    ),
    Cut(
        "mask_head",
        [*MAPS, "detections:output.mask_rois"],
        ["mask_head:output"],
        dynamic={"mask_rois": {0: SOME}},
    ),
]
ON_HOST = [
    FEATURES,
    Cut(
        "box_head",
        ["bbox_head_forward:input"],
        ["bbox_head_forward:output"],
        dynamic={"roi_feats": {0: MANY}},
    ),
    Cut(
        "mask_head",
        ["mask_head:input"],
        ["mask_head:output"],
        dynamic={"mask_feats": {0: SOME}},
    ),
]
WAYS = {"RoIAlign in the engine": IN_ENGINE, "RoIAlign on the host": ON_HOST}


@dataclass
class Chain:
    """Segments in ONNX Runtime with the host steps between them, by hand."""

    segments: dict[str, Segment]
    side: int
    limits: dict[str, dict]

    def __call__(self, image: np.ndarray) -> dict[str, np.ndarray]:
        known = {"image": image}
        self.run("features", known)
        known |= self.step("proposals")(known)
        self.pool(known, "rois", "roi_feats", 7)
        self.run("box_head", known)
        known |= self.step("detections")(known)
        self.pool(known, "mask_rois", "mask_feats", 14)
        if len(known["mask_rois"]):
            self.run("mask_head", known)
        return known

    def step(self, name: str):
        limits = self.limits.get(name, {})
        return HOST_STEPS[f"mask_rcnn.{name}"](height=self.side, width=self.side, **limits)

    def pool(self, known, rois: str, name: str, size: int) -> None:
        if any(spec.name == name for one in self.segments.values() for spec in one.inputs):
            known |= HOST_STEPS["mask_rcnn.roi_align"](size, rois, name)(known)

    def run(self, name: str, known: dict[str, np.ndarray]) -> None:
        segment = self.segments[name]
        session = ort.InferenceSession(segment.onnx)
        feeds = {spec.name: known[spec.name] for spec in segment.inputs}
        names = [spec.name for spec in segment.outputs]
        known |= dict(zip(names, session.run(names, feeds), strict=True))


def chain(exported: Exported, cuts: list[Cut], out: Path, side: int, **limits) -> Chain:
    cutting = partition(exported, cuts, out)
    return Chain({segment.name: segment for segment in cutting.segments}, side, limits)


@pytest.fixture(scope="module")
def golden_export(golden_model, tmp_path_factory) -> Exported:
    image = torch.from_numpy(mask_golden.image())
    return export(golden_model, {"image": image}, tmp_path_factory.mktemp("golden"))


def narrow(**limits) -> MaskRCNN:
    torch.manual_seed(1)
    return MaskRCNN(num_classes=3, width=0.125, **limits).eval()


@pytest.fixture(scope="module")
def narrow_export(tmp_path_factory) -> Exported:
    image = torch.zeros(1, 3, 64, 64)
    return export(narrow(), {"image": image}, tmp_path_factory.mktemp("narrow"))


@pytest.mark.parametrize("cuts", WAYS.values(), ids=WAYS)
def test_the_chain_finds_what_mmdetection_finds(golden_export, cuts, tmp_path):
    found = chain(golden_export, cuts, tmp_path, 320)(mask_golden.image())
    assert found["labels"].tolist() == RUN["labels"].tolist()
    np.testing.assert_allclose(found["boxes"], RUN["dets"][:, :4], rtol=0, atol=5e-3)
    np.testing.assert_allclose(found["scores"], RUN["dets"][:, 4], rtol=0, atol=1e-5)
    logits = found["mask_logits"][np.arange(100), found["labels"]]
    np.testing.assert_allclose(logits, RUN["mask_logits_of_label"], rtol=0, atol=5e-3)
    tensors = [found[name] for name in ("mask_logits", "boxes", "scores", "labels")]
    masks = MaskPost().batch(tensors)[0].placed(Placement(1, 1, 320, 320)).masks.dense()
    wanted = mask_golden.masks()
    ious = (masks & wanted).sum((1, 2)) / (masks | wanted).sum((1, 2))
    # MMDetection's own rounding flips two pixels, where a run in fp64 sides with the chain
    assert (masks != wanted).sum() <= 4
    assert ious.mean() >= 0.999


@pytest.mark.parametrize("cuts", WAYS.values(), ids=WAYS)
@pytest.mark.parametrize("most", [1, 2, 37])
@pytest.mark.slow
def test_any_number_of_regions_goes_through(narrow_export, cuts, most, tmp_path):
    limits = {"proposals": {"max_per_img": most}, "detections": {"score_thr": 0.01}}
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    found = chain(narrow_export, cuts, tmp_path, 64, **limits)(image.numpy())
    with torch.no_grad():
        wanted = narrow(**limits)(image)
    assert len(found["rois"]) == most
    for name, value in wanted.items():
        np.testing.assert_allclose(found[name], value, rtol=0, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("cuts", WAYS.values(), ids=WAYS)
def test_the_segments_declare_how_many_regions_they_take(narrow_export, cuts, tmp_path):
    segments = chain(narrow_export, cuts, tmp_path, 64).segments
    boxes, masks = segments["box_head"], segments["mask_head"]
    assert str(boxes.inputs[-1]).startswith("float32[1..1000, ")
    assert str(boxes.outputs[0]) == "float32[1..1000, 4]"
    assert str(masks.outputs[0]) == "float32[1..100, 3, 28, 28]"
    for segment in segments.values():
        onnx.checker.check_model(segment.onnx, full_check=True)


def test_a_region_without_area_is_pooled_to_nothing_in_the_engine(narrow_export, tmp_path):
    segments = chain(narrow_export, IN_ENGINE, tmp_path, 64).segments
    whole = chain(narrow_export, ON_HOST, tmp_path / "whole", 64)
    known = {"image": np.random.RandomState(0).rand(1, 3, 64, 64).astype(np.float32)}
    whole.run("features", known)
    known["rois"] = np.array([[0, 5, 5, 5, 30], [0, 3, 3, 40, 40], [0, 7, 7, 7, 7]], np.float32)
    whole.pool(known, "rois", "roi_feats", 7)
    whole.run("box_head", known)
    inside = Chain(segments, 64, {})
    other = dict(known)
    inside.run("box_head", other)
    assert not known["roi_feats"][[0, 2]].any()
    np.testing.assert_allclose(other["cls_score"], known["cls_score"], rtol=0, atol=1e-5)


def test_points_around_roi_align_give_the_same_segments(narrow_export, tmp_path):
    behind = [
        FEATURES,
        Cut("box_head", ["roi_extractor:output"], ["bbox_head_forward:output"]),
        Cut("mask_head", ["roi_extractor[1]:output"], ["mask_head:output"]),
    ]
    made = chain(narrow_export, behind, tmp_path / "behind", 64).segments
    wanted = chain(narrow_export, ON_HOST, tmp_path / "before", 64).segments
    for name in ("box_head", "mask_head"):
        graphs = [onnx.load(one[name].onnx).graph for one in (made, wanted)]
        assert [n.op_type for n in graphs[0].node] == [n.op_type for n in graphs[1].node]


def test_the_host_s_part_is_a_node_that_nobody_takes_for_an_operator(narrow_export):
    nodes = onnx.load(narrow_export.onnx, load_external_data=False).graph.node
    left = [node for node in nodes if node.op_type == "HostStep"]
    assert {node.domain for node in left} == {"deploy"}
    steps = {attr.s.decode() for node in left for attr in node.attribute if attr.name == "step"}
    assert steps == {"Proposals", "BoxDetections"}

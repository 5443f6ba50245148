"""What differs between two models is marked in the picture and told in words."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from deploy.report.pictures import compare_pictures, data_url, mask_path, picture_views
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks
from tests.report.samples import EVIL, detection
from tests.report.samples import picture as picture_view


def found(*rows: tuple[float, float, int], masks: Masks | None = None) -> Detections:
    """Detections of 20 x 20 pixels: x, score and label of each, best first."""
    boxes = np.array([[x, 10, x + 20, 30] for x, _, _ in rows], np.float32).reshape(-1, 4)
    scores = np.array([score for _, score, _ in rows], np.float32)
    return Detections(boxes, scores, np.array([label for *_, label in rows], np.int64), masks)


@pytest.fixture
def picture(tmp_path):
    path = tmp_path / "p.png"
    Image.fromarray(np.zeros((600, 900, 3), np.uint8)).save(path)
    return path


def states(side) -> list[tuple[str, str]]:
    return [(view.class_name, view.state) for view in side]


def test_detections_are_matched_missing_or_extra(picture):
    reference = found((0, 0.9, 0), (100, 0.8, 1), (200, 0.2, 1))
    chain = found((0.1, 0.9, 0), (100, 0.7, 0), (300, 0.1, 0))
    (one,) = picture_views([picture], [reference], [chain], ["cat", "dog"])
    assert states(one.reference) == [("cat", "matched"), ("dog", "missing")]
    assert states(one.chain) == [("cat", "matched"), ("cat", "extra")]
    assert one.reference[0].partner_score == pytest.approx(0.9)
    assert (one.file_name, one.width, one.height) == ("p.png", 900, 600)


def test_what_the_chain_finds_with_little_confidence_is_not_missing(picture):
    (one,) = picture_views([picture], [found((0, 0.31, 0))], [found((0, 0.29, 0))], [])
    assert states(one.reference) == [("0", "matched")] and one.chain == ()


def test_pictures_that_the_chain_has_not_seen_are_not_shown(picture):
    assert picture_views([picture], [found((0, 0.9, 0))], [], []) == ()


def test_a_picture_is_made_small(picture):
    address = data_url(np.zeros((600, 900, 3), np.uint8))
    assert address.startswith("data:image/png;base64,") and len(address) < 3000
    noise = np.random.default_rng(0).integers(0, 255, (2000, 2000, 3), dtype=np.uint8)
    assert data_url(noise).startswith("data:image/jpeg;base64,")
    assert len(data_url(noise)) < 300_000


def test_a_mask_is_a_path_of_its_rows():
    crop = np.array([[True, True, False, True], [False, True, True, False]])
    masks = Masks(10, 10, np.array([[2, 5]]), [crop])
    assert mask_path(masks, 0) == "M2 5h2v1h-2zM5 5h1v1h-1zM3 6h2v1h-2z"


def test_a_large_mask_is_coarse():
    masks = Masks(1600, 1600, np.array([[0, 0]]), [np.ones((1600, 1600), bool)])
    assert mask_path(masks, 0).count("M") == 160


def test_the_reference_stands_first_and_the_chain_tells_what_differs():
    (comparison,) = compare_pictures("PyTorch", [("Chain", [picture_view()])])
    reference, chain = comparison.panels
    assert (reference.title, chain.title) == ("PyTorch", "Chain")
    assert chain.summary == "2 found; 1 of 2 as PyTorch, 1 missing, 1 extra"
    assert chain.differences == (
        f"\N{MINUS SIGN} {EVIL}, score 0.91, x 50 to 80, y 10 to 50: PyTorch alone",
        f"+ {EVIL}, score 0.91, x 100 to 130, y 10 to 50: the chain alone",
    )
    assert [drawn.detection.state for drawn in chain.drawn] == ["matched", "missing", "extra"]
    assert [drawn.detection.state for drawn in reference.drawn] == ["matched", "missing"]
    assert [row[-1] for row in chain.rows] == ["matched", "missing", "extra"]


def test_of_many_differences_the_first_are_told_and_the_others_counted():
    many = tuple(detection(float(x), "missing") for x in range(20))
    (comparison,) = compare_pictures(
        "PyTorch", [("Chain", [picture_view(reference=many, chain=())])]
    )
    assert len(comparison.panels[1].differences) == 13
    assert comparison.panels[1].differences[-1] == "and 8 more, among all below"


def test_what_one_of_several_chains_misses_is_marked_in_the_reference():
    good = picture_view(reference=(detection(5, "matched", 0.9), detection(50, "matched", 0.8)))
    (comparison,) = compare_pictures("PyTorch", [("one", [good]), ("two", [picture_view()])])
    assert [drawn.detection.state for drawn in comparison.panels[0].drawn] == ["matched", "missing"]
    assert comparison.panels[1].differences != comparison.panels[2].differences


def test_pictures_of_another_reference_have_a_scene_of_their_own():
    other = picture_view(reference=(), chain=())
    assert len(compare_pictures("PyTorch", [("one", [picture_view()]), ("two", [other])])) == 2


def test_tags_stay_inside_of_the_picture():
    at_the_edges = [detection(x, "matched", 0.9) for x in (-20.0, 0.0, 150.0)]
    (comparison,) = compare_pictures(
        "PyTorch", [("Chain", [picture_view(reference=tuple(at_the_edges), chain=())])]
    )
    for drawn in comparison.panels[0].drawn:
        assert drawn.label is not None
        assert drawn.label.left >= 0 and 0 <= drawn.label.top <= 120 - drawn.label.height


def test_a_crowd_has_tags_only_where_it_differs():
    crowd = tuple(detection(float(x), "matched", 0.9) for x in range(50))
    (comparison,) = compare_pictures(
        "PyTorch", [("Chain", [picture_view(reference=(*crowd, detection(60, "missing")))])]
    )
    tags = [drawn.label for drawn in comparison.panels[0].drawn]
    assert [tag is not None for tag in tags] == [*[False] * 50, True]

"""The plot: every point is where its values are, has a label, and says in words what it is."""

from __future__ import annotations

from itertools import combinations
from xml.etree import ElementTree

import pytest

from deploy.report.svg.layered_layout import Rect
from deploy.report.svg.scales import latency_scale, linear_scale, log_scale
from deploy.report.svg.scatter import PlotPoint, scatter_svg

SVG = "{http://www.w3.org/2000/svg}"


def point(label: str, x: float, y: float, **more: object) -> PlotPoint:
    return PlotPoint(label, f"job {label}", x, y, x, x, **{"area": 1.0, **more})


def drawn(*points: PlotPoint) -> ElementTree.Element:
    scales = ("p50, ms", linear_scale(0, 30)), ("mAP", linear_scale(0.8, 0.9))
    return ElementTree.fromstring(scatter_svg("a plot", points, *scales))


def circles(root: ElementTree.Element) -> list[ElementTree.Element]:
    return list(root.iter(f"{SVG}circle"))


def labels(root: ElementTree.Element) -> dict[str, Rect]:
    """The labels with about the space that they take."""
    return {
        text.text or "": Rect(
            float(text.get("x", 0)), float(text.get("y", 0)) - 12, 7.6 * len(text.text or ""), 15
        )
        for text in root.iter(f"{SVG}text")
        if text.get("class") == "label"
    }


def test_points_lie_in_the_order_of_their_values():
    left, right = circles(drawn(point("0", 10, 0.81), point("1", 20, 0.89)))
    assert float(left.get("cx", 0)) < float(right.get("cx", 0))
    assert float(left.get("cy", 0)) > float(right.get("cy", 0)), "better is higher"


def test_the_area_of_a_circle_is_the_size():
    whole, quarter = circles(drawn(point("0", 10, 0.81), point("1", 20, 0.89, area=0.25)))
    assert float(whole.get("r", 0)) == 2 * float(quarter.get("r", 0))


def test_noise_and_the_first_are_told_without_colour():
    noise, first = circles(
        drawn(point("0", 10, 0.81, is_noise=True), point("1", 20, 0.89, is_first=True))
    )
    assert (noise.get("class"), first.get("class")) == ("point noise", "point first")


def test_points_at_one_place_share_a_label():
    same = [point(str(number), 10, 0.85) for number in range(3)]
    assert list(labels(drawn(*same, point("3", 25, 0.85)))) == ["0, 1, 2", "3"]
    many = [point(str(number), 10, 0.85) for number in range(9)]
    assert list(labels(drawn(*many))) == ["0, 1, 2, 3 +5"]


def test_no_label_lies_on_another_or_outside():
    points = [
        point(str(number), x, y)
        for number, (x, y) in enumerate(
            [(0, 0.8), (30, 0.9), (30, 0.8), (0, 0.9), (14, 0.85), (16, 0.85), (15, 0.86)]
        )
    ]
    placed = labels(drawn(*points))
    assert not [pair for pair in combinations(placed.values(), 2) if pair[0].overlaps(pair[1])]
    for rect in placed.values():
        assert rect.left >= 0 and rect.right <= 360 and rect.top >= 0 and rect.bottom <= 300


def test_a_hostile_name_is_text():
    evil = "<script>alert(1)</script>"
    text = scatter_svg(
        evil, [point(evil, 1, 0.85)], (evil, linear_scale(0, 1)), (evil, linear_scale(0, 1))
    )
    assert "<script" not in text and ElementTree.fromstring(text) is not None


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [(0, 1, (0, 0.5, 1.0)), (0, 368, (0, 100, 200, 300, 400)), (0.821, 0.8241, None)],
)
def test_ticks_are_round_and_enclose_the_values(low, high, ticks):
    scale = linear_scale(low, high)
    assert scale.low <= low and scale.high >= high and 2 <= len(scale.ticks) <= 7
    assert ticks is None or scale.ticks == ticks
    assert len({scale.text(tick) for tick in scale.ticks}) == len(scale.ticks)


def test_latencies_begin_at_zero_unless_they_are_decades_apart():
    assert latency_scale([14.0, 14.2]).low == 0
    apart = latency_scale([2.0, 300.0])
    assert apart.is_log and (apart.low, apart.high) == (1.0, 1000.0)
    assert latency_scale([0.0, 5.0]).low == 0


def test_a_logarithmic_scale_has_powers_of_ten():
    scale = log_scale(3e-7, 2e-3)
    assert scale.share(scale.low) == 0 and scale.share(scale.high) == 1
    assert scale.text(1e-7) == "1e-07" and scale.text(0.01) == "0.01"
    assert log_scale(1e-3, 1e-3).share(1e-3) == 0

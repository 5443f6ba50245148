"""The diagram: everything that it is told is in it, and nothing covers anything else."""

from __future__ import annotations

import random
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from backends.contract import DeployError
from deploy.report.svg.diagram import Arrow, Box, DiagramError, first_box_offset, render_svg
from deploy.report.svg.layered_layout import Edge, Layout, Point, Rect, Size, layout_graph

SVG = "{http://www.w3.org/2000/svg}"
TENSOR = "features float32[1, 256, 20, 20] 400 KiB"


def box(key: str, *lines: str, kind: str = "segment", title: str = "") -> Box:
    return Box(key, title or key, lines, kind)


def chained(*keys: str) -> list[Arrow]:
    return [Arrow(source, target, TENSOR) for source, target in pairwise(keys)]


def read(text: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(text)
    assert root.tag == f"{SVG}svg"
    return list(root.iter())


def written(text: str) -> str:
    """What the drawing says, line after line."""
    texts = [element.text or "" for element in read(text) if element.tag == f"{SVG}text"]
    return " ".join(text.strip() for text in texts)


def random_graph(seed: int) -> tuple[dict[str, Size], list[Edge]]:
    dice = random.Random(seed)
    keys = [f"box{index}" for index in range(dice.randint(1, 14))]
    boxes = {key: Size(dice.uniform(50, 300), dice.uniform(30, 120)) for key in keys}
    sizes = [Size(dice.uniform(20, 350), dice.uniform(15, 120)) for _ in range(5)] + [Size(0, 0)]
    pairs = list(combinations(keys, 2))
    chosen = dice.sample(pairs, min(len(pairs), dice.randint(0, 2 * len(keys))))
    return boxes, [Edge(source, target, dice.choice(sizes)) for source, target in chosen]


def curve(upper: Point, lower: Point) -> list[Point]:
    """Points of the smooth line that the drawing has between two points of a route."""
    (a, top), (b, bottom) = upper, lower
    steps = [index / 12 for index in range(13)]
    return [
        (
            a + (b - a) * (3 * t**2 - 2 * t**3),
            top + (bottom - top) * (1.5 * t - 1.5 * t**2 + t**3),
        )
        for t in steps
    ]


def inside(point: Point, rect: Rect) -> bool:
    x, y = point
    return rect.left < x < rect.right and rect.top + 0.1 < y < rect.bottom - 0.1


def labels(found: Layout) -> list[Rect]:
    return [route.label for route in found.routes if route.label.height]


@pytest.fixture(scope="module", params=range(60))
def drawn(request):
    boxes, edges = random_graph(request.param)
    return boxes, edges, layout_graph(boxes, edges)


def test_no_boxes_and_no_labels_overlap(drawn):
    boxes, _, found = drawn
    assert found.boxes.keys() == boxes.keys()
    rects = [*found.boxes.values(), *labels(found)]
    assert not any(one.overlaps(other) for one, other in combinations(rects, 2))


def test_no_arrow_runs_through_a_box_or_a_label(drawn):
    _, _, found = drawn
    rects = [*found.boxes.values(), *labels(found)]
    points = [p for route in found.routes for pair in pairwise(route.points) for p in curve(*pair)]
    assert not [point for point in points for rect in rects if inside(point, rect)]


def test_an_arrow_goes_down_from_its_source_to_its_target(drawn):
    _, edges, found = drawn
    assert len(found.routes) == len(edges)
    for edge, route in zip(edges, found.routes, strict=True):
        source, target = found.boxes[edge.source], found.boxes[edge.target]
        (start, top), (end, bottom) = route.points[0], route.points[-1]
        assert source.left < start < source.right and top == pytest.approx(source.bottom)
        assert target.left < end < target.right and bottom == pytest.approx(target.top)
        assert all(upper[1] < lower[1] + 0.01 for upper, lower in pairwise(route.points))


def test_everything_is_on_the_page_and_keeps_its_size(drawn):
    boxes, edges, found = drawn
    for rect in [*found.boxes.values(), *labels(found)]:
        assert rect.left >= -0.01 and rect.right <= found.size.width + 0.01
        assert rect.top >= 0 and rect.bottom <= found.size.height + 0.01
    sizes = [edge.label for edge in edges] + list(boxes.values())
    rects = [route.label for route in found.routes] + list(found.boxes.values())
    for size, rect in zip(sizes, rects, strict=True):
        assert size.width == 0 or rect.width == pytest.approx(size.width)
        assert rect.height == pytest.approx(size.height)


def test_the_same_graph_is_drawn_the_same():
    assert layout_graph(*random_graph(3)) == layout_graph(*random_graph(3))


def test_a_deep_graph_does_not_drift_apart():
    dice, keys = random.Random(1), [str(index) for index in range(60)]
    pairs = [
        (a, b) for i, a in enumerate(keys) for b in keys[i + 1 : i + 6] if dice.random() < 0.35
    ]
    edges = [Edge(*ends, Size(150, 20)) for ends in pairs]
    assert layout_graph({key: Size(100, 50) for key in keys}, edges).size.width < 4000


def test_a_chain_is_straight():
    sizes = {key: Size(width, 40) for key, width in zip("abc", (80, 200, 120), strict=True)}
    found = layout_graph(sizes, [Edge("a", "b", Size(150, 20)), Edge("b", "c", Size(90, 20))])
    xs = {x for route in found.routes for x, _ in route.points}
    assert max(xs) - min(xs) < 0.01


def test_an_arrow_over_several_layers_is_straight_on_its_way():
    keys = ("a", "b", "c", "d")
    edges = [*(Edge(s, t, Size(120, 20)) for s, t in pairwise(keys)), Edge("a", "d", Size(99, 20))]
    skip = layout_graph({key: Size(100, 50) for key in keys}, edges).routes[-1]
    assert len({x for x, _ in skip.points[2:-2]}) == 1


def test_an_input_stands_right_above_what_needs_it():
    sizes = {key: Size(90, 40) for key in ("image", "a", "b", "late")}
    edges = [("image", "a"), ("a", "b"), ("late", "b")]
    found = layout_graph(sizes, [Edge(*ends, Size(0, 0)) for ends in edges]).boxes
    assert found["late"].top == found["a"].top > found["image"].bottom


def test_titles_lines_kinds_and_labels_are_all_there():
    boxes = [
        box("image", kind="input"),
        box("net", "onnxruntime fp16", "23.5 M weights", title="backbone"),
        box("nms", "best 100", kind="host"),
        box("found", kind="output"),
    ]
    text = render_svg("retinanet on a board", boxes, chained("image", "net", "nms", "found"))
    said = written(text)
    for part in ("retinanet on a board", "backbone", "onnxruntime fp16", "23.5 M weights"):
        assert part in said
    for kind in ("input", "segment", "host", "output"):
        assert kind in said
    assert said.count(TENSOR) == 3


def test_a_kind_has_an_outline_of_its_own():
    text = render_svg("t", [box("a", kind="host"), box("b", kind="input"), box("c")], [])
    corners = {e.get("class"): e.get("rx") for e in read(text) if e.tag == f"{SVG}rect"}
    assert len({corners["host"], corners["input"], corners["segment"]}) == 3
    style = next(e.text for e in read(text) if e.tag == f"{SVG}style")
    assert "stroke-dasharray" in next(row for row in style.splitlines() if ".host" in row)


def test_parallel_arrows_become_one_with_a_line_for_each():
    arrows = [Arrow("a", "b", f"maps.{index} float32[1, 255, 13, 13]") for index in range(6)]
    text = render_svg("t", [box("a"), box("b")], arrows)
    assert sum(element.get("class") == "arrow" for element in read(text)) == 1
    lines = [e.text for e in read(text) if e.tag == f"{SVG}text" and e.get("class") == "line"]
    assert lines == [arrow.label for arrow in arrows]


def test_an_arrow_without_a_label_has_no_plate():
    text = render_svg("t", [box("a"), box("b")], [Arrow("a", "b", "")])
    assert not [element for element in read(text) if element.get("class") == "label"]


def test_a_long_label_breaks_neither_in_a_shape_nor_before_a_unit():
    label = "a_rather_long_name_of_a_tensor float32[16, 256, 200, 304] 900 MiB"
    text = render_svg("t", [box("a"), box("b")], [Arrow("a", "b", label)])
    lines = [e.text.strip() for e in read(text) if e.get("class") == "line"]
    assert lines == ["a_rather_long_name_of_a_tensor", "float32[16, 256, 200, 304] 900 MiB"]


def test_special_characters_are_escaped():
    odd = "<a & b> \"c\" 'd' ]]> \x00 \ud800 \ufffe 名"
    text = render_svg(odd, [box("<k>", odd, title=odd), box("b")], [Arrow("<k>", "b", odd)])
    shown = "<a & b> \"c\" 'd' ]]> \\x00 \\ud800 \N{REPLACEMENT CHARACTER} 名"
    assert written(text).count(shown) == 4


def test_a_screen_reader_is_told_the_title_the_boxes_and_the_arrows():
    root = ElementTree.fromstring(
        render_svg("net", [box("a"), box("b")], [Arrow("a", "b", TENSOR)])
    )
    assert root.get("role") == "img"
    assert [child.tag for child in root[:2]] == [f"{SVG}title", f"{SVG}desc"]
    assert root[0].text == "net"
    assert root[1].text == f"segment a. segment b. a to b: {TENSOR}."


def test_the_file_is_self_contained_scales_and_may_share_a_page():
    text = render_svg("t", [box("a"), box("b")], chained("a", "b"))
    assert text.count("http") == 1  # the namespace
    assert not any(word in text for word in ("<script", "href", "url(", "@import", "@font", " id="))
    assert "prefers-color-scheme:dark" in text
    root = ElementTree.fromstring(text)
    assert root.get("viewBox") == f"0 0 {root.get('width')} {root.get('height')}"
    assert root.get("style") == "max-width:100%;height:auto"


@pytest.mark.parametrize(
    ("boxes", "arrows", "message"),
    [
        ([], [], "diagram: expected at least one box, got none"),
        (["a", "a"], [], "box 'a': expected a key of its own, got 2 boxes"),
        (["a"], ["a b"], "arrow from 'a' to 'b': expected boxes at both ends, got boxes a. Add"),
        (["b"], ["a b"], "arrow from 'a' to 'b': expected boxes at both ends, got boxes b. Add"),
        (["a"], ["a a"], "arrows: expected no cycle, got a to a"),
        (["a", "b", "c"], ["a b", "b c", "c a"], "got . to . to . to ."),
    ],
)
def test_what_makes_no_diagram_is_an_error(boxes, arrows, message):
    ends = [arrow.split() for arrow in arrows]
    with pytest.raises(DiagramError, match=message) as caught:
        render_svg("t", [box(key) for key in boxes], [Arrow(*pair, "x") for pair in ends])
    assert isinstance(caught.value, DeployError)


def test_the_error_for_a_circle_names_the_arrows_in_their_direction():
    with pytest.raises(DiagramError) as caught:
        render_svg("t", [box(key) for key in "abc"], chained("a", "b", "c", "a"))
    way = str(caught.value).split("got ")[1].rstrip(".").split(" to ")
    assert all(pair in ("ab", "bc", "ca") for pair in map("".join, pairwise(way)))


def test_where_the_first_box_stands_is_told():
    assert first_box_offset([box("a")], []) == 0.5
    boxes = [box("left"), box("right"), box("below")]
    arrows = [Arrow("left", "below", "x"), Arrow("right", "below", "y")]
    middle = first_box_offset([boxes[2], *boxes[:2]], arrows)
    assert 0 < first_box_offset(boxes, arrows) < middle < 1
    with pytest.raises(DiagramError, match="at least one box"):
        first_box_offset([], [])

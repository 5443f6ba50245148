"""A diagram in one column: in order, without overlaps, and every tensor says where it goes."""

from __future__ import annotations

import random
import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest

from deploy.report.svg.column import KeyEntry, render_column, shortened
from deploy.report.svg.diagram import Arrow, Box, DiagramError
from deploy.report.svg.layered_layout import Rect

SVG = "{http://www.w3.org/2000/svg}"


def box(key: str, **changes) -> Box:
    return Box(
        **{"key": key, "title": key, "lines": ("engine", "9 nodes"), "kind": "segment", **changes}
    )


def elements(text: str, kind: str, style: str = "") -> list[ElementTree.Element]:
    found = ElementTree.fromstring(text).iter(f"{SVG}{kind}")
    return [item for item in found if style in (item.get("class") or "").split() or not style]


def outlines(text: str) -> list[Rect]:
    sides = ("x", "y", "width", "height")
    kinds = ("segment", "host", "input", "output")
    return [
        Rect(*(float(item.attrib[side]) for side in sides))
        for kind in kinds
        for item in elements(text, "rect", kind)
    ]


def lanes(text: str) -> list[tuple[float, float, float]]:
    """The x, the top and the bottom of each lane."""
    paths = [item.attrib["d"] for item in elements(text, "path", "arrow")]
    found = []
    for path in (path for path in paths if "Q" in path):
        top = float(re.search(r"M[\d.]+ ([\d.]+)H", path)[1])
        x = float(re.search(r"Q([\d.]+) ", path)[1])
        found.append((x, top, float(re.findall(r"Q[\d.]+ ([\d.]+) ", path)[-1])))
    return found


def texts(text: str, *styles: str) -> list[str]:
    wanted = [item for style in styles for item in elements(text, "text", style)]
    return [(item.text or "").strip() for item in wanted]


@pytest.fixture(params=range(30))
def random_column(request) -> tuple[list[Box], list[Arrow], str]:
    dice = random.Random(request.param)
    keys = [f"step{index}" for index in range(dice.randint(1, 16))]
    boxes = [box(key, colour=dice.randint(0, 8)) for key in keys]
    pairs = list(combinations(keys, 2))
    chosen = dice.sample(pairs, min(len(pairs), dice.randint(0, 3 * len(keys))))
    arrows = [Arrow(*ends, f"t{dice.randint(0, 3)}\nfloat32[1, 8] 9 kB") for ends in chosen]
    shuffled = dice.sample(boxes, len(boxes))
    return boxes, arrows, render_column("t", shuffled, arrows)


def test_no_boxes_overlap_and_lanes_stay_beside_them(random_column):
    boxes, _, text = random_column
    rects = outlines(text)
    assert len(rects) == len(boxes)
    assert not any(one.overlaps(other) for one, other in combinations(rects, 2))
    assert all(x > rect.right + 8 for x, _, _ in lanes(text) for rect in rects)


def test_lanes_at_one_place_follow_each_other(random_column):
    _, arrows, text = random_column
    found = lanes(text)
    assert bool(found) <= bool(arrows)
    for (x, top, bottom), (other_x, other_top, other_bottom) in combinations(found, 2):
        assert x != other_x or bottom <= other_top or other_bottom <= top


def test_every_arrow_has_a_head_and_goes_down(random_column):
    boxes, arrows, text = random_column
    titles = [title.split()[-1] for title in texts(text, "name")]
    assert sorted(titles) == sorted(item.title for item in boxes)
    assert all(titles.index(arrow.source) < titles.index(arrow.target) for arrow in arrows)
    neighbours = set(pairwise(titles))
    straight = {(arrow.source, arrow.target) for arrow in arrows} & neighbours
    far = [arrow for arrow in arrows if (arrow.source, arrow.target) not in neighbours]
    heads = sum(item.attrib["d"].count("M") for item in elements(text, "path", "head"))
    assert heads == len(straight) + len({(a.source, a.target, a.label) for a in far})


def test_a_tensor_names_the_steps_that_read_it_and_runs_in_one_lane():
    boxes = [box("x", kind="input"), *map(box, "abcd"), box("y", kind="output")]
    ends = ("xa", "ab", "ac", "ad", "bc", "cd", "dy", "ay")
    arrows = [Arrow(source, target, f"from_{source}\nfloat32") for source, target in ends]
    text = render_column("t", boxes, arrows)
    assert texts(text, "name") == ["x", "1  a", "2  b", "3  c", "4  d", "y"]
    assert "from_a, to 2, 3, 4 and y" in texts(text, "line")
    assert "from_b" in texts(text, "line") and "float32" in texts(text, "kind")
    assert len(lanes(text)) == 1


def test_what_goes_to_the_next_step_alone_is_listed_first():
    arrows = [Arrow("a", "c", "far"), Arrow("a", "b", "near")]
    lines = texts(render_column("t", [*map(box, "abc")], arrows), "line")
    assert lines.index("near") < lines.index("far, to 3")


def test_where_the_order_is_free_it_stays_as_it_is():
    boxes = [box(key) for key in "cabd"]
    text = render_column("t", boxes, [Arrow("b", "c", "t")])
    assert [name.split()[-1] for name in texts(text, "name")] == ["a", "b", "c", "d"]


def test_an_engine_has_a_colour_and_a_pattern_of_its_own():
    boxes = [box(f"s{number}", colour=number) for number in range(1, 7)]
    text = render_column("t", boxes, [], [KeyEntry(2, "second", "5 % of all")])
    bands = elements(text, "path", "band")[1:]
    shapes = {re.sub(r"[\d. -]+", "_", band.attrib["d"])[:40] for band in bands}
    assert len({band.get("class") for band in bands}) == 6 and len(shapes) > 3
    assert (
        len({band.attrib["d"].count("M") + 100 * ("z" in band.attrib["d"]) for band in bands}) > 4
    )
    assert "second 5 % of all" in texts(text, "engine")


def test_engines_beyond_the_last_colour_share_it():
    text = render_column("t", [box("a", colour=99)], [])
    assert elements(text, "rect", "colour6") and elements(text, "path", "colour6")


def test_a_cycle_and_an_arrow_to_nowhere_are_refused():
    arrows = [Arrow("a", "b", ""), Arrow("b", "a", "")]
    with pytest.raises(DiagramError, match=r"arrows: expected no cycle, got \w to \w to \w"):
        render_column("t", [box("a"), box("b")], arrows)
    with pytest.raises(DiagramError, match=r"arrow from 'a' to 'b': expected boxes at both ends"):
        render_column("t", [box("a")], arrows[:1])
    with pytest.raises(DiagramError, match="diagram: expected at least one box, got none"):
        render_column("t", [], [])


def test_a_long_name_is_shortened_and_its_tooltip_has_all_of_it():
    name = "n" * 50 + "o" * 50
    boxes = [box("a", title=name, tooltip=name), box("b")]
    text = render_column("t", boxes, [Arrow("a", "b", shortened(name, 32), name)])
    assert name not in "".join(texts(text, "name", "line"))
    assert sum(item.text == name for item in elements(text, "title")) == 3  # box, arrow and label
    assert max(len(line) for line in texts(text, "line", "kind", "engine", "name")) <= 36


@pytest.mark.parametrize("length", [1, 2, 3, 10, 11])
def test_a_shortened_text_has_at_most_so_many_characters(length):
    assert len(shortened("0123456789", length)) == min(length, 10)

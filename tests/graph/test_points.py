"""Points are written in one way, and every other way is refused."""

import pytest

from deploy.graph.points import MarkedTensor, Point, PointError, check_name, parse_point


@pytest.mark.parametrize(
    ("text", "point"),
    [
        ("head:input", Point("head", 0, "input")),
        ("backbone.layer4:output", Point("backbone.layer4", 0, "output")),
        ("head[2]:output", Point("head", 2, "output")),
        ("head[1]:input.maps.0", Point("head", 1, "input", "maps.0")),
    ],
)
def test_a_point_reads_as_it_is_written(text, point):
    assert parse_point(text) == point
    assert str(point) == text


def test_the_first_call_may_be_counted():
    assert parse_point("head[0]:input") == Point("head", 0, "input")


@pytest.mark.parametrize(
    "text", ["", "head", "head:", "head:in", ":input", "head[x]:input", "head:input.", "a b:input"]
)
def test_what_is_no_point_is_refused_with_the_forms_there_are(text):
    with pytest.raises(PointError, match=r"malformed point: expected name:input.*got '"):
        parse_point(text)


def test_a_point_covers_its_subtree_and_no_name_that_only_begins_alike():
    tensor = MarkedTensor("head", 0, "input", "maps.10.x")
    assert str(tensor) == "head:input.maps.10.x"
    assert all(
        parse_point(text).covers(tensor)
        for text in ("head:input", "head:input.maps", "head:input.maps.10", "head:input.maps.10.x")
    )
    assert not any(
        parse_point(text).covers(tensor)
        for text in ("head:input.maps.1", "head:output", "head[1]:input", "head:input.maps.10.x.y")
    )


@pytest.mark.parametrize("name", ["", "a b", "a:b", "a[0]"])
def test_a_mark_must_have_a_name_that_points_can_spell(name):
    with pytest.raises(PointError, match="name of a mark: expected one or more characters"):
        check_name(name)

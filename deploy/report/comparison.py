"""Pictures side by side: the reference beside each chain, with what differs marked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.report.data import DetectionView, PictureView

_SIGNS = {"matched": "", "missing": "\N{MINUS SIGN} ", "extra": "+ "}


_ORDER = ("matched", "missing", "extra")


_WIDE, _HIGH = 0.64, 1.45  # of a tag's letter and of the tag, in sizes of its font


_FONT = 1 / 38  # of the longest side of the picture


_MOST_TOLD = 12  # differences in words beside a picture


_CROWD = 40  # more boxes than that have a tag only where they differ


@dataclass(frozen=True)
class BoxLabel:
    """The words at a box; lengths in pixels of the picture."""

    text: str
    left: float
    top: float
    width: float
    height: float
    font: float


@dataclass(frozen=True)
class DrawnDetection:
    """A detection as it is drawn: the words that tell of it, and its tag if there is room."""

    seen: DetectionView
    told: str
    tag: BoxLabel | None


@dataclass(frozen=True)
class ModelPanel:
    """What one model finds in a picture.

    Attributes:
        title: whose it is.
        said: how it compares, in one line.
        marks: what to draw, differences last and so on top.
        differences: in words.
        rows: each detection of either model as class, place, both scores, and how it compares;
            none for the reference.
    """

    title: str
    said: str
    marks: tuple[DrawnDetection, ...]
    differences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class PictureComparison:
    """One picture in all its panels, the reference first."""

    key: str
    sighting: PictureView
    panels: tuple[ModelPanel, ...]


def compare_pictures(
    against: str, chains: Sequence[tuple[str, Sequence[PictureView]]]
) -> tuple[PictureComparison, ...]:
    """A scene for each picture; chains that were compared with the same share it.

    Args:
        against: what the reference is.
        chains: a title for each, and its pictures.
    """
    groups: dict[object, list[tuple[str, PictureView]]] = {}
    for title, sightings in chains:
        for sighting in sightings:
            groups.setdefault(_same(sighting), []).append((title, sighting))
    return tuple(
        _scene(f"picture{number}", against, group) for number, group in enumerate(groups.values())
    )


def _same(one: PictureView) -> object:
    """What two sightings share where they are of one picture and one reference."""
    return one.name, one.image, tuple((seen.box, seen.name) for seen in one.expected)


def _scene(key: str, against: str, group: Sequence[tuple[str, PictureView]]) -> PictureComparison:
    first = group[0][1]
    panels = (
        _reference(against, [one for _, one in group]),
        *(_chain(*one, against) for one in group),
    )
    return PictureComparison(key, first, panels)


def _reference(against: str, sightings: Sequence[PictureView]) -> ModelPanel:
    """What the reference finds; missing is what any of the chains has not."""
    found = [
        next((one for one in same if one.state == "missing"), same[0])
        for same in zip(*(sighting.expected for sighting in sightings), strict=True)
    ]
    said = f"{len(found)} found, the reference"
    return ModelPanel(against, said, _marks(sightings[0], found, against, "the chain"))


def _chain(title: str, sighting: PictureView, against: str) -> ModelPanel:
    missing = [one for one in sighting.expected if one.state == "missing"]
    extra = [one for one in sighting.found if one.state == "extra"]
    same = len(sighting.expected) - len(missing)
    said = f"{len(sighting.found)} found; {same} of {len(sighting.expected)} as {against}"
    said += "".join(
        f", {len(them)} {word}" for them, word in ((missing, "missing"), (extra, "extra")) if them
    )
    return ModelPanel(
        title,
        said,
        _marks(sighting, [*sighting.found, *missing], title, against),
        tuple(_differences([*missing, *extra], against)),
        tuple(_rows(sighting)),
    )


def _differences(alone: Sequence[DetectionView], against: str) -> Iterator[str]:
    yield from (_difference(one, against) for one in alone[:_MOST_TOLD])
    if len(alone) > _MOST_TOLD:
        yield f"and {len(alone) - _MOST_TOLD} more, among all below"


def _difference(one: DetectionView, against: str) -> str:
    whose = against if one.state == "missing" else "the chain"
    return f"{_SIGNS[one.state]}{one.name}, score {one.score:.2f}, {_place(one)}: {whose} alone"


def _place(one: DetectionView) -> str:
    x1, y1, x2, y2 = one.box
    return f"x {x1:.0f} to {x2:.0f}, y {y1:.0f} to {y2:.0f}"


def _rows(sighting: PictureView) -> Iterator[tuple[str, ...]]:
    for one in sighting.expected:
        yield one.name, _place(one), f"{one.score:.3f}", _score(one.other), one.state
    for one in sighting.found:
        if one.state == "extra":
            yield one.name, _place(one), "", f"{one.score:.3f}", one.state


def _score(score: float | None) -> str:
    return "" if score is None else f"{score:.3f}"


def _marks(
    sighting: PictureView, found: Sequence[DetectionView], whose: str, other: str
) -> tuple[DrawnDetection, ...]:
    ordered = sorted(found, key=lambda one: (_ORDER.index(one.state), one.score))
    crowded = len(ordered) > _CROWD
    return tuple(
        DrawnDetection(
            one,
            _told(one, whose, other),
            None if crowded and one.state == "matched" else _tag(one, sighting),
        )
        for one in ordered
    )


def _told(one: DetectionView, whose: str, other: str) -> str:
    also = f", {other} {one.other:.3f}" if one.other is not None else f", {one.state}"
    return f"{one.name}: {one.score:.3f}{also}"


def _tag(one: DetectionView, sighting: PictureView) -> BoxLabel:
    text = f"{_SIGNS[one.state]}{one.name}" + (
        "" if one.state == "matched" else f" {one.score:.2f}"
    )
    font = max(sighting.width, sighting.height) * _FONT
    width, height = (len(text) * _WIDE + 0.5) * font, font * _HIGH
    x1, y1, _, y2 = one.box
    left = min(max(0.0, x1), max(0.0, sighting.width - width))
    top = y2 if one.state == "missing" else y1 - height  # two at one place are both read
    if top < 0:
        top = y1
    top = min(max(0.0, top), sighting.height - height)
    return BoxLabel(text, left, top, width, height, font)

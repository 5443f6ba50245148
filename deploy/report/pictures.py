"""Pictures of a report: the detections of reference and chain, matched, and drawn side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from backends.acceptance import CONFIDENT, MATCH_IOU
from backends.contract import Array
from deploy.report.data import DetectionView, MatchState, PictureView
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.masks import Masks
from deploy.runtime.results.matching import pair_detections
from deploy.runtime.results.result import Result
from deploy.runtime.vision.image import load_image

MAX_PICTURES = 8  # in a report
_MAX_SIDE = 480  # pixels of a scaled-down picture
_JPEG_QUALITY = 80
_QUICK = 1  # level of compression of PNG
_MOST_GAINED = 3  # a quick PNG file is at most so many times one of the usual level
_MASK_STEPS = 160  # resolution of a mask along the longest side of its picture


def picture_views(
    pictures: Sequence[Path],
    reference: Sequence[Result],
    chain: Sequence[Result],
    classes: Sequence[str],
) -> tuple[PictureView, ...]:
    """The first pictures with their confident detections, matched as ``verify`` does it.

    Other results than detections are left out.

    Args:
        pictures: at least as many as there are results.
        reference: the result of the reference for each picture.
        chain: the result of the chain for each picture; empty where the chain was not run.
        classes: names of the labels.
    """
    rows = list(zip(pictures, reference, chain, strict=False))[:MAX_PICTURES]
    return tuple(
        _picture_view(path, expected, actual, classes)
        for path, expected, actual in rows
        if isinstance(expected, Detections) and isinstance(actual, Detections)
    )


def _picture_view(
    path: Path, reference: Detections, chain: Detections, classes: Sequence[str]
) -> PictureView:
    pixels = load_image(path)
    height, width = pixels.shape[:2]
    return PictureView(
        path.name,
        width,
        height,
        data_url(pixels),
        tuple(_detection_views(reference, chain, "missing", classes)),
        tuple(_detection_views(chain, reference, "extra", classes)),
    )


def data_url(pixels: Array) -> str:
    """A picture (H, W, 3) uint8 as a ``data:`` address, scaled down; PNG or JPEG, the smaller.

    PNG is tried in full only where a quick try is not much larger already: it takes 50 times what
    JPEG takes.
    """
    image = Image.fromarray(pixels)
    image.thumbnail((_MAX_SIDE, _MAX_SIDE))
    encodings = {"jpeg": _encode(image, "jpeg", quality=_JPEG_QUALITY)}
    quick = _encode(image, "png", compress_level=_QUICK)
    if len(quick) < _MOST_GAINED * len(encodings["jpeg"]):
        encodings["png"] = _encode(image, "png")
    kind, data = min(encodings.items(), key=lambda encoding: len(encoding[1]))
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"


def _encode(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _detection_views(
    detections: Detections, other: Detections, unmatched: MatchState, classes: Sequence[str]
) -> Iterator[DetectionView]:
    """The confident detections of one model; ``unmatched`` is the state without a partner."""
    confident = detections.above(CONFIDENT)
    partners = dict(pair_detections(confident, other, MATCH_IOU))
    for index in range(len(confident)):
        partner = partners.get(index)
        label = int(confident.labels[index])
        x1, y1, x2, y2 = (round(float(edge), 1) for edge in confident.boxes[index])
        yield DetectionView(
            box=(x1, y1, x2, y2),
            score=float(confident.scores[index]),
            class_name=classes[label] if label < len(classes) else str(label),
            state=unmatched if partner is None else "matched",
            partner_score=None if partner is None else float(other.scores[partner]),
            mask_path="" if confident.masks is None else mask_path(confident.masks, index),
        )


def mask_path(masks: Masks, index: int) -> str:
    """A mask as the path of an SVG in pixels of the picture, of reduced resolution."""
    step = max(1, round(max(masks.height, masks.width) / _MASK_STEPS))
    left, top = (int(edge) for edge in masks.corners[index])
    coarse = masks.crops[index][step // 2 :: step, step // 2 :: step]
    return "".join(
        f"M{left + start * step} {top + row * step}h{(end - start) * step}v{step}"
        f"h{(start - end) * step}z"
        for row, line in enumerate(coarse)
        for start, end in _runs(line)
    )


def _runs(line: Array) -> list[tuple[int, int]]:
    """Start and end of each run of True in a row of booleans."""
    edges = np.flatnonzero(np.diff(line.astype(np.int8), prepend=0, append=0))
    return [(int(start), int(end)) for start, end in edges.reshape(-1, 2)]


_SIGNS = {"matched": "", "missing": "\N{MINUS SIGN} ", "extra": "+ "}
_DRAWING_ORDER = ("matched", "missing", "extra")
_LETTER_WIDTH, _LABEL_HEIGHT = 0.64, 1.45  # of a box label, in sizes of its font
_FONT_SIZE = 1 / 38  # of the longest side of the picture
_MAX_DIFFERENCES = 12  # sentences beside a picture
_MAX_LABELLED = 40  # with more boxes than that, matched ones have no label


@dataclass(frozen=True)
class BoxLabel:
    """The text at a box and its background; lengths in pixels of the picture."""

    text: str
    left: float
    top: float
    width: float
    height: float
    font: float


@dataclass(frozen=True)
class DrawnDetection:
    """A detection as it is drawn: its tooltip, and its label if it has one."""

    detection: DetectionView
    tooltip: str
    label: BoxLabel | None


@dataclass(frozen=True)
class ModelPanel:
    """The detections of one model in a picture.

    Attributes:
        title: of the model.
        summary: how it compares with the reference, in one line.
        drawn: the detections in drawing order, differences last.
        differences: sentences.
        rows: for each detection of either model its class, position, both scores and state; empty
            for the reference.
    """

    title: str
    summary: str
    drawn: tuple[DrawnDetection, ...]
    differences: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()


@dataclass(frozen=True)
class PictureComparison:
    """One picture with a panel for each model, the reference first; ``key`` is its HTML id."""

    key: str
    picture: PictureView
    panels: tuple[ModelPanel, ...]


def compare_pictures(
    reference: str, chains: Sequence[tuple[str, Sequence[PictureView]]]
) -> tuple[PictureComparison, ...]:
    """A comparison for each picture; chains with the same reference detections share it.

    Args:
        reference: the name of the reference.
        chains: a title for each chain, and its pictures.
    """
    groups: dict[object, list[tuple[str, PictureView]]] = {}
    for title, pictures in chains:
        for picture in pictures:
            groups.setdefault(_group_key(picture), []).append((title, picture))
    return tuple(
        _comparison(f"picture{number}", reference, group)
        for number, group in enumerate(groups.values())
    )


def _group_key(picture: PictureView) -> object:
    boxes = tuple((detection.box, detection.class_name) for detection in picture.reference)
    return picture.file_name, picture.data_url, boxes


def _comparison(
    key: str, reference: str, group: Sequence[tuple[str, PictureView]]
) -> PictureComparison:
    pictures = [picture for _, picture in group]
    chains = (_chain_panel(title, picture, reference) for title, picture in group)
    return PictureComparison(key, pictures[0], (_reference_panel(reference, pictures), *chains))


def _reference_panel(reference: str, pictures: Sequence[PictureView]) -> ModelPanel:
    """The reference's detections; one is missing where any of the chains lacks it."""
    detections = [
        next((view for view in views if view.state == "missing"), views[0])
        for views in zip(*(picture.reference for picture in pictures), strict=True)
    ]
    summary = f"{len(detections)} found, the reference"
    drawn = _drawn(pictures[0], detections, "the chain")
    return ModelPanel(reference, summary, drawn)


def _chain_panel(title: str, picture: PictureView, reference: str) -> ModelPanel:
    missing = [view for view in picture.reference if view.state == "missing"]
    extra = [view for view in picture.chain if view.state == "extra"]
    matched = len(picture.reference) - len(missing)
    summary = f"{len(picture.chain)} found; {matched} of {len(picture.reference)} as {reference}"
    for views, state in ((missing, "missing"), (extra, "extra")):
        summary += f", {len(views)} {state}" if views else ""
    return ModelPanel(
        title,
        summary,
        _drawn(picture, [*picture.chain, *missing], reference),
        tuple(_differences([*missing, *extra], reference)),
        tuple(_rows(picture)),
    )


def _differences(unmatched: Sequence[DetectionView], reference: str) -> Iterator[str]:
    for view in unmatched[:_MAX_DIFFERENCES]:
        owner = reference if view.state == "missing" else "the chain"
        label = f"{_SIGNS[view.state]}{view.class_name}"
        yield f"{label}, score {view.score:.2f}, {_position(view)}: {owner} alone"
    if len(unmatched) > _MAX_DIFFERENCES:
        yield f"and {len(unmatched) - _MAX_DIFFERENCES} more, among all below"


def _position(view: DetectionView) -> str:
    x1, y1, x2, y2 = view.box
    return f"x {x1:.0f} to {x2:.0f}, y {y1:.0f} to {y2:.0f}"


def _rows(picture: PictureView) -> Iterator[tuple[str, ...]]:
    for view in picture.reference:
        chain_score = "" if view.partner_score is None else f"{view.partner_score:.3f}"
        yield view.class_name, _position(view), f"{view.score:.3f}", chain_score, view.state
    for view in picture.chain:
        if view.state == "extra":
            yield view.class_name, _position(view), "", f"{view.score:.3f}", view.state


def _drawn(
    picture: PictureView, detections: Sequence[DetectionView], other: str
) -> tuple[DrawnDetection, ...]:
    ordered = sorted(detections, key=lambda view: (_DRAWING_ORDER.index(view.state), view.score))
    crowded = len(ordered) > _MAX_LABELLED
    return tuple(
        DrawnDetection(
            view,
            _tooltip(view, other),
            None if crowded and view.state == "matched" else _box_label(view, picture),
        )
        for view in ordered
    )


def _tooltip(view: DetectionView, other: str) -> str:
    partner = view.state if view.partner_score is None else f"{other} {view.partner_score:.3f}"
    return f"{view.class_name}: {view.score:.3f}, {partner}"


def _box_label(view: DetectionView, picture: PictureView) -> BoxLabel:
    """The label above a box, or below it for a missing detection, inside of the picture."""
    score = "" if view.state == "matched" else f" {view.score:.2f}"
    text = f"{_SIGNS[view.state]}{view.class_name}{score}"
    font = max(picture.width, picture.height) * _FONT_SIZE
    width, height = (len(text) * _LETTER_WIDTH + 0.5) * font, font * _LABEL_HEIGHT
    x1, y1, _, y2 = view.box
    left = min(max(0.0, x1), max(0.0, picture.width - width))
    top = y2 if view.state == "missing" else y1 - height
    if top < 0:
        top = y1
    top = min(max(0.0, top), picture.height - height)
    return BoxLabel(text, left, top, width, height, font)

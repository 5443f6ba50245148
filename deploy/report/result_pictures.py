"""Results of a report that are no detections in pictures: of the reference beside the chain."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backends.acceptance import CONFIDENT
from backends.contract import Array
from deploy.report.data import ResultView
from deploy.report.pictures import MAX_PICTURES, data_url
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result
from deploy.runtime.vision.image import load_image

_MAX_LINES = 12  # beside a picture


def result_views(
    pictures: Sequence[Path],
    reference: Sequence[Result],
    chain: Sequence[Result],
    classes: Sequence[str],
) -> tuple[ResultView, ...]:
    """The first pictures with the results of both models; see ``picture_views`` for detections.

    Args:
        pictures: at least as many as there are results.
        reference: the result of the reference for each picture.
        chain: the result of the chain for each picture; empty where the chain was not run.
        classes: names of the labels.
    """
    rows = list(zip(pictures, reference, chain, strict=False))[:MAX_PICTURES]
    return tuple(
        _result_view(path, expected, actual, classes)
        for path, expected, actual in rows
        if not isinstance(expected, Detections)
    )


def input_views(
    reference: Sequence[Result], chain: Sequence[Result], classes: Sequence[str]
) -> tuple[ResultView, ...]:
    """The results for the first inputs of samples without pictures, in words.

    Args:
        reference: the result of the reference for each input.
        chain: the result of the chain for each input; empty where the chain was not run.
        classes: names of the labels.
    """
    pairs = list(zip(reference, chain, strict=False))[:MAX_PICTURES]
    return tuple(
        _view(f"sample input {number}", ("", ""), pair, classes)
        for number, pair in enumerate(pairs, 1)
    )


def _result_view(
    path: Path, expected: Result, actual: Result, classes: Sequence[str]
) -> ResultView:
    pixels = load_image(path)
    drawn = _drawn(expected, pixels, classes), _drawn(actual, pixels, classes)
    return _view(path.name, drawn, (expected, actual), classes)


def _view(
    name: str, drawn: tuple[str, str], pair: tuple[Result, Result], classes: Sequence[str]
) -> ResultView:
    expected, actual = pair
    agreement = type(expected).agreement([expected], [actual])
    lines, others = (tuple(result.lines(classes)[:_MAX_LINES]) for result in pair)
    return ResultView(name, *drawn, lines, others, agreement.matched == agreement.total)


def _drawn(result: Result, pixels: Array, classes: Sequence[str]) -> str:
    return data_url(np.asarray(result.above(CONFIDENT).draw(pixels, classes)))

"""Pictures of a report with results that are no detections: of the reference beside the chain."""

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


def _result_view(
    path: Path, expected: Result, actual: Result, classes: Sequence[str]
) -> ResultView:
    pixels = load_image(path)
    agreement = type(expected).agreement([expected], [actual])
    return ResultView(
        path.name,
        _drawn(expected, pixels, classes),
        _drawn(actual, pixels, classes),
        tuple(expected.lines(classes)[:_MAX_LINES]),
        tuple(actual.lines(classes)[:_MAX_LINES]),
        agreement.matched == agreement.total,
    )


def _drawn(result: Result, pixels: Array, classes: Sequence[str]) -> str:
    return data_url(np.asarray(result.above(CONFIDENT).draw(pixels, classes)))

"""The desk half of the test backend."""

from dataclasses import replace
from unittest import mock

import backends.ncnn.convert as careful


def convert(segment, options, out):
    with (
        mock.patch.object(careful, "rewrite_graph"),
        mock.patch.object(careful, "check_forms"),
        mock.patch.object(careful, "diagnose", return_value=None),
    ):
        return replace(careful.convert(segment, options, out), backend="axis_losing_ncnn")

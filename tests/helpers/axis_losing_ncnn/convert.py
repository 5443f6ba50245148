"""The desk half of the test backend."""

from dataclasses import replace
from unittest import mock

import backends.ncnn.convert as careful


def convert(segment, options, out):
    with mock.patch.object(careful, "_check_reductions"):
        return replace(careful.convert(segment, options, out), backend="axis_losing_ncnn")

"""Graphs of float[2,3] tensors in ONNX's own notation, cut across the whole model."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.partition.cut_points import PartitionError
from deploy.partition.segments import partition
from tests.helpers.chains import chain, from_text, mark_of, run

HEADER = '<ir_version: 10, opset_import: ["" : 20, "deploy" : 1, "custom" : 3]>\n'

X = {"x": np.arange(6, dtype=np.float32).reshape(2, 3) - 2}

TYPE = "float[2,3]"


def text_model(folder, inputs, outputs, *body, weights="", functions=""):
    """A graph of float[2,3] tensors."""

    def typed(names):
        return ", ".join(f"{TYPE} {name}" if " " not in name else name for name in names.split(","))

    lines = "\n".join(body)
    text = f"{HEADER} g ({typed(inputs)}) => ({typed(outputs)}) {weights} {{ {lines} }} {functions}"
    return from_text(text, folder / "whole")


def input_mark(result, name, source):
    return mark_of(result, name, source).replace('side = "output"', 'side = "input"')


def inputs_of(cutting):
    return [[spec.name for spec in segment.inputs] for segment in cutting.segments]


def outputs_of(cutting):
    return [[spec.name for spec in segment.outputs] for segment in cutting.segments]


def cut_across_and_compare(exported, folder, *across, inputs=X):
    """The cutting; its chain gives what the whole model gives."""
    cutting = partition(exported, [], folder / "cut", across=across)
    values = chain(cutting.segments, inputs)
    for name, whole in run(exported.onnx, inputs).items():
        assert any(np.array_equal(values[result], whole) for result in cutting.results), name
    return cutting


def assert_refused(exported, folder, message, *across):
    with pytest.raises(PartitionError, match=message):
        partition(exported, [], folder, across=across)
    assert not list(folder.glob("*.onnx")), "nothing half-written is left behind"

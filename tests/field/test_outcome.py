"""The verdict on a command, and whether a refusal helps."""

from __future__ import annotations

import pytest

from tests.field.outcome import (
    CRASHED,
    DEAD_END,
    FAILED,
    PASSED,
    REFUSED,
    TIMEOUT,
    TRACEBACK,
    Finished,
    verdict_of,
)

NAMES = {"features", "conv_1", "7"}


def verdict(code: int | None, errors: str, output: str = "") -> str:
    """The verdict alone."""
    return verdict_of(Finished(code, output, errors), NAMES)[0]


@pytest.mark.parametrize(
    ("code", "errors", "expected"),
    [
        (0, "", PASSED),
        (None, "", TIMEOUT),
        (-11, "", CRASHED),
        (139, "", CRASHED),
        (1, "Traceback (most recent call last):\n  File\nValueError: no", TRACEBACK),
        (1, "error: segment 'm': ncnn does not agree at 'features': expected 1, got 2.", FAILED),
        (1, "", FAILED),
    ],
)
def test_a_command_that_is_no_refusal_has_its_own_verdict(code, errors, expected):
    assert verdict(code, errors) == expected


def test_a_traceback_counts_even_where_the_command_succeeds():
    assert verdict(0, "Traceback (most recent call last):\n  File\nKeyError: 'x'") == TRACEBACK


@pytest.mark.parametrize(
    "text",
    [
        "tensor 'features': expected float32, got float64. Cut so that it stays outside.",
        "input 'conv_1' leaves the size 'n' open. Fix it: model.inputs={...}.",
        "tensor 'labels' of no known name: expected float32, got int64. Cut before it.",
        "malformed point: got 'features:in'. Did you mean features:input?",
        "no operator for node 'conv_1' (Resize):\n  Cut around it, or choose another backend.",
    ],
)
def test_a_refusal_that_names_a_tensor_and_a_remedy_helps(text):
    assert verdict(1, f"error: {text}") == REFUSED


@pytest.mark.parametrize(
    "text",
    [
        "segment 'model': ended with -11",
        "'model.onnx' does not load: FAIL : Load model failed: Node (n0_3) Op (MatMul)",
        "tensor 'features': expected float32, got float64.",
        "the model cannot be exported. Choose another backend.",
        "files are of fixed shape, and 'features' is float32[0..2147483647]. Let nothing vary.",
        "ncnn layer 'Clip_19' (Clip): bottoms: expected 1, got 2. Choose another backend.",
        "ncnn has no Tensor.slice. Choose another backend for this segment.",
    ],
)
def test_a_refusal_without_a_name_or_without_a_remedy_is_a_dead_end(text):
    assert verdict(1, f"error: {text}") == DEAD_END


def test_a_short_name_within_a_word_or_a_number_is_no_name():
    assert verdict(1, "error: max_rel 0.17 at 'pred'. Choose another backend.") == DEAD_END
    assert verdict(1, "error: tensor 7 is open. Fix it: model.inputs.") == REFUSED


def test_the_line_that_repeats_a_conversion_is_no_remedy():
    text = "error: node 'conv_1' is unknown.\n  To repeat it: Run /x/python -m backends.ncnn"
    verdict_, why = verdict_of(Finished(1, "", text), NAMES)
    assert verdict_ == DEAD_END
    assert why == "node 'conv_1' is unknown."

"""Dataclasses to JSON and strictly back."""

import json

import pytest

from backends.codec import FormatError, from_json, to_json
from backends.contract import Artifact, Dynamic, TensorSpec

ARTIFACT = Artifact(
    name="head",
    backend="some",
    files=("a.bin",),
    inputs=(TensorSpec("x", "float32", (Dynamic("batch", 1, 4, 16), 3)),),
    outputs=(TensorSpec("y", "float32", (1,)),),
    options={"threads": 2, "fp16": False},
)


def test_an_artifact_survives_json():
    text = json.dumps(to_json(ARTIFACT))
    assert from_json(Artifact, json.loads(text), "artifact") == ARTIFACT


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "artifact: unknown field 'colour'"),
        ({"name": 3}, "artifact.name: expected a string, got 3"),
        ({"name": None}, "artifact.name: expected a string, got None"),
        ({"files": "a.bin"}, "artifact.files: expected an array, got 'a.bin'"),
        ({"files": [1]}, r"artifact.files\[0\]: expected a string, got 1"),
        ({"options": {"threads": [1]}}, "artifact.options.threads: expected bool or int or float"),
        (
            {"inputs": [{"name": "x", "dtype": "f", "shape": [True]}]},
            r"artifact.inputs\[0\].shape\[0\]: expected int or Dynamic, got True",
        ),
        (
            {"inputs": [{"name": "x", "dtype": "f", "shape": [{"name": "n"}]}]},
            r"shape\[0\]: field 'max' is missing",
        ),
    ],
)
def test_a_wrong_value_is_named_by_its_path(change, message):
    with pytest.raises(FormatError, match=message):
        from_json(Artifact, {**to_json(ARTIFACT), **change}, "artifact")


def test_a_missing_field_is_named():
    data = to_json(ARTIFACT)
    del data["backend"]
    with pytest.raises(FormatError, match="artifact: field 'backend' is missing"):
        from_json(Artifact, data, "artifact")

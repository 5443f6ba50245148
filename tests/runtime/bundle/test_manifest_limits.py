"""Whatever text, number or depth stands anywhere in a manifest: it is read, or it is one error."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from backends.contract import TensorSpec
from backends.error_metrics import ErrorMetrics
from backends.json_limits import MAX_DEPTH, MAX_TEXT, check_json, json_size
from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import (
    MANIFEST,
    BundleError,
    HostStep,
    PostStep,
    StepMetrics,
    Verification,
    parse_manifest,
    read_manifest,
)
from tests.conftest import other, spec, step

HALF = "\ud800"
Path = tuple[str | int, ...]


@pytest.fixture
def full(make_bundle) -> dict[str, Any]:
    """A manifest that has a value in every field that can have one."""
    one = replace(step("one", "x", "y"), options={"threads": 1}, tools={"maker": "1.0"})
    host = HostStep("host", "mask_rcnn.roi_align", (spec("y"),), (spec("z"),), {"size": 7})
    gaps = (StepMetrics("one", ErrorMetrics("y", 0.0, 0.0, 1.0)),)
    bundle = make_bundle(
        [(one, 2.0)],
        [(other(one), 2.0)],
        classes=("dog",),
        outputs=(spec("z"),),
        host=(host,),
        post=PostStep("yolov3.boxes", ("z",), {"num_classes": 2, "list": [[1]]}),
        verification=Verification("passed", gaps, {"mAP": 0.5}),
        tools={"numpy": "2"},
    )
    return json.loads((bundle / MANIFEST).read_text())


def places(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of every value in a JSON value, and of itself."""
    yield path
    if isinstance(value, dict | list):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(item, (*path, key))


def put(value: Any, path: Path, new: Any) -> Any:
    """A copy of a JSON value with another value at a path."""
    copied = json.loads(json.dumps(value))
    parent = copied
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = new
    return copied


def at(value: Any, path: Path) -> Any:
    for key in path:
        value = value[key]
    return value


def read(data: Any) -> None:
    parse_manifest(json.dumps(data).encode(), "b")


def test_half_of_a_surrogate_pair_is_refused_in_every_text_of_a_manifest(full):
    read(full)
    texts = [path for path in places(full) if isinstance(at(full, path), str)]
    assert len(texts) > 20
    for path in texts:
        with pytest.raises(BundleError, match="valid text, got half of a surrogate pair at char"):
            read(put(full, path, at(full, path) + HALF))


def test_so_it_is_in_every_key(full):
    objects = [path for path in places(full) if isinstance(at(full, path), dict)]
    assert len(objects) > 10
    for path in objects:
        changed = put(full, (*path, HALF), 1)
        with pytest.raises(BundleError, match=r"\(key '\\ud800'\): expected valid text"):
            read(changed)


def nested(levels: int) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "hostile",
    [nested(200), 10**30, -(10**30), float("inf"), float("nan"), "x" * (1 << 20), [], {}, None, 0],
    ids=["deep", "huge", "minus huge", "inf", "nan", "long", "list", "object", "null", "zero"],
)  # fmt: skip
def test_no_value_anywhere_is_more_than_one_error(full, hostile):
    start = time.monotonic()
    for path in list(places(full))[1:]:
        try:
            read(put(full, path, hostile))
        except BundleError as error:
            assert len(str(error)) < 2_000
    assert time.monotonic() - start < 10


@pytest.mark.parametrize("levels", [200, 2_000])
def test_parameters_of_a_host_step_are_not_deep(make_bundle, levels):
    post = PostStep("yolov3.maps", ("y",), {"backbone": "darknet53", "num_classes": 2})
    bundle = make_bundle(post=post)
    data = json.loads((bundle / MANIFEST).read_text())
    text = json.dumps(put(data, ("post", "params", "anchors"), "DEEP"))
    deep = text.replace('"DEEP"', "[" * levels + "]" * levels)
    (bundle / MANIFEST).write_text(deep)
    with pytest.raises(
        BundleError, match=r"at most 32 levels of arrays and objects, got more|is not JSON"
    ):
        Pipeline.open(bundle)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("classes", 0), "x" * 60_000, r"classes\[0\]: expected a string of length 0 to 1,000"),
        (("classes", 0), "x" * 10**6, "a text of at most 65,536 characters, got 1,000,000"),
        (("classes",), ["c"] * 100_001, "an array of length 0 to 100,000, got one of length 100,0"),
        (("model",), "m" * 1_001, "model: expected a string of length 0 to 1,000"),
        (("tools",), {"t" * 1_001: "1"}, "tools: name: expected a string of length 0 to 1,000"),
        (("tools", "numpy"), "1" * 1_001, "tools.numpy: expected a string of length 0 to 1,000"),
        (("verification", "notes"), {str(n): 0.0 for n in range(1_001)}, "of length 0 to 1,000"),
        (("host", 0, "id"), "i" * 1_001, "id: expected a string of length 0 to 1,000"),
        (("post", "id"), "i" * 1_001, "id: expected a string of length 0 to 1,000"),
        (("steps", 0, "options"), {"threads": 1 << 64}, "an integer of at most 64 bits, got one"),
        (("post", "params"), {"most": 10**30}, "an integer of at most 64 bits, got one of 101"),
        (("steps", 0, "tools", "maker"), "1" * 1_001, "tools.maker: expected a string of length 0"),
        (("steps", 0, "backend"), "b" * 1_001, "backend: expected a string of length 0 to 1,000"),
    ],
)  # fmt: skip
def test_names_and_lists_have_a_length_that_people_need(full, path, value, message):
    with pytest.raises(BundleError, match=message):
        read(put(full, path, value))


def test_many_tensors_of_one_step_are_counted_before_they_are_compared(make_bundle):
    specs = tuple(TensorSpec(f"t{number}", "float32", (1,)) for number in range(10_001))
    with pytest.raises(BundleError, match="inputs: expected at most 10,000 tensors, got 10,001"):
        read_manifest(make_bundle(inputs=specs))


def test_names_of_any_language_are_text(make_bundle):
    names = ("Hündin", "犬", "🐕", "")
    assert read_manifest(make_bundle(classes=names)).classes == names


@pytest.mark.parametrize("value", [nested(MAX_DEPTH), "x" * MAX_TEXT, 2**63 - 1, -(2**63) + 1])
def test_what_is_at_a_limit_is_within_it(value):
    check_json(value, "value")


def test_the_size_counts_values_keys_and_characters():
    assert json_size({"ab": [1, "xyz", None]}) == 1 + 3 + 1 + 1 + 4 + 1

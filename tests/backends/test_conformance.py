"""What every backend must do, run on each backend that DEPLOY_TEST_BACKENDS names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator

from backends import registry
from backends.acceptance import TOLERANCES
from backends.contract import Artifact, ConversionError, Dynamic, EngineError, Segment, TensorError
from backends.conversion_files import read_artifact
from backends.error_metrics import compare_all
from tests.backends.conftest import BACKENDS
from tests.helpers.graphs import GRAPHS, conv, noise, save


def options_of(name: str) -> set[str]:
    return {field.name for field in fields(registry.options_type(name))}


def test_every_backend_that_must_be_tested_exists():
    assert set(BACKENDS) <= set(registry.names())


@dataclass(frozen=True)
class Variant:
    """A backend with some options."""

    backend: str
    options: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return "-".join([self.backend, *map(str, self.options.values())])


VARIANTS = [Variant(name) for name in BACKENDS]
VARIANTS += [Variant(name, {"device": "vulkan"}) for name in BACKENDS if name == "ncnn"]


@pytest.fixture(params=VARIANTS, ids=str)
def variant(request) -> Variant:
    """Each backend under test, and each further device that it can run on here."""
    return request.param


def converted(variant: Variant, segment: Segment, out: Path, **options: object) -> Artifact:
    out.mkdir(exist_ok=True)
    kind = registry.options_type(variant.backend)
    chosen = kind(**variant.options, **options)
    return registry.converter(variant.backend)(segment, chosen, out)


def reference(segment: Segment, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    names = [spec.name for spec in segment.outputs]
    found = ReferenceEvaluator(str(segment.onnx)).run(names, inputs)
    return dict(zip(names, found, strict=True))


@pytest.fixture
def segment(tmp_path: Path) -> Segment:
    return conv(tmp_path / "conv.onnx")


@pytest.fixture
def converted_artifact(variant: Variant, segment: Segment, tmp_path: Path) -> Artifact:
    return converted(variant, segment, tmp_path / "out")


@pytest.fixture
def runner(variant: Variant, converted_artifact: Artifact, tmp_path: Path):
    with registry.loader(variant.backend)(converted_artifact, tmp_path / "out") as opened:
        yield opened


@pytest.mark.parametrize("graph", GRAPHS)
def test_a_converted_graph_computes_what_the_graph_does(variant, graph, tmp_path):
    segment = GRAPHS[graph](tmp_path / f"{graph}.onnx")
    artifact = converted(variant, segment, tmp_path / "out")
    inputs = noise(segment)
    with registry.loader(variant.backend)(artifact, tmp_path / "out") as runner:
        outputs = runner(inputs)
    bound = TOLERANCES["fp32"]
    gaps = compare_all(reference(segment, inputs), outputs)
    assert all(bound.admits(gap) for gap in gaps), gaps
    assert list(outputs) == [spec.name for spec in segment.outputs]


def test_an_artifact_says_what_it_is(variant, converted_artifact, segment, tmp_path):
    assert (converted_artifact.name, converted_artifact.backend, converted_artifact.precision) == (
        "conv",
        variant.backend,
        "fp32",
    )
    assert (converted_artifact.inputs, converted_artifact.outputs) == (
        segment.inputs,
        segment.outputs,
    )
    assert all((tmp_path / "out" / name).is_file() for name in converted_artifact.files)
    assert converted_artifact.tools


@pytest.mark.parametrize(
    "variant", [each for each in VARIANTS if "threads" in options_of(each.backend)], ids=str
)
def test_threads_are_an_option_of_the_artifact(variant, segment, tmp_path):
    artifact = converted(variant, segment, tmp_path / "out", threads=1)
    assert artifact.options["threads"] == 1
    inputs = noise(segment)
    with registry.loader(variant.backend)(artifact, tmp_path / "out") as runner:
        gaps = compare_all(reference(segment, inputs), runner(inputs))
    assert all(TOLERANCES["fp32"].admits(gap) for gap in gaps)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"net.image": np.zeros((1, 3, 8, 12))}, r"expected float32\[1, 3, 8, 12\], got float64"),
        ({"net.image": np.zeros((1, 3, 8, 8), "f4")}, r"got float32\[1, 3, 8, 8\]"),
        ({}, "inputs: expected net.image, got none"),
        (
            {"image": np.zeros((1, 3, 8, 12), "f4")},
            "inputs: expected net.image, got 1 of other names",
        ),
    ],
)
def test_a_wrong_input_is_named_and_the_runner_stays_usable(runner, segment, change, message):
    with pytest.raises(TensorError, match=message):
        runner(change)
    inputs = noise(segment)
    assert TOLERANCES["fp32"].admits(compare_all(reference(segment, inputs), runner(inputs))[0])


def test_results_are_not_overwritten_by_the_next_call(runner, segment):
    first = runner(noise(segment, 1))["net.out.0"]
    kept = first.copy()
    runner(noise(segment, 2))
    np.testing.assert_array_equal(first, kept)


def test_two_hundred_calls_with_temporaries_are_right(runner, segment):
    inputs = noise(segment)
    wanted = reference(segment, inputs)["net.out.0"]
    for _ in range(200):
        got = runner({name: value.copy() for name, value in inputs.items()})["net.out.0"]
        np.testing.assert_allclose(got, wanted, atol=1e-4)


def test_inputs_need_not_be_contiguous_or_writable(runner, segment):
    inputs = noise(segment)
    turned = np.ascontiguousarray(inputs["net.image"].transpose(0, 1, 3, 2)).transpose(0, 1, 3, 2)
    turned.flags.writeable = False
    wanted = reference(segment, inputs)["net.out.0"]
    np.testing.assert_allclose(runner({"net.image": turned})["net.out.0"], wanted, atol=1e-4)


def test_inputs_stay_as_they_are_also_where_the_first_layer_works_in_place(variant, tmp_path):
    from onnx import helper

    nodes = [helper.make_node("Relu", ["x"], ["y"])]
    segment = save(tmp_path / "relu.onnx", nodes, {"x": [1, 3, 4, 5]}, {"y": [1, 3, 4, 5]}, {})
    artifact = converted(variant, segment, tmp_path / "out")
    inputs = noise(segment)
    kept = inputs["x"].copy()
    with registry.loader(variant.backend)(artifact, tmp_path / "out") as runner:
        np.testing.assert_array_equal(runner(inputs)["y"], np.maximum(kept, 0))
    np.testing.assert_array_equal(inputs["x"], kept)


def test_two_runners_work_side_by_side(variant, converted_artifact, segment, tmp_path):
    load, root = registry.loader(variant.backend), tmp_path / "out"
    inputs = noise(segment)
    with load(converted_artifact, root) as one, load(converted_artifact, root) as other:
        np.testing.assert_array_equal(one(inputs)["net.out.0"], other(inputs)["net.out.0"])


def test_a_closed_runner_says_so(variant, converted_artifact, segment, tmp_path):
    with registry.loader(variant.backend)(converted_artifact, tmp_path / "out") as runner:
        pass
    with pytest.raises(EngineError, match="runner is closed"):
        runner(noise(segment))


DAMAGE = """
import sys
from pathlib import Path
from backends import registry
from backends.conversion_files import read_artifact
from backends.contract import EngineError
root = Path(sys.argv[1])
artifact = read_artifact(root)
try:
    registry.loader(artifact.backend)(artifact, root)
except EngineError as error:
    print("EngineError:", error)
"""


@pytest.mark.parametrize("damage", ["garbage", "empty", "missing"])
def test_a_damaged_file_is_an_engine_error(variant, segment, tmp_path, damage):
    out = tmp_path / "converted"
    words = [f"{name}={value}" for name, value in variant.options.items()]
    module = registry.package(variant.backend)
    command = [sys.executable, "-m", module, str(segment.onnx), str(out), *words]
    subprocess.run(command, check=True, capture_output=True)
    main_file = out / read_artifact(out).files[0]
    if damage == "missing":
        main_file.unlink()
    else:
        main_file.write_bytes(b"\xff\xfe garbage" if damage == "garbage" else b"")
    child = [sys.executable, "-c", DAMAGE, str(out)]
    done = subprocess.run(child, capture_output=True, text=True, check=False)
    assert done.stdout.startswith("EngineError:"), done


def test_a_graph_with_an_unknown_operator_is_refused(variant, tmp_path):
    from onnx import helper

    node = helper.make_node("Nonsense", ["a"], ["b"], name="odd")
    segment = save(tmp_path / "odd.onnx", [node], {"a": [1, 2]}, {"b": [1, 2]}, {})
    with pytest.raises(ConversionError, match="segment 'odd'"):
        converted(variant, segment, tmp_path / "out")


def test_a_dynamic_batch_works_or_is_refused_by_name(variant, tmp_path):
    from onnx import helper

    span = Dynamic("batch", 1, 2, 4)
    nodes = [helper.make_node("Relu", ["image"], ["out"])]
    shapes = {"image": ["batch", 3, 4, 4]}, {"out": ["batch", 3, 4, 4]}
    segment = save(tmp_path / "dynamic.onnx", nodes, *shapes, {})
    segment = replace(
        segment,
        inputs=(replace(segment.inputs[0], shape=(span, 3, 4, 4)),),
        outputs=(replace(segment.outputs[0], shape=(span, 3, 4, 4)),),
    )
    try:
        artifact = converted(variant, segment, tmp_path / "out")
    except ConversionError as error:
        assert "'image' is float32[1..4, 3, 4, 4]" in str(error)
        return
    with registry.loader(variant.backend)(artifact, tmp_path / "out") as runner:
        for batch in (1, 3, 4):
            image = np.random.default_rng(0).standard_normal((batch, 3, 4, 4)).astype("f4")
            np.testing.assert_array_equal(runner({"image": image})["out"], np.maximum(image, 0))
        with pytest.raises(TensorError, match=r"expected float32\[1\.\.4, 3, 4, 4\]"):
            runner({"image": np.zeros((5, 3, 4, 4), "f4")})

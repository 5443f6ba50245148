"""Agreement near the reference's own noise: floors, tolerances, samples; none hides a fault."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from backends.acceptance import (
    FLOOR_FACTOR,
    MOST_BY_FLOOR,
    QUANTISED,
    TOLERANCES,
    AcceptanceRule,
    Bounds,
    Tolerance,
)
from backends.contract import Segment, TensorSpec
from backends.convert_cli import main as convert_main
from backends.error_metrics import ErrorMetrics
from deploy.analysis.accuracy.debugging import DebugOptions, effective_rule
from deploy.analysis.accuracy.ranking import beyond_tolerance
from deploy.analysis.accuracy.records import StepBlame
from deploy.export.noise_floor import noise_floors, torch_values_otherwise
from deploy.export.onnx_export import reference_values
from deploy.export.onnx_source import OnnxReference
from deploy.graph.exported import Exported
from deploy.pipeline.agreement import (
    HARDLY_MOVES,
    check_reference,
    quantised_tensors,
    unmoved_outputs,
)
from deploy.recipe.schema import BackendRecipe, InputRecipe, ModelRecipe, RecipeError, VerifyRecipe
from deploy.recipe.stored_samples import stored_samples
from deploy.recipe.tolerances import recipe_rule
from deploy.runtime.accuracy.step_errors import recorded_rule, rule_notes, worst_errors
from deploy.runtime.bundle.manifest import Verification, read_manifest, write_manifest
from deploy.runtime.commands.check import check
from deploy.verify import ReferenceData, Verdict, verify
from tests.conftest import made_here, step
from tests.helpers.commands import BACKENDS, error_of, run_here

X = np.array([[1, 2]], np.float32)
BACKEND = BACKENDS[0]


@pytest.fixture
def tripling_bundle(make_bundle) -> Path:
    return make_bundle([(step("only", "x", "y"), 3.0)])


def verdict_of(bundle: Path, wrong_by: float, rule: AcceptanceRule) -> Verdict:
    """Of an engine whose output is off by this share of its largest value."""
    values = {"x": X, "y": X * 3 / np.float32(1 + wrong_by)}
    data = ReferenceData(lambda inputs: values, values, (), None, rule=rule)
    return verify(bundle, read_manifest(bundle), data)


def test_an_engine_within_twice_the_floor_is_not_blamed_and_the_floor_is_recorded(tripling_bundle):
    assert verdict_of(tripling_bundle, 3e-3, AcceptanceRule()).problem is not None
    verdict = verdict_of(tripling_bundle, 3e-3, AcceptanceRule(floors={"y": Tolerance(2e-3, 1.0)}))
    assert verdict.problem is None
    assert verdict.verification.notes == {
        "noise_floor.max_rel of y": 2e-3,
        "noise_floor.cosine of y": 1.0,
    }
    beyond = verdict_of(tripling_bundle, 5e-3, AcceptanceRule(floors={"y": Tolerance(2e-3, 1.0)}))
    assert "max_rel <= 0.004" in str(beyond.problem)
    assert "(the reference differs from itself by 2.0e-03, cosine 1.000000)" in str(beyond.problem)


@pytest.mark.parametrize("floor", [0.01, 1.0, 1e6])
def test_no_floor_hides_an_engine_that_is_wrong(floor, tripling_bundle):
    rule = AcceptanceRule(floors={"y": Tolerance(floor, -1.0)})
    assert rule.tolerance("fp32", "y") == MOST_BY_FLOOR == Tolerance(1e-2, 0.999)
    verdict = verdict_of(tripling_bundle, 2 * MOST_BY_FLOOR.max_rel, rule)
    assert verdict.verification.status == "failed"
    assert "pass real samples with model.samples=FOLDER" in str(verdict.problem)
    assert verdict_of(tripling_bundle, MOST_BY_FLOOR.max_rel / 2, rule).problem is None


def test_the_missing_cosine_counts_by_the_square_of_the_factor():
    rule = AcceptanceRule(floors={"y": Tolerance(1e-3, 1 - 1e-4)})
    assert rule.tolerance("fp32", "y") == Tolerance(2e-3, pytest.approx(1 - 4e-4))
    blind = AcceptanceRule(floors={"y": Tolerance(1e-3, -1.0)})
    assert blind.tolerance("fp32", "y").cosine == 0.999


def test_a_floor_does_not_tighten_and_a_bound_of_the_recipe_comes_before_it():
    assert (
        AcceptanceRule(floors={"y": Tolerance(1e-9, 1.0)}).tolerance("fp32", "y")
        == TOLERANCES["fp32"]
    )
    assert (
        AcceptanceRule(floors={"y": Tolerance(1.0, 0.0)}).tolerance("fp16", "y")
        == TOLERANCES["fp16"]
    )
    own = AcceptanceRule(floors={"y": Tolerance(1.0, 0.0)}, tensors={"y": Bounds(max_rel=1e-5)})
    assert own.tolerance("fp32", "y").max_rel == 1e-5
    general = AcceptanceRule(max_rel=1e-4, quantised=frozenset({"y"}))
    assert general.tolerance("fp32", "y") == replace(QUANTISED, max_rel=1e-4)


def test_the_rule_is_read_again_from_the_notes_of_a_bundle(tripling_bundle):
    rule = AcceptanceRule(
        max_rel=0.02,
        min_matched=0.5,
        tensors={"y of z": Bounds(cosine=0.9), "a": Bounds(0.1, 0.2)},
        floors={"b": Tolerance(2e-3, 0.99999)},
        quantised=frozenset({"c"}),
    )
    manifest = read_manifest(tripling_bundle)
    noted = replace(manifest, verification=Verification("passed", notes=rule_notes(rule)))
    write_manifest(tripling_bundle, noted)
    assert recorded_rule(read_manifest(tripling_bundle)) == rule


@pytest.mark.parametrize(("bound", "good"), [(1e-2, True), (1e-3, False)])
def test_check_applies_the_recorded_tolerance_of_a_tensor(bound, good, make_bundle, capsys):
    bundle = make_bundle([(step("only", "x", "y"), 2.0 * 1.005)])
    notes = rule_notes(AcceptanceRule(tensors={"y": Bounds(max_rel=bound)}))
    verification = Verification("passed", notes=notes)
    write_manifest(bundle, replace(read_manifest(bundle), verification=verification))
    assert check(made_here(bundle), None) is good
    assert f"tolerance: max_rel <= {bound:g} and" in capsys.readouterr().out


def test_blame_ranks_by_the_recorded_rule_and_its_options_replace_it(tripling_bundle):
    rule = AcceptanceRule(tensors={"y": Bounds(max_rel=0.5)}, floors={"z": Tolerance(2e-3, 1.0)})
    manifest = read_manifest(tripling_bundle)
    noted = replace(manifest, verification=Verification("failed", notes=rule_notes(rule)))
    errors = [ErrorMetrics(name, 1.0, 3e-3, 1.0) for name in ("x", "y", "z")]
    measured = StepBlame("only", "scaler", "fp32", tuple(errors))

    def beyond(options: DebugOptions) -> list[str]:
        wrong = beyond_tolerance(measured, effective_rule(options, noted))
        return [metrics.tensor for metrics in wrong]

    assert beyond(DebugOptions()) == ["x"]
    assert beyond(DebugOptions(max_rel=1e-3)) == ["x", "y", "z"]
    assert beyond(DebugOptions(max_rel=1e-2)) == []


@pytest.mark.parametrize(
    ("tolerance", "message"),
    [
        ({"max_rel": "x"}, r"verify.tolerance.max_rel: expected a number from 0 up, got 'x'"),
        ({"max_rel": -1}, "expected a number from 0 up"),
        ({"cosine": 2}, "expected a number from -1 to 1"),
        ({"y": {"max_abs": 1}}, r"verify.tolerance.y.max_abs: expected max_rel, cosine"),
        ({"y": 0.1}, r"verify.tolerance.y: expected max_rel, cosine, or a tensor with"),
        ({"max_rel": float("nan")}, "expected a number"),
        ({"max_rel": float("inf")}, "expected a number"),
    ],
)
def test_a_tolerance_that_is_none_is_refused(tolerance, message):
    with pytest.raises(RecipeError, match=message):
        recipe_rule(VerifyRecipe(tolerance=tolerance))


def test_the_worst_error_of_several_samples_is_kept_per_tensor(tripling_bundle):
    first = {"x": X, "y": X * 3}
    second = {"x": X * 2, "y": X * 6 + np.float32([[0.1, 0]])}
    data = ReferenceData(lambda inputs: first, first, (), None, others=[second])
    verdict = verify(tripling_bundle, read_manifest(tripling_bundle), data)
    assert verdict.verification.status == "failed"
    assert verdict.verification.notes["samples"] == 2
    assert [item.gap.max_rel > 5e-3 for item in verdict.verification.gaps] == [True, True]
    assert worst_errors([verdict.verification.gaps] * 2) == list(verdict.verification.gaps)


class Cancels(nn.Module):
    """Adds and takes away a large value: fp32 keeps three digits of what is left."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(3e4))

    def forward(self, x):
        return {"y": (x + self.scale) - self.scale, "sure": x * 2, "count": x.argmax(1)}


def floors_of(model: nn.Module) -> dict[str, Tolerance]:
    inputs = {"x": torch.linspace(0.1, 1, 8).reshape(1, 8)}
    values = reference_values(model, inputs)
    return noise_floors(values, torch_values_otherwise(model, inputs, reference_values))


def test_the_floor_of_pytorch_is_its_distance_from_float64():
    floors = floors_of(Cancels())
    assert 5e-4 < floors["y"].max_rel < 5e-3 and 1e-8 < 1 - floors["y"].cosine < 1e-5
    assert floors["sure"].max_rel < 1e-7 and "count" not in floors


def test_a_model_that_cannot_run_in_float64_is_compared_with_other_kernels():
    class NamesItsDtype(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Linear(8, 4)

        def forward(self, x):
            assert x.dtype == torch.float32
            return {"y": self.conv(x)}

    model = NamesItsDtype()
    assert floors_of(model)["y"].max_rel < 1e-6
    assert next(model.parameters()).dtype == torch.float32


def model_file(path: Path, nodes: list, outputs: list[str], initializers: list) -> Path:
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(onnx.shape_inference.infer_shapes(model), path)
    return path


def weights(name: str, value: object) -> onnx.TensorProto:
    return numpy_helper.from_array(np.asarray(value), name)


def test_the_floor_of_an_onnx_file_is_measured_by_its_own_engine(tmp_path):
    """The engine adds constants up where it optimizes, and rounds otherwise."""
    nodes = [
        helper.make_node("Mul", ["x", "scale"], ["a"]),
        helper.make_node("MatMul", ["a", "w"], ["b"]),
        helper.make_node("Add", ["b", "bias"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    w = rng.standard_normal((8, 8)).astype(np.float32)
    initializers = [
        weights("scale", np.float32(1)), weights("w", w),
        weights("bias", rng.standard_normal(8).astype(np.float32)),
    ]  # fmt: skip
    path = model_file(tmp_path / "m.onnx", nodes, ["y"], initializers)
    exported = Exported(path, (TensorSpec("x", "float32", (1, 8)),), by_name=True)
    engine = BackendRecipe("onnxruntime", {"optimize": "off"})
    reference = OnnxReference(exported, {"x": "x", "y": "y"}, engine, tmp_path / "out")
    inputs = {"x": np.ones((1, 8), np.float32)}
    floors = reference.floors(inputs, reference(inputs))
    assert floors.keys() == {"x", "y"} and floors["y"].max_rel < 1e-5
    wrong = {name: value + np.float32(1) for name, value in reference(inputs).items()}
    assert reference.floors(inputs, wrong)["y"].max_rel > 0.1, (
        "the two computations are not compared"
    )


def quantised_file(path: Path) -> Path:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["d"]),
        helper.make_node("MatMul", ["d", "w"], ["y"]),
    ]
    initializers = [
        weights("s", np.float32(0.05)), weights("z", np.uint8(128)),
        weights("w", np.eye(8, dtype=np.float32)),
    ]  # fmt: skip
    return model_file(path, nodes, ["y"], initializers)


def test_a_quantised_segment_and_what_follows_it_have_a_tolerance_of_their_own(tmp_path):
    def segment(file: Path, name: str, source: str, target: str) -> Segment:
        specs = [TensorSpec(tensor, "float32", (1, 8)) for tensor in (source, target)]
        return Segment(name, file, (specs[0],), (specs[1],))

    plain = model_file(tmp_path / "p.onnx", [helper.make_node("Relu", ["x"], ["y"])], ["y"], [])
    quantised = quantised_file(tmp_path / "q.onnx")
    segments = [
        segment(plain, "first", "x", "a"), segment(quantised, "second", "a", "b"),
        segment(plain, "third", "b", "c"),
    ]  # fmt: skip
    assert quantised_tensors(segments) == {"b", "c"}
    rule = AcceptanceRule(quantised=quantised_tensors(segments))
    assert rule.tolerance("fp32", "a") == TOLERANCES["fp32"]
    assert rule.tolerance("fp32", "b") == rule.chain_tolerance(["fp32"], "c") == QUANTISED
    assert rule.tolerance("bf16", "b") == TOLERANCES["bf16"]


def test_an_output_that_two_samples_hardly_change_is_named():
    first = {"still": np.full(4, 5e-5), "lively": np.arange(4.0), "class": np.array([1])}
    second = {"still": np.full(4, 5.01e-5), "lively": np.arange(4.0) + 1, "class": np.array([1])}
    unmoved = unmoved_outputs(first, [second], first)
    assert unmoved == {"still": pytest.approx(2e-3)}
    assert unmoved_outputs(first, [{**second, "still": np.full(5, 0.0)}], first) == {}
    assert unmoved_outputs(first, [], first) == {}
    assert HARDLY_MOVES == 1e-2 and FLOOR_FACTOR == 2


MODEL = ModelRecipe(
    name="m",
    file="m.onnx",
    inputs={"x": InputRecipe(["n", 4]), "ids": InputRecipe(["n"], "int64")},
    dynamic={"n": [1, 2, 3]},
)
GOOD = {"x": np.zeros((2, 4), np.float32), "ids": np.zeros(2, np.int64)}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": GOOD["x"]}, r"expected an array for each input \(x, ids\), got x"),
        ({**GOOD, "z": GOOD["x"]}, "got ids, x, z"),
        ({**GOOD, "x": np.zeros((2, 4))}, r"expected float32\[n 1..3, 4\], got float64\[2, 4\]"),
        ({**GOOD, "x": np.zeros((2, 5), np.float32)}, r"got float32\[2, 5\]"),
        ({**GOOD, "x": np.zeros((4, 4), np.float32)}, r"got float32\[4, 4\]"),
        ({**GOOD, "ids": np.zeros(3, np.int64)}, r"input 'ids' of sample .*got int64\[3\]"),
        ({**GOOD, "ids": np.zeros((2, 1), np.int64)}, r"got int64\[2, 1\]"),
    ],
)
def test_a_sample_that_does_not_fit_the_inputs_is_one_error(arrays, message, tmp_path):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(RecipeError, match=message):
        stored_samples(replace(MODEL, samples=str(tmp_path)))


def test_a_folder_has_several_samples_and_a_file_one(tmp_path):
    for name, value in (("b", 2), ("a", 1)):
        np.savez(tmp_path / f"{name}.npz", **{**GOOD, "x": np.full((2, 4), value, np.float32)})
    both = stored_samples(replace(MODEL, samples=str(tmp_path)))
    assert [float(sample["x"][0, 0]) for sample in both] == [1, 2]
    assert len(stored_samples(replace(MODEL, samples=str(tmp_path / "a.npz")))) == 1


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04broken"])
def test_a_file_that_holds_no_arrays_is_one_error(content, tmp_path):
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(
        RecipeError, match=r"expected an .npz file of arrays, got a file that NumPy"
    ):
        stored_samples(replace(MODEL, samples=str(tmp_path)))


@pytest.mark.skipif("onnxruntime" not in BACKENDS, reason="needs a backend with whole numbers")
def test_one_real_sample_is_enough_where_noise_would_be_no_input(tmp_path):
    (tmp_path / "nets.py").write_text(
        "import torch\n"
        "class Net(torch.nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        self.table = torch.nn.Embedding(5, 4)\n"
        "    def forward(self, ids):\n"
        "        return {'y': self.table(ids)}\n"
        "def net():\n"
        "    torch.manual_seed(0)\n"
        "    return Net()\n"
    )
    np.savez(tmp_path / "one.npz", ids=np.array([[0, 4, 2]]))
    done = run_here(
        "deploy", "+model=module", "model.target=nets:net", "+backend=onnxruntime", "cache=off",
        "model.inputs.ids={shape: [1, 3], dtype: int64}", "model.samples=one.npz", "bench.runs=0",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_standalone_converter_takes_a_tolerance_of_an_output(tmp_path, capsys):
    path = model_file(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], ["y"], [])
    sample = tmp_path / "s.npz"
    x = np.ones((1, 8), np.float32)
    np.savez(sample, **{"input/x": x, "output/y": x * np.float32(1.01)})
    words = [str(path), str(tmp_path / "out"), "--sample", str(sample)]
    with pytest.raises(SystemExit, match=r"does not agree at 'y': expected max_rel <= 0.001"):
        convert_main("onnxruntime", words)
    convert_main("onnxruntime", [*words, "--tolerance=y=0.05,0.99"])
    assert "max_rel 9.9e-03 at 'y'" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="--tolerance: expected OUTPUT=MAX_REL,COSINE, got y=1"):
        convert_main("onnxruntime", [*words, "--tolerance=y=1"])


def test_samples_tolerances_and_warnings_go_through_a_run(tmp_path):
    nodes = [
        helper.make_node("Mul", ["x", "tiny"], ["a"]),
        helper.make_node("Sigmoid", ["a"], ["still"]),
        helper.make_node("Relu", ["x"], ["y"]),
    ]
    initializers = [weights("tiny", np.float32(1e-6))]
    model_file(tmp_path / "m.onnx", nodes, ["still", "y"], initializers)
    base = ("+model=onnx", "model.file=m.onnx", f"+backend={BACKEND}", "bench.runs=0", "cache=off",
            "bundle=b")  # fmt: skip
    done = run_here("deploy", *base, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    printed = " ".join(done.stdout.split())
    assert "warning output 'still' hardly moves between two samples" in printed
    assert "output 'y' hardly" not in printed and "pass real samples" in printed
    assert "hardly moves" in (tmp_path / "b.work" / "report.html").read_text()
    (tmp_path / "real").mkdir()
    for number, scale in enumerate((1, 3e6)):
        x = np.linspace(0, scale, 8, dtype=np.float32).reshape(1, 8)
        np.savez(tmp_path / "real" / f"{number}.npz", x=x)
    words = ("model.samples=real", "verify.tolerance={y: {max_rel: 0.02}}")
    done = run_here("deploy", *base, *words, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "hardly moves" not in done.stdout
    notes = read_manifest(tmp_path / "b").verification.notes
    assert notes == {"samples": 2.0, "tolerance.max_rel of y": 0.02}
    stored = np.load(tmp_path / "b" / "sample" / "tensors.npz")
    assert stored["input/x"][0, -1] == 1


def test_a_sample_or_a_tolerance_that_is_not_there_is_one_error(tmp_path):
    model_file(tmp_path / "m.onnx", [helper.make_node("Relu", ["x"], ["y"])], ["y"], [])
    base = ("+model=onnx", "model.file=m.onnx", f"+backend={BACKEND}", "cache=off")
    (tmp_path / "empty").mkdir()
    error = error_of("deploy", *base, "model.samples=empty", cwd=tmp_path)
    assert "expected a folder with .npz files, or one .npz file, got none" in error
    error = error_of("deploy", *base, "model.samples=nowhere", cwd=tmp_path)
    assert "model.samples 'nowhere': expected a folder of pictures or .npz files" in error
    done = run_here("deploy", *base, "verify.tolerance={z: {max_rel: 1}}", cwd=tmp_path)
    assert "verify.tolerance.z: expected an output of a step (x, y), got z" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reference_that_gives_nan_is_not_blamed_on_an_engine():
    values = {"x": np.ones(3, np.float32), "y": np.array([1, np.nan, np.nan, 2], np.float32)}
    message = "PyTorch gives NaN at 'y' for the sample: .* got 2 of 4 elements. Pass other samples"
    with pytest.raises(RecipeError, match=message):
        check_reference(values, "PyTorch")
    check_reference({"x": np.array([-np.inf]), "n": np.array([1])}, "PyTorch")

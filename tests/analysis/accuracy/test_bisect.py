"""What is planted in a segment is found: the segment, and the operator in it."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from backends.error_metrics import ErrorMetrics
from deploy.analysis.accuracy.records import Bisection, Operator, Probe
from deploy.analysis.accuracy.text import bisection_lines
from deploy.precision import cast_to_half as precision
from deploy.recipe.schema import BackendRecipe
from tests.helpers.commands import run_blame
from tests.helpers.faulty_segments import deploy_with_faults, recipe, torch_recipe

REFERENCE = ["--reference", "onnxruntime", "optimize=off"]
LOST = BackendRecipe("axis_losing_ncnn")


def leak(node="act1", **options) -> BackendRecipe:
    """A backend that makes a LeakyRelu of this node."""
    return BackendRecipe("faulty", {"leaky_relu": node, **options})


def half() -> BackendRecipe:
    """A backend that computes in fp16 as a GPU does."""
    return BackendRecipe("faulty", {"round_to_half": True}, precision="fp16")


def blame(capsys, bundle, *words, code=1) -> str:
    """What the command printed, which found something beyond its bound."""
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, *words)
    said = capsys.readouterr()
    assert ended.value.code == code, (ended.value.code, said.out, said.err)
    return said.out + said.err


@pytest.fixture
def planted(tmp_path, monkeypatch):
    """Deploy with these backends for segments; half precision keeps nothing in fp32."""
    monkeypatch.setattr(precision, "within_range", lambda choice, found, half: choice)

    def plant(asked=None, **chain):
        bundle, _ = deploy_with_faults(asked or recipe(tmp_path, **chain), tmp_path, monkeypatch)
        return bundle

    return plant


@pytest.mark.parametrize(
    ("segment", "backend", "operator"),
    [
        ("part0", leak(), "Relu 'act1' -> 'a1'"),
        ("part1", half(), "Mul 'higher' -> 'h'"),
        ("part2", LOST, "ReduceMean 'mean' -> 'mean'"),
    ],
    ids=["a wrong operator", "an overflow of fp16", "a reduction that lost its axes"],
)
def test_what_was_planted_is_named(segment, backend, operator, planted, capsys):
    said = blame(capsys, planted(**{segment: backend}), "--bisect", *REFERENCE)
    assert said.startswith(
        f"The step with the largest effect is segment '{segment}': with the reference's"
    )
    assert "Also" not in said, "a segment that only inherits the error is named"
    assert f"in segment '{segment}':\n    operator  {operator}\n" in said
    kind, name = operator.split("'")[:2]
    assert f"    module    net.{name} (my.{kind.strip()})\n    source    /src/my.py:7\n" in said
    assert "on its own it is within the tolerance" not in said


def test_three_segments_that_are_wrong_are_all_named_and_any_can_be_bisected(planted, capsys):
    bundle = planted(part0=leak(), part1=half(), part2=LOST)
    said = blame(capsys, bundle, "--bisect", "--segment", "part0", *REFERENCE)
    bad = {line.split()[0] for line in said.splitlines() if " BAD" in line}
    assert bad == {"part0", "part1", "part2", "(chain)"}
    assert "in segment 'part0':\n    operator  Relu 'act1'" in said


@pytest.mark.parametrize("node", ["act0", "act1", "act2"])
def test_every_place_of_a_residual_block_is_found(node, planted, capsys):
    said = blame(capsys, planted(part0=leak(node)), "--bisect", *REFERENCE)
    assert f"in segment 'part0':\n    operator  Relu '{node}'" in said


def test_the_module_is_that_of_the_pytorch_source(planted, capsys):
    bundle = planted(torch_recipe(part0=leak("node_relu_1")))
    said = blame(capsys, bundle, "--bisect", *REFERENCE)
    assert "operator  Relu 'node_relu_1' -> 'body'" in said
    assert "module    body.3 (torch.nn.modules.activation.ReLU)" in said
    lines = Path("tests/helpers/faulty_segments.py").read_text().splitlines()
    number = next(n for n, line in enumerate(lines, 1) if "self.head(self.body(image))" in line)
    assert f"tests/helpers/faulty_segments.py:{number}\n" in said


def test_the_reference_is_the_one_of_the_configuration(planted, capsys):
    bundle = planted(part0=leak())
    said = blame(capsys, bundle, "--bisect", "--json", "-")
    found = json.loads(said[said.index("{") : said.rindex("}") + 1])["bisection"]
    assert found["reference"] == "onnxruntime"
    assert found["operator"]["name"] == "act1" and found["others"] == []
    assert found["probes"][0]["tensors"] == ["features"]
    assert len(found["probes"]) <= 4, "seven operators take three questions, and one to begin"


def test_the_operator_is_kept_with_its_sample_and_the_command_that_repeats_it(planted, capsys):
    bundle = planted(part0=leak())
    said = blame(capsys, bundle, "--bisect", *REFERENCE)
    kept = bundle.with_name("bundle.work") / "blame" / "part0.onnx"
    assert [node.op_type for node in onnx.load(kept).graph.node] == ["Relu"]
    line = next(line for line in said.splitlines() if "repeat    " in line)
    _, *words = shlex.split(line.partition("repeat")[2])
    done = subprocess.run([sys.executable, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "segment 'part0': faulty does not agree at 'a1'" in done.stderr


def test_a_later_look_at_saved_metrics_still_names_the_operator(planted, capsys):
    bundle = planted(part0=leak())
    blame(capsys, bundle, "--bisect", *REFERENCE)
    said = blame(capsys, bundle, "--saved")
    assert "in segment 'part0':\n    operator  Relu 'act1'" in said
    assert "bisecting" not in said


def test_what_cannot_be_converted_alone_is_named_beside_it(planted, capsys):
    said = blame(capsys, planted(part2=LOST), "--bisect", *REFERENCE)
    assert (
        "or        one that it needs and that could not be probed: Shape 'shape', Sub 'axes'"
        in said
    )
    assert (
        "up to 'axes': not probed: cannot convert segment 'part2' to axis_losing_ncnn: "
        "tensor 'axes': expected float32"
    ) in said


def test_an_engine_that_fails_is_wrong_and_says_how(planted, capsys):
    bundle = planted(part0=BackendRecipe("faulty"))
    manifest = bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"run_fails": false', '"run_fails": true'))
    said = blame(capsys, bundle, "--bisect", *REFERENCE)
    assert "(step 'part0': the run failed)" in said
    assert "operator  Conv 'stem' -> 's'" in said
    assert "alone     max_rel inf, with the reference's inputs (the run failed)" in said


def test_a_segment_that_is_right_when_converted_again_is_said_to_be(planted, capsys):
    bundle = planted(part0=leak())
    manifest = bundle / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"leaky_relu": "act1"', '"leaky_relu": "none"')
    )
    said = blame(capsys, bundle, "--bisect", *REFERENCE)
    assert "In segment 'part0': converted again, it is within its tolerance" in said


def test_a_segment_that_cannot_be_converted_again_is_said_to_be(planted, capsys):
    bundle = planted(part0=leak())
    manifest = bundle / "manifest.json"
    manifest.write_text(
        manifest.read_text().replace('"unsupported_operator": ""', '"unsupported_operator": "Add"')
    )
    said = blame(capsys, bundle, "--bisect", *REFERENCE)
    assert "In segment 'part0': it cannot be converted again: " in said
    assert "cannot convert segment 'part0' to faulty: no Add here" in said


def test_an_export_that_is_wrong_is_not_put_on_the_conversion(planted, capsys):
    bundle = planted(part0=leak())
    path = bundle.with_name("bundle.work") / "segments" / "part0.onnx"
    model = onnx.load(path)
    next(node for node in model.graph.node if node.name == "act0").op_type = "Neg"
    onnx.save(model, path)
    said = blame(capsys, bundle, "--bisect", *REFERENCE)
    assert "In segment 'part0': its graph in fp32 is off by max_rel" in said
    assert "in onnxruntime: look at the export, not at the conversion" in said


def test_an_operator_that_only_amplifies_the_error_of_its_inputs_is_said_to_do_so():
    alone = Probe(3, ("c",), ErrorMetrics("c", 1e-5, 1e-5, 1.0))
    found = Bisection(
        "neck", "neck.onnx", "r", 1e-3, 0.999, operator=Operator("n", "Sub", ("c",)), alone=alone
    )
    said = "\n".join(bisection_lines(found))
    assert "operator  Sub 'n' -> 'c'" in said and "module" not in said
    assert (
        "max_rel 1.0e-05, with the reference's inputs: on its own it is within the tolerance"
        in said
    )


def test_a_segment_without_a_graph_left_is_refused(planted, capsys):
    bundle = planted(part0=leak())
    (bundle.with_name("bundle.work") / "segments" / "part0.onnx").unlink()
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, "--bisect", *REFERENCE)
    assert "error: segment 'part0': expected " in str(ended.value.code)
    assert "part0.onnx, got nothing. Run python -m deploy again" in str(ended.value.code)


def test_the_reference_that_there_is_not_is_refused(planted, capsys):
    bundle = planted(part0=leak())
    with pytest.raises(SystemExit) as ended:
        run_blame(bundle, "--bisect", "--reference", "none")
    assert "error: backend: expected axis_losing_ncnn or" in str(ended.value.code)

"""A converter that crashes, hangs, complains or leaves nothing is one error, to be repeated."""

import json
import subprocess

import numpy as np
import pytest

import backends
import deploy
from backends import registry
from backends.contract import ConversionError, DisagreementError
from backends.conversion_files import (
    ConversionFailure,
    read_failure,
    write_failure,
    write_sample,
)
from backends.process.child import module_command
from backends.process.conversion import ConversionLimits, convert_in_child
from backends.support import RefusedNode
from deploy.convert import convert
from deploy.recipe.schema import BackendRecipe, ConvertRecipe
from tests.helpers.faulty_backends import PACKAGES_WITH_FAULTY
from tests.helpers.graphs import conv


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("crash", "signal SIGSEGV"),
        ("hang", r"no end within 0\.5 s \(convert\.timeout\)"),
        ("nothing", "exit code 0, but no artifact"),
        ("complain", r"exit code 1\n    operator Foo is not mine"),
        ("explain", r"node 'foo' is not mine\. Cut before it\.\n    and behind it"),
        (
            "devour",
            r"exit code 1, within convert\.timeout=60, convert\.memory_gib=1, .*\n(.*\n)*.*Memory",
        ),
        ("flood", r"exit code 1, within .*, convert\.file_gib=0\.03125\n(.*\n)*.*File too large"),
        ("garbage", r"exit code 0, but its artifact\.json is not readable: Expecting property"),
        ("another", "exit code 0, but an artifact of 'other' for 'failing_converter'"),
        ("no files", "exit code 0, but an artifact without files"),
        ("lost file", "exit code 0, but its file 'net': is missing"),
        ("outside", r"exit code 0, but its file '\.\./net': a path that leads out of the folder"),
        ("other tensors", r"exit code 0, but its tensors are \[\], not \['net.image: float32'\]"),
    ],
)
def test_a_converter_that_goes_wrong_is_named_with_its_command(how, message, tmp_path, monkeypatch):
    monkeypatch.setattr(
        registry, "_packages", lambda: {"failing_converter": "tests.helpers.failing_converter"}
    )
    segment = conv(tmp_path / "conv.onnx")
    shapes = {spec.name: spec.typical for spec in (*segment.inputs, *segment.outputs)}
    sample = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    backend = BackendRecipe("failing_converter", {"how": how})
    out = tmp_path / "work" / "conv"
    timeout = 0.5 if how == "hang" else 60.0
    with pytest.raises(ConversionError) as caught:
        convert(segment, backend, sample, out, ConvertRecipe(timeout, 1, 1 / 32))
    assert caught.match(f"cannot convert segment 'conv' to failing_converter: {message}")
    assert caught.match(
        rf"To repeat it: .* -m tests\.helpers\.failing_converter .*conv\.onnx .* '?how={how}"
    )
    assert not out.exists()


def test_the_nodes_that_a_converter_refuses_reach_its_caller(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_packages", lambda: PACKAGES_WITH_FAULTY)
    segment = conv(tmp_path / "conv.onnx")
    options = {"unsupported_operator": "Conv"}
    out, limits = tmp_path / "out", ConversionLimits(60)
    with pytest.raises(ConversionError, match=r"to faulty: no Conv here\. \n") as caught:
        convert_in_child(segment, "faulty", options, "fp32", None, out, limits)
    assert not isinstance(caught.value, DisagreementError)
    (node,) = caught.value.refused
    assert (node.operator, node.reason, node.output) == ("Conv", "not here", "y")
    assert "--failure" not in str(caught.value), "the command to repeat it has a user's options"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conv.onnx", "out.log"]


def test_a_result_that_disagrees_is_told_from_one_that_cannot_be_converted(tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    sample = tmp_path / "sample.npz"
    values = {
        spec.name: np.ones(spec.typical, np.float32) for spec in (*segment.inputs, *segment.outputs)
    }
    write_sample(sample, segment.inputs, segment.outputs, values)
    out, limits = tmp_path / "out", ConversionLimits(60)
    with pytest.raises(DisagreementError, match=r"does not agree at 'net\.out\.0'") as caught:
        convert_in_child(segment, "onnxruntime", {}, "fp32", sample, out, limits)
    assert (caught.value.tensor, caught.value.refused) == ("net.out.0", ())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        '{"refused": [{"node": 1}]}',
        '{"wrong_tensor": "\\ud800"}',
        json.dumps({"wrong_tensor": "x" * 100_000}),
        '{"wrong_tensor": "y"' + " " * (1 << 24) + "}",
    ],
    ids=["empty", "cut off", "array", "deep", "types", "surrogate", "long text", "long file"],
)
def test_a_failure_that_cannot_be_read_says_nothing(text, tmp_path):
    (tmp_path / "failure.json").write_text(text)
    assert read_failure(tmp_path / "failure.json") == ConversionFailure()
    assert read_failure(tmp_path / "none.json") == ConversionFailure()


def test_a_failure_comes_back_as_it_was_written(tmp_path):
    nodes = tuple(RefusedNode(f"n{i}", "Det", "r" * 5_000, f"y{i}") for i in range(3_000))
    write_failure(tmp_path / "failure.json", ConversionError("no", refused=nodes))
    failure = read_failure(tmp_path / "failure.json")
    assert [node.output for node in failure.refused] == [node.output for node in nodes]
    assert {node.reason for node in failure.refused} == {"r" * 1_000}


def test_without_a_sample_nothing_is_checked(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_packages", lambda: PACKAGES_WITH_FAULTY)
    segment = conv(tmp_path / "conv.onnx")
    options = {
        "leaky_relu": "",
        "round_to_half": False,
        "unsupported_operator": "",
        "run_fails": True,
    }
    out = tmp_path / "out"
    artifact = convert_in_child(segment, "faulty", options, "fp32", None, out, ConversionLimits(60))
    assert (artifact.name, artifact.backend) == ("conv", "faulty")
    assert "not checked" in (tmp_path / "out.log").read_text()


def test_modules_in_the_working_directory_are_not_run(tmp_path, monkeypatch):
    for name in ("backends.py", "deploy.py", "numpy.py", "argparse.py"):
        (tmp_path / name).write_text(f"raise SystemExit('this is the {name} of the user')")
    monkeypatch.chdir(tmp_path)
    segment = conv(tmp_path / "conv.onnx")
    out = tmp_path / "out"
    artifact = convert_in_child(segment, "onnxruntime", {}, "fp32", None, out, ConversionLimits(60))
    assert (artifact.name, artifact.backend) == ("conv", "onnxruntime")


def test_a_child_imports_the_packages_of_its_parent(tmp_path, monkeypatch):
    """Another version is installed, or on PYTHONPATH; a third package is found there."""
    for package in ("backends", "deploy"):
        (tmp_path / "site" / package).mkdir(parents=True)
        (tmp_path / "site" / package / "__init__.py").write_text("raise SystemExit('another')")
    (tmp_path / "site" / "shown.py").write_text(
        "import sys, backends, deploy; print(backends.__file__, deploy.__file__, *sys.argv[1:])"
    )
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "site"))
    monkeypatch.chdir(tmp_path)
    command = module_command("shown", "a b")
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == f"{backends.__file__} {deploy.__file__} a b\n"


@pytest.mark.parametrize("check", [True, False])
def test_a_result_is_held_against_its_sample_unless_that_is_not_asked_for(
    check, tmp_path, monkeypatch
):
    held = []

    def child(segment, backend, options, precision, sample, out, timeout, rule):
        held.append(sample)

    monkeypatch.setattr("deploy.convert.convert_in_child", child)
    segment = conv(tmp_path / "conv.onnx")
    shapes = {spec.name: spec.typical for spec in (*segment.inputs, *segment.outputs)}
    sample = {name: np.zeros(shape, np.float32) for name, shape in shapes.items()}
    asked = ConvertRecipe(check=check)
    convert(segment, BackendRecipe("onnxruntime"), sample, tmp_path / "out", asked)
    assert held == [tmp_path / "out.sample.npz" if check else None]

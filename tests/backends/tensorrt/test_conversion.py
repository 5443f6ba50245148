"""From a segment to a plan: what it is for, what is asked of the builder, and what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from backends.contract import ConversionError, OptionError, TensorSpec
from backends.options import parse_options
from backends.tensorrt import Options, obstacle
from tests.helpers.graphs import BATCH, batched, conv, kernel, save


def header(root) -> dict:
    """What the double of TensorRT notes in its plans."""
    data = (root / "engine.plan").read_bytes()
    size = int.from_bytes(data[40:48], "little")
    noted = json.loads(data[48 : 48 + size])
    return {**noted, **noted["target"]}


def test_the_artifact_says_which_tensorrt_and_which_gpu_it_is_for(convert, tmp_path):
    artifact, root = convert(conv(tmp_path / "conv.onnx"))
    assert artifact.files == ("engine.plan",) and (root / "engine.plan").is_file()
    assert artifact.tools == {
        "tensorrt": "11.4.0.106",
        "cuda": "13.0",
        "gpu": "Simulated A",
        "compute_capability": "9.0",
    }


def test_the_gpu_that_is_asked_for_builds(convert, tmp_path):
    artifact, root = convert(conv(tmp_path / "conv.onnx"), device=1)
    assert artifact.tools["gpu"] == header(root)["gpu"] == "Simulated B"


def test_a_gpu_that_is_not_there_is_refused(convert, tmp_path):
    with pytest.raises(ConversionError, match="device 2: expected a GPU from 0 to 1, got none"):
        convert(conv(tmp_path / "conv.onnx"), device=2)


def test_by_default_fp32_is_fp32_and_the_plan_is_for_this_gpu_alone(convert, tmp_path):
    _, root = convert(conv(tmp_path / "conv.onnx"))
    assert header(root)["flags"] == [] and header(root)["hardware"] == "NONE"


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"tf32": True}, {"TF32"}),
        ({"refit": True}, {"REFIT"}),
        ({"strip": True}, {"STRIP_PLAN", "REFIT_IDENTICAL"}),
        ({"strip": True, "refit": True}, {"STRIP_PLAN", "REFIT"}),
        ({"version_compatible": True}, {"VERSION_COMPATIBLE"}),
    ],
)
def test_options_are_the_builders_flags(convert, tmp_path, options, flags):
    _, root = convert(conv(tmp_path / "conv.onnx"), **options)
    assert set(header(root)["flags"]) == flags


@pytest.mark.parametrize(
    ("option", "level"),
    [("same_capability", "SAME_COMPUTE_CAPABILITY"), ("ampere_plus", "AMPERE_PLUS")],
)
def test_a_plan_may_be_for_other_gpus_too(convert, tmp_path, option, level):
    _, root = convert(conv(tmp_path / "conv.onnx"), hardware=option)
    assert header(root)["hardware"] == level


def test_a_level_that_this_tensorrt_does_not_know_is_refused(convert, tmp_path, monkeypatch):
    import tensorrt as trt

    known = dict(trt.HardwareCompatibilityLevel.__members__)
    del known["SAME_COMPUTE_CAPABILITY"]
    older = type("Level", (), {"__members__": known})
    monkeypatch.setattr(trt, "HardwareCompatibilityLevel", older)
    with pytest.raises(
        ConversionError, match=r"hardware=same_capability is not known.*exact or am"
    ):
        convert(conv(tmp_path / "conv.onnx"), hardware="same_capability")


def test_the_builder_gets_its_memory_and_its_level(convert, tmp_path, monkeypatch):
    import tensorrt as trt

    asked = {}
    build = trt.Builder.build_serialized_network

    def spy(builder, network, config):
        asked["workspace"] = config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
        asked["level"] = config.builder_optimization_level
        return build(builder, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", spy)
    convert(conv(tmp_path / "conv.onnx"), workspace_mib=64, level=5)
    assert asked == {"workspace": 64 << 20, "level": 5}


def test_sizes_that_vary_become_a_profile(convert, tmp_path):
    _, root = convert(batched(tmp_path / "batched.onnx"))
    assert header(root)["profiles"] == [{"image": [[1, 3, 4, 4], [2, 3, 4, 4], [8, 3, 4, 4]]}]


def test_a_number_of_rows_that_may_be_0_is_at_least_1_for_the_engine(convert, tmp_path):
    segment = batched(tmp_path / "batched.onnx")
    span = replace(BATCH, min=0)
    segment = replace(
        segment,
        inputs=(replace(segment.inputs[0], shape=(span, 3, 4, 4)),),
        outputs=(replace(segment.outputs[0], shape=(span, 5, 4, 4)),),
    )
    _, root = convert(segment)
    assert header(root)["profiles"][0]["image"][0] == [1, 3, 4, 4]


def test_a_size_that_contradicts_the_graph_is_refused(convert, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    wrong = replace(segment, inputs=(replace(segment.inputs[0], shape=(1, 3, 8, 8)),))
    with pytest.raises(ConversionError, match=r"tensor 'net\.image' in TensorRT: expected float32"):
        convert(wrong)


def test_other_tensors_than_the_segments_are_refused(convert, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    wrong = replace(segment, outputs=(replace(segment.outputs[0], name="other"),))
    with pytest.raises(ConversionError, match=r"other tensors: expected other, got net\.out\.0"):
        convert(wrong)


def test_an_input_whose_values_decide_shapes_is_refused(convert, tmp_path):
    nodes = [helper.make_node("Reshape", ["x", "to"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "shaped",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 6]),
            helper.make_tensor_value_info("to", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["a", "b"])],
    )
    import onnx

    from backends.onnx.specs import read_segment

    path = tmp_path / "shaped.onnx"
    imports = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=imports, ir_version=10), path)
    with pytest.raises(ConversionError, match="the values of input 'to' decide shapes"):
        convert(read_segment(path, "shaped", {}))


def test_every_node_that_tensorrt_lacks_is_named_with_its_operator(convert, tmp_path):
    nodes = [
        helper.make_node("Nonsense", ["a"], ["b"], name="odd"),
        helper.make_node("Absurd", ["b"], ["c"], name="odder"),
    ]
    segment = save(tmp_path / "odd.onnx", nodes, {"a": [1, 2]}, {"c": [1, 2]}, {})
    with pytest.raises(ConversionError) as caught:
        convert(segment)
    assert caught.match("segment 'odd': TensorRT does not accept its graph\n  Nonsense 'odd': ")
    assert caught.match("\n  Absurd 'odder': ")
    assert caught.match("Cut around these nodes, or choose another backend")


def test_a_double_at_the_border_is_refused_by_its_tensor(convert, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    spec = TensorSpec("x", "float64", (1, 2))
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"], name="deep")],
        "doubles",
        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [1, 2])],
    )
    import onnx

    onnx.save(helper.make_model(graph, ir_version=10), segment.onnx)
    with pytest.raises(ConversionError, match=r"its tensors are float32, .*: 'x' float64"):
        convert(replace(segment, inputs=(spec,), outputs=(replace(spec, name="y"),)))


def test_a_build_that_fails_says_why_and_leaves_nothing(convert, tmp_path, monkeypatch):
    import tensorrt as trt

    monkeypatch.setattr(trt.Builder, "build_serialized_network", lambda *_: None)
    with pytest.raises(ConversionError, match="segment 'conv': TensorRT builds no plan: "):
        convert(conv(tmp_path / "conv.onnx"))
    assert not list((tmp_path / "conv.out").iterdir())


@pytest.fixture
def timings(tmp_path) -> Path:
    """The file of measurements in the user's cache folder."""
    name = "tensorrt-11.4.0.106-simulated-a-9-0.timing"
    return tmp_path / "cache" / "backend-chain" / name


def test_measurements_are_kept_and_added_to(convert, timings, tmp_path):
    convert(conv(tmp_path / "conv.onnx"))
    first = timings.stat().st_size
    convert(batched(tmp_path / "batched.onnx"))
    assert timings.stat().st_size > first > 0


def test_a_bundle_names_no_file_for_them():
    with pytest.raises(
        OptionError, match=r"'timing_cache' of .*: expected auto\|off, got '/etc/x'"
    ):
        parse_options(Options, {"timing_cache": "/etc/x"}, "tensorrt")


def test_they_are_kept_for_each_version_and_gpu(convert, timings, tmp_path):
    convert(conv(tmp_path / "conv.onnx"))
    assert list(timings.parent.glob("*.timing")) == [timings]


def test_off_keeps_none(convert, tmp_path):
    convert(conv(tmp_path / "conv.onnx"), timing_cache="off")
    assert not (tmp_path / "cache").exists()


def test_a_damaged_file_of_measurements_counts_as_empty(convert, timings, tmp_path):
    timings.parent.mkdir(parents=True)
    timings.write_bytes(b"garbage")
    convert(conv(tmp_path / "conv.onnx"))
    assert timings.read_bytes() != b"garbage"


def test_a_file_of_measurements_that_cannot_be_written_is_named(convert, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(ConversionError, match=r"timing_cache '.*timing' cannot be written"):
        convert(conv(tmp_path / "conv.onnx"))


def test_processes_share_the_file_and_none_loses_what_another_measured(
    convert, timings, tmp_path, monkeypatch
):
    children, segments = [], []
    for number in range(3):
        nodes = [helper.make_node("Conv", ["x", "w"], ["y"], kernel_shape=[1, 1])]
        shapes = {"x": [1, 3, 4, 4]}, {"y": [1, 2 + number, 4, 4]}
        path = tmp_path / f"model{number}.onnx"
        segments.append(save(path, nodes, *shapes, {"w": kernel(2 + number, 3, 1, 1)}))
        command = [
            sys.executable,
            "-m",
            "backends.tensorrt",
            str(path),
            str(tmp_path / f"{number}"),
        ]
        children.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
    assert [child.wait() for child in children] == [0, 0, 0]
    together = timings.stat().st_size
    timings.unlink()
    for segment in segments:
        convert(segment)
    assert timings.stat().st_size == together


def test_the_standalone_command_builds_and_compares(driver, tmp_path):
    conv(tmp_path / "conv.onnx")
    command = [sys.executable, "-m", "backends.tensorrt", str(tmp_path / "conv.onnx")]
    done = subprocess.run(
        [*command, str(tmp_path / "out"), "level=1"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "fp32" in done.stdout and "max_rel" in done.stdout
    assert (tmp_path / "out" / "engine.plan").is_file()


def test_without_a_gpu_the_obstacle_is_said(driver, tmp_path):
    assert obstacle() == ""
    code = "from backends.tensorrt import obstacle; print(obstacle())"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "SIM_CUDA_DEVICES": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "the NVIDIA driver finds no GPU here (CUDA error 100)"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"level": 6}, "level: expected 0 to 5, got 6"),
        ({"device": -1}, "device: expected 0 or more, got -1"),
        ({"workspace_mib": -1}, "workspace_mib: expected 0 or more, got -1"),
        ({"hardware": "any"}, "exact|same_capability|ampere_plus"),
        ({"fp16": True}, "option 'fp16' of tensorrt: expected one of device: int = 0"),
    ],
)
def test_an_option_out_of_its_range_is_refused(options, message):
    with pytest.raises(OptionError) as caught:
        parse_options(Options, options, "tensorrt")
    assert message in str(caught.value)


def test_a_graph_keeps_its_numbers(convert, tmp_path):
    from backends.tensorrt.run import load

    segment = batched(tmp_path / "batched.onnx")
    artifact, root = convert(segment)
    image = np.random.default_rng(0).standard_normal((3, 3, 4, 4)).astype(np.float32)
    with load(artifact, root) as runner:
        found = runner({"image": image})["out"]
    expected = np.einsum("oc,nchw->nohw", kernel(5, 3, 1, 1)[:, :, 0, 0], image)
    np.testing.assert_allclose(found, expected, atol=1e-5)

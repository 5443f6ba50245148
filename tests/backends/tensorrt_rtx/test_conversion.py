"""From a segment to an engine, on any machine: what it is for, and what is refused."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from onnx import helper

from backends import tensorrt_rtx
from backends.contract import ConversionError, OptionError
from backends.conversion_files import read_artifact
from backends.options import parse_options
from backends.registry import about
from backends.tensorrt_rtx import Options, capabilities_of, convert_obstacle, obstacle
from tests.helpers.graphs import batched, conv, save

_HEADER = 64  # bytes, before a checksum of 32 and the size of the rest
PORTABLE = "8.0, 8.6, 8.9, 12.0 and later"


def noted(root: Path) -> dict:
    """What the double of TensorRT for RTX notes in its engines."""
    data = (root / "engine.rtx").read_bytes()[_HEADER + 32 :]
    size = int.from_bytes(data[:8], "little")
    return json.loads(data[8 : 8 + size])


def test_the_artifact_says_which_version_built_it_and_for_which_capabilities(convert_rtx, tmp_path):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"))
    assert (artifact.backend, artifact.files) == ("tensorrt_rtx", ("engine.rtx",))
    assert artifact.tools == {
        "tensorrt_rtx": "1.7.1.116",
        "compute_capability": PORTABLE,
        "layers": "2 Float",
    }
    assert noted(root)["target"] == {"capabilities": []}


@pytest.mark.parametrize(
    ("targets", "said", "built"),
    [
        ("[sm86, sm120]", "8.6, 12.0", [[8, 6], [12, 0]]),
        ("sm75", "7.5", [[7, 5]]),
        ("sm89,sm121", "8.9, 12.1", [[8, 9], [12, 1]]),
        ("current", "9.0", [[9, 0]]),
    ],
)
def test_targets_are_the_compute_capabilities_of_the_engine(
    convert_rtx, tmp_path, targets, said, built
):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"), targets=targets)
    assert artifact.tools["compute_capability"] == said
    assert noted(root)["target"] == {"capabilities": built}


def test_current_is_the_gpu_of_the_option_device(convert_rtx, tmp_path):
    artifact, root = convert_rtx(conv(tmp_path / "conv.onnx"), targets="current", device=1)
    assert artifact.tools["compute_capability"] == "8.7"
    assert noted(root)["target"] == {"capabilities": [[8, 7]]}
    with pytest.raises(ConversionError, match="device 5: expected a GPU from 0 to 1, got none"):
        convert_rtx(conv(tmp_path / "conv.onnx"), targets="current", device=5)


def test_conversions_for_the_gpu_at_hand_are_kept_apart_in_the_cache(driver):
    machine = about("tensorrt_rtx").machine
    assert machine(Options()) == machine(Options(targets="sm86")) == {}
    assert machine(Options(targets="current")) == {
        "gpu": "Simulated A",
        "compute_capability": "9.0",
    }
    assert machine(Options(targets="current", device=1))["gpu"] == "Simulated B"
    assert driver.live("context") == 0


def test_the_checks_on_a_gpu_are_of_different_options():
    support = about("tensorrt_rtx").gpu
    common = next(iter(support.variants.values()))
    options = [Options(**{**common, **changes}) for changes in support.variants.values()]
    assert len(set(options)) == len(options) == 4


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({}, set()),
        ({"tf32": True}, {"TF32"}),
        ({"refit": True}, {"REFIT"}),
        ({"strip": True}, {"STRIP_PLAN", "REFIT_IDENTICAL"}),
        ({"strip": True, "refit": True}, {"STRIP_PLAN", "REFIT"}),
    ],
)
def test_options_are_flags_of_the_builder(convert_rtx, tmp_path, options, flags):
    _, root = convert_rtx(conv(tmp_path / "conv.onnx"), **options)
    assert set(noted(root)["flags"]) == flags
    assert noted(root)["verbosity"] == "DETAILED"


def test_the_builder_gets_its_memory_and_its_level(convert_rtx, tmp_path, monkeypatch):
    import tensorrt_rtx_bindings as trt

    configured = {}
    build = trt.Builder.build_serialized_network

    def spy(builder, network, config):
        configured["workspace"] = config.get_memory_pool_limit(trt.MemoryPoolType.WORKSPACE)
        configured["level"] = config.builder_optimization_level
        return build(builder, network, config)

    monkeypatch.setattr(trt.Builder, "build_serialized_network", spy)
    convert_rtx(conv(tmp_path / "conv.onnx"), workspace_mib=64, level=5)
    assert configured == {"workspace": 64 << 20, "level": 5}


def test_sizes_that_vary_become_a_profile(convert_rtx, tmp_path):
    _, root = convert_rtx(batched(tmp_path / "batched.onnx"))
    assert noted(root)["profiles"] == [{"image": [[1, 3, 4, 4], [2, 3, 4, 4], [8, 3, 4, 4]]}]


def test_every_node_that_the_parser_lacks_is_named(convert_rtx, tmp_path):
    nodes = [helper.make_node("Nonsense", ["a"], ["b"], name="odd")]
    segment = save(tmp_path / "odd.onnx", nodes, {"a": [1, 2]}, {"b": [1, 2]}, {})
    with pytest.raises(ConversionError) as caught:
        convert_rtx(segment)
    assert caught.match(
        "segment 'odd': TensorRT for RTX does not accept its graph\n  Nonsense 'odd'"
    )


def test_other_sizes_than_the_segments_are_refused(convert_rtx, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    wrong = replace(segment, inputs=(replace(segment.inputs[0], shape=(1, 3, 8, 8)),))
    with pytest.raises(
        ConversionError, match=r"tensor 'net\.image' in TensorRT for RTX: expected float32"
    ):
        convert_rtx(wrong)


def test_a_build_that_fails_says_why_and_leaves_nothing(convert_rtx, tmp_path, monkeypatch):
    import tensorrt_rtx_bindings as trt

    monkeypatch.setattr(trt.Builder, "build_serialized_network", lambda *_: None)
    for targets in ("portable", "current"):
        with pytest.raises(
            ConversionError, match="segment 'conv': TensorRT for RTX builds no plan: "
        ):
            convert_rtx(conv(tmp_path / "conv.onnx"), targets=targets)
    assert not list((tmp_path / "conv.out").iterdir())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"targets": ["sm90"]},
            "targets: expected portable, current, or a list of sm75, sm80, sm86, sm89, sm120, "
            "sm121, each once; got 'sm90'",
        ),
        ({"targets": "[sm86, sm86]"}, "each once; got 'sm86'"),
        ({"targets": ["sm86", "sm120", "sm86"]}, "each once; got 'sm86'"),
        ({"targets": ""}, "each once; got ''"),
        ({"targets": "[]"}, "each once; got ''"),
        ({"targets": []}, "each once; got ''"),
        ({"targets": "sm86,"}, "each once; got ''"),
        ({"targets": "8.6"}, "each once; got '8.6'"),
        ({"targets": ["portable", "sm86"]}, "each once; got 'portable'"),
        ({"targets": 86}, "option 'targets' of tensorrt_rtx: expected str, got 86"),
        ({"level": 9}, "level: expected 0 to 5, got 9"),
        ({"level": -1}, "level: expected 0 to 5, got -1"),
        ({"device": -1}, "device: expected 0 or more, got -1"),
        ({"workspace_mib": -1}, "workspace_mib: expected 0 or more, got -1"),
        ({"dynamic_kernels": "never"}, "expected lazy|eager|none, got 'never'"),
        ({"timing_cache": "off"}, "option 'timing_cache' of tensorrt_rtx: expected one of device"),
    ],
)
def test_an_option_that_does_not_exist_is_refused(options, message):
    with pytest.raises(OptionError) as caught:
        parse_options(Options, options, "tensorrt_rtx")
    assert message in str(caught.value)


def test_a_list_of_targets_is_one_text_in_the_artifact(convert_rtx, tmp_path):
    options = parse_options(Options, {"targets": ["sm86", "sm120"]}, "tensorrt_rtx")
    assert capabilities_of(options.targets) == ("8.6", "12.0")
    artifact, _ = convert_rtx(conv(tmp_path / "conv.onnx"), targets=options.targets)
    assert parse_options(Options, artifact.options, "tensorrt_rtx") == options


def test_a_machine_that_is_not_x86_64_is_told_so(monkeypatch):
    assert convert_obstacle() == obstacle() == ""
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    message = "NVIDIA has it for x86-64 alone, and this machine is aarch64"
    assert convert_obstacle() == obstacle() == message
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")  # as Windows calls it
    assert convert_obstacle() == ""


@pytest.mark.parametrize(
    ("missing", "converting", "running"),
    [
        ({"tensorrt_rtx_bindings"}, "tensorrt_rtx_bindings not installed here", None),
        ({"tensorrt_rtx_libs"}, "tensorrt_rtx_libs not installed here", None),
        (
            {"tensorrt_rtx_bindings", "tensorrt_rtx_libs"},
            "tensorrt_rtx_bindings and tensorrt_rtx_libs not installed here",
            None,
        ),
        ({"pycuda"}, "", "pycuda not installed here"),
    ],
)
def test_a_library_that_is_not_there_is_named(monkeypatch, missing, converting, running):
    monkeypatch.setattr(tensorrt_rtx, "find_spec", lambda name: None if name in missing else name)
    assert convert_obstacle() == converting
    assert obstacle() == (running or converting)


def command(folder: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The standalone converter in a process of its own."""
    conv(folder / "conv.onnx")
    words = ["-m", "backends.tensorrt_rtx", str(folder / "conv.onnx"), str(folder / "out")]
    return subprocess.run(
        [sys.executable, *words, *options],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_standalone_command_builds_and_compares_where_there_is_a_gpu(tmp_path):
    done = command(tmp_path, "level=1", "runtime_cache=off")
    assert done.returncode == 0, done.stderr
    assert "max_rel" in done.stdout and not read_artifact(tmp_path / "out").unverified


@pytest.mark.parametrize(
    ("targets", "device", "reason"),
    [
        ("portable", 0, ""),
        ("current", 0, ""),
        ("[sm86, sm120]", 0, "its GPU has compute capability 9.0, and targets=[sm86, sm120] are"),
        ("sm86", 1, "its GPU has compute capability 8.7, and targets=sm86 are"),
    ],
)
def test_a_machine_does_not_run_engines_for_other_gpus(driver, targets, device, reason):
    options = Options(targets=targets, device=device)
    found = about("tensorrt_rtx").run_obstacle(options)
    assert found.startswith(reason) and bool(found) == bool(reason)
    assert driver.live("context") == 0


def test_an_engine_for_another_gpu_than_the_one_at_hand_is_built_and_not_checked(tmp_path):
    done = command(tmp_path, "targets=sm120")
    assert done.returncode == 0, done.stderr
    assert (
        "not checked, since this machine cannot run it: its GPU has compute capability 9.0, and "
        "targets=sm120 are others" in done.stdout
    )
    assert read_artifact(tmp_path / "out").unverified


def test_without_a_gpu_it_builds_and_says_that_nothing_was_checked(tmp_path):
    done = command(tmp_path, SIM_CUDA_DEVICES="")
    assert done.returncode == 0, done.stderr
    assert (
        "not checked, since this machine cannot run it: the NVIDIA driver finds no GPU here "
        "(CUDA error 100)" in done.stdout
    )
    artifact = read_artifact(tmp_path / "out")
    assert artifact.unverified and artifact.tools["compute_capability"] == PORTABLE


def test_without_a_driver_it_builds_too(tmp_path):
    paths = os.environ["LD_LIBRARY_PATH"].split(os.pathsep)
    without = os.pathsep.join(path for path in paths if "simulator" not in path)
    done = command(tmp_path, LD_LIBRARY_PATH=without)
    assert done.returncode == 0, done.stderr
    assert read_artifact(tmp_path / "out").unverified


def test_the_gpu_at_hand_is_no_target_where_there_is_none(tmp_path):
    done = command(tmp_path, "targets=current", SIM_CUDA_DEVICES="")
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert (
        "segment 'conv': targets=current cannot be built here: the NVIDIA driver finds no GPU here "
        "(CUDA error 100). Pass targets=portable or a list such as [sm86, sm120], or build on the "
        "device." in done.stderr
    )
    assert not (tmp_path / "out").exists()

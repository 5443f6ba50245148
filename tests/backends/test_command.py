"""The standalone converters: one ONNX file in, a checked artifact out, or nothing."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from backends import convert_cli, registry
from backends.contract import UNBOUNDED, Dynamic, Segment, TensorSpec
from backends.conversion_files import read_artifact
from backends.convert_cli import main
from backends.process.conversion import conversion_command
from tests.backends.conftest import BACKENDS
from tests.helpers.graphs import conv, save

NUMBER = {
    name: "level" if name.startswith("tensorrt") else "threads" for name in BACKENDS
}  # an option


def refused(backend: str, capsys, *arguments: object) -> str:
    with pytest.raises(SystemExit) as exit:
        main(backend, [str(argument) for argument in arguments])
    assert exit.value.code not in (0, None)
    return str(exit.value.code) + capsys.readouterr().err


def test_a_file_is_converted_without_a_sample(backend, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    module = [sys.executable, "-m", registry.package(backend)]
    command = [*module, str(segment.onnx), str(tmp_path / "out"), f"{NUMBER[backend]}=1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "fp32" in done.stdout and "max_rel" in done.stdout
    artifact = read_artifact(tmp_path / "out")
    assert (artifact.name, artifact.options[NUMBER[backend]]) == ("conv", 1)


def test_the_console_command_is_installed(backend):
    script = Path(sys.executable).with_name(f"onnx2{backend}")
    done = subprocess.run([script, "--help"], capture_output=True, text=True, check=True)
    assert "option=value" in done.stdout and f"{NUMBER[backend]}: int = " in done.stdout


def test_an_earlier_artifact_is_replaced(backend, tmp_path):
    segment = conv(tmp_path / "conv.onnx")
    for number in (1, 2):
        main(backend, [str(segment.onnx), str(tmp_path / "out"), f"{NUMBER[backend]}={number}"])
    assert read_artifact(tmp_path / "out").options[NUMBER[backend]] == 2


def test_a_result_that_disagrees_with_the_sample_is_not_kept(backend, tmp_path, capsys):
    segment = conv(tmp_path / "conv.onnx")
    sample = tmp_path / "sample.npz"
    image = np.ones((1, 3, 8, 12), "f4")
    np.savez(sample, **{"input/net.image": image, "output/net.out.0": np.ones((1, 5, 8, 12), "f4")})
    error = refused(backend, capsys, segment.onnx, tmp_path / "out", "--sample", sample)
    assert f"segment 'conv': {backend} does not agree at 'net.out.0'" in error
    assert sorted(path.name for path in tmp_path.iterdir()) == ["conv.onnx", "sample.npz"]


def test_a_result_that_disagrees_is_kept_where_no_check_is_asked_for(backend, tmp_path, capsys):
    segment = conv(tmp_path / "conv.onnx")
    main(backend, [str(segment.onnx), str(tmp_path / "out"), "--no-check", "--sample", "none.npz"])
    assert "fp32" in (said := capsys.readouterr().out) and "not checked" in said
    assert read_artifact(tmp_path / "out").name == "conv"


def test_a_sample_of_other_tensors_is_refused(backend, tmp_path, capsys):
    segment = conv(tmp_path / "conv.onnx")
    np.savez(tmp_path / "sample.npz", a=np.ones(1))
    error = refused(
        backend, capsys, segment.onnx, tmp_path / "out", "--sample", tmp_path / "sample.npz"
    )
    assert "expected input/net.image, output/net.out.0, got a" in error


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.onnx", "out"], "model 'none.onnx': expected an ONNX file, got nothing"),
        (["garbage.onnx", "out"], "model 'garbage.onnx' is not an ONNX file"),
        (["conv.onnx", "taken"], "'taken': expected a new folder, or an earlier artifact"),
        (["conv.onnx", "out", "colour=red"], "option 'colour'"),
        (["conv.onnx", "out", "red"], "option: expected option=value, got red"),
        (["conv.onnx", "out", "--sample", "garbage.onnx"], "is not an npz file"),
        (
            ["dynamic.onnx", "out", "--range", "b=1,2,3"],
            "axis 0 of 'a' has an open size 'batch' without a range. Pass --range batch=MIN,",
        ),
        (["unnamed.onnx", "out"], "axis 1 of 'a' has an open size 'a.1' without a range."),
        (["conv.onnx", "out", "--range", "batch=1"], "--range: expected DIM=MIN,OPT,MAX or DIM="),
        (["conv.onnx", "out", "--range", "batch=1,2,3,4,5"], "--range: expected DIM=MIN,OPT,MAX"),
        (["conv.onnx", "out", "--range", "batch=1,2,many"], "--range: expected DIM=MIN,OPT,MAX"),
        (["conv.onnx"], "the following arguments are required: OUT"),
    ],
)
def test_bad_input_is_one_error_and_leaves_nothing(
    backend, tmp_path, monkeypatch, capsys, arguments, message
):
    monkeypatch.chdir(tmp_path)
    conv(Path("conv.onnx"))
    save(
        Path("dynamic.onnx"),
        [helper.make_node("Relu", ["a"], ["b"])],
        {"a": ["batch", 3]},
        {"b": ["batch", 3]},
        {},
    )
    save(
        Path("unnamed.onnx"),
        [helper.make_node("Relu", ["a"], ["b"])],
        {"a": [1, -1]},
        {"b": [1, -1]},
        {},
    )
    Path("garbage.onnx").write_bytes(b"\xff garbage")
    Path("taken").mkdir()
    Path("taken", "mine.txt").touch()
    before = sorted(Path().rglob("*"))
    assert message in refused(backend, capsys, *arguments)
    assert sorted(Path().rglob("*")) == before


def test_a_range_may_be_of_a_size_without_a_name_have_no_end_and_go_in_steps():
    named = vars(convert_cli)["_range"]
    assert named("a.1=1,2,8") == Dynamic("a.1", 1, 2, 8)
    assert named("rows=0,1,") == Dynamic("rows", 0, 1, UNBOUNDED)
    assert named("height=32,320,640,32") == Dynamic("height", 32, 320, 640, 32)


def test_the_command_that_repeats_a_conversion_has_the_sizes_as_they_are_typed(tmp_path):
    dims = (Dynamic("rows", 0, 1, UNBOUNDED), Dynamic("height", 32, 320, 640, 32))
    segment = Segment("s", tmp_path / "s.onnx", (TensorSpec("x", "float32", dims),), ())
    command = conversion_command(segment, "onnxruntime", {}, "fp32", None, tmp_path / "out")
    assert [word for word in command if "=" in word] == ["height=32,320,640,32", "rows=0,1,"]

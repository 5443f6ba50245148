"""Whatever a bundle or a model file calls its parts, a terminal shows it and does not obey it."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from pathlib import Path

import onnx
import pytest

from backends.contract import DeployError
from backends.onnx.model_file import OnnxFileError, read_without_weights
from backends.terminal import printable
from tests.output.hostile import (
    HONEST,
    NAME,
    assert_printable,
    hostile_bundle,
    hostile_onnx,
    program,
    program_environment,
)

PICTURE = "sample/image.png"


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Path:
    """A folder with a bundle, an ONNX file, a data set and a picture, all with hostile names."""
    folder = tmp_path_factory.mktemp("hostile")
    bundle = hostile_bundle(folder / "bundle")
    hostile_onnx(folder / "net.onnx")
    picture = folder / f"{NAME}.png"
    picture.write_bytes((bundle / PICTURE).read_bytes())
    image = {"id": 1, "file_name": picture.name, "width": 20, "height": 24}
    row = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5]}
    category = {"id": 1, "name": NAME}
    data = {"images": [image], "annotations": [row], "categories": [category]}
    (folder / "coco.json").write_text(json.dumps(data))
    more = [category, {"id": 2, "name": NAME}]
    (folder / "other.json").write_text(json.dumps({**data, "categories": more}))
    return folder


COMMANDS = {
    "run": (0, ["run", "bundle", f"{NAME}.png", "--score", "0"]),
    "a drawing": (0, ["run", "bundle", f"{NAME}.png", "--score", "0", "--out", "drawn"]),
    "a picture that is none": (1, ["run", "bundle", f"{NAME}.none"]),
    "a folder of this name": (1, ["run", NAME, f"{NAME}.none"]),
    "check": (0, ["check", "bundle"]),
    "bench": (0, ["bench", "bundle", "--runs", "1", "--warmup", "1"]),
    "eval": (1, ["eval", "bundle", "other.json"]),
    "tune": (0, ["tune", "bundle", "--rounds", "1", "--threads", "1,2"]),
    "build": (1, ["build", NAME]),
    "another word": (2, ["check", "bundle", NAME]),
}
DESK_COMMANDS = {
    "verify": (0, ["deploy", "bundle", "verify", "bundle"]),
    "pack": (0, ["deploy", "bundle", "pack", "bundle", f"{NAME}.zip"]),
    "a file that is no archive": (1, ["deploy", "bundle", "unpack", f"{NAME}.png", "new"]),
    "inspect": (0, ["deploy", "inspect", "net.onnx", "--all"]),
    "an unknown command": (1, ["deploy", f"{NAME}=1", "+model=onnx", "+backend=onnxruntime"]),
    "the converter": (0, ["backends.onnxruntime", "net.onnx", "out"]),
    "the converter's options": (1, ["backends.onnxruntime", "net.onnx", "no", f"{NAME}=1"]),
}


@pytest.mark.parametrize("case", COMMANDS)
def test_a_command_of_the_device_prints_names_and_no_control_characters(hostile, case):
    code, words = COMMANDS[case]
    ended = program("deploy.runtime", *words, cwd=hostile)
    assert ended.returncode == code, ended
    assert_printable(ended.stdout + ended.stderr)
    if case not in ("bench", "tune"):  # they print the names of steps: letters and digits
        assert HONEST in (ended.stdout + ended.stderr).decode()


@pytest.mark.parametrize("case", DESK_COMMANDS)
def test_a_command_of_the_desk_prints_names_and_no_control_characters(hostile, case):
    code, words = DESK_COMMANDS[case]
    ended = program(*words, cwd=hostile)
    assert ended.returncode == code, ended
    assert_printable(ended.stdout + ended.stderr)
    assert HONEST in (ended.stdout + ended.stderr).decode()


def test_the_main_job_and_its_page_show_names_and_no_control_characters(hostile):
    words = ["model=onnx", "model.file=net.onnx", "backend=onnxruntime", "model.name=net"]
    ended = program("deploy", *words, "bench.runs=0", cwd=hostile)
    assert ended.returncode == 0, ended
    assert_printable(ended.stdout + ended.stderr)
    page = (hostile / "bundles" / "net-onnxruntime.work" / "report.html").read_bytes()
    assert_printable(page)
    assert "\\x1b" in page.decode()
    assert HONEST in page.decode()


def test_the_table_of_a_sweep_shows_names_and_no_control_characters(capfdbinary):
    code = (
        "from backends.terminal import program_output\n"
        "from deploy.report.console import plain_console\n"
        "from deploy.report.sweep import JobRow, sweep_table\n"
        f"name = {NAME!r} + '[red]brackets[/] :smile:'\n"
        "with program_output():\n"
        "    plain_console().print(sweep_table([JobRow(name, name, name, error=name)]))\n"
        "    plain_console().print(name)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    out = capfdbinary.readouterr().out
    assert_printable(out)
    assert "[red]brackets[/] :smile:" in out.decode()
    assert out.decode().count("\\x1b") > 4


def test_a_library_that_logs_beside_python_is_silent(hostile, capfd):
    """ONNX Runtime writes names of nodes into its log, which is the process's standard error."""
    pytest.importorskip("onnxruntime")
    code = (
        "import sys, numpy as np\nfrom pathlib import Path\n"
        "from backends.onnxruntime import Options\n"
        "from backends.onnxruntime.session import on_cpu\n"
        "session = on_cpu(Path('failing.onnx'), Options())\n"
        "try: session.run(None, {'x': np.ones((1, 4), np.float32), 'n': np.array([3])})\n"
        "except Exception as error: print(type(error).__name__)\n"
    )
    _save_failing(hostile / "failing.onnx")
    subprocess.run([sys.executable, "-c", code], cwd=hostile, env=program_environment(), check=True)
    out, err = capfd.readouterr()
    assert (out, err) == ("InvalidArgument\n", "") or (out.strip() and not err)


def test_an_error_is_printable_wherever_it_is_printed():
    assert str(DeployError(f"model {NAME}", got="\udcff")) == (
        f"model {printable(NAME)}: got \\udcff"
    )


@pytest.mark.parametrize("place", ["input", "output", "node"])
def test_a_tensor_whose_name_has_a_line_of_its_own_is_refused(place, tmp_path):
    names = {"input": "x", "output": "y", "node": "n"} | {place: "a\nok  all is well"}
    value = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Relu", [names["input"]], [names["output"]], name=names["node"])
    ends = (value(names[end], onnx.TensorProto.FLOAT, [1]) for end in ("input", "output"))
    graph = onnx.helper.make_graph([node], "g", *([end] for end in ends))
    onnx.save(onnx.helper.make_model(graph), tmp_path / "a.onnx")
    with pytest.raises(OnnxFileError, match="has a name with a line break"):
        read_without_weights(tmp_path / "a.onnx")


def test_a_file_whose_name_has_a_line_of_its_own_prints_one_line(hostile):
    name = "a.png\nerror: all is lost.png"
    (hostile / name).write_bytes((hostile / "bundle" / PICTURE).read_bytes())
    ended = program("deploy.runtime", "run", "bundle", name, "--score", "1", cwd=hostile)
    assert len(ended.stdout.splitlines()) == 1
    assert rb"a.png\nerror: all is lost.png: 0 found" in ended.stdout


def test_lines_tabs_and_every_language_stay():
    text = f"a\tb\n  {HONEST} naïve ελληνικά עברית 😀"
    assert printable(text) == text
    assert printable(printable(NAME)) == printable(NAME)


@pytest.mark.parametrize("words", [["check", "bundle"], ["run", "bundle", f"bundle/{PICTURE}"]])
def test_what_an_ascii_terminal_lacks_is_escaped(hostile, words):
    ascii_only = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    for environment in (ascii_only, {"PYTHONIOENCODING": "ascii"}):
        ended = program("deploy.runtime", *words, "--threads", "1", cwd=hostile, **environment)
        assert ended.returncode == 0, ended
        assert ended.stdout.isascii()
        assert ended.stderr.isascii()


def test_our_own_colours_reach_a_terminal_and_those_of_names_do_not():
    code = (
        "from backends.terminal import program_output\n"
        "from deploy.report.console import plain_console\n"
        "from deploy.report.progress import Stage, stage_table\n"
        "with program_output():\n"
        "    plain_console().print(stage_table([Stage('\\x1b[35mname')]))\n"
    )
    shown = _on_terminal([sys.executable, "-c", code])
    assert b"\x1b[1m" in shown  # bold, of rich
    assert b"\x1b[35m" not in shown
    assert rb"\x1b[35mname" in shown


def _on_terminal(command: list[str]) -> bytes:
    ours, theirs = pty.openpty()
    environment = program_environment(TERM="xterm-256color")
    with subprocess.Popen(command, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        while block := _read(ours):
            shown += block
        process.wait()
    os.close(ours)
    return shown


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 4096)
    except OSError:  # as Linux tells of the end
        return b""


def _save_failing(path: Path) -> None:
    """A model that fails while it runs, in a node of a hostile name."""
    value, make = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [make("Reshape", ["x", "n"], ["y"], name=NAME)],
        "failing",
        [value("x", onnx.TensorProto.FLOAT, [1, 4]), value("n", onnx.TensorProto.INT64, [1])],
        [value("y", onnx.TensorProto.FLOAT, ["d"])],
    )
    onnx.save(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 18)]), path)

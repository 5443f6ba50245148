"""Files that a machine has not loaded yet are loaded in a process of their own first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from backends.contract import Artifact, EngineError, TensorSpec
from backends.process import probe as module
from backends.user_cache import cache_folder
from deploy.runtime import Pipeline
from deploy.runtime.bundle.integrity import file_entry
from deploy.runtime.bundle.manifest import Manifest, Verification, write_manifest
from deploy.runtime.bundle.probe import remember_probed
from tests.helpers.processes import running, until

INTS = (TensorSpec("x", "int64", (4,)),)
OUT = (TensorSpec("y", "int64", (4,)),)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "backend-chain"


def crash() -> list[onnx.NodeProto]:
    """A quotient too large for 64 bits, which no check can see: it ends the process."""
    return [
        helper.make_node("Sub", ["x", "x"], ["zero"]),
        helper.make_node("Add", ["zero", "least"], ["a"]),
        helper.make_node("Sub", ["zero", "x"], ["b"]),
        helper.make_node("Div", ["a", "b"], ["y"]),
    ]


def hang() -> list[onnx.NodeProto]:
    """A loop that is over long after the sun."""
    info = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["a", "a"], ["b"])],
        "body",
        [info("i", TensorProto.INT64, []), info("go", TensorProto.BOOL, []),
         info("a", TensorProto.INT64, [4])],
        [info("on", TensorProto.BOOL, []), info("b", TensorProto.INT64, [4])],
    )  # fmt: skip
    return [helper.make_node("Loop", ["many", "yes", "x"], ["y"], body=body)]


def fine() -> list[onnx.NodeProto]:
    return [helper.make_node("Add", ["x", "x"], ["y"])]


def bundle(folder: Path, nodes: list[onnx.NodeProto]) -> Path:
    """A bundle of one ONNX file."""
    (folder / "net").mkdir(parents=True)
    weights = [
        numpy_helper.from_array(np.array(1 << 62), "many"),
        numpy_helper.from_array(np.array(True), "yes"),
        numpy_helper.from_array(np.full(4, -(1 << 63)), "least"),
    ]
    info = helper.make_tensor_value_info
    ends = [info(name, TensorProto.INT64, [4]) for name in "xy"]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / "net" / "model.onnx")
    files = {"net/model.onnx": file_entry(folder / "net" / "model.onnx", "engine")}
    step = Artifact("net", "onnxruntime", tuple(files), INTS, OUT)
    passed = Verification("passed")
    write_manifest(
        folder, Manifest("m", (), INTS, OUT, (step,), None, None, None, files, {}, passed)
    )
    return folder


def test_a_file_that_crashes_its_engine_is_an_error_and_no_crash(tmp_path):
    message = r"loading 'net' \(onnxruntime\) and running it once ends its process: signal SIGFPE"
    with pytest.raises(EngineError, match=message):
        Pipeline.open(bundle(tmp_path / "b", crash()))


def test_a_file_that_hangs_its_engine_is_an_error_and_no_hang(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SECONDS", 3.0)
    with pytest.raises(EngineError, match="ends its process: no end within 3"):
        Pipeline.open(bundle(tmp_path / "b", hang()))


def test_what_crashed_is_tried_again_and_what_did_not_is_not(tmp_path, cache, monkeypatch):
    bad, good = bundle(tmp_path / "bad", crash()), bundle(tmp_path / "good", fine())
    tried = []
    honest = module.run_limited
    monkeypatch.setattr(module, "run_limited", lambda *given: tried.append(1) or honest(*given))
    for _ in range(2):
        with pytest.raises(EngineError, match="SIGFPE"):
            Pipeline.open(bad)
        with Pipeline.open(good) as pipeline:
            found = pipeline.chain({"x": np.arange(4)})
    assert found["y"].tolist() == [0, 2, 4, 6]
    assert len(tried) == 3
    assert len(list((cache / "tried").iterdir())) == 1


def test_another_file_is_tried_anew(tmp_path, cache):
    for number, nodes in enumerate((fine(), [helper.make_node("Mul", ["x", "x"], ["y"])])):
        with Pipeline.open(bundle(tmp_path / str(number), nodes)):
            pass
    assert len(list((cache / "tried").iterdir())) == 2


def test_what_is_trusted_is_not_tried(tmp_path, cache):
    with Pipeline.open(bundle(tmp_path / "b", fine()), trusted=True):
        pass
    assert not cache.exists()


def test_what_was_just_loaded_is_remembered(tmp_path, monkeypatch):
    from deploy.runtime.bundle.manifest import read_manifest

    made = bundle(tmp_path / "b", fine())
    remember_probed(read_manifest(made))
    monkeypatch.setattr(module, "run_limited", None)
    with Pipeline.open(made):
        pass


def test_where_nothing_can_be_remembered_a_bundle_opens_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() == tmp_path / "file" / "backend-chain"
    with Pipeline.open(bundle(tmp_path / "b", fine())):
        pass


def test_a_child_ends_with_its_parent(tmp_path):
    """The parent is killed, so that it cannot end the child itself."""
    child = "import os, time, backends.process.child as p; p.end_with_parent(); time.sleep(60)"
    parent = (
        "import sys, backends.process.child as p\n"
        "p.run_limited([sys.executable, '-c', "
        f"{child!r} + ' # marked-child'], p.Limits(50), sys.stderr)"
    )
    started = subprocess.Popen([sys.executable, "-c", parent])
    until(lambda: running(b"# marked-child"))
    started.kill()
    started.wait()
    until(lambda: not running(b"# marked-child"))


def test_what_an_engine_says_in_no_encoding_is_no_error_of_its_own(tmp_path, monkeypatch):
    code = r"import os; os.write(2, b'\xff\xfe'); os.abort()"
    monkeypatch.setattr(module, "module_command", lambda _: [sys.executable, "-c", code])
    with pytest.raises(EngineError, match="ends its process: signal SIGABRT"):
        Pipeline.open(bundle(tmp_path / "b", fine()))

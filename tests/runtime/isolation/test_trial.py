"""With ``isolate="never"`` a bundle of somebody else is tried in a child process first."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from backends.contract import Dynamic, EngineError, TensorSpec
from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import DTYPES, HostStep, PostStep
from deploy.runtime.isolation import limits, trial
from tests.conftest import made_here
from tests.helpers.onnx_bundles import (
    INPUT,
    OUTPUT,
    crash,
    double,
    hang,
    memory,
    onnx_bundle,
)
from tests.helpers.processes import running, until


@pytest.fixture
def trials(monkeypatch) -> list[int]:
    """One entry for each child process that was started."""
    started: list[int] = []
    honest = trial.run_limited
    monkeypatch.setattr(trial, "run_limited", lambda *words: started.append(1) or honest(*words))
    return started


def opened(bundle: Path) -> Pipeline:
    return Pipeline.open(bundle, isolate="never")


def test_a_file_that_crashes_its_engine_is_refused_and_the_step_named(tmp_path):
    message = r"did not pass its trial: step 'net0' at the usual size: signal SIGFPE"
    with pytest.raises(EngineError, match=message):
        opened(onnx_bundle(tmp_path / "b", crash()))


def test_a_second_step_is_run_too(tmp_path):
    negate, between = [helper.make_node("Neg", ["x"], ["m"])], TensorSpec("m", "int64", (4,))
    twice = [helper.make_node("Neg", ["m"], ["n"]), *crash("n")]
    bundle = onnx_bundle(tmp_path / "b", negate, twice, between=[between])
    with pytest.raises(EngineError, match="trial: step 'net1' at the usual size: signal SIGFPE"):
        opened(bundle)


def test_a_file_that_hangs_its_engine_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_SECONDS", 1.0)
    with pytest.raises(EngineError, match="step 'net0' at the usual size: no end within 3"):
        opened(onnx_bundle(tmp_path / "b", hang()))


def test_memory_that_the_child_does_not_get_is_no_success(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_MEMORY", 1 << 30)
    with pytest.raises(EngineError, match="trial: step 'net0' at the usual size: "):
        opened(onnx_bundle(tmp_path / "b", memory()))


@pytest.mark.parametrize(("size", "name"), [(1, "smallest"), (3, "usual"), (6, "largest")])
def test_every_size_of_an_input_is_run(size, name, tmp_path):
    """The quotient is too large where the sum of the ones is the given size."""
    dims = (Dynamic("n", 1, 3, 6),)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=1),
        helper.make_node("Shape", ["x"], ["length"]),
        helper.make_node("Constant", [], ["bad"], value_int=size),
        helper.make_node("Constant", [], ["one"], value_int=1),
        helper.make_node("Sub", ["sum", "bad"], ["distance"]),
        helper.make_node("Sub", ["distance", "one"], ["divisor0"]),
        helper.make_node("Add", ["one", "one"], ["two"]),
        helper.make_node("Mul", ["divisor0", "two"], ["divisor1"]),
        helper.make_node("Add", ["divisor1", "one"], ["divisor"]),
        helper.make_node("Div", ["least", "divisor"], ["quotient"]),
        helper.make_node("ReduceMax", ["quotient"], ["most"], keepdims=1),
        helper.make_node("Add", ["x", "most"], ["y"]),
    ]
    bundle = onnx_bundle(
        tmp_path / "b",
        nodes,
        inputs=(TensorSpec("x", "int64", dims),),
        outputs=(TensorSpec("y", "int64", dims),),
    )
    with pytest.raises(EngineError, match=f"step 'net0' at the {name} size: signal SIGFPE"):
        opened(bundle)


@pytest.mark.parametrize("dtype", sorted(DTYPES))
def test_every_dtype_that_a_manifest_may_have_can_be_fed(dtype):
    spec = TensorSpec("x", dtype, (2, Dynamic("n", 1, 2, 3)))
    sizes = dict(trial.trial_inputs((spec,)))
    assert {name: arrays["x"].shape for name, arrays in sizes.items()} == {
        "usual": (2, 2),
        "smallest": (2, 1),
        "largest": (2, 3),
    }
    for arrays in sizes.values():
        assert arrays["x"].dtype == dtype
        assert arrays["x"].astype(np.complex128).all()


def test_fixed_sizes_are_tried_once():
    assert [size for size, _ in trial.trial_inputs((INPUT,))] == ["usual"]


def test_an_input_of_unknown_rank_cannot_be_tried(tmp_path):
    unknown = TensorSpec("x", "int64", None)
    bundle = onnx_bundle(tmp_path / "b", double(), inputs=(unknown,))
    with pytest.raises(EngineError, match=r"trial: .*input 'x': expected a known rank"):
        opened(bundle)
    with Pipeline.open(bundle) as pipeline:
        assert pipeline.chain({"x": np.ones(4, np.int64)})["y"].tolist() == [2] * 4


def test_a_host_step_that_fails_is_named(tmp_path):
    step = HostStep("last", "test.no_such", (OUTPUT,), (TensorSpec("z", "int64", (4,)),))
    bundle = onnx_bundle(tmp_path / "b", double(), host=(step,), outputs=(OUTPUT,))
    with pytest.raises(EngineError, match=r"trial: starting: .*host step 'last': .*test\.no_such"):
        opened(bundle)


def test_a_post_processing_that_fails_is_named(tmp_path):
    post = PostStep("mask_rcnn.masks", ("y",), {})
    with pytest.raises(EngineError, match=r"trial: host step 'mask_rcnn\.masks' at the usual size"):
        opened(onnx_bundle(tmp_path / "b", double(), post=post))


def test_what_failed_is_tried_again_and_what_passed_is_not(tmp_path, cache, trials):
    bad, good = onnx_bundle(tmp_path / "bad", crash()), onnx_bundle(tmp_path / "good", double())
    for _ in range(2):
        with pytest.raises(EngineError, match="SIGFPE"):
            opened(bad)
        with opened(good) as pipeline:
            result = pipeline.chain({"x": np.arange(4)})
    assert result["y"].tolist() == [0, 2, 4, 6]
    assert len(trials) == 3
    assert len(list((cache / "tried").iterdir())) == 1


def test_another_file_and_other_parameters_are_tried_anew(tmp_path, trials):
    square = [helper.make_node("Mul", ["x", "x"], ["y"])]
    for number, (nodes, classes) in enumerate([(double(), ()), (square, ()), (double(), ("a",))]):
        bundle = onnx_bundle(tmp_path / str(number), nodes, classes=classes)
        with opened(bundle):
            pass
    assert len(trials) == 2  # the names of classes change nothing that runs


def test_what_is_trusted_or_made_here_is_not_tried(tmp_path, trials):
    bundle = onnx_bundle(tmp_path / "b", double())
    with Pipeline.open(bundle, trusted=True, isolate="never"):
        pass
    with opened(made_here(bundle)):
        pass
    assert not trials


def test_where_nothing_can_be_remembered_a_bundle_opens_all_the_same(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with opened(onnx_bundle(tmp_path / "b", double())):
        pass


def test_a_child_that_stops_without_an_error_has_not_passed(tmp_path, monkeypatch):
    """An engine that ends its process with exit code 0 would count as a success."""
    code = "import os; os._exit(0)"
    monkeypatch.setattr(trial, "module_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(EngineError, match="did not pass its trial: starting: "):
        opened(onnx_bundle(tmp_path / "b", double()))


def test_what_an_engine_says_in_no_encoding_is_no_error_of_its_own(tmp_path, monkeypatch):
    code = r"import os; os.write(2, b'\xff\xfe'); os.abort()"
    monkeypatch.setattr(trial, "module_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(EngineError, match="did not pass its trial: starting: signal SIGABRT"):
        opened(onnx_bundle(tmp_path / "b", double()))


def test_a_child_ends_with_its_parent():
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


def test_the_request_of_a_trial_is_plain_json(tmp_path, monkeypatch):
    requests: list[str] = []
    monkeypatch.setattr(
        trial, "run_limited", lambda command, limits, output, line: requests.append(line) or "no"
    )
    with pytest.raises(EngineError, match="did not pass its trial: starting: no"):
        opened(onnx_bundle(tmp_path / "b", double()))
    assert sorted(json.loads(requests[0])) == ["manifest", "root"]

"""A bundle of somebody else runs in a process of its own; what it does there is an error here."""

from __future__ import annotations

import gc
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from backends.contract import DeployError, EngineError, TensorError, TensorSpec
from backends.user_cache import cache_folder
from deploy.runtime import BundleError, Pipeline
from deploy.runtime.bundle.manifest import HostStep, read_manifest, write_manifest
from deploy.runtime.isolation import limits, process
from deploy.runtime.isolation.process import BundleProcessError
from deploy.runtime.isolation.proxies import IsolatedChain
from deploy.runtime.isolation.shared_memory import Message, SharedMemory
from tests.conftest import made_here
from tests.helpers.onnx_bundles import crash, double, hang, memory, onnx_bundle
from tests.helpers.processes import running, until

ONES, TWOS = {"x": np.ones(4, np.int64)}, {"x": np.full(4, 2)}
MARK = b"deploy.runtime.isolation.worker"


def children() -> set[int]:
    """The processes of bundles that this test process has started."""
    return {pid for pid in running(MARK) if _parent(pid) == os.getpid()}


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def test_a_bundle_of_somebody_else_is_isolated_and_one_made_here_is_not(tmp_path):
    bundle = onnx_bundle(tmp_path / "b", double())
    with Pipeline.open(bundle) as pipeline:
        assert isinstance(pipeline.chain, IsolatedChain)
        assert pipeline.chain(TWOS)["y"].tolist() == [4] * 4
        assert len(children()) == 1
    made_here(bundle)
    with Pipeline.open(bundle) as pipeline:
        assert not isinstance(pipeline.chain, IsolatedChain)
        assert pipeline.chain(TWOS)["y"].tolist() == [4] * 4
    assert not children()


def test_one_changed_value_makes_a_bundle_somebody_elses(tmp_path):
    bundle = made_here(onnx_bundle(tmp_path / "b", double()))
    write_manifest(bundle, replace(read_manifest(bundle), classes=("cat",)))
    with Pipeline.open(bundle) as pipeline:
        assert isinstance(pipeline.chain, IsolatedChain)


def test_always_and_trust_decide_before_the_maker_does(tmp_path):
    bundle = onnx_bundle(tmp_path / "b", double())
    with Pipeline.open(bundle, trusted=True) as pipeline:
        assert not isinstance(pipeline.chain, IsolatedChain)
    made_here(bundle)
    with Pipeline.open(bundle, trusted=True, isolate="always") as pipeline:
        assert isinstance(pipeline.chain, IsolatedChain)


def test_a_crash_is_an_error_that_names_the_step_and_the_pipeline_lives_on(tmp_path):
    negate, between = [helper.make_node("Neg", ["x"], ["m"])], TensorSpec("m", "int64", (4,))
    bundle = onnx_bundle(tmp_path / "b", negate, crash("m"), between=[between])
    with Pipeline.open(bundle) as pipeline:
        for _ in range(2):
            message = r"^step 'net1' ended its process: signal SIGFPE$"
            with pytest.raises(EngineError, match=message):
                pipeline.chain({"x": -ONES["x"]})
            assert pipeline.chain(ONES)["y"].tolist() == [-(1 << 63)] * 4
    assert not children()


def test_a_step_alone_and_a_timed_call_fail_alike(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", crash())) as pipeline:
        ((_, runner),) = pipeline.chain.steps
        for call in (lambda: runner(ONES), lambda: pipeline.chain.timed(ONES, {})):
            with pytest.raises(BundleProcessError, match="step 'net0' ended its process: signal"):
                call()
        seconds: dict[str, float] = {}
        assert pipeline.chain.timed(TWOS, seconds)["y"].tolist() == [1 << 62] * 4
        assert 0 < seconds["net0"] < 1


def test_a_hang_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_SECONDS", 1.0)
    with Pipeline.open(onnx_bundle(tmp_path / "b", hang())) as pipeline:
        start = time.monotonic()
        with pytest.raises(EngineError, match="step 'net0' ended its process: no end within 1"):
            pipeline.chain(ONES)
        assert time.monotonic() - start < 8
    assert not children()


def test_memory_is_an_error_and_is_not_taken_from_this_process(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "_MEMORY", 1 << 30)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    message = r"(?i)step 'net0': .*(allocat|memory)"
    with (
        Pipeline.open(onnx_bundle(tmp_path / "b", memory())) as pipeline,
        pytest.raises(EngineError, match=message),
    ):
        pipeline.chain(ONES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 17  # kilobytes


def test_a_first_step_that_no_trial_can_feed_hides_no_second_one(tmp_path):
    """NumPy has bfloat16 from a library; a trial of such a step failed, and counted as passed."""
    nets = [helper.make_node("Cast", ["x"], ["m"], to=TensorProto.INT64)], crash("m")
    bundle = onnx_bundle(
        tmp_path / "b",
        *nets,
        inputs=(TensorSpec("x", "bfloat16", (4,)),),
        between=[TensorSpec("m", "int64", (4,))],
    )
    with pytest.raises(EngineError, match="did not pass its trial"):
        Pipeline.open(bundle, isolate="never")
    with Pipeline.open(bundle) as pipeline, pytest.raises(EngineError):
        import ml_dtypes

        pipeline.chain({"x": np.ones(4, ml_dtypes.bfloat16)})


def test_a_crash_while_loading_is_an_error_with_the_last_words(tmp_path, monkeypatch):
    code = r"import os; os.write(2, b'\xff\xfe last words'); os.abort()"
    monkeypatch.setattr(process, "module_command", lambda *_: [sys.executable, "-c", code])
    with pytest.raises(
        EngineError, match=r"its start ended its process: signal SIGABRT .*last words"
    ):
        Pipeline.open(onnx_bundle(tmp_path / "b", double()))


def test_what_loading_reports_is_raised_as_it_is(tmp_path):
    bundle = onnx_bundle(tmp_path / "b", double())
    (bundle / "net0" / "model.onnx").write_bytes(b"x" * 100)
    with pytest.raises(BundleError, match=r"file 'net0/model\.onnx'"):
        Pipeline.open(bundle)
    step = HostStep("h", "no.such", (), ())
    write_manifest(bundle, replace(read_manifest(bundle), host=(step,)))
    with pytest.raises(BundleError, match=r"file 'net0/model\.onnx'"):
        Pipeline.open(bundle)
    assert not children()


def test_a_file_that_is_missing_or_claims_any_size_is_refused(tmp_path):
    bundle = onnx_bundle(tmp_path / "b", double())
    model = bundle / "net0" / "model.onnx"
    with model.open("r+b") as file:
        file.truncate(1 << 42)  # a hole
    with pytest.raises(BundleError, match=r"file 'net0/model\.onnx': expected .* bytes"):
        Pipeline.open(bundle)
    model.unlink()
    with pytest.raises(BundleError, match=r"file 'net0/model\.onnx' is missing"):
        Pipeline.open(bundle)
    assert not children()


def test_wrong_tensors_are_refused_here_and_cost_no_process(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", double())) as pipeline:
        before = children()
        with pytest.raises(TensorError, match=r"input 'x': expected int64\[4\], got float64\[4\]"):
            pipeline.chain({"x": np.ones(4)})
        with pytest.raises(TensorError, match="inputs: expected x, got none"):
            pipeline.chain({})
        ((_, runner),) = pipeline.chain.steps
        with pytest.raises(TensorError, match="input 'x'"):
            runner({"x": np.ones(4)})
        assert children() == before


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[[], 3]",
        '[[["y", "object", [4], 256]], {}]',
        '[[["y", "int64", [4], 99999999]], {}]',
        '[[["y", "int64", [-4], 256]], {}]',
        '[[["y", "int64", [4]]], {}]',
        "nothing at all",
    ],
)
def test_an_answer_of_a_process_that_was_taken_over_is_an_error(text, tmp_path, monkeypatch):
    code = (
        "import os, socket, struct, sys, time\n"
        "parent, results = socket.socket(fileno=int(sys.argv[1])), int(sys.argv[3])\n"
        f"for text in ('[[], {{}}]', {text!r}):\n"
        "    parent.recv(16)\n    os.pwrite(results, text.encode(), 300)\n"
        "    parent.sendall(struct.pack('<QQ', 300, len(text))[:3 if 'nothing' in text else 16])\n"
        "time.sleep(60 if 'nothing' not in text else 0)"
    )
    monkeypatch.setattr(
        process, "module_command", lambda _, *words: [sys.executable, "-c", code, *words]
    )
    with (
        Pipeline.open(onnx_bundle(tmp_path / "b", double())) as pipeline,
        pytest.raises(EngineError, match=r"^its start ended its process: (an answer|it cl|exit c)"),
    ):
        pipeline.chain(ONES)


def test_an_error_of_a_kind_that_is_none_of_ours_is_one_of_ours(tmp_path, monkeypatch):
    answer = Message({}, {"error": "text", "kind": "SystemExit"})
    monkeypatch.setattr(SharedMemory, "read", lambda *_: answer)
    with pytest.raises(DeployError, match=r"^text$"):
        Pipeline.open(onnx_bundle(tmp_path / "b", double()))
    assert not children()


def test_several_threads_get_their_own_results(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", double())) as pipeline:
        calls = [{"x": np.arange(4) + number} for number in range(200)]
        with ThreadPoolExecutor(8) as threads:
            results = list(threads.map(pipeline.chain, calls))
    for call, result in zip(calls, results, strict=True):
        assert result["y"].tolist() == (call["x"] * 2).tolist()


def test_results_stay_as_they_were_returned(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", double())) as pipeline:
        first = pipeline.chain(ONES)["y"]
        pipeline.chain(TWOS)
    assert first.tolist() == [2] * 4


def test_a_fork_has_a_process_of_its_own_and_leaves_that_of_its_parent(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", double())) as pipeline:
        before = children()
        child = os.fork()
        if not child:
            good = pipeline.chain(TWOS)["y"].tolist() == [4] * 4 and not children() & before
            pipeline.__exit__()
            gc.collect()
            os._exit(0 if good else 1)
        assert os.waitpid(child, 0)[1] == 0
        assert children() == before
        assert pipeline.chain(ONES)["y"].tolist() == [2] * 4
        assert children() == before


def test_ctrl_c_during_a_call_ends_the_process_and_the_next_call_has_another(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", hang())) as pipeline:
        (before,) = children()
        timer = threading.Timer(1, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            pipeline.chain(ONES)
        until(lambda: before not in children())


def test_a_closed_pipeline_is_refused_and_leaves_no_process(tmp_path):
    with Pipeline.open(onnx_bundle(tmp_path / "b", double())) as pipeline:
        ((_, runner),) = pipeline.chain.steps
    assert not children()
    for call in (pipeline.chain, runner):
        with pytest.raises(EngineError, match="the chain is closed"):
            call(ONES)
    assert not children()


def test_a_pipeline_that_nobody_closes_leaves_no_process(tmp_path):
    pipeline = Pipeline.open(onnx_bundle(tmp_path / "b", double()))
    assert children()
    del pipeline
    gc.collect()
    until(lambda: not children())


def test_the_process_ends_with_its_parent_even_in_a_call(tmp_path):
    bundle = onnx_bundle(tmp_path / "b", hang())
    code = (
        "import sys, numpy as np\nfrom deploy.runtime import Pipeline\n"
        f"pipeline = Pipeline.open({str(bundle)!r}).__enter__()\nprint('open', flush=True)\n"
        "pipeline.chain({'x': np.ones(4, np.int64)})"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as parent:
        parent.stdout.readline()
        mine = {pid for pid in running(MARK) if _parent(pid) == parent.pid}
        assert len(mine) == 1
        parent.kill()
    until(lambda: not mine & set(running(MARK)))


def test_a_user_without_a_home_gets_every_bundle_isolated(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert cache_folder() == tmp_path / "file" / "backend-chain"
    bundle = made_here(onnx_bundle(tmp_path / "b", double()))
    with Pipeline.open(bundle) as pipeline:
        assert isinstance(pipeline.chain, IsolatedChain)


@pytest.mark.parametrize(("name", "why"), [("python.so", ""), ("my_app", "embeds Python")])
def test_where_no_process_can_be_started_a_bundle_of_others_is_refused(
    name, why, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "executable", f"/usr/bin/{name}")
    bundle = onnx_bundle(tmp_path / "b", double())
    if why:
        with pytest.raises(EngineError, match=f"which a program that {why} cannot start"):
            Pipeline.open(bundle)
    made_here(bundle)
    with Pipeline.open(bundle) as pipeline:
        assert pipeline.chain(ONES)["y"].tolist() == [2] * 4

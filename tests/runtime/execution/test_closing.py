"""A pipeline that is closed: calls are refused, and it leaves no memory and no handles."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from backends.contract import Artifact, EngineError
from deploy.runtime import Pipeline
from deploy.runtime.execution.chain import Chain
from tests.helpers.digit_scenes import SCENES, scene
from tests.helpers.runtime_chains import THREADS, as_bytes, noise, run_concurrently, spec

ROOT = Path(__file__).parents[3]

MEASURE = """
import ctypes, gc, json, sys
from pathlib import Path
from deploy.runtime import Pipeline
from deploy.runtime.vision.image import load_image

def measure():
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    kib = {line.split()[0]: int(line.split()[1]) for line in lines}
    handles, threads = (len(list(Path("/proc/self", name).iterdir())) for name in ("fd", "task"))
    print(json.dumps({"rss": kib["Rss:"], "handles": handles, "threads": threads}))

bundle, file = sys.argv[1:]
scene = load_image(file)
"""
CALLS = """
with Pipeline.open(bundle, threads=1) as pipeline:
    pipeline(scene[:9, :9])  # enlarged, for which OpenCV is imported
    for number in range(250):
        pipeline(file if number % 10 == 0 else scene[number:, : 20 + number])
        if number % 50 == 49:
            measure()
"""
OPENINGS = """
for number in range(55):
    with Pipeline.open(bundle, threads=1) as pipeline:
        pipeline(scene)
    del pipeline
    if number % 10 == 4:
        measure()
"""
CLOSINGS = """
from collections import Counter
from threading import Barrier, Thread
from deploy.runtime import DeployError

errors = Counter()

def call_until_it_is_closed(pipeline, barrier):
    for turn in range(10_000):
        try:
            pipeline(scene)
        except DeployError as error:
            errors[f"{type(error).__name__}: {error}"] += 1
            return
        if turn == 0:
            barrier.wait(60)

for _ in range(5):
    barrier = Barrier(9)
    with Pipeline.open(bundle, threads=1) as pipeline:
        arguments = pipeline, barrier
        threads = [Thread(target=call_until_it_is_closed, args=arguments) for _ in range(8)]
        for thread in threads:
            thread.start()
        barrier.wait(60)  # each has called once, and is about to call again
    for thread in threads:
        thread.join()
print(json.dumps(errors))
"""
CHAIN_IS_CLOSED = "the chain is closed. Call it inside its 'with' block."


def run_child(code: str, bundle: Path) -> list[dict[str, int]]:
    """The lines of JSON that a process prints, in which malloc keeps nothing of what is freed."""
    command = [sys.executable, "-c", MEASURE + code, str(bundle), str(SCENES[0])]
    malloc_settings = {"MALLOC_MMAP_THRESHOLD_": "131072", "MALLOC_TRIM_THRESHOLD_": "131072"}
    compiled = {"DEPLOY_COMPILE_FIRST": "1"}  # before the first measurement
    process = subprocess.run(
        command,
        env=os.environ | malloc_settings | compiled,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 0, process.stderr
    return [json.loads(line) for line in process.stdout.splitlines()]


def growth(samples: list[dict[str, int]], figure: str) -> int:
    return samples[-1][figure] - samples[0][figure]


@pytest.mark.slow
def test_hundreds_of_calls_take_no_memory_and_no_handles(digits_bundle):
    """Less than 4 MiB in 200 calls, of which each makes an input tensor of 1.2 MiB alone."""
    samples = run_child(CALLS, digits_bundle)
    assert len(samples) == 5
    assert {(sample["handles"], sample["threads"]) for sample in samples} == {
        (samples[0]["handles"], samples[0]["threads"])
    }
    assert growth(samples, "rss") < 4 << 10, samples


@pytest.mark.slow
def test_opening_and_closing_leaves_nothing(digits_bundle):
    """Less than 16 MiB in 50 times: that is what the weights of one take."""
    samples = run_child(OPENINGS, digits_bundle)
    assert len(samples) == 6
    assert {sample["handles"] for sample in samples} == {samples[0]["handles"]}
    assert growth(samples, "threads") <= 0
    assert growth(samples, "rss") < 16 << 10, samples


@pytest.mark.parametrize(
    ("step", "handles", "good"),
    [(0, 7, True), (31, 7, True), (33, 7, False), (-33, 7, False), (0, 8, False)],
)
def test_the_soak_tells_what_grows_from_what_does_not(step, handles, good, capsys):
    judged = runpy.run_path(str(ROOT / "scripts" / "soak"))["judged"]
    samples = [
        dict.fromkeys(("rss", "pss", "uss"), 1000 + number * step)
        | {"pictures": 500 * number, "handles": 7}
        for number in range(21)
    ]
    samples[7]["handles"] = handles
    assert judged(samples) == good
    (rss,) = re.findall(r"rss (\S+),", capsys.readouterr().out)
    assert float(rss) == 2 * step  # processors round nothing to +0.0 or -0.0


def test_a_pipeline_that_is_closed_says_so_in_every_thread(digits_bundle):
    with Pipeline.open(digits_bundle) as pipeline:
        pipeline(scene(0))

    def refusal(number: int) -> str:
        with pytest.raises(EngineError, match="the chain is closed") as caught:
            pipeline(scene(number))
        return str(caught.value)

    assert run_concurrently(refusal) == [CHAIN_IS_CLOSED] * THREADS


def test_closing_while_others_call_is_an_error_for_them_and_not_the_end_of_the_process(
    digits_bundle,
):
    assert run_child(CLOSINGS, digits_bundle) == [{f"EngineError: {CHAIN_IS_CLOSED}": 5 * 8}]


class BlockingRunner:
    """A runner whose first call blocks until ``may_continue`` is set."""

    def __init__(self) -> None:
        self.started, self.may_continue, self.closed = (threading.Event() for _ in range(3))

    def __call__(self, inputs):
        if not self.started.is_set():
            self.started.set()
            assert self.may_continue.wait(60) and not self.closed.is_set()
        return {"y": inputs["x"]}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.closed.set()


def test_closing_waits_for_a_call_that_has_begun_and_refuses_those_that_have_not():
    runner = BlockingRunner()
    step = Artifact("slow", "none", (), (spec("x"),), (spec("y"),))
    chain = Chain([(step, runner)], (spec("x"),), (spec("y"),))
    with ThreadPoolExecutor(2) as pool, chain:
        call = pool.submit(chain, noise(0))
        assert runner.started.wait(60)
        closing = pool.submit(chain.__exit__)
        with pytest.raises(EngineError, match="the chain is closed"):
            for _ in range(10_000):
                chain(noise(0))
                time.sleep(0.001)
        assert not runner.closed.is_set() and not closing.done()
        runner.may_continue.set()
        closing.result(60)
        assert runner.closed.is_set()
        assert as_bytes(call.result()) == [noise(0)["x"].tobytes()]

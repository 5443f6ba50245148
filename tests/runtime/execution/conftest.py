"""Pipelines and chains that the tests of the execution share."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock

from deploy.runtime import Pipeline
from deploy.runtime.bundle.manifest import HostStep
from deploy.runtime.execution.chain import Chain
from deploy.runtime.execution.host_steps import HostRunner
from tests.helpers.commands import output_of
from tests.helpers.runtime_chains import CPU_BACKENDS, FailureInjector, converted_conv, spec


@pytest.fixture(scope="session")
def digits_bundles(tmp_path_factory) -> dict[str, Path]:
    """The demo's digit detector for each CPU backend, deployed once for all workers."""
    folder = tmp_path_factory.getbasetemp()
    shared = folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder
    cwd, finished = shared / "digits", shared / "digits" / "finished"
    with FileLock(shared / "digits.lock"):
        if not finished.is_file():
            cwd.mkdir(exist_ok=True)
            words = ["-m", "+model=yolov3", f"+backend={','.join(CPU_BACKENDS)}", "bench.runs=0"]
            output_of("deploy", *words, cwd=cwd)
            finished.touch()
    (sweep,) = (cwd / "multirun").iterdir()
    return {backend: sweep / str(number) / "bundle" for number, backend in enumerate(CPU_BACKENDS)}


@pytest.fixture(scope="module", params=CPU_BACKENDS)
def digits_bundle(request, digits_bundles) -> Path:
    return digits_bundles[request.param]


@pytest.fixture(scope="module")
def digits_pipeline(digits_bundle) -> Iterator[Pipeline]:
    with Pipeline.open(digits_bundle, threads=1) as pipeline:
        yield pipeline


def halve(inputs):
    return {"b": inputs["a"] / np.float32(2)}


@pytest.fixture(scope="module")
def multi_step_chain(tmp_path_factory) -> Iterator[tuple[Chain, dict[str, FailureInjector]]]:
    """Segment, host step, two segments, on alternating CPU backends; and the failure injectors."""
    folder = tmp_path_factory.mktemp("multi_step")
    connections = [("first", "x", "a"), ("second", "b", "c"), ("third", "c", "y")]
    backends = (CPU_BACKENDS * 3)[:3]
    loaded = [
        converted_conv(*connection, folder / connection[0], backend)
        for connection, backend in zip(connections, backends, strict=True)
    ]
    injectors = {step.name: FailureInjector(runner) for step, runner in loaded} | {
        "halve": FailureInjector(halve)
    }
    host = HostStep("halve", "test.halve", (spec("a"),), (spec("b"),))
    first, second, third = [(step, injectors[step.name]) for step, _ in loaded]
    steps = [first, (host, HostRunner(host, injectors["halve"])), second, third]
    with Chain(steps, (spec("x"),), (spec("a"), spec("y"))) as chain:
        yield chain, injectors

"""Tensors go from engine to engine without copies and without memory of Python's."""

from __future__ import annotations

import numpy as np
import pytest

from deploy.runtime import Pipeline
from tests.helpers.commands import BACKENDS, output_of
from tests.helpers.costs import peak

OF_ITS_OWN = [name for name in BACKENDS if name in ("onnxruntime", "ncnn")]  # memory of outputs
IN_PLACE = [*OF_ITS_OWN, *(name for name in BACKENDS if name == "openvino")]  # others copy


@pytest.fixture(scope="module")
def staged_chain(request, tmp_path_factory):
    bundle = tmp_path_factory.mktemp("copies") / "bundle"
    words = ["+model=yolov3", "+partition=by_stage", f"+backend={request.param}", "bench.runs=0"]
    output_of("deploy", *words, "verify.images=1", f"bundle={bundle}", cwd=bundle.parent)
    with Pipeline.open(bundle, threads=1) as pipeline:
        yield pipeline.chain


@pytest.mark.slow
@pytest.mark.parametrize("staged_chain", OF_ITS_OWN, indirect=True)
def test_a_call_takes_no_memory_for_tensors_from_python(staged_chain):
    inputs = {"image": np.zeros((1, 3, 320, 320), np.float32)}
    for _ in range(3):
        staged_chain(inputs)
    most = max(peak(lambda: staged_chain(inputs)) for _ in range(10))
    assert most < 16 << 10  # its outputs alone are 369 KiB


@pytest.mark.parametrize("staged_chain", IN_PLACE, indirect=True)
def test_what_an_engine_gives_is_what_the_next_takes(staged_chain, monkeypatch):
    """No step between two engines sees another array than the one that was given."""
    given: dict[str, int] = {}
    taken: dict[str, int] = {}
    for kind in {type(runner) for _, runner in staged_chain.steps}:
        plain = kind.__call__

        def watched(runner, inputs, plain=plain):
            taken.update({name: array.ctypes.data for name, array in inputs.items()})
            found = plain(runner, inputs)
            given.update({name: array.ctypes.data for name, array in found.items()})
            return found

        monkeypatch.setattr(kind, "__call__", watched)
    staged_chain({"image": np.zeros((1, 3, 320, 320), np.float32)})
    shared = given.keys() & taken.keys()
    assert len(shared) >= 3
    assert {name: given[name] for name in shared} == {name: taken[name] for name in shared}

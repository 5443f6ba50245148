#!/usr/bin/env python3
"""How often ncnn's word about a single operator is right, against its conversion.

    .venv/bin/python scripts/check_ncnn_support.py
    .venv/bin/python scripts/check_ncnn_support.py --only reduce --processes 4
    .venv/bin/python scripts/check_ncnn_support.py --device vulkan

Cases: the models of one operator of ``onnx.backend.test`` whose outputs are float32 and that have a
float32 input; other inputs become constants. Each is asked about (``About.support``) and converted;
what is converted is run in a child process and compared with ONNX's expected output.

Prints a table of counts, and the cases whose answer was wrong.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper
from onnx.backend.test.loader import load_model_tests

from backends.acceptance import TOLERANCES
from backends.contract import Array, DeployError
from backends.error_metrics import compare_all, worst
from backends.ncnn import Options
from backends.ncnn.convert import convert
from backends.ncnn.run import load
from backends.ncnn.support import support
from backends.onnx.specs import read_segment

WORKS, FAILS, WRONG = "converts and agrees", "does not convert", "computes other numbers"
_SECONDS = 120.0  # for one conversion, and for one answer


@dataclass(frozen=True)
class Case:
    """A model of one operator, and what it computes.

    Attributes:
        name: of the test.
        model: with constants in the place of the inputs that are not float32.
        inputs: of the model.
        outputs: likewise.
    """

    name: str
    model: onnx.ModelProto
    inputs: dict[str, Array]
    outputs: dict[str, Array]


@dataclass(frozen=True)
class Outcome:
    """What became of a case.

    Attributes:
        name: of the case.
        truth: what its conversion came to.
        detail: of the truth.
        refused: why it was refused; empty where it was taken.
        seconds: of the answer.
    """

    name: str
    truth: str
    detail: str
    refused: str
    seconds: float


def cases(part: str) -> Iterator[Case]:
    """The cases whose name has this part."""
    with warnings.catch_warnings(action="ignore"):  # they are computed while they are loaded
        tests = load_model_tests(kind="node")
    for test in tests:
        if part in test.name and test.model is not None and test.data_sets:
            made = _case(test.name, test.model, *test.data_sets[0])
            if made is not None:
                yield made


def _case(
    name: str, model: onnx.ModelProto, inputs: Sequence[object], outputs: Sequence[object]
) -> Case | None:
    graph = model.graph
    arrays = [*inputs, *outputs]
    if len(graph.node) != 1 or not all(isinstance(item, np.ndarray) for item in arrays):
        return None
    if any(np.asarray(item).dtype != np.float32 for item in outputs):
        return None
    named = {value.name: np.asarray(item) for value, item in zip(graph.input, inputs, strict=True)}
    varying = {key: item for key, item in named.items() if item.dtype == np.float32}
    if not varying or not all(item.size for item in (*varying.values(), *map(np.asarray, outputs))):
        return None
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    _make_constants(fixed.graph, {key: named[key] for key in named if key not in varying})
    results = zip(graph.output, outputs, strict=True)
    expected = {value.name: np.asarray(item) for value, item in results}
    for value in (*fixed.graph.input, *fixed.graph.output):
        _set_shape(value, {**varying, **expected}[value.name].shape)
    return Case(name, fixed, varying, expected)


def _make_constants(graph: onnx.GraphProto, values: dict[str, Array]) -> None:
    kept = [value for value in graph.input if value.name not in values]
    del graph.input[:]
    graph.input.extend(kept)
    graph.initializer.extend(numpy_helper.from_array(item, key) for key, item in values.items())


def _set_shape(value: onnx.ValueInfoProto, shape: tuple[int, ...]) -> None:
    value.type.tensor_type.elem_type = TensorProto.FLOAT
    value.type.tensor_type.shape.Clear()
    value.type.tensor_type.shape.SetInParent()
    for size in shape:
        value.type.tensor_type.shape.dim.add().dim_value = size


def outcome(options: Options, case: Case) -> Outcome:
    """Ask about a case, and convert it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        onnx.save(case.model, path)
        started = time.perf_counter()
        answer = support(read_segment(path, "net", {}), options)
        seconds = time.perf_counter() - started
        truth, detail = _converted(case, path, options)
    refused = "; ".join(str(node) for node in answer.refused) or answer.unknown
    return Outcome(case.name, truth, detail, refused, seconds)


def _converted(case: Case, path: Path, options: Options) -> tuple[str, str]:
    """What the conversion came to, in a process that may crash."""
    forking = multiprocessing.get_context("fork")
    receiver, sender = forking.Pipe(duplex=False)
    child = forking.Process(target=_convert, args=(case, path, options, sender))
    child.start()
    sender.close()
    try:
        result: tuple[str, str] = receiver.recv() if receiver.poll(_SECONDS) else (FAILS, "no end")
    except EOFError:
        child.join()
        result = (WRONG, f"exit code {child.exitcode}")
    child.kill()
    child.join()
    return result


def _convert(
    case: Case, path: Path, options: Options, sender: multiprocessing.connection.Connection
) -> None:
    out = path.parent / "out"
    out.mkdir()
    try:
        artifact = convert(read_segment(path, "net", {}), options, out)
    except DeployError as error:
        sender.send((FAILS, str(error)[:300]))
        return
    try:
        with load(artifact, out) as runner:
            error = worst(compare_all(case.outputs, runner(case.inputs)))
    except DeployError as fault:
        sender.send((WRONG, str(fault)[:300]))
        return
    agrees = TOLERANCES["fp32"].admits(error)
    sender.send((WORKS if agrees else WRONG, f"max_rel {error.max_rel:.2g}"))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="How often ncnn's word is right.")
    parser.add_argument("--only", default="", metavar="PART", help="cases with this in their name")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", choices=("cpu", "vulkan"), default="cpu")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="every outcome")
    arguments = parser.parse_args()
    chosen = list(cases(arguments.only))
    ask = partial(outcome, Options(device=arguments.device))
    with ThreadPoolExecutor(arguments.processes) as pool:
        outcomes = list(pool.map(ask, chosen))
    if arguments.out:
        arguments.out.write_text(json.dumps([vars(item) for item in outcomes], indent=1))
    _print(outcomes)


def _print(outcomes: list[Outcome]) -> None:
    counts = Counter((bool(item.refused), item.truth) for item in outcomes)
    print(f"| of {len(outcomes)} | taken | refused |\n|---|---|---|")
    for truth in (WORKS, FAILS, WRONG):
        print(f"| {truth} | {counts[False, truth]} | {counts[True, truth]} |")
    times = sorted(item.seconds for item in outcomes)
    print(f"seconds for an answer: median {times[len(times) // 2]:.2f}, most {times[-1]:.2f}")
    for item in outcomes:
        if (item.truth == WORKS) == bool(item.refused):
            print(f"{item.name}: {item.truth} ({item.detail}); {item.refused or 'taken'}")


if __name__ == "__main__":
    main()

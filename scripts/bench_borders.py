"""What a chain cut in three takes more than one engine on ncnn and OpenVINO, part by part.

``scripts/bench borders`` prints two tables. The first has the demo model, whole and cut: the time
within the runners and between them, on one thread and on two. "By hand" calls ncnn's nets from
Python with its own matrices, and "packed" hands these over in ncnn's own layout, in which channels
are interleaved; the difference is what NumPy's layout costs at a border. "Shared" are OpenVINO's
requests, of which one reads what another has written, with no array between. The second has what
OpenVINO's requests take with nothing of Python between them: operators that change the layout of a
tensor, the other operators, and what goes on around them in each request.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from bench_engines import ROOT, SECONDS, Call, in_rounds
from bench_rounds import quartiles, spread

from backends.contract import Array, Runner, Tensors

SETS, ROUNDS = 7, 3  # of fresh processes, and in each of them
PROFILED = 300  # calls of each chain
BACKENDS = ("ncnn", "openvino")
BY_HAND = {  # the floor of a cut, and what NumPy's layout costs
    ("ncnn", "cut"): ("cut, by hand", "cut, by hand, packed"),
    ("openvino", "cut"): ("cut, by hand, shared",),
}
PARTS: Mapping[str, Sequence[str]] = {"whole": (), "cut": ("+partition=by_stage",)}

Way = tuple[str, int, str]  # an engine, its threads, and how it is called
Rows = Mapping[Way, Sequence[Sequence[float]]]


def main() -> None:
    """Measure and print both tables."""
    with tempfile.TemporaryDirectory() as folder:
        bundles = {
            (backend, part): _deployed(Path(folder), backend, part)
            for backend in BACKENDS
            for part in PARTS
        }
        ways = {way: [*command, str(way[1])] for way, command in _ways(bundles)}
        print("\n".join(table(in_rounds(ways, SETS, ROUNDS, __file__))), end="\n\n", flush=True)
        print("\n".join(_requests_table(bundles)))


def _deployed(folder: Path, backend: str, part: str) -> Path:
    bundle = folder / f"{backend}-{part}"
    command = [sys.executable, "-m", "deploy", "+model=yolov3", *PARTS[part], f"bundle={bundle}"]
    command += [f"+backend={backend}", "bench.runs=0", "verify.images=1"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)
    return bundle


def _ways(bundles: Mapping[tuple[str, str], Path]) -> Iterator[tuple[Way, list[str]]]:
    for threads in (1, 2):
        for (backend, part), bundle in bundles.items():
            yield (backend, threads, part), ["chain", str(bundle)]
            for name in BY_HAND.get((backend, part), ()):
                yield (backend, threads, name), [name, str(bundle)]


def table(rows: Rows) -> Iterator[str]:
    """Milliseconds of each way, where they go, and how it compares within each round."""
    yield (
        "| engine | threads | chain | ms | CPU ms | in the runners, ms | between them, ms "
        "| of whole | CPU, of whole |"
    )
    yield "|---" * 9 + "|"
    for (backend, threads, part), seconds in rows.items():
        found, whole = np.array(seconds), np.array(rows[backend, threads, "whole"])
        wall, cpu, inside = found.T
        ratio = quartiles(wall / whole[:, 0]), quartiles(cpu / whole[:, 1])
        parts = (inside, wall - inside) if inside.any() else ()
        inner = [spread(quartiles(part), 1e3, 2) for part in parts] or ["", ""]
        yield (
            f"| {backend} | {threads} | {part} | {spread(quartiles(wall), 1e3, 2)} "
            f"| {spread(quartiles(cpu), 1e3, 2)} | {inner[0]} | {inner[1]} "
            f"| {spread(ratio[0], 1, 3)} | {spread(ratio[1], 1, 3)} |"
        )


class Clocked:
    """A runner, and the seconds within it since it was last asked."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.seconds = 0.0

    def __call__(self, inputs: Tensors) -> dict[str, Array]:
        """Run once."""
        start = time.perf_counter()
        outputs = self._runner(inputs)
        self.seconds += time.perf_counter() - start
        return outputs


def _clocked(bundle: Path, threads: int) -> tuple[Call, list[Clocked]]:
    """A call of the bundle's chain, and its runners with a clock around each."""
    from deploy.runtime import Pipeline
    from deploy.runtime.bundle.sample import read_sample
    from deploy.runtime.execution.chain import Chain

    pipeline = Pipeline.open(bundle, threads=threads, trusted=True).__enter__()
    told = pipeline.manifest
    runners = [Clocked(runner) for _, runner in pipeline.chain.steps]
    steps = [(step, one) for (step, _), one in zip(pipeline.chain.steps, runners, strict=True)]
    chain = Chain(steps, told.inputs, told.outputs)
    inputs = read_sample(bundle, told).inputs
    return lambda: (pipeline, chain(inputs)), runners


def _nets(bundle: Path, threads: int, packed: bool) -> Call:
    """Ncnn's nets one after the other; packed, they leave matrices in the layout of ncnn."""
    from deploy.runtime import Pipeline
    from deploy.runtime.bundle.sample import read_sample

    pipeline = Pipeline.open(bundle, threads=threads, trusted=True).__enter__()
    from backends.ncnn.library import ncnn

    nets = [runner._net for _, runner in pipeline.chain.steps]
    (image,) = read_sample(bundle, pipeline.manifest).inputs.values()

    def call() -> object:
        mats = [ncnn.Mat(image[0])]
        for net in nets:
            extractor = net.create_extractor()
            for at, mat in enumerate(mats):
                extractor.input(f"in{at}", mat)
            kind = int(packed and net is not nets[-1])
            mats = [extractor.extract(f"out{at}", kind)[1] for at in range(3)]
        return [mat.numpy() for mat in mats]

    return call


def _requests(bundle: Path, threads: int) -> Call:
    """OpenVINO's requests one after the other, each reading where the one before it wrote."""
    from deploy.runtime import Pipeline
    from deploy.runtime.bundle.sample import read_sample

    pipeline = Pipeline.open(bundle, threads=threads, trusted=True).__enter__()
    from backends.openvino.library import ov

    requests = [runner._compiled.create_infer_request() for _, runner in pipeline.chain.steps]
    values = {**read_sample(bundle, pipeline.manifest).inputs}
    tensors = {name: ov.Tensor(array, shared_memory=True) for name, array in values.items()}
    for (step, _), request in zip(pipeline.chain.steps, requests, strict=True):
        for at, spec in enumerate(step.inputs):
            request.set_input_tensor(at, tensors[spec.name])
        for at, spec in enumerate(step.outputs):
            tensors[spec.name] = request.get_output_tensor(at)

    def call() -> object:
        for request in requests:
            request.infer(share_outputs=True)
        return [np.array(tensors[spec.name].data) for spec in pipeline.manifest.outputs]

    return call


_MADE: Mapping[str, Callable[[Path, int], Call]] = {
    "cut, by hand": lambda bundle, threads: _nets(bundle, threads, packed=False),
    "cut, by hand, packed": lambda bundle, threads: _nets(bundle, threads, packed=True),
    "cut, by hand, shared": _requests,
}


def _requests_table(bundles: Mapping[tuple[str, str], Path]) -> Iterator[str]:
    yield (
        "| OpenVINO, one thread | requests, ms | operators that change a layout | ms "
        "| others | ms | around the operators, ms |"
    )
    yield "|---" * 7 + "|"
    command = [sys.executable, __file__, "profile"]
    command += [str(bundles["openvino", part]) for part in PARTS]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    for part, cells in zip(PARTS, json.loads(done.stdout), strict=True):
        whole, layouts, layout, count, others = cells
        yield (
            f"| {part} | {whole:.2f} | {layouts} | {layout:.2f} | {count} | {others:.2f} "
            f"| {whole - layout - others:.2f} |"
        )


def profile(bundles: Sequence[Path]) -> list[list[float]]:
    """For each bundle, what its requests take, in turns with those of the other bundles.

    Returns:
        Of each, means over the calls, as the engine's own counters are: milliseconds of all its
        requests, the number of operators that change a layout, their milliseconds, the number of
        the others, and theirs.
    """
    from deploy.runtime.bundle.manifest import read_manifest
    from deploy.runtime.bundle.sample import read_sample

    samples = [dict(read_sample(one, read_manifest(one)).inputs) for one in bundles]  # borrowed
    chains = [
        _profiled_requests(bundle, sample) for bundle, sample in zip(bundles, samples, strict=True)
    ]
    seconds = [0.0 for _ in bundles]
    for call in range(-3, PROFILED):  # the first ones get memory
        for number, requests in enumerate(chains):
            start = time.perf_counter()
            for request in requests:
                request.infer(share_outputs=True)
            seconds[number] += time.perf_counter() - start if call >= 0 else 0.0
    return [
        [taken * 1e3 / PROFILED, *_operators(requests)]
        for taken, requests in zip(seconds, chains, strict=True)
    ]


def _profiled_requests(bundle: Path, sample: Tensors) -> list[Any]:
    """A request of each step, which reads where the one before it has written."""
    from backends.openvino import Options
    from backends.openvino.engine import settings
    from backends.openvino.library import ov
    from deploy.runtime.bundle.manifest import read_manifest

    tensors = {name: ov.Tensor(array, shared_memory=True) for name, array in sample.items()}
    asked = {**settings(Options(threads=1)), "PERF_COUNT": True}
    requests = []
    for step in read_manifest(bundle).steps:
        xml = next((bundle / step.name).glob("*.xml"))
        request = ov.Core().compile_model(str(xml), "CPU", asked).create_infer_request()
        for at, spec in enumerate(step.inputs):
            request.set_input_tensor(at, tensors[spec.name])
        for at, spec in enumerate(step.outputs):
            tensors[spec.name] = request.get_output_tensor(at)
        requests.append(request)
    return requests


def _operators(requests: Sequence[Any]) -> list[float]:
    """Number and milliseconds of the operators that change a layout, and of the others."""
    ran = [
        (node.node_type == "Reorder", node.real_time.total_seconds() * 1e3)
        for request in requests
        for node in request.get_profiling_info()
        if node.status.name == "EXECUTED"
    ]
    parts = [[ms for changes, ms in ran if changes is asked] for asked in (True, False)]
    return [cell for found in parts for cell in (len(found), sum(found))]


def child(way: str, bundle: str, threads: str) -> None:
    """Get ready, and then measure whenever there is a line on standard input."""
    if way == "chain":
        call, runners = _clocked(Path(bundle), int(threads))
    else:
        call, runners = _MADE[way](Path(bundle), int(threads)), []
    for _ in range(3):
        call()
    print("[]", flush=True)
    for _ in sys.stdin:
        print(json.dumps(_round(call, runners)), flush=True)


def _round(call: Call, runners: Sequence[Clocked]) -> list[float]:
    """Median seconds of a call, by the wall and of CPU, and within the runners."""
    call()
    rows: list[tuple[float, float, float]] = []
    end = time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(rows) < 5:
        before = sum(runner.seconds for runner in runners)
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rows.append((wall, cpu, sum(runner.seconds for runner in runners) - before))
    return [float(value) for value in np.median(rows, axis=0)]


if __name__ == "__main__":
    if sys.argv[1] == "profile":
        print(json.dumps(profile([Path(bundle) for bundle in sys.argv[2:]])))
    else:
        child(*sys.argv[1:])

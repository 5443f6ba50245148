"""A chain beside the engines called by hand on the whole model, and beside PyTorch.

``scripts/bench engines`` measures the demo model and YOLOv3 with MobileNetV2 at 320 and with
DarkNet-53 at 416 (weights of chance), from the input tensor to the raw maps, on 2 threads. Each way
is a process of its own, since engines in one process disturb each other; in a round each is asked
in turns, and the others wait. All are started anew several times, since one and the same way is up
to a fifth faster in one process than in the next. ``docs/benchmarks/engines.json`` gets each round.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
from bench_rounds import quartiles, spread

ROOT = Path(__file__).resolve().parent.parent
RESULT = ROOT / "docs" / "benchmarks" / "engines.json"
SETS, ROUNDS = 5, 3  # of fresh processes, and in each of them
SECONDS, PAUSE = 0.4, 0.3  # of a way in a round; a round has five calls at the least
THREADS = 2
BACKENDS = ("onnxruntime", "ncnn", "openvino")
DISTRIBUTIONS = ("torch", *BACKENDS, "numpy")

Call = Callable[[], object]
K = TypeVar("K")


@dataclass(frozen=True)
class Model:
    """What is measured: words of the command line, arguments of ``YOLOv3`` and the side."""

    words: tuple[str, ...]
    params: Mapping[str, object]
    side: int


MODELS = {
    "demo, 320": Model(("+model=yolov3",), {"num_classes": 10, "width": 0.25}, 320),
    "MobileNetV2, 320": Model(
        ("+model=yolov3_coco", "model.params.backbone=mobilenetv2"),
        {"backbone": "mobilenetv2"},
        320,
    ),
    "DarkNet-53, 416": Model(("+model=yolov3_coco",), {}, 416),
}


def main() -> None:
    """Measure, write the rounds and print a table for each model."""
    versions = {name: version(name) for name in DISTRIBUTIONS}
    machine = {"system": platform.system(), "machine": platform.machine(), "cpu": _cpu()}
    about = {"date": str(date.today()), "python": platform.python_version(), "versions": versions}
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, model in MODELS.items():
            found[name] = measured(model, Path(folder) / name.replace(", ", "-"))
            print("\n".join(table(name, found[name])), end="\n\n", flush=True)
            RESULT.write_text(json.dumps({**about, **machine, "seconds": found}, indent=1))


def measured(model: Model, folder: Path) -> dict[str, list[list[float]]]:
    """For each way the wall and CPU seconds of a call, round by round."""
    folder.mkdir()
    return in_rounds(dict(_ways(model, folder)), SETS, ROUNDS)


def in_rounds(
    ways: Mapping[K, Sequence[str]], sets: int, rounds: int, script: str = __file__
) -> dict[K, list[list[float]]]:
    """The rounds of each way, in sets of fresh processes: one of a kind may be a lucky one.

    The script is started with the words of a way, and measures whenever it gets a line.
    """
    rows: dict[K, list[list[float]]] = {name: [] for name in ways}
    names = list(ways)
    for _ in range(sets):
        children = {name: Child(command, script) for name, command in ways.items()}
        for turn in range(rounds):
            first = turn * len(names) // rounds
            for name in names[first:] + names[:first]:
                rows[name].append(children[name].round())
        for child in children.values():
            child.end()
    return rows


def _ways(model: Model, folder: Path) -> Iterator[tuple[str, list[str]]]:
    weights = _weights(model, folder)
    for kind in ("PyTorch", "torch.compile"):
        yield kind, [kind, json.dumps(model.params), str(model.side)]
    for backend in BACKENDS:
        whole, cut = folder / backend, folder / f"{backend}-cut"
        _deploy(model, weights, backend, whole)
        _deploy(model, weights, backend, cut, "+partition=by_stage")
        yield f"{backend} by hand", [f"{backend} by hand", str(whole)]
        yield f"{backend}, a chain of one", ["chain", str(whole)]
        yield f"{backend}, cut in three", ["chain", str(cut)]


def _weights(model: Model, folder: Path) -> Path | None:
    """A file of weights of chance, where the model brings none."""
    if "+model=yolov3" in model.words:
        return None
    from safetensors.torch import save_file
    from torch import manual_seed

    from deploy.models.yolov3.build import YOLOv3

    manual_seed(0)
    save_file(YOLOv3(**model.params).state_dict(), folder / "weights.safetensors")
    return folder / "weights.safetensors"


def _deploy(model: Model, weights: Path | None, backend: str, bundle: Path, *words: str) -> None:
    given = [f"model.weights={weights}", "model.sha256=null"] if weights else []
    shape = f"model.inputs.image.shape=[1,3,{model.side},{model.side}]"
    asked = [*model.words, *words, f"+backend={backend}", f"bundle={bundle}", shape, *given]
    command = [sys.executable, "-m", "deploy", *asked, "bench.runs=0", "verify.images=1"]
    subprocess.run(command, check=True, capture_output=True, cwd=ROOT)


class Child:
    """A way in a process of its own, which works only when it is asked."""

    def __init__(self, arguments: Sequence[str], script: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, script, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()  # it is ready

    def round(self) -> list[float]:
        """Wall and CPU seconds of a call."""
        time.sleep(PAUSE)  # threads of the one before may still look for work
        assert self._process.stdin is not None
        print("again", file=self._process.stdin, flush=True)
        seconds: list[float] = self._answer()
        return seconds

    def end(self) -> None:
        """Let it end."""
        self._process.communicate()

    def _answer(self) -> list[float]:
        assert self._process.stdout is not None
        answer: list[float] = json.loads(self._process.stdout.readline())
        return answer


def table(name: str, rows: Mapping[str, Sequence[Sequence[float]]]) -> Iterator[str]:
    """Milliseconds of each way, and its share of PyTorch's and of its engine's by hand."""
    yield f"| {name} | ms | CPU ms | of PyTorch | of its engine by hand |"
    yield "|---|---|---|---|---|"
    eager = np.array(rows["PyTorch"])[:, 0]
    for way, seconds in rows.items():
        wall, cpu = np.array(seconds).T
        engine = f"{way.partition(',')[0]} by hand"
        own = spread(quartiles(wall / np.array(rows[engine])[:, 0]), 1, 3) if engine in rows else ""
        yield (
            f"| {way} | {spread(quartiles(wall), 1e3, 2)} | {spread(quartiles(cpu), 1e3, 1)} "
            f"| {spread(quartiles(wall / eager), 1, 2)} | {own} |"
        )


def child(way: str, *arguments: str) -> None:
    """Get ready, and then measure whenever there is a line on standard input."""
    call = _MADE[way](*arguments)
    for _ in range(3):
        call()
    print("[]", flush=True)
    for _ in sys.stdin:
        print(json.dumps(_round(call)), flush=True)


def _round(call: Call) -> list[float]:
    call()
    walls: list[float] = []
    cpu, end = time.process_time(), time.perf_counter() + SECONDS
    while time.perf_counter() < end or len(walls) < 5:
        start = time.perf_counter()
        call()
        walls.append(time.perf_counter() - start)
    return [float(np.median(walls)), (time.process_time() - cpu) / len(walls)]


def _torch(params: str, side: str, compiled: bool = False) -> Call:
    import torch

    from deploy.models.yolov3.build import YOLOv3

    torch.set_num_threads(THREADS)
    torch.manual_seed(0)
    model = YOLOv3(**json.loads(params)).eval()
    maps = torch.compile(model.pred_maps) if compiled else model.pred_maps
    image = torch.from_numpy(_image(int(side)))

    def call() -> object:
        with torch.inference_mode():
            return maps(image)

    return call


def _chain(bundle: str) -> Call:
    from deploy.runtime import Pipeline

    chain = Pipeline.open(bundle, threads=THREADS, trusted=True).__enter__().chain
    inputs = {"image": _bundle_image(bundle)}
    return lambda: chain(inputs)


def _sample(bundle: str, threads: str) -> Call:
    from deploy.runtime import Pipeline
    from deploy.runtime.bundle.sample import read_sample

    pipeline = Pipeline.open(bundle, threads=int(threads), trusted=True).__enter__()
    inputs = read_sample(Path(bundle), pipeline.manifest).inputs
    return lambda: pipeline.chain(inputs)


def _pool(bundle: str, threads: str) -> Call:
    """The segments by hand, in sessions that share one pool of threads."""
    import onnxruntime

    from deploy.runtime.bundle.manifest import read_manifest

    onnxruntime.set_global_thread_pool_sizes(int(threads), 1)
    options = onnxruntime.SessionOptions()
    options.use_per_session_threads = False
    options.log_severity_level = 3  # it warns of the sizes that are ignored
    steps = read_manifest(Path(bundle)).steps
    made = {step.name: Path(f"{bundle}.work", "segments", f"{step.name}.onnx") for step in steps}
    sessions = {name: onnxruntime.InferenceSession(path, options) for name, path in made.items()}
    image = _bundle_image(bundle)

    def call() -> object:
        values = {"image": image}
        for step in steps:
            given = [spec.name for spec in step.outputs]
            taken = {spec.name: values[spec.name] for spec in step.inputs}
            values.update(zip(given, sessions[step.name].run(given, taken), strict=True))
        return values

    return call


def _onnxruntime(bundle: str) -> Call:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    session = onnxruntime.InferenceSession(_segment(bundle), options)
    (taken,), image = session.get_inputs(), _bundle_image(bundle)
    return lambda: session.run(None, {taken.name: image})


def _ncnn(bundle: str) -> Call:
    import ncnn

    param, weights = (next(Path(bundle).rglob(f"*.ncnn.{end}")) for end in ("param", "bin"))
    net = ncnn.Net()
    net.opt.num_threads = THREADS
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    net.opt.use_bf16_storage = False
    net.load_param(str(param)), net.load_model(str(weights))
    image = np.ascontiguousarray(_bundle_image(bundle)[0])

    def call() -> object:
        extractor = net.create_extractor()
        extractor.input("in0", ncnn.Mat(image))
        return [extractor.extract(f"out{at}")[1].numpy() for at in range(3)]

    return call


def _openvino(bundle: str) -> Call:
    from backends.openvino.library import ov  # which does not report itself

    asked = {"INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}
    threads = {"INFERENCE_NUM_THREADS": THREADS}
    compiled = ov.Core().compile_model(_segment(bundle), "CPU", {**asked, **threads})
    request, image = compiled.create_infer_request(), _bundle_image(bundle)

    def call() -> object:
        found = request.infer([image])
        return [found[port] for port in compiled.outputs]

    return call


def _segment(bundle: str) -> str:
    (segment,) = Path(f"{bundle}.work", "segments").glob("*.onnx")
    return str(segment)


def _bundle_image(bundle: str) -> np.ndarray:
    from deploy.runtime.bundle.manifest import read_manifest

    return _image(read_manifest(Path(bundle)).inputs[0].typical[2])


def _image(side: int) -> np.ndarray:
    return np.random.RandomState(0).rand(1, 3, side, side).astype(np.float32)


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return f"{name}, {os.cpu_count()} cores"


_MADE: dict[str, Callable[..., Call]] = {
    "PyTorch": _torch,
    "torch.compile": lambda *given: _torch(*given, compiled=True),
    "chain": _chain,
    "sample": _sample,
    "pool": _pool,
    "onnxruntime by hand": _onnxruntime,
    "ncnn by hand": _ncnn,
    "openvino by hand": _openvino,
}

if __name__ == "__main__":
    child(*sys.argv[1:])

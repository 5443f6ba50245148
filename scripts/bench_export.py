"""What an export takes, and which of its parts take it, with  scripts/bench export [--rounds N].

Each round starts processes of their own. One exports the model twice, so that the second export
shows what a process takes that has exported before, as that of a sweep has. Another does the same
while its stack is sampled every two milliseconds of CPU time: a sample counts the CPU seconds since
the one before for the stage that it is in, and for what is done there. A third has
``torch.onnx.export`` alone, and with ``--before`` a fourth the code of another checkout. CPU
seconds change less with other work on the machine than wall-clock seconds do.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import resource
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from types import CodeType, FrameType
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the process that starts the others needs neither
    from backends.contract import Tensors
    from deploy.recipe.schema import ModelRecipe

ROOT = Path(__file__).resolve().parent.parent
INTERVAL = 0.002  # CPU seconds between samples
WHOLE, SAMPLED, PLAIN = "whole", "sampled", "plain"  # what a process measures
GARBAGE, OTHER, TOTAL = "garbage collector", "everything else", "all"
Seconds = Mapping[str, float]


@dataclass(frozen=True)
class Part:
    """Code that counts as one part: a function, or all of a file or folder."""

    name: str
    file: str
    function: str = ""

    def has(self, code: CodeType) -> bool:
        """Whether a function belongs to it."""
        return self.file in code.co_filename and self.function in ("", code.co_name)


STAGES = (  # functions of this project, of PyTorch and of onnxscript; the outermost counts
    Part("two calls of the model, compared", "export/forward_check.py", "check_forward"),
    Part("tracing: `torch.export.export`", "torch/export/__init__.py", "export"),
    Part("registry of operators", "exporter/_registration.py", "from_torchlib"),
    Part("table of decompositions", "exporter/_decomp.py"),
    Part("`run_decompositions`: traced again", "exported_program.py", "run_decompositions"),
    Part("conversion of the opset", "_framework_apis/", "convert_version"),
    Part("type promotion", "exporter/_fx_passes.py", "insert_type_promotion_nodes"),
    Part("translation to ONNX", "exporter/_core.py", "_exported_program_to_onnx_program"),
    Part("onnxscript's optimiser", "exporter/_onnx_program.py", "optimize"),
    Part("the model's state, kept and put back", "export/module_state.py"),
    Part("names of inputs and outputs", "export/graph_outputs.py", "name_graph_outputs"),
    Part("writing the files", "export/onnx_export.py", "_save"),
)
WORK = (  # the innermost counts
    Part("imports", "<frozen importlib._bootstrap>", "_find_and_load"),
    Part("sympy", "/sympy/"),
    Part("fake tensors", "_subclasses/fake_tensor.py"),
    Part("symbolic shapes", "experimental/symbolic_shapes.py"),
    Part("recording of traced operators", "experimental/proxy_tensor.py"),
    Part("Python code of traced graphs", "fx/graph_module.py", "recompile"),
    Part("stack traces of operators", "traceback.py"),
    Part("nested arguments", "utils/_pytree.py"),
    Part(
        "composite operators replaced", "exported_program.py", "_override_composite_implicit_decomp"
    ),
    Part("onnxscript functions parsed", "onnxscript/_internal/values.py", "function_ir"),
    Part("rewrite rules", "onnxscript/rewriter/"),
    Part("constant folding", "optimizer/_constant_folding.py"),
    Part("ONNX shape inference", "onnx/shape_inference.py"),
)


@cache
def parts_of(code: CodeType) -> tuple[str | None, str | None]:
    """The stage and the work that a function belongs to."""
    stage = next((part.name for part in STAGES if part.has(code)), None)
    work = next((part.name for part in WORK if part.has(code)), None)
    return stage, work


@dataclass
class Sampler:
    """CPU seconds by stage and by work, from samples of the stack."""

    stages: Counter[str] = field(default_factory=Counter)
    work: Counter[str] = field(default_factory=Counter)
    _last: float = 0.0
    _garbage_start: float | None = None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Sample what runs inside the block."""
        signal.signal(signal.SIGPROF, self._sample)
        gc.callbacks.append(self._collection)
        self._last = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, INTERVAL, INTERVAL)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
            gc.callbacks.remove(self._collection)

    def _sample(self, signal_number: int, frame: FrameType | None) -> None:
        if self._garbage_start is not None:
            return  # in a callback of the garbage collector
        seconds, self._last = time.process_time() - self._last, time.process_time()
        stage = work = None
        while frame is not None:
            outer, inner = parts_of(frame.f_code)
            stage, work = outer or stage, work or inner
            frame = frame.f_back
        self.stages[stage or OTHER] += seconds
        self.work[work or OTHER] += seconds

    def _collection(self, phase: str, info: Mapping[str, int]) -> None:
        """Collections are work of their own, and of no stage."""
        if phase == "start":
            self._garbage_start = time.process_time()
        elif self._garbage_start is not None:
            seconds = time.process_time() - self._garbage_start
            self._garbage_start = None
            self._last += seconds
            self.stages[GARBAGE] += seconds
            self.work[GARBAGE] += seconds


def child(how: str, words: Sequence[str]) -> None:
    """Export a model twice, and print what each export took."""
    from backends.process.openmp import short_spins

    with short_spins():
        from deploy.cli.compose import compose
        from deploy.export.source import source_of
        from deploy.recipe.sample_inputs import sample_inputs, sample_pictures

    recipe = compose([*words])
    source = source_of(recipe)
    pictures = sample_pictures(source.recipe, 1)
    inputs = source.with_state(sample_inputs(source.recipe, pictures))
    export = plain_export(recipe.model) if how == PLAIN else source.export
    with tempfile.TemporaryDirectory() as folder:
        outs = [Path(folder, str(number)) for number in range(2)]
        rows = [measured(partial(export, inputs, out), how == SAMPLED) for out in outs]
    print(json.dumps(rows))


def plain_export(recipe: ModelRecipe) -> Callable[[Tensors, Path], None]:
    """PyTorch's exporter alone: without marks, dynamic sizes, and calls of the model before it."""
    import torch

    from deploy.export.build_model import build_model

    model = build_model(recipe).eval()

    def export(inputs: Tensors, out: Path) -> None:
        values = {name: torch.from_numpy(value) for name, value in inputs.items()}
        with torch.no_grad():
            program = torch.onnx.export(model, (), kwargs=values, dynamo=True, verbose=False)
        assert program is not None
        out.mkdir()
        program.save(out / "exported.onnx", external_data=True)

    return export


def measured(export: Callable[[], object], sampled: bool) -> dict[str, Seconds]:
    """What one export took."""
    sampler = Sampler()
    collections = sum(generation["collections"] for generation in gc.get_stats())
    wall, cpu = time.perf_counter(), time.process_time()
    with sampler.running() if sampled else nullcontext():
        export()
    whole = {
        "CPU, s": time.process_time() - cpu,
        "wall, s": time.perf_counter() - wall,
        "collections": sum(one["collections"] for one in gc.get_stats()) - collections,
        "peak, MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3,
    }
    return {"whole": whole, "stages": sampler.stages, "work": sampler.work}


def run(checkout: Path, how: str, words: Sequence[str]) -> list[dict[str, Seconds]]:
    """Both exports of a process with the code of a checkout."""
    paths = (str(checkout), os.environ.get("PYTHONPATH", ""))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    command = [sys.executable, __file__, how, *words]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    rows: list[dict[str, Seconds]] = json.loads(done.stdout)
    return rows


def main(arguments: Sequence[str]) -> None:
    """Measure, and print the tables."""
    parser = argparse.ArgumentParser(prog="scripts/bench export", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--before", type=Path, help="another checkout of this project")
    parser.add_argument("words", nargs="*", default=["+model=yolov3"], help="of the main job")
    chosen = parser.parse_args(arguments)
    ways = {"before": (chosen.before.resolve(), WHOLE)} if chosen.before else {}
    ways |= {"after" if ways else "export": (ROOT, WHOLE), "torch.onnx.export alone": (ROOT, PLAIN)}
    wholes: dict[str, list[list[dict[str, Seconds]]]] = {name: [] for name in ways}
    sampled: list[list[dict[str, Seconds]]] = []
    for number in range(chosen.rounds):
        print(f"round {number}, load {os.getloadavg()[0]:.1f}", file=sys.stderr)
        for name in list(ways)[:: -1 if number % 2 else 1]:
            checkout, how = ways[name]
            wholes[name].append(run(checkout, how, chosen.words))
        sampled.append(run(ROOT, SAMPLED, chosen.words))
    print_wholes(wholes)
    print_parts("stage", "stages", STAGES, sampled)
    print_parts("what is done there", "work", WORK, sampled)


def print_wholes(wholes: Mapping[str, Sequence[Sequence[dict[str, Seconds]]]]) -> None:
    """A table of whole exports: medians, and the least of them."""
    columns = list(next(iter(wholes.values()))[0][0]["whole"])
    print(f"| | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}")
    for name, rounds in wholes.items():
        for number, which in enumerate(("first", "second")):
            values = [[one[number]["whole"][column] for one in rounds] for column in columns]
            cells = (
                f"{statistics.median(column):.2f} (least {min(column):.2f})"
                for column in values[:2]
            )
            counts = (f"{statistics.median(column):.0f}" for column in values[2:])
            print(f"| {name}, {which} in its process | {' | '.join([*cells, *counts])} |")
    print()


def print_parts(
    title: str, kind: str, parts: Sequence[Part], rounds: Sequence[Sequence[dict[str, Seconds]]]
) -> None:
    """A table of parts: medians of CPU seconds in the first and the second export."""
    print(f"| {title} | first export, CPU s | second |\n|---|---|---|")
    for name in (*(part.name for part in parts), GARBAGE, OTHER):
        medians = [statistics.median(one[n][kind].get(name, 0) for one in rounds) for n in range(2)]
        print(f"| {name} | {medians[0]:.2f} | {medians[1]:.2f} |")
    totals = [statistics.median(sum(one[n][kind].values()) for one in rounds) for n in range(2)]
    print(f"| {TOTAL} | {totals[0]:.2f} | {totals[1]:.2f} |\n", flush=True)


if __name__ == "__main__":
    child(sys.argv[1], sys.argv[2:])

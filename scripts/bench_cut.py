"""What cutting costs, beside a plain copy and the tools that one would use instead.

Two models are made: 500 MB in one file and 2.5 GB with its weights beside it, each of 2,000 nodes.
Every measurement is a process of its own that is timed after its imports; rounds of what is
compared alternate. ``scripts/bench cut`` writes ``docs/benchmarks/cut.md``.
"""

from __future__ import annotations

import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "benchmarks" / "cut.md"
NODES = 2000
ROUNDS, SLOW_ROUNDS = 15, 3  # the slow ones are the other tools
LARGE_ROUNDS, LARGE_SLOW_ROUNDS = 7, 1
NODE_SECONDS = 50e-6  # what a node may cost beyond twice the copy
MEMORY = 64e6  # bytes above import that 2.5 GB may take


@dataclass(frozen=True)
class Measured:
    """Medians of a tool's rounds."""

    seconds: float
    memory: float
    rounds: int


Tool = Callable[[int, Path], None]
"""Cut into so many segments, in this folder."""


def main() -> None:
    """Measure, print and write the page."""
    with tempfile.TemporaryDirectory() as folder:
        medium, large = Path(folder) / "medium.onnx", Path(folder) / "large.onnx"
        make_model(medium, 500_000_000, beside=False)
        make_model(large, 2_500_000_000, beside=True)
        out = Path(folder) / "out"
        runs = {
            ("500 MB, one file", 8): measured(medium, 8, out, ROUNDS, SLOW_ROUNDS),
            ("500 MB, one file", 2): measured(medium, 2, out, ROUNDS, 0),
            ("500 MB, one file", 32): measured(medium, 32, out, ROUNDS, 0),
            ("2.5 GB, weights beside", 2): measured(large, 2, out, LARGE_ROUNDS, LARGE_SLOW_ROUNDS),
        }
    PAGE.write_text(page(runs))
    print(PAGE.read_text())


def measured(
    model: Path, segments: int, out: Path, rounds: int, slow_rounds: int
) -> dict[str, Measured]:
    """Every tool on one model, their rounds interleaved."""
    results: dict[str, list[tuple[float, float]]] = {}
    for number in range(rounds):
        for tool in TOOLS:
            if tool in ("copy", "this project") or number < slow_rounds:
                results.setdefault(tool, []).append(once(tool, model, segments, out))
                print(f"{model.stem} {segments} {tool}: {results[tool][-1]}", file=sys.stderr)
    return {
        tool: Measured(
            statistics.median(seconds for seconds, _ in pairs),
            statistics.median(memory for _, memory in pairs),
            len(pairs),
        )
        for tool, pairs in results.items()
    }


def once(tool: str, model: Path, segments: int, out: Path) -> tuple[float, float]:
    """Seconds, and bytes above import, of a tool in a fresh process and an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, __file__, tool, str(model), str(segments), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT)
    seconds, memory = json.loads(done.stdout)
    return float(seconds), float(memory)


def make_model(path: Path, size: int, *, beside: bool) -> None:
    """A chain of MatMul and Relu with ``size`` bytes of weights in all."""
    layers = NODES // 2
    width = int((size / layers / 4) ** 0.5)
    block = np.random.default_rng(0).standard_normal((width, width), np.float32).tobytes()
    nodes, weights, values = [], [], []
    for n in range(layers):
        nodes.append(helper.make_node("MatMul", [f"t{n}", f"w{n}"], [f"m{n}"], name=f"matmul{n}"))
        nodes.append(helper.make_node("Relu", [f"m{n}"], [f"t{n + 1}"], name=f"relu{n}"))
        values += [helper.make_tensor_value_info(f"m{n}", TensorProto.FLOAT, [1, width])]
        values += [helper.make_tensor_value_info(f"t{n + 1}", TensorProto.FLOAT, [1, width])]
        weight = TensorProto(name=f"w{n}", data_type=TensorProto.FLOAT, dims=[width, width])
        if beside:
            _put_beside(weight, f"{path.name}.data", n * len(block), len(block))
        else:
            weight.raw_data = block
        weights.append(weight)
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, width])
        for name in ("t0", f"t{layers}")
    ]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], weights, value_info=values[:-1])
    opsets = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    if beside:  # in pieces, since the whole is larger than one would want in memory
        with path.with_name(f"{path.name}.data").open("wb") as file:
            for _ in range(layers):
                file.write(block)


def _put_beside(weight: TensorProto, location: str, offset: int, length: int) -> None:
    weight.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        weight.external_data.add(key=key, value=str(value))


def _points(segments: int) -> list[str]:
    """Where to cut, with both ends."""
    return [f"t{n * (NODES // 2) // segments}" for n in range(segments + 1)]


def _pairs(segments: int) -> Iterator[tuple[str, str]]:
    return pairwise(_points(segments))


def with_copy(model: Path) -> Tool:
    """A plain copy of the files."""

    def run(segments: int, out: Path) -> None:
        for file in model.parent.glob(f"{model.name}*"):
            shutil.copyfile(file, out / file.name)

    return run


def with_this_project(model: Path) -> Tool:
    """``deploy.partition``."""
    from backends.onnx.specs import read_segment
    from deploy.graph.exported import Exported
    from deploy.partition.segments import partition

    exported = Exported(model, read_segment(model, "model", {}).inputs, by_name=True)

    def run(segments: int, out: Path) -> None:
        partition(exported, [], out, across=[[point] for point in _points(segments)[1:-1]])

    return run


def with_onnx_ir(model: Path) -> Tool:
    """``onnx_ir.convenience.extract``, the model loaded once."""
    import onnx_ir as ir

    def run(segments: int, out: Path) -> None:
        whole = ir.load(model)
        for start, end in _pairs(segments):
            graph = ir.convenience.extract(whole.graph, [start], [end])
            part = ir.Model(graph, ir_version=whole.ir_version)
            ir.save(part, out / f"{end}.onnx", external_data=f"{end}.onnx.data")

    return run


def with_extract_model(model: Path) -> Tool:
    """``onnx.utils.extract_model``, once for each segment."""

    def run(segments: int, out: Path) -> None:
        for start, end in _pairs(segments):
            onnx.utils.extract_model(model, out / f"{end}.onnx", [start], [end], check_model=False)

    return run


TOOLS = {
    "copy": with_copy,
    "this project": with_this_project,
    "onnx_ir": with_onnx_ir,
    "onnx.utils.extract_model": with_extract_model,
}


def child(tool: str, model: str, segments: str, out: str) -> None:
    """Time one tool, after its imports."""
    run = TOOLS[tool](Path(model))
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before = _memory("VmRSS")
    start = time.perf_counter()
    run(int(segments), Path(out))
    print(json.dumps([time.perf_counter() - start, _memory("VmHWM") - before]))


def _memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def page(runs: dict[tuple[str, int], dict[str, Measured]]) -> str:
    """The results in Markdown."""
    versions = ", ".join(f"{name} {version(name)}" for name in ("onnx", "onnx-ir", "numpy"))
    lines = [
        "# Cost of cutting",
        "",
        f"Measured on {date.today()} on Linux {platform.machine()} with 2 shared cores, Python "
        f"{platform.python_version()}, {versions}. The command, which writes this page:",
        "",
        "    .venv/bin/python scripts/bench cut",
        "",
        f"Models of {NODES:,} nodes. Each figure is the median of its rounds; rounds alternate, "
        "each in a process of its own, timed after its imports, with the files in the page cache. "
        "Memory is the peak above that of the imports.",
        "",
        "| model | segments | tool | seconds | x copy | memory | rounds |",
        "|---|---|---|---|---|---|---|",
    ]
    for (name, segments), tools in runs.items():
        for tool, found in tools.items():
            ratio = found.seconds / tools["copy"].seconds
            lines.append(
                f"| {name} | {segments} | {tool} | {found.seconds:.2f} | {ratio:.1f} "
                f"| {found.memory / 1e6:,.0f} MB | {found.rounds} |"
            )
    return "\n".join([*lines, "", *promises(runs), ""])


def promises(runs: dict[tuple[str, int], dict[str, Measured]]) -> Iterator[str]:
    """The bounds and whether they hold."""
    yield from ("| promise | bound | measured | |", "|---|---|---|---|")
    for (name, segments), tools in runs.items():
        bound = 2 * tools["copy"].seconds + NODES * NODE_SECONDS
        took = tools["this project"].seconds
        yield (
            f"| {name} into {segments}: twice a copy and 50 us a node | {bound:.2f} s "
            f"| {took:.2f} s | {_verdict(took <= bound)} |"
        )
    few, many = (runs["500 MB, one file", n]["this project"].seconds for n in (2, 32))
    yield (
        f"| 32 segments against 2 | 1.3 x | {many / few:.2f} x | {_verdict(many <= 1.3 * few)} |"
    )
    memory = runs["2.5 GB, weights beside", 2]["this project"].memory
    yield (f"| memory for 2.5 GB | 64 MB | {memory / 1e6:.0f} MB | {_verdict(memory <= MEMORY)} |")


def _verdict(holds: bool) -> str:
    return "kept" if holds else "missed"


if __name__ == "__main__":
    child(*sys.argv[1:])

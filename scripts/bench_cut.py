"""What cutting costs, beside a plain copy and the tools that one would use instead.

Three models are made: 500 MB in one file and 2.5 GB with its weights beside it, each of 2,000
nodes, and a decoder of a large language model's size, 20 GB in a sparse file beside it. Its
segments take 20 GB of disk: without 25 GB that are free a line says that it was not cut. Every
measurement is a process of its own that is timed after its imports; rounds of what is compared
alternate. ``scripts/bench cut`` prints two tables: the seconds, and the bounds that they keep.
"""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import onnx
from large_decoder import LAYERS, make_decoder, put_beside
from onnx import TensorProto, helper

from backends.onnx.model_file import read_without_weights

ROOT = Path(__file__).resolve().parent.parent
NODES = 2000
ROUNDS, SLOW_ROUNDS = 15, 3  # the slow ones are the other tools
LARGE_ROUNDS, LARGE_SLOW_ROUNDS = 7, 1
DECODER_ROUNDS = 3
COPIES, NODE_SECONDS = 1.5, 50e-6  # what cutting may cost: so many copies, and this for a node
MEMORY = 64e6  # bytes above import that any model may take
BORDERS = {"medium": NODES // 2, "large": NODES // 2, "decoder": LAYERS}  # tensors t0, t1, ...


@dataclass(frozen=True)
class Case:
    """A model, and how it is cut and measured."""

    model: Path
    title: str
    segments: int
    rounds: int
    slow_rounds: int = 0

    @cached_property
    def nodes(self) -> int:
        """How many the model has."""
        return len(read_without_weights(self.model).graph.node)

    @cached_property
    def bytes(self) -> int:
        """What the model's files have, holes included."""
        return sum(file.stat().st_size for file in self.model.parent.glob(f"{self.model.name}*"))


@dataclass(frozen=True)
class Measured:
    """Medians of a tool's rounds."""

    seconds: float
    memory: float
    rounds: int


Tool = Callable[[int, Path], None]
"""Cut into so many segments, in this folder."""


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        medium, large, decoder = (folder / f"{stem}.onnx" for stem in BORDERS)
        make_model(medium, 500_000_000, beside=False)
        make_model(large, 2_500_000_000, beside=True)
        make_decoder(decoder)
        cases = [
            Case(medium, "500 MB, one file", 8, ROUNDS, SLOW_ROUNDS),
            Case(medium, "500 MB, one file", 2, ROUNDS),
            Case(medium, "500 MB, one file", 32, ROUNDS),
            Case(large, "2.5 GB, weights beside", 2, LARGE_ROUNDS, LARGE_SLOW_ROUNDS),
            Case(decoder, "20 GB decoder, weights beside", 16, DECODER_ROUNDS),
        ]
        free = shutil.disk_usage(folder).free
        left_out = [case for case in cases if 1.25 * case.bytes > free]
        runs = {case: measured(case, folder / "out") for case in cases if case not in left_out}
        print(report(runs, [missing(case, free) for case in left_out]))


def measured(case: Case, out: Path) -> dict[str, Measured]:
    """Every tool on one model, their rounds interleaved."""
    results: dict[str, list[tuple[float, float]]] = {}
    for number in range(case.rounds):
        for tool in TOOLS:
            if tool in ("copy", "this project") or number < case.slow_rounds:
                results.setdefault(tool, []).append(once(tool, case, out))
                print(f"{case.title} {case.segments} {tool}: {results[tool][-1]}", file=sys.stderr)
    shutil.rmtree(out)
    return {
        tool: Measured(
            statistics.median(seconds for seconds, _ in pairs),
            statistics.median(memory for _, memory in pairs),
            len(pairs),
        )
        for tool, pairs in results.items()
    }


def once(tool: str, case: Case, out: Path) -> tuple[float, float]:
    """Seconds, and bytes above import, of a tool in a fresh process and an empty folder."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir()
    command = [sys.executable, __file__, tool, str(case.model), str(case.segments), str(out)]
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
            put_beside(weight, f"{path.name}.data", n * len(block), len(block))
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


def _points(model: Path, segments: int) -> list[str]:
    """Where to cut, with both ends."""
    return [f"t{n * BORDERS[model.stem] // segments}" for n in range(segments + 1)]


def _pairs(model: Path, segments: int) -> Iterator[tuple[str, str]]:
    return pairwise(_points(model, segments))


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
        partition(exported, [], out, across=[[point] for point in _points(model, segments)[1:-1]])

    return run


def with_onnx_ir(model: Path) -> Tool:
    """``onnx_ir.convenience.extract``, the model loaded once."""
    import onnx_ir as ir

    def run(segments: int, out: Path) -> None:
        whole = ir.load(model)
        for start, end in _pairs(model, segments):
            graph = ir.convenience.extract(whole.graph, [start], [end])
            part = ir.Model(graph, ir_version=whole.ir_version)
            ir.save(part, out / f"{end}.onnx", external_data=f"{end}.onnx.data")

    return run


def with_extract_model(model: Path) -> Tool:
    """``onnx.utils.extract_model``, once for each segment."""

    def run(segments: int, out: Path) -> None:
        for start, end in _pairs(model, segments):
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


def missing(case: Case, free: int) -> str:
    """A line of the report for what there is no room for."""
    size = f"{case.bytes / 1e9:.0f} GB"
    return (
        f"> Not run: {case.title} into {case.segments}, which writes {size} for each tool in turn; "
        f"{free / 1e9:.0f} GB of disk were free."
    )


def report(runs: dict[Case, dict[str, Measured]], left_out: Sequence[str]) -> str:
    """The results in Markdown."""
    lines = [
        "| model | nodes | segments | tool | seconds | x copy | memory | rounds |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case, tools in runs.items():
        for tool, found in tools.items():
            ratio = found.seconds / tools["copy"].seconds
            lines.append(
                f"| {case.title} | {case.nodes:,} | {case.segments} | {tool} "
                f"| {found.seconds:.2f} | {ratio:.1f} "
                f"| {found.memory / 1e6:,.0f} MB | {found.rounds} |"
            )
    return "\n".join([*lines, "", *(f"{line}\n" for line in left_out), *promises(runs), ""])


def promises(runs: dict[Case, dict[str, Measured]]) -> Iterator[str]:
    """The bounds and whether they hold."""
    yield from ("| promise | bound | measured | |", "|---|---|---|---|")
    for case, tools in runs.items():
        bound = COPIES * tools["copy"].seconds + case.nodes * NODE_SECONDS
        took, memory = tools["this project"].seconds, tools["this project"].memory
        name = f"{case.title} into {case.segments}"
        yield (
            f"| {name}: {COPIES} copies and 50 us a node | {bound:.2f} s "
            f"| {took:.2f} s | {_verdict(took <= bound)} |"
        )
        yield f"| {name}: memory | 64 MB | {memory / 1e6:.0f} MB | {_verdict(memory <= MEMORY)} |"
    seconds = {
        case.segments: tools["this project"].seconds
        for case, tools in runs.items()
        if case.model.stem == "medium"
    }
    few, many = seconds[2], seconds[32]
    yield (
        f"| 32 segments against 2 | 1.3 x | {many / few:.2f} x | {_verdict(many <= 1.3 * few)} |"
    )


def _verdict(holds: bool) -> str:
    return "kept" if holds else "missed"


if __name__ == "__main__":
    child(*sys.argv[1:])

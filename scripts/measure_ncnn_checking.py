#!/usr/bin/env python3
"""What each check of an ncnn net protects that the probe in a child process does not.

    .venv/bin/python scripts/measure_ncnn_checking.py --mutants 1000
    .venv/bin/python scripts/measure_ncnn_checking.py --mutants 10000 --alone values

Cases: the kept ones of scripts/fuzz, its mutants of the kind ``ncnn``, and mutants of small nets
with layers of every kind. Each is checked, and then loaded and run *without* the checks in child
processes: once on ones, as the probe does; on further inputs; and twice on all of them in
memory where an access beyond an allocation ends the process (``guarded_malloc.c``; needs gcc and
Linux). Prints a table of outcomes by the rule that refuses the case, and writes every case to
DIR/cases.jsonl.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import json
import os
import pickle
import random
import re
import resource
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from math import prod
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from backends.contract import Array, Artifact, DeployError, Dynamic, EngineError, TensorSpec
from backends.ncnn import checking, run
from backends.ncnn.checking.blob import Blob
from backends.ncnn.checking.graph import check_graph
from backends.ncnn.checking.param import Net, parse
from backends.ncnn.checking.shapes import infer_blob_shapes
from backends.ncnn.checking.values import check_values
from backends.ncnn.checking.weights import check_weights
from deploy.runtime.bundle.manifest import read_manifest
from tests.backends.ncnn_nets import NETS, text_of, weights_of
from tests.fuzzing import kept
from tests.fuzzing.cases import case
from tests.fuzzing.draw import Draw
from tests.fuzzing.ground import SAMPLE, Ground
from tests.fuzzing.octets import mutated
from tests.fuzzing.params import mutated_param
from tests.fuzzing.seeds import corpus
from tests.fuzzing.trees import write

_GUARD = "NCNN_GUARDED_MALLOC"  # the library, in the environment of the process that measures
_SECONDS, _MEMORY = 8.0, 8 << 30  # the limits of the probe
_TIMEOUT = "no end"
_LARGEST_INPUT = 1 << 22  # elements; the harness itself must not run out of memory
_VALUE = re.compile(r"(?<=[=,])-?[0-9][0-9.e-]*")  # of a parameter, or in its array
_VALUES = (0, 1, -1, 2, 3, 4, 7, 8, 16, 64, 1000, 65536, 1 << 24, (1 << 31) - 1, -233, 233)
_FILLS = (0x41, 0xC3)  # bytes of memory that was never written: 12.08 and -391.5 as floats
_REPORTERS = ("fault", "file_error")
_UNSAFE = ("memory", "later call", "out of bounds", "uninitialised")
_OUTCOMES = (*_UNSAFE, "probe", "raises", "error", "not finite", "numbers")


@dataclass(frozen=True)
class Case:
    """A net on the disk, as a manifest describes it."""

    name: str
    artifact: Artifact
    root: Path


@dataclass(frozen=True)
class Attempt:
    """What came of loading a net and running it in a child process.

    Attributes:
        ending: signal or time limit that ended the process; nothing where it ended by itself.
        results: of each input a digest of the outputs, ``not finite`` before it, or the error.
        largest: bytes of the largest allocation that was asked for.
    """

    ending: str
    results: tuple[str, ...] = ()
    largest: int = 0


@dataclass(frozen=True)
class Finding:
    """One case: which checks refuse it, and what happens without them."""

    corpus: str
    name: str
    rule: str
    stages: tuple[str, ...]
    outcome: str
    detail: str


def main() -> int:
    """Measure, print the table and write the cases."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--mutants", type=int, default=2000, help="of each corpus (2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the mutants (0)")
    parser.add_argument("--alone", metavar="STAGE", help="only cases that no other stage refuses")
    parser.add_argument("--out", type=Path, default=Path("runs/ncnn-checking"), metavar="DIR")
    options = parser.parse_args()
    if _GUARD not in os.environ:
        return _restart()
    options.out.mkdir(parents=True, exist_ok=True)
    begun, findings = time.monotonic(), []
    with (options.out / "cases.jsonl").open("w") as log:
        for corpus_name, item in _cases(options.mutants, options.seed, options.out / "corpus"):
            rule, stages = _refusals(item)
            if options.alone and stages != (options.alone,):
                continue
            finding = Finding(corpus_name, item.name, rule, stages, *_outcome(item))
            findings.append(finding)
            log.write(json.dumps(asdict(finding)) + "\n")
            log.flush()
    print(*_tables(findings), sep="\n")
    print(
        f"\n{len(findings)} cases in {time.monotonic() - begun:.0f} s, ncnn {run.ncnn.__version__}"
    )
    return 0


def _restart() -> int:
    """The same command in a process with the guarded allocator."""
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder) / "guarded_malloc.so"
        source = Path(__file__).with_name("guarded_malloc.c")
        command = ["gcc", "-O2", "-shared", "-fPIC", "-fno-builtin-malloc", "-o"]
        subprocess.run([*command, library, source], check=True)
        environment = {"LD_PRELOAD": str(library), _GUARD: str(library), "OMP_NUM_THREADS": "1"}
        return subprocess.run(
            [sys.executable, *sys.argv],
            env={**os.environ, "OPENBLAS_NUM_THREADS": "1", **environment},
            check=False,
        ).returncode


def _cases(mutants: int, seed: int, seeds: Path) -> Iterator[tuple[str, Case]]:
    with tempfile.TemporaryDirectory(dir="/dev/shm", prefix="nc-") as folder:
        ground = Ground(Path(folder))
        ground.outside.mkdir()
        trees = [
            ("kept", kept.kept("ncnn", at, Ground(SAMPLE))) for at in range(len(kept.names("ncnn")))
        ]
        for name, given in trees:
            yield from _from_bundle(name, given.changes[0], given.tree, ground.root / "case")
        bundles = corpus("ncnn", seeds)
        for number in range(mutants):
            given = case("ncnn", seed, number, bundles, ground.outside)
            yield from _from_bundle("bundles", str(number), given.tree, ground.root / "case")
            for name in ("nets", "values"):
                yield name, _net(name, seed, number, ground.root / "case")


def _from_bundle(
    corpus_name: str, name: str, tree: Any, folder: Path
) -> Iterator[tuple[str, Case]]:
    """Nothing where the bundle's manifest is refused, before any engine is asked."""
    shutil.rmtree(folder, ignore_errors=True)
    write(tree, folder)
    try:
        steps = read_manifest(folder).artifacts
    except DeployError:
        return
    for artifact in steps:
        regular = all(
            (folder / file).is_file() and not (folder / file).is_symlink()
            for file in artifact.files
        )
        if artifact.backend == "ncnn" and len(artifact.files) == 3 and regular:
            yield corpus_name, Case(name, artifact, folder)


def _net(corpus_name: str, seed: int, number: int, folder: Path) -> Case:
    """A mutant of a net with layers of a few kinds.

    Of the corpus ``nets`` the text changes in any way; of ``values`` one or two numbers, so that
    most mutants are nets that ncnn's parser accepts. The weights are mostly as many as the layers
    then read.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    draw = Draw(random.Random(f"{corpus_name} {seed} {number}"), [], folder)
    name = draw.one(sorted(NETS))
    shapes, outputs, text, weights = _valid_net(name)
    if corpus_name == "values":
        shapes, text = _other_values(draw, shapes, text)
        changed = text.encode()
    else:
        others = [_valid_net(other)[2].encode() for other in sorted(NETS) if other != name]
        changed = mutated_param(draw, text.encode(), others)
    if draw.maybe(0.7):
        weights = _fitting(changed, weights)
    if draw.maybe(0.1):
        weights = mutated(draw, weights, [])
    (folder / "net.param").write_bytes(changed)
    (folder / "net.bin").write_bytes(weights)
    inputs = tuple(TensorSpec(f"x{at}", "float32", shape) for at, shape in enumerate(shapes))
    results = tuple(TensorSpec(f"y{at}", "float32", shape) for at, shape in enumerate(outputs))
    blobs = [*(f"in{at}" for at in range(len(inputs))), *(f"out{at}" for at in range(len(results)))]
    (folder / "axes.json").write_text(json.dumps(dict.fromkeys(blobs, checking.NO_BATCH)))
    files = ("net.param", "net.bin", "axes.json")
    return Case(f"{name} {number}", Artifact("net", "ncnn", files, inputs, results), folder)


def _other_values(
    draw: Draw, shapes: list[tuple[int, ...]], text: str
) -> tuple[list[tuple[int, ...]], str]:
    """Another size of an input, or other numbers of one or two parameters."""
    if shapes and draw.maybe(0.2):
        at = draw.number(0, len(shapes) - 1)
        changed = list(shapes[at])
        axis = draw.number(0, len(changed) - 1)
        changed[axis] = max(1, changed[axis] + draw.one([-2, -1, 1, 2, 5]))
        return [*shapes[:at], tuple(changed), *shapes[at + 1 :]], text
    for _ in range(draw.number(1, 2)):
        numbers = list(_VALUE.finditer(text))
        match = draw.one(numbers)
        near = str(int(match[0]) + draw.one([-1, 1, 2])) if "." not in match[0] else "0.0"
        new = draw.one([near, near, near, *map(str, _VALUES)])
        text = text[: match.start()] + new + text[match.end() :]
    return shapes, text


@cache
def _valid_net(name: str) -> tuple[list[tuple[int, ...]], list[tuple[int, ...]], str, bytes]:
    shapes, lines = NETS[name]
    text = text_of(len(shapes), lines)
    blobs = infer_blob_shapes(
        parse(text, name).layers, {f"in{at}": Blob(s) for at, s in enumerate(shapes)}
    )
    outputs = [blobs[f"out{at}"] for at in range(sum(blob.startswith("out") for blob in blobs))]
    return shapes, [blob.sizes for blob in outputs if blob is not None], text, weights_of(text)


def _fitting(text: bytes, weights: bytes) -> bytes:
    try:
        return weights_of(text.decode())
    except (EngineError, ValueError, ArithmeticError, OverflowError):
        return weights


def _refusals(item: Case) -> tuple[str, tuple[str, ...]]:
    """The rule that refuses a net first, and every stage of the check that refuses it by itself."""
    rules = {}
    for stage, check in _stages(item):
        try:
            check()
        except EngineError as error:
            rules[stage] = _rule(error, stage)
        except (ArithmeticError, LookupError, TypeError, ValueError, AttributeError):
            continue  # it relies on an earlier stage
    first = next(iter(rules.values()), "")
    return first, tuple(rules)


def _rule(error: EngineError, stage: str) -> str:
    """The innermost function of the checks that raised an error."""
    frames = traceback.extract_tb(error.__traceback__)
    inside = [f for f in frames if "ncnn/checking" in f.filename and f.name not in _REPORTERS]
    return f"{Path(inside[-1].filename).stem}.{inside[-1].name}" if inside else stage


def _stages(item: Case) -> Iterator[tuple[str, Callable[[], object]]]:
    """The parts of ``check_net``, in its order but each by itself."""
    param, weights, axes = (item.root / name for name in item.artifact.files)
    inputs, outputs = item.artifact.inputs, item.artifact.outputs
    yield "axes", lambda: checking.read_axes(axes, inputs, outputs)
    yield "specs", lambda: checking.check_specs(inputs, outputs)
    try:
        net = checking.parse_param(param)
    except EngineError:
        yield "text", lambda: checking.parse_param(param)
        return
    yield "graph", lambda: check_graph(net, param.name, len(inputs), len(outputs), run.has_layer)
    yield "values", lambda: [check_values(layer) for layer in net.layers]
    yield "weights", lambda: check_weights(net.layers, weights)
    yield (
        "shapes",
        lambda: checking.check_shapes(
            net, param.name, inputs, outputs, checking.read_axes(axes, inputs, outputs)
        ),
    )


def _outcome(item: Case) -> tuple[str, str]:
    """What happens without the checks."""
    feeds = _feeds(item.artifact)
    if not feeds:
        return "error", "an input is beyond the harness"
    ones = _attempt(item, feeds[:1], None)
    if ones.ending:
        return "probe", ones.ending
    others = _attempt(item, feeds[1:], None)
    largest = max(ones.largest, others.largest)
    if largest > _MEMORY:
        return "memory", f"{largest / 2**30:.0f} GiB"
    if others.ending:
        return "later call", others.ending
    guarded = [_attempt(item, feeds, fill) for fill in _FILLS]
    endings = {attempt.ending for attempt in guarded} - {""}
    if endings == {_TIMEOUT}:
        return "error", "guarded memory is too slow for it"
    if endings:
        return "out of bounds", ", ".join(sorted(endings))
    if guarded[0].results != guarded[1].results:
        return "uninitialised", ""
    results = [*ones.results, *others.results]
    if any(result.startswith("raises") for result in results):
        return "raises", next(r for r in results if r.startswith("raises"))
    if any(result.startswith("error") for result in results):
        return "error", next(r for r in results if r.startswith("error"))
    finite = not any(result.startswith("not finite") for result in results)
    return ("numbers" if finite else "not finite"), ""


def _feeds(artifact: Artifact) -> list[dict[str, Array]]:
    """Ones, as of the probe; then noise, zeros, large and negative numbers, and three rows."""
    if any(spec.shape is None or prod(spec.typical) > _LARGEST_INPUT for spec in artifact.inputs):
        return []
    noise = np.random.default_rng(0)
    fills: list[Callable[[Sequence[int]], Array]] = [
        np.ones,
        noise.standard_normal,
        np.zeros,
        lambda shape: noise.standard_normal(shape) * 1e6,
        lambda shape: -3 * np.ones(shape),
    ]
    rows = [1] * len(fills)
    if any(isinstance(dim, Dynamic) for spec in artifact.inputs for dim in spec.dims):
        fills.append(noise.standard_normal)
        rows.append(3)
    return [
        {spec.name: fill(_shape(spec, count)).astype(spec.dtype) for spec in artifact.inputs}
        for fill, count in zip(fills, rows, strict=True)
    ]


def _shape(spec: TensorSpec, rows: int) -> tuple[int, ...]:
    return tuple(rows if isinstance(dim, Dynamic) else dim for dim in spec.dims)


def _attempt(item: Case, feeds: Sequence[Mapping[str, Array]], fill: int | None) -> Attempt:
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        _be_child(item, feeds, fill, writer)
    os.close(writer)
    size = sum((item.root / name).stat().st_size for name in item.artifact.files)
    data, ended = _read_until(reader, time.monotonic() + _SECONDS + size / 1e6)
    os.close(reader)
    if not ended:
        os.kill(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if not ended:
        return Attempt(_TIMEOUT)
    if code < 0:
        return Attempt(signal.Signals(-code).name)
    if code:
        return Attempt("", ("raises in the harness",) * len(feeds))
    results, largest = pickle.loads(data)
    return Attempt("", tuple(results), largest)


def _read_until(reader: int, end: float) -> tuple[bytes, bool]:
    """Everything up to the end of the pipe, and whether it ended in time."""
    data = b""
    while (left := end - time.monotonic()) > 0:
        if select.select([reader], [], [], left)[0]:
            part = os.read(reader, 1 << 16)
            if not part:
                return data, True
            data += part
    return data, False


def _be_child(
    item: Case, feeds: Sequence[Mapping[str, Array]], fill: int | None, writer: int
) -> None:
    code = 1
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        _limit_memory()
        guard = ctypes.CDLL(os.environ[_GUARD])
        guard.guard_largest.restype = ctypes.c_size_t
        guard.guard_count()
        _turn_checks_off()
        if fill is not None and guard.guard_start(fill) != 0:
            os._exit(2)
        results = _run_all(item, feeds, fill is not None)
        os.write(writer, pickle.dumps((results, guard.guard_largest())))
        code = 0
    finally:
        os._exit(code)


def _limit_memory() -> None:
    lines = Path("/proc/self/status").read_text().splitlines()
    used = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData:"))
    resource.setrlimit(resource.RLIMIT_DATA, (used + _MEMORY,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _turn_checks_off() -> None:
    module: Any = run
    module.check_net = lambda *_: Net((), 0)
    module.read_axes = lambda path, *_: json.loads(path.read_bytes())


class _UnpooledNet:
    """A net whose blobs are allocations of their own.

    By default ncnn hands out the memory of earlier blobs, also larger than what was asked for.
    """

    def __init__(self, net: Any) -> None:
        self._net = net
        self._allocators: list[Any] = []

    def create_extractor(self) -> Any:
        extractor = self._net.create_extractor()
        extractor.set_light_mode(False)
        allocators = [run.ncnn.PoolAllocator(), run.ncnn.PoolAllocator()]
        for allocator in allocators:
            allocator.set_size_compare_ratio(1.0)
        extractor.set_blob_allocator(allocators[0])
        extractor.set_workspace_allocator(allocators[1])
        self._allocators += allocators  # they must outlive their blobs
        return extractor

    def clear(self) -> None:
        self._net.clear()


def _run_all(item: Case, feeds: Sequence[Mapping[str, Array]], guarded: bool) -> list[str]:
    try:
        with run.load(item.artifact, item.root) as runner:
            if guarded:
                runner._net = _UnpooledNet(runner._net)
            return [_result(lambda feed=feed: runner(feed)) for feed in feeds]
    except Exception as error:  # noqa: BLE001 - every ending is a result
        return [_error(error)] * len(feeds)


def _result(call: Callable[[], Mapping[str, Array]]) -> str:
    try:
        outputs = call()
    except Exception as error:  # noqa: BLE001 - every ending is a result
        return _error(error)
    digest = hashlib.sha256(b"".join(array.tobytes() for array in outputs.values())).hexdigest()
    finite = all(np.isfinite(array).all() for array in outputs.values())
    return digest if finite else f"not finite {digest}"


def _error(error: Exception) -> str:
    """Of memory too: the probe counts it as a good end."""
    kind = "error" if isinstance(error, DeployError | MemoryError) else "raises"
    return f"{kind} {type(error).__name__}: {error}"[:200]


def _tables(findings: Sequence[Finding]) -> Iterator[str]:
    yield "| corpus | checks | cases | " + " | ".join(_OUTCOMES) + " |"
    yield "|---" * (3 + len(_OUTCOMES)) + "|"
    for name in ("kept", "bundles", "nets", "values"):
        for verdict in ("accepted", "refused"):
            chosen = [
                f for f in findings if f.corpus == name and bool(f.rule) == (verdict == "refused")
            ]
            yield f"| {name} | {verdict} | {_row(chosen)} |"
    yield from (
        "",
        "| rule | cases | " + " | ".join(_OUTCOMES) + " |",
        "|---" * (2 + len(_OUTCOMES)) + "|",
    )
    for rule, _ in Counter(f.rule for f in findings if f.rule).most_common():
        yield f"| {rule} | {_row([f for f in findings if f.rule == rule])} |"
    yield from ("", "| stage | refuses | " + " | ".join(_OUTCOMES) + " | alone | unsafe alone |")
    yield "|---" * (4 + len(_OUTCOMES)) + "|"
    for stage in dict.fromkeys(stage for f in findings for stage in f.stages):
        chosen = [f for f in findings if stage in f.stages]
        alone = [f for f in chosen if len(f.stages) == 1]
        unsafe = sum(f.outcome in _UNSAFE for f in alone)
        yield f"| {stage} | {_row(chosen)} | {len(alone)} | {unsafe} |"


def _row(findings: Sequence[Finding]) -> str:
    counts = Counter(f.outcome for f in findings)
    return " | ".join(map(str, [len(findings), *(counts[outcome] for outcome in _OUTCOMES)]))


if __name__ == "__main__":
    sys.exit(main())

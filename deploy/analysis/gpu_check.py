"""Checks on this machine's GPUs, and their report."""

from __future__ import annotations

import ctypes
import json
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from itertools import permutations
from pathlib import Path
from typing import Literal

import numpy as np

from backends.contract import About, DeployError, GpuSupport
from backends.error_metrics import compare_all, worst
from backends.options import Value
from backends.process.child import module_command
from backends.registry import about, names, self_checks
from deploy.runtime.accuracy.step_errors import CHAIN, chain_tolerance
from deploy.runtime.bundle.manifest import read_manifest
from deploy.runtime.bundle.sample import read_sample
from deploy.runtime.execution.device_timing import event_times
from deploy.runtime.pipeline import Pipeline

_TOOLS = ("backend-chain", "torch", "onnx", "numpy")


@dataclass(frozen=True)
class Check:
    """One thing that was tried: what came of it, in one line, and how many seconds it took."""

    name: str
    status: Literal["passed", "failed", "not run"]
    result: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Environment:
    """Where it was tried."""

    gpus: tuple[str, ...]
    cuda: str
    date: str
    machine: str
    tools: Mapping[str, str]


def environment(distributions: Sequence[str]) -> Environment:
    """This machine, and the versions of these distributions."""
    gpus, cuda = _gpus()
    return Environment(
        gpus=gpus,
        cuda=cuda,
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        tools={name: _version(name) for name in (*_TOOLS, *distributions)},
    )


def write_report(out: Path, where: Environment, checks: Sequence[Check]) -> None:
    """Write ``gpu.json`` and ``gpu.md`` into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    data = {**asdict(where), "checks": [asdict(check) for check in checks]}
    (out / "gpu.json").write_text(json.dumps(data, indent=2) + "\n")
    (out / "gpu.md").write_text(as_markdown(where, checks))


def as_markdown(where: Environment, checks: Sequence[Check]) -> str:
    """A page with the machine and a table of the checks."""
    tools = ", ".join(f"{name} {number}" for name, number in where.tools.items())
    lines = [
        f"# On a GPU: {', '.join(where.gpus) or 'none found'}",
        "",
        f"{where.date}, {where.machine}, driver for CUDA {where.cuda or 'none'}; {tools}.",
        "",
        "    python -m deploy.doctor --gpu",
        "",
        "| check | status | result | seconds |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| {one.name} | {one.status} | {_table_cell(one.result)} | {one.seconds:.1f} |"
        for one in checks
    ]
    return "\n".join([*lines, *rows, ""])


def _table_cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "missing"


def _gpus() -> tuple[tuple[str, ...], str]:
    """The names of the GPUs, and the CUDA version that the driver is for."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return (), ""
    count, number = ctypes.c_int(), ctypes.c_int()
    if driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count)):
        return (), ""
    driver.cuDriverGetVersion(ctypes.byref(number))
    cuda = f"{number.value // 1000}.{number.value % 1000 // 10}"
    return tuple(_name(driver, device) for device in range(count.value)), cuda


def _name(driver: ctypes.CDLL, device: int) -> str:
    text = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(text, len(text), device)
    return text.value.decode()


_BATCHES = (1, 2, 4)


_BATCHED = f"model.dynamic={{batch: {list(_BATCHES)}}}"


_MIDDLE = "neck"  # of the demo's three segments


Work = Callable[[], str]


def gpu_check(out: Path, runs: int, only: Sequence[str] = ()) -> bool:
    """Try everything, print each result, and write ``gpu.json`` and ``gpu.md`` into ``out``.

    What cannot run here is noted as not run, with the reason.

    Args:
        out: a folder.
        runs: how often an engine is timed.
        only: parts of the names of the checks to run, by default all.

    Returns:
        Whether something ran, and nothing failed.
    """
    done = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, work, obstacle in _checks(Path(scratch), runs):
            if only and not any(part in name for part in only):
                continue
            done.append(_run(name, work, obstacle))
            print(f"{done[-1].status:<9}{name}: {done[-1].result}", flush=True)
    needs = dict.fromkeys(need for name in names() for need in about(name).run)
    write_report(out, environment(tuple(needs)), done)
    print(f"written: {out / 'gpu.json'} and {out / 'gpu.md'}")
    statuses = {check.status for check in done}
    return "passed" in statuses and "failed" not in statuses


def _run(name: str, work: Work, obstacle: str) -> Check:
    if obstacle:
        return Check(name, "not run", obstacle)
    start = time.perf_counter()
    try:
        result = work()
    except DeployError as error:
        return Check(name, "failed", str(error), time.perf_counter() - start)
    return Check(name, "passed", result, time.perf_counter() - start)


def _checks(folder: Path, runs: int) -> Iterator[tuple[str, Work, str]]:
    able = {name: about(name) for name in names() if about(name).gpu is not None}
    for name in able:
        yield from _self_checks(name)
    for name, facts in able.items():
        yield from _demo_checks(name, facts, folder, runs)
    for one, other in permutations(able, 2):
        yield _mixed(one, other, able, folder, runs)


def _self_checks(name: str) -> Iterator[tuple[str, Work, str]]:
    try:
        checks = self_checks(name)
    except DeployError as error:
        yield f"{name} by itself", str, str(error)
        return
    for what, work in checks.items():
        yield what, work, ""


def _demo_checks(
    name: str, facts: About, folder: Path, runs: int
) -> Iterator[tuple[str, Work, str]]:
    gpu = _gpu_variants(facts)
    reason = gpu.obstacle()
    common = next(iter(gpu.variants.values()))
    for variant, options in gpu.variants.items():
        words = [f"+backend={name}", *_words("backend", {**common, **options})]
        yield f"{name}, {variant}", _deploys(words, folder, runs), reason
    words = [f"+backend={name}", *_words("backend", common)]
    half = [*words, "backend.precision=fp16"]
    yield f"{name}, fp16", _deploys(half, folder, runs), reason
    sizes = [*words, _BATCHED]
    yield f"{name}, batch of {_BATCHES[0]} to {_BATCHES[-1]}", _batches(sizes, folder), reason
    stages = [*words, "+partition=by_stage"]
    yield f"{name}, chain of three", _deploys(stages, folder, runs), reason


def _mixed(
    one: str, other: str, able: Mapping[str, About], folder: Path, runs: int
) -> tuple[str, Work, str]:
    """The demo's chain of three, of which ``other`` gets the one in the middle."""
    gpu, inner = _gpu_variants(able[one]), _gpu_variants(able[other])
    words = [f"+backend={one}", *_words("backend", next(iter(gpu.variants.values())))]
    words += ["+partition=by_stage", f"+backend@chain.{_MIDDLE}={other}"]
    words += _words(f"chain.{_MIDDLE}", next(iter(inner.variants.values())))
    reason = gpu.obstacle() or inner.obstacle()
    return f"{one}, {other} and {one} in a chain", _deploys(words, folder, runs), reason


def _gpu_variants(facts: About) -> GpuSupport:
    if facts.gpu is None:
        raise ValueError("this backend has no GPU")
    return facts.gpu


def _words(where: str, options: Mapping[str, Value]) -> list[str]:
    return [f"{where}.options.{key}={str(value).lower()}" for key, value in options.items()]


def _deploys(words: Sequence[str], folder: Path, runs: int) -> Work:
    """Deploy the demo, evaluate it beside PyTorch, and time it."""

    def work() -> str:
        bundle = _deploy([*words, "verify.eval=true"], folder)
        manifest = read_manifest(bundle)
        gaps = [item.gap for item in manifest.verification.gaps if item.step == CHAIN]
        notes = manifest.verification.notes
        return (
            f"max_rel {worst(gaps).max_rel:.1e}, "
            f"mAP {notes['map']:.4f} (PyTorch {notes['torch_map']:.4f}), {_latency(bundle, runs)}"
        )

    return work


def _batches(words: Sequence[str], folder: Path) -> Work:
    """Deploy the demo for several sizes, and run the smallest and the largest."""

    def work() -> str:
        bundle = _deploy(words, folder)
        manifest = read_manifest(bundle)
        sample, bound = read_sample(bundle, manifest), chain_tolerance(manifest)
        with Pipeline.open(bundle) as pipeline:
            for batch in (_BATCHES[0], _BATCHES[-1], _BATCHES[0]):
                inputs, outputs = (
                    {name: np.repeat(value[:1], batch, axis=0) for name, value in side.items()}
                    for side in (sample.inputs, sample.outputs)
                )
                gap = worst(compare_all(outputs, pipeline.chain(inputs)))
                if not bound.admits(gap):
                    raise DeployError(
                        f"batch of {batch} at '{gap.tensor}'",
                        expected=str(bound),
                        got=f"max_rel {gap.max_rel:.3g}",
                    )
        return f"agrees at {_BATCHES[0]}, {_BATCHES[-1]} and {_BATCHES[0]} again"

    return work


def _deploy(words: Sequence[str], folder: Path) -> Path:
    bundle = Path(tempfile.mkdtemp(dir=folder)) / "bundle"
    _command("deploy", "+model=yolov3", *words, f"bundle={bundle}", "bench.runs=0")
    return bundle


def _latency(bundle: Path, runs: int) -> str:
    told = _command("deploy.runtime", "bench", str(bundle), "--runs", str(runs), "--json", "-")
    total = json.loads(told)["total"]
    text = f"picture to detections p50 {total['p50']:.2f} ms, p99 {total['p99']:.2f} ms"
    manifest = read_manifest(bundle)
    with Pipeline.open(bundle) as pipeline:
        times = event_times(pipeline.chain, read_sample(bundle, manifest).inputs, runs)
    engines = [f"{name} {statistics.median(row) * 1e3:.3f}" for name, row in times.items()]
    return f"{text}; by events, ms: {', '.join(engines)}" if engines else text


def _command(module: str, *words: str) -> str:
    done = subprocess.run(
        module_command(module, *words), capture_output=True, text=True, check=False
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DeployError(f"python -m {module} {' '.join(words)}: {' '.join(said)}")
    return done.stdout

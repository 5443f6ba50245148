"""Checks of the backends on this machine's GPUs, and their report."""

from __future__ import annotations

import ctypes
import json
import os
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
from typing import Literal, NamedTuple

import numpy as np

from backends.contract import About, DeployError, GpuSupport
from backends.error_metrics import compare_all, worst
from backends.files import temporary_folder
from backends.options import Value
from backends.process.child import module_command
from backends.registry import about, names, self_checks
from backends.terminal import printable
from deploy.runtime.accuracy.evaluation import noted_scores
from deploy.runtime.accuracy.step_errors import CHAIN, tolerances
from deploy.runtime.bundle.manifest import StepMetrics, read_manifest
from deploy.runtime.bundle.sample import read_sample
from deploy.runtime.execution.device_timing import event_times
from deploy.runtime.pipeline import Pipeline

_TOOLS = ("backend-chain", "torch", "onnx", "numpy")


@dataclass(frozen=True)
class Check:
    """The outcome of a check: its result in one line, and its duration."""

    name: str
    status: Literal["passed", "failed", "not run"]
    result: str
    seconds: float = 0.0


@dataclass(frozen=True)
class Machine:
    """The machine and the tools of the checks."""

    gpus: tuple[str, ...]
    cuda: str
    date: str
    machine: str
    tools: Mapping[str, str]


def describe_machine(distributions: Sequence[str]) -> Machine:
    """This machine, and the versions of these distributions beside the project's own."""
    gpus, cuda = _gpus()
    return Machine(
        gpus=gpus,
        cuda=cuda,
        date=datetime.now(UTC).date().isoformat(),
        machine=f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        tools={name: _version(name) for name in (*_TOOLS, *distributions)},
    )


def write_checks(out: Path, machine: Machine, checks: Sequence[Check]) -> None:
    """Write ``gpu.json`` and ``gpu.md`` into the folder ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    data = {**asdict(machine), "checks": [asdict(check) for check in checks]}
    (out / "gpu.json").write_text(json.dumps(data, indent=2) + "\n")
    (out / "gpu.md").write_text(printable(as_markdown(machine, checks)), "utf-8")


def as_markdown(machine: Machine, checks: Sequence[Check]) -> str:
    """A page with the machine and a table of the checks."""
    tools = ", ".join(f"{name} {number}" for name, number in machine.tools.items())
    lines = [
        f"# On a GPU: {', '.join(machine.gpus) or 'none found'}",
        "",
        f"{machine.date}, {machine.machine}, driver for CUDA {machine.cuda or 'none'}; {tools}.",
        "",
        "    backend-chain doctor --gpu",
        "",
        "| check | status | result | seconds |",
        "|---|---|---|---|",
    ]
    rows = [
        f"| {check.name} | {check.status} | {_table_cell(check.result)} | {check.seconds:.1f} |"
        for check in checks
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
    return tuple(_device_name(driver, device) for device in range(count.value)), cuda


def _device_name(driver: ctypes.CDLL, device: int) -> str:
    text = ctypes.create_string_buffer(256)
    driver.cuDeviceGetName(text, len(text), device)
    return text.value.decode()


_BATCHES = (1, 2, 4)


_DYNAMIC_BATCH = f"model.dynamic={{batch: {list(_BATCHES)}}}"


_MIDDLE = "neck"  # of the demo's three segments


Work = Callable[[], str]
"""Runs a check, and returns its result in one line."""


class PlannedCheck(NamedTuple):
    """A check to run.

    Attributes:
        name: of the check.
        work: runs it.
        obstacle: why it cannot run here; empty where it can.
    """

    name: str
    work: Work
    obstacle: str


def gpu_check(out: Path, runs: int, only: Sequence[str] = ()) -> bool:
    """Run all checks, print each result, and write ``gpu.json`` and ``gpu.md`` into ``out``.

    A check that cannot run here is reported as not run, with the reason.

    Args:
        out: a folder.
        runs: how often an engine is timed.
        only: parts of the names of the checks to run; by default all.

    Returns:
        Whether a check has passed, and none has failed.
    """
    checks = []
    with temporary_folder() as scratch:
        for planned in _planned_checks(scratch, runs):
            if only and not any(part in planned.name for part in only):
                continue
            check = _run_check(planned)
            print(f"{check.status:<9}{check.name}: {check.result}", flush=True)
            checks.append(check)
    libraries = dict.fromkeys(library for name in names() for library in about(name).run)
    write_checks(out, describe_machine(tuple(libraries)), checks)
    print(f"written: {out / 'gpu.json'} and {out / 'gpu.md'}")
    statuses = {check.status for check in checks}
    return "passed" in statuses and "failed" not in statuses


def _run_check(planned: PlannedCheck) -> Check:
    name, work, obstacle = planned
    if obstacle:
        return Check(name, "not run", obstacle)
    start = time.perf_counter()
    try:
        result = work()
    except DeployError as error:
        return Check(name, "failed", str(error), time.perf_counter() - start)
    return Check(name, "passed", result, time.perf_counter() - start)


def _planned_checks(folder: Path, runs: int) -> Iterator[PlannedCheck]:
    gpu_backends = {name: about(name) for name in names() if about(name).gpu is not None}
    for name in gpu_backends:
        yield from _self_checks(name)
    for name, properties in gpu_backends.items():
        yield from _demo_checks(name, properties, folder, runs)
    for outer, inner in permutations(gpu_backends, 2):
        yield _mixed_chain_check(outer, inner, gpu_backends, folder, runs)


def _self_checks(name: str) -> Iterator[PlannedCheck]:
    try:
        checks = self_checks(name)
    except DeployError as error:
        yield PlannedCheck(f"{name} by itself", str, str(error))
        return
    for check, work in checks.items():
        yield PlannedCheck(check, work, "")


def _demo_checks(name: str, properties: About, folder: Path, runs: int) -> Iterator[PlannedCheck]:
    gpu = _gpu_support(properties)
    obstacle = gpu.obstacle()
    common = next(iter(gpu.variants.values()))
    for variant, options in gpu.variants.items():
        words = [f"+backend={name}", *_option_words("backend", {**common, **options})]
        yield PlannedCheck(f"{name}, {variant}", _deploy_and_time(words, folder, runs), obstacle)
    words = [f"+backend={name}", *_option_words("backend", common)]
    half = _deploy_and_time([*words, "backend.precision=fp16"], folder, runs)
    yield PlannedCheck(f"{name}, fp16", half, obstacle)
    sizes = f"batch of {_BATCHES[0]} to {_BATCHES[-1]}"
    batches = _run_batches([*words, _DYNAMIC_BATCH], folder)
    yield PlannedCheck(f"{name}, {sizes}", batches, obstacle)
    stages = _deploy_and_time([*words, "+partition=by_stage"], folder, runs)
    yield PlannedCheck(f"{name}, chain of three", stages, obstacle)


def _mixed_chain_check(
    outer: str, inner: str, backends: Mapping[str, About], folder: Path, runs: int
) -> PlannedCheck:
    """The demo's chain of three: ``outer`` runs the first and the last, ``inner`` the middle."""
    gpu, inner_gpu = _gpu_support(backends[outer]), _gpu_support(backends[inner])
    words = [f"+backend={outer}", *_option_words("backend", next(iter(gpu.variants.values())))]
    words += ["+partition=by_stage", f"+backend@chain.{_MIDDLE}={inner}"]
    words += _option_words(f"chain.{_MIDDLE}", next(iter(inner_gpu.variants.values())))
    obstacle = gpu.obstacle() or inner_gpu.obstacle()
    name = f"{outer}, {inner} and {outer} in a chain"
    return PlannedCheck(name, _deploy_and_time(words, folder, runs), obstacle)


def _gpu_support(properties: About) -> GpuSupport:
    if properties.gpu is None:
        raise ValueError("this backend has no GPU")
    return properties.gpu


def _option_words(backend: str, options: Mapping[str, Value]) -> list[str]:
    return [f"{backend}.options.{key}={str(value).lower()}" for key, value in options.items()]


def _deploy_and_time(words: Sequence[str], folder: Path, runs: int) -> Work:
    """Deploy the demo, evaluate it beside PyTorch, and time it."""

    def work() -> str:
        bundle = _deploy([*words, "verify.eval=true"], folder)
        manifest = read_manifest(bundle)
        chain_errors = [item.gap for item in manifest.verification.gaps if item.step == CHAIN]
        score = noted_scores(manifest)[0]
        return (
            f"max_rel {worst(chain_errors).max_rel:.1e}, "
            f"{score.title} {score.chain:.4f} (PyTorch {score.reference:.4f}), "
            f"{_latency(bundle, runs)}; {_starts(bundle)}"
        )

    return work


def _run_batches(words: Sequence[str], folder: Path) -> Work:
    """Deploy the demo for several sizes, and run the smallest and the largest."""

    def work() -> str:
        bundle = _deploy(words, folder)
        manifest = read_manifest(bundle)
        sample, allowed = read_sample(bundle, manifest), tolerances(manifest)
        with Pipeline.open(bundle) as pipeline:
            for batch in (_BATCHES[0], _BATCHES[-1], _BATCHES[0]):
                inputs, outputs = (
                    {name: np.repeat(value[:1], batch, axis=0) for name, value in side.items()}
                    for side in (sample.inputs, sample.outputs)
                )
                metrics = worst(compare_all(outputs, pipeline.chain(inputs)))
                tolerance = allowed.of(StepMetrics(CHAIN, metrics))
                if not tolerance.admits(metrics):
                    raise DeployError(
                        f"batch of {batch} at '{metrics.tensor}'",
                        expected=str(tolerance),
                        got=f"max_rel {metrics.max_rel:.3g}",
                    )
        return f"agrees at {_BATCHES[0]}, {_BATCHES[-1]} and {_BATCHES[0]} again"

    return work


def _deploy(words: Sequence[str], folder: Path) -> Path:
    bundle = Path(tempfile.mkdtemp(dir=folder)) / "bundle"
    cache = f"cache={folder / 'cache'}"  # engines of earlier runs would not try this machine
    _command("deploy", "+model=yolov3", *words, f"bundle={bundle}", cache, "bench.runs=0")
    return bundle


def _latency(bundle: Path, runs: int) -> str:
    report = _command("deploy.runtime", "bench", str(bundle), "--runs", str(runs), "--json", "-")
    total = json.loads(report)["total"]
    text = f"picture to detections p50 {total['p50']:.2f} ms, p99 {total['p99']:.2f} ms"
    manifest = read_manifest(bundle)
    with Pipeline.open(bundle) as pipeline:
        times = event_times(pipeline.chain, read_sample(bundle, manifest).inputs, runs)
    engines = [f"{name} {statistics.median(row) * 1e3:.3f}" for name, row in times.items()]
    return f"{text}; by events, ms: {', '.join(engines)}" if engines else text


def _starts(bundle: Path) -> str:
    """The seconds of the command ``check`` with an empty cache folder, and again."""
    with temporary_folder() as cache:
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            _command("deploy.runtime", "check", str(bundle), XDG_CACHE_HOME=str(cache))
            seconds.append(time.perf_counter() - start)
    return f"first start {seconds[0]:.1f} s, second {seconds[1]:.1f} s"


def _command(module: str, *words: str, **environment: str) -> str:
    done = subprocess.run(
        module_command(module, *words),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise DeployError(f"python -m {module} {' '.join(words)}: {' '.join(said)}")
    return done.stdout

"""Each case as a user runs it: a file of configuration, one command, a time limit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import onnx

from tests.field import outcome
from tests.field.model_list import AUTO, CUT, Case, FieldModel, PackagedFile
from tests.field.outcome import Finished, verdict_of
from tests.field.packages import packaged_file
from tests.field.placement import Placement, read_placement
from tests.field.samples import ROOT, write_samples

AGREES = 1e-2  # of real samples: wrong numbers are far beyond, rounding of engines is within
_STAGES = "stages"
_REPORT = "bundle.work/report.json"


@dataclass(frozen=True)
class Result:
    """What came of a case.

    Attributes:
        key: of the case.
        model: its name.
        kind: of the model.
        engine: that ran it.
        cuts: at which it was cut; empty for the whole.
        verdict: one of those in ``outcome``.
        max_rel: the chain's error as verified; None where it was not.
        real: the error on real samples against the model alone; None where it was not run.
        seconds: of the command.
        text: why, for all verdicts but the first.
        command: as it was run.
        placement: of a model that was divided between engines.
    """

    key: str
    model: str
    kind: str
    engine: str
    cuts: str
    verdict: str
    max_rel: float | None
    real: float | None
    seconds: float
    text: str
    command: str
    placement: Placement | None = None


@dataclass(frozen=True)
class Campaign:
    """Where the check works.

    Attributes:
        out: a folder for its files.
        cache: a folder for downloaded files.
        seconds: for one command.
        npz: whether ``model.samples`` names the real samples; noise verifies without it.
        options: further words of the command line.
    """

    out: Path
    cache: Path
    seconds: float
    npz: bool
    options: Sequence[str] = ()

    def run(self, case: Case) -> Result:
        """Deploy a case, and compare its bundle with the model on real samples."""
        folder = self.out / "cases" / case.key
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "conf/model").mkdir(parents=True)
        samples = folder / "samples"
        write_samples(case.model, samples)
        command = self._command(case, folder, samples)
        start = time.monotonic()
        finished = self._finished(command, folder / "log", self._stages_of(case))
        seconds = time.monotonic() - start
        verdict, text = verdict_of(finished, self._names(case))
        if verdict == outcome.PASSED:
            verdict, text = _status(folder / "bundle")
        result = Result(
            case.key, case.model.name, case.model.kind, case.engine, _cuts(case), verdict,
            _verified_error(folder / "bundle"), None, round(seconds, 1), text, _shown(command),
            read_placement(folder / _REPORT, case.engine),
        )  # fmt: skip
        if verdict == outcome.PASSED and case.variant == AUTO:
            result = self._with_second_run(result, case, folder, command)
            verdict = result.verdict
        if verdict == outcome.PASSED:
            result = self._with_real_samples(result, case, folder, samples)
        for part in ("bundle", "bundle.work", _STAGES):
            shutil.rmtree(folder / part, ignore_errors=True)
        return result

    def _stages_of(self, case: Case) -> Path:
        """The folder of finished stages; of its own where cold and warm runs are timed."""
        own = self.out / "cases" / case.key / _STAGES
        return own if case.variant == AUTO else self.out / _STAGES

    def _with_second_run(
        self, result: Result, case: Case, folder: Path, command: Sequence[str]
    ) -> Result:
        """The same command once more, with what the first run has learnt."""
        (folder / _REPORT).replace(folder / "first.json")
        finished = self._finished(command, folder / "second", self._stages_of(case))
        verdict, text = verdict_of(finished, self._names(case))
        if verdict == outcome.PASSED:
            verdict, text = _status(folder / "bundle")
        second = read_placement(folder / _REPORT, case.engine)
        if result.placement is None or second is None:
            return replace(result, verdict=outcome.BROKEN, text=text or "no placement is reported")
        (folder / _REPORT).replace(folder / "second.json")
        placement = result.placement.with_second_run(second)
        if verdict != outcome.PASSED:
            return replace(
                result, placement=placement, verdict=verdict, text=f"the second run: {text}"
            )
        return replace(result, placement=placement)

    def _with_real_samples(self, result: Result, case: Case, folder: Path, samples: Path) -> Result:
        source = case.model.source
        file = [str(self._file(source))] if isinstance(source, PackagedFile) else []
        words = [str(folder / "bundle"), str(source) if not file else "-", str(samples), *file]
        finished = self._finished(
            [sys.executable, "-m", "tests.field.reference", *words], folder / "real",
            self._stages_of(case),
        )  # fmt: skip
        if finished.code != 0:
            text = f"on real samples: {finished.errors.strip()[-1500:]}"
            return replace(result, verdict=outcome.BROKEN, text=text)
        answer = json.loads(finished.output.strip().splitlines()[-1])
        agrees = answer["max_rel"] <= AGREES
        return replace(
            result,
            real=answer["max_rel"],
            verdict=result.verdict if agrees else outcome.WRONG,
            text="" if agrees else f"{answer['place']}: max_rel {answer['max_rel']:.1e}",
        )

    def _file(self, source: PackagedFile) -> Path:
        return packaged_file(source, self.cache)

    def _command(self, case: Case, folder: Path, samples: Path) -> list[str]:
        model = case.model
        values = _configuration(case)
        words = [f"+model={model.name}", *_engines(case), f"bundle={folder / 'bundle'}"]
        if isinstance(model.source, PackagedFile):
            words.append(f"model.file={self._file(model.source)}")
        else:
            words.append("code=[tests,transformers]")
        if self.npz:
            words.append(f"model.samples={samples}")
        (folder / f"conf/model/{model.name}.yaml").write_text(
            f"# @package _global_\n{json.dumps(values, indent=1, ensure_ascii=False)}\n"
        )
        place = ["--config-dir", str(folder / "conf")]
        return [sys.executable, "-m", "deploy", *place, *words, "bench.runs=0", *self.options]

    def _finished(self, command: Sequence[str], log: Path, stages: Path) -> Finished:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DEPLOY_CACHE": str(stages),
            "OMP_NUM_THREADS": "1",
            "TRANSFORMERS_VERBOSITY": "error",
        }
        with (
            log.with_suffix(".out").open("w+") as output,
            log.with_suffix(".err").open("w+") as errors,
            subprocess.Popen(
                command, cwd=ROOT, env=environment, stdout=output, stderr=errors,
                start_new_session=True,
            ) as process,
        ):  # fmt: skip
            code = _waited(process, self.seconds)
            output.seek(0)
            errors.seek(0)
            return Finished(code, output.read(), errors.read())

    def _names(self, case: Case) -> set[str]:
        model = case.model
        names = {*model.inputs, *model.marks, *(mark["module"] for mark in model.marks.values())}
        if isinstance(model.source, PackagedFile):
            graph = onnx.load(self._file(model.source), load_external_data=False).graph
            names |= set(_graph_names(graph))
        return names - {""}


def _waited(process: subprocess.Popen[Any], seconds: float) -> int | None:
    """The exit code; None for a process that was ended with its children for its time."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        return None


def _graph_names(graph: onnx.GraphProto) -> Iterator[str]:
    for node in graph.node:
        yield from (node.name, *node.input, *node.output)
    yield from (value.name for value in (*graph.input, *graph.output))


def _configuration(case: Case) -> dict[str, Any]:
    """The file of configuration that a user would write; JSON is YAML."""
    model = case.model
    inputs = {
        name: {
            "shape": list(spec.shape),
            "dtype": spec.dtype,
            **({"range": list(spec.range)} if spec.range else {}),
        }
        for name, spec in model.inputs.items()
    }
    values: dict[str, Any] = {"name": model.name, "inputs": inputs}
    if isinstance(model.source, str):
        values |= {"target": model.source}
    base = "module" if isinstance(model.source, str) else "onnx"
    everything: dict[str, Any] = {"defaults": [f"/model/{base}", "_self_"], "model": values}
    if case.variant == CUT:
        if model.marks:
            values["marks"] = {name: dict(mark) for name, mark in model.marks.items()}
        everything["partition"] = {"cuts": [list(points) for points in model.cuts]}
    return everything


def _engines(case: Case) -> list[str]:
    """The words of the command line that name the engines."""
    if case.variant != AUTO:
        return [f"+backend={case.engine}"]
    return ["+partition=auto", f"partition.prefer=[{','.join(case.prefer)}]"]


def _cuts(case: Case) -> str:
    return "; ".join(", ".join(points) for points in case.model.cuts) if case.variant == CUT else ""


def _status(bundle: Path) -> tuple[str, str]:
    status = _verification(bundle).get("status")
    if status == "passed":
        return outcome.PASSED, ""
    return outcome.FAILED, f"exit code 0 with the verification '{status}'"


def _verification(bundle: Path) -> dict[str, Any]:
    manifest = bundle / "manifest.json"
    return json.loads(manifest.read_text())["verification"] if manifest.exists() else {}


def _verified_error(bundle: Path) -> float | None:
    gaps = [each["gap"]["max_rel"] for each in _verification(bundle).get("gaps", ())]
    return max(map(float, gaps), default=None)


def _shown(command: Sequence[str]) -> str:
    words = [word.replace(str(Path.home()), "~") for word in command[1:]]
    return " ".join(["python", *words])


def models_by_name(models: Sequence[FieldModel]) -> dict[str, FieldModel]:
    """The models by their names."""
    return {model.name: model for model in models}

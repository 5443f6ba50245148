"""The main job with a configuration folder of somebody else's: Hydra runs, the stages do not."""

from __future__ import annotations

import json
import logging
import os
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from backends.contract import DeployError
from deploy.cli import app
from deploy.pipeline.sweep import JobRecord
from deploy.recipe.schema import ModelRecipe, Recipe
from deploy.report.progress import Progress
from deploy.report.sweep import JobRow
from tests.fuzzing.configurations import WORDS
from tests.fuzzing.worker import Door

_JOB = "deploy.pipeline.job"
_MODELS = Path(app.__file__).resolve().parents[1] / "models"

# the main job sets these, and would be seen to change them
os.environ.setdefault("RAY_COLOR_PREFIX", "0")
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def run_configuration(given: Path, out: Path, door: Door) -> None:
    """Do all that the main job does up to its first stage, in the folder ``out``."""
    words = json.loads((given / WORDS).read_text())
    os.chdir(out)
    GlobalHydra.instance().clear()
    stages = types.ModuleType(_JOB)
    stages.run_job = _Stages(given, out, words)  # type: ignore[attr-defined]
    sys.modules[_JOB] = stages
    sys.argv = ["deploy", *words]
    try:
        app.main(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise DeployError(f"{type(error).__name__}: {str(error)[:300]}") from error
    except SystemExit as error:
        if error.code not in (None, 0):
            cause = error.__context__
            refusal = cause if isinstance(cause, DeployError) else DeployError(str(error.code))
            raise refusal from error
    finally:
        _forget()


class _Stages:
    """In the place of the stages: what they would read, write and import must be allowed."""

    def __init__(self, given: Path, out: Path, words: Sequence[str]) -> None:
        self._roots = (given.resolve(), out.resolve(), _MODELS)
        self._trusted = any(word.startswith("code=") for word in words)

    def __call__(
        self,
        job: str,
        recipe: Recipe,
        bundle: Path,
        work: Path,
        command: str,
        progress: Progress | None = None,
        in_sweep: bool = False,
    ) -> JobRecord:
        model = recipe.model
        paths = [bundle, work, recipe.bundle.sign]
        paths += [recipe.cache if recipe.cache not in ("auto", "off") else None]
        if not self._trusted:
            paths += [model.weights, model.file, model.samples, model.eval]
        for path in (Path(path).expanduser().resolve() for path in paths if path):
            inside = any(path.is_relative_to(root) for root in self._roots)
            assert inside, f"the stages would use {path}"
        for name in _code(model):
            assert not name.startswith("tests."), f"the stages would import {name}"
        row = JobRow(job, model.name, recipe.backend.name, "passed", bundle=str(bundle))
        return JobRecord(row)


def _code(model: ModelRecipe) -> Iterator[str]:
    """Every text that the stages would take for the name of code."""
    yield from (model.target or "", *model.rewrites, *model.readers.values())
    pending: list[Any] = list(model.params.values())
    while pending:
        value = pending.pop()
        if isinstance(value, Mapping):
            yield str(value.get("target", ""))
            pending += value.values()
        elif isinstance(value, list):
            pending += value


def _forget() -> None:
    """What a run leaves in its process: open logs, and the settings of Hydra."""
    logging.shutdown()
    for handler in logging.root.handlers[:]:
        logging.root.removeHandler(handler)
    HydraConfig.instance().cfg = None
    GlobalHydra.instance().clear()

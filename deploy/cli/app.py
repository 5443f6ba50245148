"""The Hydra application: configuration -> a typed recipe -> the pipeline."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from backends.contract import DeployError
from deploy.cli.catalog import conf_folder, usage
from deploy.cli.compose import (
    CONFIG,
    check_order,
    expand_word,
    listed_backend_files,
    to_recipe,
)
from deploy.cli.config_trust import check_code, check_folders
from deploy.pipeline.sweep import write_row
from deploy.recipe.output_paths import work_folder
from deploy.recipe.schema import Recipe, RecipeError
from deploy.recipe.validate import check_backends
from deploy.report.sweep import JobRow


def main() -> None:
    """``python -m deploy``; exit code 130 where it was cancelled."""
    signal.signal(signal.SIGTERM, _cancel)
    try:
        sys.argv[1:] = map(expand_word, sys.argv[1:])
        check_folders(sys.argv[1:])
        _job()
    except RecipeError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        print("cancelled: nothing was written", file=sys.stderr)
        sys.exit(130)


def _cancel(number: int, frame: FrameType | None) -> None:
    """To be asked to end is as Ctrl-C: what was started ends too."""
    raise KeyboardInterrupt


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=CONFIG)
def _job(config: DictConfig) -> None:
    if "model" not in config:
        print(usage())
        sys.exit(2)
    row = _run(config)
    if _is_sweep():
        write_row(Path(HydraConfig.get().runtime.output_dir), row)
    elif row.status == "failed":
        sys.exit(1)


def _run(config: DictConfig) -> JobRow:
    """One job: its row says what came of it, also where that is an error."""
    overrides = HydraConfig.get().overrides.task
    job = " ".join(overrides)
    try:
        check_order(overrides)
        recipe = to_recipe(config, listed_backend_files(config))
        check_code(recipe, overrides)
        check_backends(recipe)
        # torch takes longer to import than anything above takes to be refused
        from deploy.pipeline.job import run_job

        return run_job(job, recipe, *_places(recipe), _command(overrides))
    except (DeployError, OSError) as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        print(f"error: {error}", file=sys.stderr)
        return JobRow(job, error=str(error))


def _command(overrides: Sequence[str]) -> str:
    """The command line, quoted for a shell; of a sweep's job, the one that does it alone."""
    words = sys.argv[1:]
    if _is_sweep():
        sources = HydraConfig.get().runtime.config_sources
        folders = [source.path for source in sources if source.provider == "command-line"]
        words = [*(word for one in folders for word in ("--config-dir", one)), *overrides]
    return shlex.join(["python", "-m", "deploy", *words])


def _places(recipe: Recipe) -> tuple[Path, Path]:
    """The bundle, and the folder of the stages' own files beside it."""
    runtime = HydraConfig.get().runtime
    if recipe.bundle.folder is not None:
        bundle = Path(runtime.cwd) / Path(recipe.bundle.folder).expanduser()
    elif _is_sweep():
        bundle = Path(runtime.output_dir) / "bundle"
    else:
        bundle = Path(runtime.cwd) / "bundles" / f"{recipe.model.name}-{recipe.backend.name}"
    return bundle, work_folder(bundle)


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)

"""The main job: Hydra's configuration -> a typed recipe -> the pipeline."""

from __future__ import annotations

import gc
import os
import shlex
import sys
import time
import traceback
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from backends.contract import DeployError
from backends.files import check_utf8
from backends.process.garbage import no_garbage_collection
from backends.process.openmp import short_spins
from backends.terminal import OutputEndedError
from deploy.cli.catalog import CONFIG, usage
from deploy.cli.code_names import check_code
from deploy.cli.compose import check_order, listed_files, to_recipe
from deploy.cli.config_trust import check_arguments
from deploy.cli.override_values import readable_word
from deploy.cli.quoting import legal_words
from deploy.cli.words import expand_words
from deploy.recipe.output_paths import RunPaths, work_folder
from deploy.recipe.schema import Recipe, RecipeError
from deploy.recipe.shipped import conf_folder

if TYPE_CHECKING:  # a usage error needs no report
    from deploy.pipeline.sweep import JobRecord


def main(words: Sequence[str]) -> None:
    """Run one job or a sweep; exit code 1 where it fails."""
    os.environ.setdefault("RAY_COLOR_PREFIX", "0")  # its colours would be printed as escapes
    try:
        sys.argv[1:] = legal_words(expand_words(words))
        check_arguments(sys.argv[1:])
        _job()
    except RecipeError as error:
        sys.exit(f"error: {error}")
    finally:
        gc.freeze()  # the process ends: a last search for garbage in PyTorch takes a second


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=CONFIG)
def _job(config: DictConfig) -> None:
    if "model" not in config:
        print(usage())
        sys.exit(2)
    failed = _run(config)
    if failed and _sweep_folder() is None:  # a sweep's own exit code is that of its table
        sys.exit(1)


def _run(config: DictConfig) -> bool:
    """Run one job; returns whether it failed. In a sweep its result goes into its folder."""
    overrides = _typed_overrides()
    job = shlex.join(map(readable_word, overrides))
    folder = _sweep_folder()
    try:
        record = _job_record(job, config, overrides)
    except (DeployError, OSError) as error:
        if "HYDRA_FULL_ERROR" in os.environ and folder is None:
            raise
        record = _failed(job, str(error))
    except (Exception, SystemExit) as error:
        if folder is None or isinstance(error, OutputEndedError):
            raise
        # whatever it is, the other jobs run and the table is printed
        record = _failed(job, _unexpected(error))
    if folder is not None:
        _write_record(record)
    return record.row.status == "failed"


def _job_record(job: str, config: DictConfig, overrides: Sequence[str]) -> JobRecord:
    started = time.perf_counter()
    recipe = _recipe(config, overrides)
    paths = _paths(recipe)
    from deploy.bundle import check_target

    check_target(paths.bundle)
    from deploy.report.console import TerminalConsole
    from deploy.report.progress import Progress, process_start

    in_sweep = _sweep_folder() is not None
    started = started if in_sweep else process_start()
    progress = Progress(TerminalConsole(soft_wrap=True), started)
    with progress.stage("start", "loading PyTorch"), short_spins(), no_garbage_collection():
        # takes longer than anything above takes to be refused
        from deploy.pipeline.job import run_job

    gc.freeze()  # modules stay: later searches for garbage leave them out
    command = _command(overrides)
    return run_job(job, recipe, paths.bundle, paths.work, command, progress, in_sweep)


def _failed(job: str, problem: str) -> JobRecord:
    """The record of a job that an error has ended, which is printed too: in a sweep once."""
    if "HYDRA_FULL_ERROR" in os.environ:
        traceback.print_exc()
    from deploy.pipeline.sweep import JobRecord
    from deploy.report.sweep import JobRow

    earlier = _job_with_error(problem)
    text = problem if earlier is None else f"the same as of job {earlier}"
    print(f"error: {text}", file=sys.stderr)
    return JobRecord(JobRow(job, error=problem))


def _job_with_error(problem: str) -> int | None:
    if _sweep_folder() is None:
        return None
    from deploy.pipeline.sweep import job_with_error

    return job_with_error(Path(HydraConfig.get().sweep.dir), problem)


def _write_record(record: JobRecord) -> None:
    from deploy.pipeline.sweep import write_record

    write_record(Path(HydraConfig.get().sweep.dir), HydraConfig.get().job.num, record)


def _unexpected(error: BaseException) -> str:
    """An error that no check has foreseen: its class, and what it says."""
    said = f"{type(error).__name__}: {error}".rstrip(": ")
    if "HYDRA_FULL_ERROR" in os.environ:
        return said
    return f"{said}\nWith HYDRA_FULL_ERROR=1 in the environment the traceback is printed."


def _typed_overrides() -> list[str]:
    """The words of this job. Interpolations in them stay: their values can be no legal words."""
    overrides = HydraConfig.get().overrides.task
    return cast(list[str], OmegaConf.to_container(overrides, resolve=False))


def _recipe(config: DictConfig, overrides: Sequence[str]) -> Recipe:
    check_order(overrides)
    recipe = to_recipe(config, listed_files(config))
    check_code(recipe, overrides, config)
    from deploy.recipe.automatic import check_automatic, with_possible_builds
    from deploy.recipe.model_inputs import check_model_inputs  # it loads the device's side
    from deploy.recipe.post_params import with_known_params
    from deploy.recipe.validate import check_backends, check_recipe

    check_automatic(recipe)
    recipe = with_possible_builds(recipe)
    check_backends(recipe)
    if not recipe.model.is_onnx:  # whose inputs are in its file
        recipe = replace(recipe, model=with_known_params(recipe.model))
        check_recipe(recipe)
        check_model_inputs(recipe)
    return recipe


def _command(overrides: Sequence[str]) -> str:
    """The command line, quoted for a shell; of a sweep's job, the one that runs it alone."""
    words = sys.argv[1:]
    if _sweep_folder() is not None:
        sources = HydraConfig.get().runtime.config_sources
        folders = [source.path for source in sources if source.provider == "command-line"]
        words = [*(word for path in folders for word in ("--config-dir", path)), *overrides]
    return shlex.join(["python", "-m", "deploy", *words])


def _paths(recipe: Recipe) -> RunPaths:
    folder, sweep = Path(HydraConfig.get().runtime.cwd), _sweep_folder()
    if recipe.bundle.folder is not None:
        bundle = folder / Path(recipe.bundle.folder).expanduser()
    elif sweep is not None:
        bundle = sweep / "bundle"
    else:
        engines = [engine.name for engine in recipe.partition.prefer] or [recipe.backend.name]
        bundle = folder / "bundles" / "-".join([recipe.model.name, *engines])
    check_utf8(bundle)
    return RunPaths(bundle, work_folder(bundle))


def _sweep_folder() -> Path | None:
    """The folder of this job in its sweep; None for a job alone."""
    config = HydraConfig.get()
    return Path(config.runtime.output_dir) if config.mode == RunMode.MULTIRUN else None

"""The only place with Hydra: configuration -> a typed recipe -> the pipeline."""

from __future__ import annotations

import os
import shlex
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import FrameType
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from backends.contract import DeployError
from deploy.alternatives import Files, Plain, told_apart
from deploy.catalog import choices, conf_folder, usage
from deploy.checks import check_backends
from deploy.recipe import Recipe, RecipeError
from deploy.rows import Row
from deploy.strangers import check_code, check_folder, check_folders
from deploy.sweep import write_row

_CONFIG = "deploy"
_BUNDLE = "bundle="
_MODELS = Path(__file__).resolve().parent / "models"

# at import, since a sweep's jobs may start in processes that never see main()
OmegaConf.register_new_resolver("asset", lambda name: str(_MODELS / name), replace=True)
OmegaConf.register_new_resolver("stem", lambda name: Path(name).stem, replace=True)


def main() -> None:
    """``python -m deploy``; exit code 130 where it was cancelled."""
    signal.signal(signal.SIGTERM, _cancel)
    try:
        sys.argv[1:] = map(_spelled_out, sys.argv[1:])
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


@hydra.main(version_base="1.3", config_path=str(conf_folder()), config_name=_CONFIG)
def _job(config: DictConfig) -> None:
    if "model" not in config:
        print(usage())
        sys.exit(2)
    row = _run(config)
    if _is_sweep():
        write_row(Path(HydraConfig.get().runtime.output_dir), row)
    elif row.status == "failed":
        sys.exit(1)


def _spelled_out(word: str) -> str:
    """``bundle=FOLDER`` is what one writes most; the key has other values beside the folder."""
    return f"bundle.folder={word.removeprefix(_BUNDLE)}" if word.startswith(_BUNDLE) else word


def _run(config: DictConfig) -> Row:
    """One job: its row says what came of it, also where that is an error."""
    overrides = HydraConfig.get().overrides.task
    job = " ".join(overrides)
    try:
        check_order(overrides)
        recipe = to_recipe(config, _listed_files(config))
        check_code(recipe, overrides)
        check_backends(recipe)
        # torch takes longer to import than anything above takes to be refused
        from deploy.job import run_job

        return run_job(job, recipe, *_places(recipe), _command(overrides))
    except (DeployError, OSError) as error:
        if "HYDRA_FULL_ERROR" in os.environ:
            raise
        print(f"error: {error}", file=sys.stderr)
        return Row(job, error=str(error))


def _command(overrides: Sequence[str]) -> str:
    """The command line, quoted for a shell; of a sweep's job, the one that does it alone."""
    words = sys.argv[1:]
    if _is_sweep():
        sources = HydraConfig.get().runtime.config_sources
        folders = [source.path for source in sources if source.provider == "command-line"]
        words = [*(word for one in folders for word in ("--config-dir", one)), *overrides]
    return shlex.join(["python", "-m", "deploy", *words])


def compose(overrides: Sequence[str], folder: Path | None = None) -> Recipe:
    """The recipe of a command line's words, of which none needs to choose a backend.

    Args:
        overrides: such as ``+model=yolov3``.
        folder: further configuration, as Hydra's own ``--config-dir`` takes it.

    Raises:
        RecipeError: a word that names nothing, a value of the wrong type, or code that the
            folder names and the words do not.
    """
    if folder is not None:
        check_folder(folder)
    try:
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            search = [f"hydra.searchpath=['file://{folder.absolute()}']"] if folder else []
            words = [*map(_spelled_out, overrides), *search]
            config, files = hydra.compose(_CONFIG, words), _files(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise RecipeError(str(error).partition("\nConfig search path")[0].rstrip()) from error
    check_order(overrides)
    with open_dict(config):
        config.setdefault("backend", {"name": "none"})
    recipe = to_recipe(config, files)
    check_code(recipe, overrides)
    return recipe


def _listed_files(config: DictConfig) -> Files:
    """As ``_files`` of this job; they are looked for only where a key has no single choice."""
    job, chain = HydraConfig.get(), config.get("chain")
    segments = chain if isinstance(chain, DictConfig) else ()
    keys = ["backend", *(f"backend@chain.{segment!s}" for segment in segments)]
    if all(isinstance(job.runtime.choices.get(key), str) for key in keys):
        return {}
    return _files([*job.overrides.hydra, *job.overrides.task])


def _files(overrides: Sequence[str]) -> Files:
    """Of keys for which a list of backends was chosen, what the file of each says."""
    loader = GlobalHydra.instance().config_loader()
    found = loader.compute_defaults_list(_CONFIG, list(overrides), RunMode.RUN)
    names: dict[str, list[str]] = {}
    for one in found.defaults:
        group, _, name = one.config_path.partition("/")
        if group == "backend":
            names.setdefault(one.package, []).append(name)
    search = [word for word in overrides if word.lstrip("+").startswith("hydra.searchpath")]
    return {
        key: [_file(name, search) for name in several]
        for key, several in names.items()
        if len(several) > 1
    }


def _file(name: str, search: Sequence[str]) -> Plain:
    found = hydra.compose(_CONFIG, [*search, f"+backend={name}"])["backend"]
    return cast(Plain, _without_nulls(OmegaConf.to_container(found, resolve=True)))


def check_order(overrides: Sequence[str]) -> None:
    """Refuse a preset that the model's own partition would silently replace.

    Raises:
        RecipeError: ``+partition=`` stands before ``+model=`` or ``+recipe=``.
    """
    groups = [override.partition("=")[0].lstrip("+") for override in overrides]
    bringing = [number for number, group in enumerate(groups) if group in ("model", "recipe")]
    if "partition" in groups and groups.index("partition") < max(bringing, default=0):
        raise RecipeError(
            "+partition= stands before the model, whose own partition would replace it",
            do="Write it behind +model= and +recipe=.",
        )


def to_recipe(config: DictConfig, files: Files | None = None) -> Recipe:
    """The configuration as a typed recipe.

    Args:
        config: what Hydra composed.
        files: of keys for which a list of backends was chosen, what the file of each says.

    Raises:
        RecipeError: a key that does not exist, or a value of the wrong type, by name.
    """
    if "backend" not in config:
        raise RecipeError(
            "no backend is chosen",
            do=f"Pass +backend=NAME, one of {', '.join(choices('backend'))}.",
        )
    return _typed(config, files or {})


def from_plain(given: Mapping[str, Any]) -> Recipe:
    """A recipe that was written as plain mappings.

    Raises:
        RecipeError: a key that does not exist, or a value of the wrong type, by name.
    """
    return _typed(OmegaConf.create(dict(given)), {})


def _typed(config: DictConfig, files: Files) -> Recipe:
    try:
        given = _without_nulls(OmegaConf.to_container(config, resolve=True))
        given.pop("code", None)  # counts on the command line alone
        if isinstance(given.get("bundle"), str):
            given["bundle"] = {"folder": given["bundle"]}
        merged = OmegaConf.merge(OmegaConf.structured(Recipe), told_apart(given, files))
        return cast(Recipe, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        what = str(error).splitlines()[0]
        raise RecipeError(f"{error.full_key or 'recipe'}: {what}", do=_keys(error)) from error


def _without_nulls(value: Any) -> Any:
    """Null in YAML asks for the default; Hydra lets any mapping be put in its place."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return value


def _keys(error: OmegaConfBaseException) -> str:
    kind = error.object_type
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return ""
    return f"Its keys are {', '.join(field.name for field in fields(kind))}."


def _places(recipe: Recipe) -> tuple[Path, Path]:
    """The bundle, and the folder of the stages' own files beside it."""
    runtime = HydraConfig.get().runtime
    if recipe.bundle.folder is not None:
        bundle = Path(runtime.cwd) / Path(recipe.bundle.folder).expanduser()
    elif _is_sweep():
        bundle = Path(runtime.output_dir) / "bundle"
    else:
        bundle = Path(runtime.cwd) / "bundles" / f"{recipe.model.name}-{recipe.backend.name}"
    return bundle, bundle.with_name(f"{bundle.name}.work")


def _is_sweep() -> bool:
    return bool(HydraConfig.get().mode == RunMode.MULTIRUN)

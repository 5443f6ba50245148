"""Configuration -> a typed recipe."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from deploy.cli.backend_lists import Files, Plain, expand_backend_lists
from deploy.cli.catalog import conf_folder, config_choices
from deploy.cli.config_trust import check_code, check_folder
from deploy.cli.words import expand_words
from deploy.recipe.schema import Recipe, RecipeError

CONFIG = "deploy"
_MODELS = Path(__file__).resolve().parents[1] / "models"

# at import, since a sweep's jobs may start in processes that import nothing else of this package
OmegaConf.register_new_resolver("asset", lambda name: str(_MODELS / name), replace=True)
OmegaConf.register_new_resolver("stem", lambda name: Path(name).stem, replace=True)


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
            words = [*expand_words(overrides, folder is not None), *search]
            config, files = hydra.compose(CONFIG, words), backend_files(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise RecipeError(str(error).partition("\nConfig search path")[0].rstrip()) from error
    check_order(overrides)
    with open_dict(config):
        config.setdefault("backend", {"name": "none"})
    recipe = to_recipe(config, files)
    check_code(recipe, overrides)
    return recipe


def listed_backend_files(config: DictConfig) -> Files:
    """As ``_files`` of this job; they are looked for only where a key has no single choice."""
    job, chain = HydraConfig.get(), config.get("chain")
    segments = chain if isinstance(chain, DictConfig) else ()
    keys = ["backend", *(f"backend@chain.{segment!s}" for segment in segments)]
    if all(isinstance(job.runtime.choices.get(key), str) for key in keys):
        return {}
    return backend_files([*job.overrides.hydra, *job.overrides.task])


def backend_files(overrides: Sequence[str]) -> Files:
    """Of keys for which a list of backends was chosen, what the file of each says."""
    loader = GlobalHydra.instance().config_loader()
    found = loader.compute_defaults_list(CONFIG, list(overrides), RunMode.RUN)
    names: dict[str, list[str]] = {}
    for one in found.defaults:
        group, _, name = one.config_path.partition("/")
        if group == "backend":
            names.setdefault(one.package, []).append(name)
    search = [word for word in overrides if word.lstrip("+").startswith("hydra.searchpath")]
    return {
        key: [backend_file(name, search) for name in several]
        for key, several in names.items()
        if len(several) > 1
    }


def backend_file(name: str, search: Sequence[str]) -> Plain:
    """What the file of a backend says."""
    found = hydra.compose(CONFIG, [*search, f"+backend={name}"])["backend"]
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
            do=f"Pass +backend=NAME, one of {', '.join(config_choices('backend'))}.",
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
        merged = OmegaConf.merge(OmegaConf.structured(Recipe), expand_backend_lists(given, files))
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

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

from deploy.cli.backend_lists import Files, Plain, expand_backend_lists, expand_devices
from deploy.cli.catalog import CONFIG, config_choices
from deploy.cli.code_names import check_code
from deploy.cli.config_trust import check_folders, composition_error
from deploy.cli.demo_files import demo_file
from deploy.cli.devices import to_device
from deploy.cli.quoting import legal_words
from deploy.cli.words import expand_words
from deploy.recipe.class_names import names_file, read_class_names
from deploy.recipe.schema import Recipe, RecipeError
from deploy.recipe.shipped import conf_folder
from deploy.recipe.texts import with_texts
from deploy.runtime.execution.registered import post_id

# at import, since a sweep's jobs may start in processes that import nothing else of this package
OmegaConf.register_new_resolver("asset", demo_file, replace=True)
OmegaConf.register_new_resolver("stem", lambda name: Path(str(name)).stem, replace=True)


_DEVICE = "device"  # the group
_NO_BACKEND = "none"  # of commands that need none


def compose(overrides: Sequence[str], folder: Path | None = None) -> Recipe:
    """The recipe of a command line's words, of which none needs to choose a backend.

    Args:
        overrides: such as ``+model=yolov3``.
        folder: further configuration, as Hydra's own ``--config-dir`` takes it.

    Raises:
        RecipeError: a word that names nothing, a value of the wrong type, or code that the
            folder names and the words do not.
    """
    typed = legal_words(expand_words(overrides, folder is not None))
    try:
        check_folders([folder] if folder else [], typed)
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            search = [f"hydra.searchpath=['file://{folder.absolute()}']"] if folder else []
            words = [*typed, *search]
            config, files = hydra.compose(CONFIG, words), composed_files(words)
    except (HydraException, OmegaConfBaseException) as error:
        raise composition_error(error) from error
    check_order(typed)
    with open_dict(config):
        config.setdefault("backend", {"name": _NO_BACKEND})
    recipe = to_recipe(config, files)
    check_code(recipe, typed, config)
    return recipe


def listed_files(config: DictConfig) -> Files:
    """``composed_files`` of this job; empty without reading any if every key has one backend."""
    job, chain = HydraConfig.get(), config.get("chain")
    segments = chain if isinstance(chain, DictConfig) else ()
    keys = ["backend", *(f"backend@chain.{segment!s}" for segment in segments)]
    is_single = all(isinstance(job.runtime.choices.get(key), str) for key in keys)
    if is_single and _DEVICE not in config:
        return {}
    return composed_files([*job.overrides.hydra, *job.overrides.task])


def composed_files(overrides: Sequence[str]) -> Files:
    """The contents of the files of each key with a list of backends, and of the devices."""
    loader = GlobalHydra.instance().config_loader()
    defaults_list = loader.compute_defaults_list(CONFIG, list(overrides), RunMode.RUN)
    names: dict[str, list[str]] = {}
    for default in defaults_list.defaults:
        group, _, name = default.config_path.partition("/")
        if group in ("backend", _DEVICE):
            names.setdefault(default.package, []).append(name)
    search = [word for word in overrides if word.lstrip("+").startswith("hydra.searchpath")]
    devices = names.pop(_DEVICE, [])
    files = {
        key: [_file("backend", name, search) for name in backends]
        for key, backends in names.items()
        if len(backends) > 1
    }
    if devices:
        files[_DEVICE] = [{"name": name, **_file(_DEVICE, name, search)} for name in devices]
    return files


def _file(group: str, name: str, search: Sequence[str]) -> Plain:
    """The contents of a file of a group."""
    values = hydra.compose(CONFIG, [*search, f"+{group}={name}"])[group]
    return cast(Plain, _without_nulls(OmegaConf.to_container(values, resolve=True)))


def check_order(overrides: Sequence[str]) -> None:
    """Refuse a preset that the model's own values would silently replace.

    Raises:
        RecipeError: ``+partition=`` or ``+pre=`` stands before ``+model=`` or ``+recipe=``.
    """
    groups = [override.partition("=")[0].lstrip("+") for override in overrides]
    bringing = [number for number, group in enumerate(groups) if group in ("model", "recipe")]
    for preset in ("partition", "pre"):
        if preset in groups and groups.index(preset) < max(bringing, default=0):
            raise RecipeError(
                f"+{preset}= stands before the model, whose own {preset} would replace it",
                do="Write it behind +model= and +recipe=.",
            )


def to_recipe(config: DictConfig, files: Files | None = None) -> Recipe:
    """The configuration as a typed recipe.

    Args:
        config: what Hydra composed.
        files: as of ``composed_files``.

    Raises:
        RecipeError: a key that does not exist, or a value of the wrong type, by name.
    """
    if "backend" not in config and not _is_automatic(config):
        raise RecipeError(
            "no backend is chosen",
            do=f"Pass +backend=NAME, one of {', '.join(config_choices('backend'))}.",
        )
    return _typed(config, files or {})


def from_plain(values: Mapping[str, Any]) -> Recipe:
    """A recipe from plain mappings.

    Raises:
        RecipeError: a key that does not exist, or a value of the wrong type, by name.
    """
    return _typed(OmegaConf.create(dict(values)), {})


def _typed(config: DictConfig, files: Files) -> Recipe:
    try:
        values = _without_nulls(OmegaConf.to_container(config, resolve=True))
        values.pop("code", None)  # is read from the command line alone
        if isinstance(values.get("bundle"), str):
            values["bundle"] = {"folder": values["bundle"]}
        _shape_values(values)
        _expand_files(values)
        _expand_post(values)
        _expand_text(values)
        _read_classes(values)
        _expand_prefer(values)
        values["device"] = expand_devices(values, files)
        values = with_texts(values)
        values["device"] = [to_device(device) for device in values["device"]]
        merged = OmegaConf.merge(OmegaConf.structured(Recipe), expand_backend_lists(values, files))
        return cast(Recipe, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        # of a resolver only what it says itself
        problem = str(error).splitlines()[0].rpartition(" while resolving interpolation: ")[2]
        raise RecipeError(f"{error.full_key or 'recipe'}: {problem}", do=_keys(error)) from error


def _is_automatic(config: DictConfig) -> bool:
    return OmegaConf.select(config, "partition.auto") is not None


def _expand_prefer(values: dict[str, Any]) -> None:
    """Write each engine of ``partition.prefer`` in full; the first is the backend of the recipe.

    A backend of the command line has its options in the place of its name's.
    """
    values.setdefault("backend", {"name": _NO_BACKEND})  # where it may be missing
    partition = values.get("partition")
    prefer = partition.get("prefer") if isinstance(partition, dict) else None
    if not isinstance(partition, dict) or prefer is None:
        return
    names = [prefer] if isinstance(prefer, str) else prefer
    if not isinstance(names, list):
        return  # the typed recipe refuses it
    engines = [{"name": entry} if isinstance(entry, str) else entry for entry in names]
    chosen = values.get("backend")
    if isinstance(chosen, dict) and chosen.get("name") != _NO_BACKEND:
        engines = [chosen if entry == {"name": chosen.get("name")} else entry for entry in engines]
    elif engines and isinstance(engines[0], dict):
        values["backend"] = engines[0]
    partition["prefer"] = engines


def _shape_values(values: Mapping[str, Any]) -> None:
    """Give each input of the model that has a value the shape of that value, unless it has one."""
    model = values.get("model")
    inputs = model.get("inputs") if isinstance(model, dict) else None
    for spec in inputs.values() if isinstance(inputs, dict) else ():
        if isinstance(spec, dict) and "value" in spec:
            spec.setdefault("shape", _nested_shape(spec["value"]))


def _expand_files(values: Mapping[str, Any]) -> None:
    """Write each entry of ``model.files`` that is a path alone in full."""
    model = values.get("model")
    files = model.get("files") if isinstance(model, dict) else None
    if isinstance(files, dict):
        files |= {name: {"file": path} for name, path in files.items() if isinstance(path, str)}


def _expand_post(values: Mapping[str, Any]) -> None:
    """Write ``model.post`` as a list of entries: it may be one entry, or an id alone."""
    model = values.get("model")
    post = model.get("post") if isinstance(model, dict) else None
    if not isinstance(model, dict) or not isinstance(post, str | dict | list):
        return
    entries = post if isinstance(post, list) else [post]
    model["post"] = [{"id": entry} if isinstance(entry, str) else entry for entry in entries]
    for entry in model["post"]:
        if isinstance(entry, dict) and isinstance(entry.get("target"), str):
            entry.setdefault("id", post_id(entry["target"]))


def _expand_text(values: Mapping[str, Any]) -> None:
    """Write ``model.text`` in full where it is an id alone."""
    model = values.get("model")
    text = model.get("text") if isinstance(model, dict) else None
    if isinstance(model, dict) and isinstance(text, str):
        model["text"] = {"id": text}
    if isinstance(text, dict) and "id" not in text:
        raise RecipeError(
            "model.text",
            expected="an id, such as words",
            got="parameters alone",
            do="Pass both in one: 'model.text={id: words, params: {...}}'.",
        )


def _read_classes(values: Mapping[str, Any]) -> None:
    """Put the lines of the file in the place of a ``model.classes`` that names one."""
    model = values.get("model")
    classes = model.get("classes") if isinstance(model, dict) else None
    if isinstance(model, dict) and isinstance(classes, str) and (file := names_file(classes)):
        model["classes"] = read_class_names(file)


def _nested_shape(value: object) -> list[int]:
    if not isinstance(value, list):
        return []
    return [len(value), *(_nested_shape(value[0]) if value else ())]


def _without_nulls(value: Any) -> Any:
    """Null in YAML stands for the default; Hydra lets any mapping replace it."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) if isinstance(item, dict) else item for item in value]
    return value


def _keys(error: OmegaConfBaseException) -> str:
    kind = error.object_type
    if not (isinstance(kind, type) and is_dataclass(kind)):
        return ""
    return f"Its keys are {', '.join(field.name for field in fields(kind))}."

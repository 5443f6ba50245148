"""Devices of the configuration, by their names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deploy.cli.catalog import CONFIG
from deploy.cli.config_trust import check_folders, composition_error
from deploy.cli.quoting import legal_words
from deploy.recipe.device_rules import check_devices
from deploy.recipe.devices import DeviceRecipe
from deploy.recipe.schema import RecipeError
from deploy.recipe.shipped import conf_folder

GROUP = "device"


def device_names(folder: Path | None = None) -> list[str]:
    """The devices that there are: those of this project, and those of a folder of one's own."""
    folders = [conf_folder(), *([folder] if folder else [])]
    return sorted({path.stem for one in folders for path in (one / GROUP).glob("*.yaml")})


def device_recipe(name: str, words: Sequence[str] = (), folder: Path | None = None) -> DeviceRecipe:
    """A device by the name of its file.

    Args:
        name: such as ``local``.
        words: further values, such as ``device.host=pi@raspberrypi``.
        folder: with configuration of one's own, which has a folder ``device``.

    Raises:
        RecipeError: there is no such device, or a value is of the wrong type.
    """
    if name not in device_names(folder):
        raise RecipeError(
            f"device '{name}'",
            expected=f"one of {', '.join(device_names(folder))}",
            do="Write a file of its name into the folder device of your configuration, and pass "
            "--config-dir.",
        )
    typed = legal_words([f"+{GROUP}={name}", *words])
    try:
        check_folders([folder] if folder else [], typed)
        search = [f"hydra.searchpath=['file://{folder.absolute()}']"] if folder else []
        with hydra.initialize_config_dir(str(conf_folder()), version_base="1.3"):
            values = OmegaConf.to_container(hydra.compose(CONFIG, [*typed, *search])[GROUP])
    except (HydraException, OmegaConfBaseException) as error:
        raise composition_error(error) from error
    device = to_device({"name": name, **cast("Mapping[str, Any]", values)})
    check_devices([device])
    return device


def to_device(values: Mapping[str, Any]) -> DeviceRecipe:
    """A device from plain values.

    Raises:
        RecipeError: a key that does not exist, or a value of the wrong type, by name.
    """
    try:
        merged = OmegaConf.merge(OmegaConf.structured(DeviceRecipe), dict(values))
        return cast(DeviceRecipe, OmegaConf.to_object(merged))
    except OmegaConfBaseException as error:
        problem = str(error).splitlines()[0]
        keys = ", ".join(field.name for field in fields(DeviceRecipe))
        raise RecipeError(
            f"{GROUP}.{error.full_key}: {problem}", do=f"Its keys are {keys}."
        ) from error

"""Code that is found by a registered id: in the models of this package, or by entry points."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from deploy import models


def model_modules(half: str) -> Iterator[ModuleType]:
    """The module of this name of every model that has one, such as ``post``."""
    for model in pkgutil.iter_modules(models.__path__):
        package = f"{models.__name__}.{model.name}"
        folder = importlib.import_module(package)
        if any(module.name == half for module in pkgutil.iter_modules(folder.__path__)):
            yield importlib.import_module(f"{package}.{half}")

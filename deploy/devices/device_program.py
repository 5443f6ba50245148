"""The program for a device as one text, which a bare Python there runs."""

from __future__ import annotations

import inspect
from types import ModuleType

from deploy.devices.on_device import (
    children,
    desk,
    environments,
    faults,
    lock,
    machine,
    notes,
    program,
    trees,
)

_MODULES = (faults, notes, desk, machine, lock, children, trees, environments, program)
_LOADER = """\
import sys, types
for name in {packages!r}:
    sys.modules[name] = types.ModuleType(name)
for name, text in {sources!r}:
    module = sys.modules[name] = types.ModuleType(name)
    exec(compile(text, name, "exec"), module.__dict__)
sys.modules[{program!r}].serve({folder!r})
"""


def device_program(folder: str) -> str:
    """The text of the program.

    Args:
        folder: of the device.
    """
    return _LOADER.format(
        packages=_packages(program),
        sources=[(module.__name__, inspect.getsource(module)) for module in _MODULES],
        program=program.__name__,
        folder=folder,
    )


def _packages(module: ModuleType) -> list[str]:
    """The packages that a module is in."""
    parts = module.__name__.split(".")[:-1]
    return [".".join(parts[: size + 1]) for size in range(len(parts))]

"""Rewrites and their targets: from a dotted name to what can be replaced, and nothing else."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from torch import nn

from backends.contract import DeployError


class RewriteError(DeployError):
    """A rewrite that is written wrongly, or whose target is not what it takes it for."""


@dataclass(frozen=True)
class Rewrite:
    """Other code for a target, of these backends (none: any) and while ``when`` is installed."""

    target: str
    replacement: Callable[..., Any]
    backends: tuple[str, ...] = ()
    when: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the replacement, as a test of it would."""
        return self.replacement(*args, **kwargs)

    def __str__(self) -> str:
        """Where the replacement is written, such as ``my_package.rewrites.forward``."""
        return f"{self.replacement.__module__}.{self.replacement.__qualname__}"


@dataclass(frozen=True)
class RewriteTarget:
    """A target, with ``value`` as it lies in ``owner`` or, for a class, in one of its bases."""

    rewrite: Rewrite
    owner: type | ModuleType
    name: str
    value: Any

    @property
    def module_class(self) -> type[nn.Module] | None:
        """The target, if it is a class of modules."""
        value = self.value
        return value if isinstance(value, type) and issubclass(value, nn.Module) else None

    @property
    def place(self) -> object:
        """Equal for two names of one target."""
        return self.module_class or (self.owner, self.name)


def find_target(rewrite: Rewrite) -> RewriteTarget:
    """Import what holds the target of a rewrite, and look at it without calling it.

    Raises:
        RewriteError: it does not exist, or is nothing that can be replaced.
    """
    owner, names = _module(rewrite)
    for name in names[:-1]:
        inner = _member(owner, name, rewrite)
        if not isinstance(inner, type | ModuleType):
            raise target_error(rewrite, f"{name} to be a class or module", type(inner).__name__)
        owner = inner
    found = RewriteTarget(rewrite, owner, names[-1], _member(owner, names[-1], rewrite))
    _check_kind(found)
    return found


def _module(rewrite: Rewrite) -> tuple[type | ModuleType, list[str]]:
    """The module of a target, and the names that lead from there to it."""
    head, _, rest = rewrite.target.partition(":")
    parts = head.split(".")
    # the last name is no module, even where there is one of that name: `torchvision.ops.roi_align`
    for size in range(len(parts) if rest else len(parts) - 1, 0, -1):
        name = ".".join(parts[:size])
        try:
            return import_module(name), [*parts[size:], *(rest.split(".") if rest else ())]
        except ImportError as error:
            absent = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(
                f"{error.name}."
            )
            if not absent or size == 1:
                raise RewriteError(
                    f"target '{rewrite.target}' of {rewrite}: module '{name}' cannot be imported:"
                    f" {error}",
                    do="Install it, or say in `when` which distribution the rewrite is for.",
                ) from error
    raise target_error(rewrite, "a module and a name in it", rewrite.target)


def _member(owner: type | ModuleType, name: str, rewrite: Rewrite) -> Any:
    """What a class or module holds under a name; of a class the descriptor itself."""
    if isinstance(owner, type):
        for base in owner.__mro__:
            if name in vars(base):
                return vars(base)[name]
        raise _absent(owner, name, rewrite)
    try:
        return getattr(owner, name)  # not vars: a module may load its names when asked for them
    except (AttributeError, ImportError) as error:
        raise _absent(owner, name, rewrite) from error


def _absent(owner: type | ModuleType, name: str, rewrite: Rewrite) -> RewriteError:
    near = difflib.get_close_matches(name, dir(owner))
    return RewriteError(
        f"target '{rewrite.target}' of {rewrite}: {owner.__name__} has no '{name}'",
        do=f"Did you mean {' or '.join(near)}?" if near else "Check the name, or narrow `when`.",
    )


def target_error(rewrite: Rewrite, expected: str, got: str, do: str = "") -> RewriteError:
    """What is wrong with a rewrite and its target."""
    what = f"target '{rewrite.target}' of {rewrite}"
    return RewriteError(what, expected=expected, got=got, do=do)


def _check_kind(found: RewriteTarget) -> None:
    value, kinds = found.value, "a function, a method or a class of modules"
    if isinstance(value, property):
        do = "Rewrite a method that it calls, or the method that reads it."
        raise target_error(found.rewrite, kinds, "a property", do)
    if isinstance(value, type) and found.module_class is None:
        raise target_error(found.rewrite, kinds, "another class", "Rewrite one of its methods.")
    if not callable(value) and not isinstance(value, classmethod):
        raise target_error(found.rewrite, kinds, type(value).__name__)

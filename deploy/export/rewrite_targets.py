"""A rewrite, and the lookup of its target by name."""

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
    """A rewrite that is malformed or conflicts with another, or whose target cannot be rewritten.

    Examples:
        >>> from deploy.rewrite import RewriteError, rewrite
        >>> try:
        ...     rewrite("relu")
        ... except RewriteError as error:
        ...     print(error)
        target of a rewrite: expected package.module.name or package.module:Class.method, got 'relu'
    """


@dataclass(frozen=True)
class Rewrite:
    """Replacement code for a target; made by ``@rewrite``.

    Attributes:
        target: the dotted name of the function, method or module class to replace.
        replacement: the function of ``(original, *args, **kwargs)``, or from a module to its
            replacement.
        backends: the backends that the rewrite is for; empty for any.
        when: requirements that must all be installed.

    Examples:
        >>> from deploy.rewrite import rewrite
        >>> @rewrite("math.sqrt", backend="engine")
        ... def root(original, x):
        ...     return original(abs(x))
        >>> root.target, root.backends
        ('math.sqrt', ('engine',))
        >>> root(lambda x: x**0.5, -4.0)
        2.0
    """

    target: str
    replacement: Callable[..., Any]
    backends: tuple[str, ...] = ()
    when: tuple[str, ...] = ()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the replacement, for instance in a test of it."""
        return self.replacement(*args, **kwargs)

    def __str__(self) -> str:
        """The qualified name of the replacement, such as ``my_package.rewrites.forward``."""
        return f"{self.replacement.__module__}.{self.replacement.__qualname__}"


@dataclass(frozen=True)
class RewriteTarget:
    """The target of a rewrite.

    Attributes:
        rewrite: the rewrite.
        owner: the class or module that the target is an attribute of.
        name: the attribute's name.
        value: the attribute's value; of a class the descriptor itself, possibly of a base class.
    """

    rewrite: Rewrite
    owner: type | ModuleType
    name: str
    value: Any

    @property
    def module_class(self) -> type[nn.Module] | None:
        """The target, if it is a module class."""
        value = self.value
        return value if isinstance(value, type) and issubclass(value, nn.Module) else None

    @property
    def identity(self) -> object:
        """A key that is equal for two names of one target."""
        return self.module_class or (self.owner, self.name)


def find_target(rewrite: Rewrite) -> RewriteTarget:
    """Import the owner of a rewrite's target, and look the target up without calling it.

    Raises:
        RewriteError: the target does not exist, or is of a kind that cannot be rewritten.
    """
    owner, names = _import_owner(rewrite)
    for name in names[:-1]:
        inner = _attribute(owner, name, rewrite)
        if not isinstance(inner, type | ModuleType):
            raise target_error(rewrite, f"{name} to be a class or module", type(inner).__name__)
        owner = inner
    target = RewriteTarget(rewrite, owner, names[-1], _attribute(owner, names[-1], rewrite))
    _check_kind(target)
    return target


def _import_owner(rewrite: Rewrite) -> tuple[type | ModuleType, list[str]]:
    """The module of a target, and the attribute names that lead from there to it."""
    head, _, rest = rewrite.target.partition(":")
    parts = head.split(".")
    # the last name is never a module, even where one has that name: `torchvision.ops.roi_align`
    for size in range(len(parts) if rest else len(parts) - 1, 0, -1):
        name = ".".join(parts[:size])
        try:
            return import_module(name), [*parts[size:], *(rest.split(".") if rest else ())]
        except ImportError as error:
            not_found = isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(
                f"{error.name}."
            )
            if not not_found or size == 1:
                raise RewriteError(
                    f"target '{rewrite.target}' of {rewrite}: module '{name}' cannot be imported:"
                    f" {error}",
                    do="Install it, or say in `when` which distribution the rewrite is for.",
                ) from error
    raise target_error(rewrite, "a module and a name in it", rewrite.target)


def _attribute(owner: type | ModuleType, name: str, rewrite: Rewrite) -> Any:
    """An attribute of a class or module; of a class the descriptor itself."""
    if isinstance(owner, type):
        for base in owner.__mro__:
            if name in vars(base):
                return vars(base)[name]
        raise _no_attribute(owner, name, rewrite)
    try:
        return getattr(owner, name)  # not vars: modules may load attributes lazily
    except (AttributeError, ImportError) as error:
        raise _no_attribute(owner, name, rewrite) from error


def _no_attribute(owner: type | ModuleType, name: str, rewrite: Rewrite) -> RewriteError:
    near = difflib.get_close_matches(name, dir(owner))
    return RewriteError(
        f"target '{rewrite.target}' of {rewrite}: {owner.__name__} has no '{name}'",
        do=f"Did you mean {' or '.join(near)}?" if near else "Check the name, or narrow `when`.",
    )


def target_error(rewrite: Rewrite, expected: str, got: str, do: str = "") -> RewriteError:
    """An error about a rewrite and its target."""
    what = f"target '{rewrite.target}' of {rewrite}"
    return RewriteError(what, expected=expected, got=got, do=do)


def _check_kind(target: RewriteTarget) -> None:
    value, kinds = target.value, "a function, a method or a module class"
    if isinstance(value, property):
        do = "Rewrite a method that it calls, or the method that reads it."
        raise target_error(target.rewrite, kinds, "a property", do)
    if isinstance(value, type) and target.module_class is None:
        raise target_error(target.rewrite, kinds, "another class", "Rewrite one of its methods.")
    if not callable(value) and not isinstance(value, classmethod):
        raise target_error(target.rewrite, kinds, type(value).__name__)

"""Rewrites: replacement code for a function, method or module class during an export.

A function or method::

    @rewrite("some.package.Class.method", backend="engine", when="some-dist>=4,<6")
    def method(original, self, x):
        return original(self, x.float())

The instances of a module class in a model::

    @rewrite("some.package.Upsample")
    def upsample(module):
        return MyUpsample(module.scale)

There is no registry: ``model.rewrites`` in the recipe names the modules to search for rewrites. A
rewrite is in effect only during an export.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from deploy.export.rewrite_targets import Rewrite, RewriteError
from deploy.export.rewrites import (
    applicable_rewrites,
    apply_rewrites,
    collect_rewrites,
    is_dotted_name,
    parse_requirement,
)

__all__ = ["Rewrite", "RewriteError", "rewrite"]


def rewrite(
    target: str,
    *,
    backend: str | Sequence[str] | None = None,
    when: str | Sequence[str] | None = None,
) -> Callable[[Callable[..., Any]], Rewrite]:
    """Declare a function as the rewrite of a target.

    The target is neither imported nor changed until the rewrite is applied.

    Args:
        target: ``package.module.Class.method``, ``package.module.function`` or
            ``package.module.Module``. A colon may follow the module.
        backend: the backends that the rewrite is for. By default any.
        when: requirements that must all be installed, such as ``transformers>=4.40,<6``. Otherwise
            the rewrite does not apply, and the target need not exist.

    Returns:
        A decorator. It takes a function of ``(original, *args, **kwargs)``, where ``original`` is
        the unbound target, called as ``original(self, x)``. For a module class it takes a function
        (or class) from an instance to the ``torch.nn.Module`` that replaces it.

    Raises:
        RewriteError: ``target`` is not a dotted name, ``when`` is not a requirement, or the
            decorated object is not callable or already a rewrite.

    Examples:
        >>> import torch
        >>> @rewrite("torch.nn.GELU.forward", when="torch>=2")
        ... def tanh_gelu(original, self, x):
        ...     return torch.nn.functional.gelu(x, approximate="tanh")
        >>> tanh_gelu.target, tanh_gelu.backends, tanh_gelu.when
        ('torch.nn.GELU.forward', (), ('torch>=2',))
        >>> tanh_gelu(None, torch.nn.GELU(), torch.zeros(2))
        tensor([0., 0.])
    """
    _check_target(target)
    requirements = _as_tuple(when)
    for text in requirements:
        parse_requirement(text, target)

    def decorate(replacement: Callable[..., Any]) -> Rewrite:
        if not callable(replacement) or not hasattr(replacement, "__qualname__"):
            raise RewriteError(
                f"rewrite of '{target}'",
                expected="a function below @rewrite",
                got=type(replacement).__name__,
                do="Write one function for each target, and @rewrite above other decorators.",
            )
        return Rewrite(target, replacement, _as_tuple(backend), requirements)

    return decorate


def _check_target(target: str) -> None:
    parts = target.split(":")
    if len(parts) > 2 or not all(map(is_dotted_name, parts)) or "." not in target.replace(":", "."):
        raise RewriteError(
            "target of a rewrite",
            expected="package.module.name or package.module:Class.method",
            got=repr(target),
        )


def _as_tuple(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


_RENAMED: Mapping[str, Callable[..., Any]] = {
    "chosen": applicable_rewrites,
    "collect": collect_rewrites,
    "rewriting": apply_rewrites,
}


def __getattr__(name: str) -> Any:
    """The former names of functions that moved to ``deploy.export.rewrites``, with a warning."""
    if name not in _RENAMED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    function = _RENAMED[name]
    warnings.warn(
        f"deploy.rewrite.{name} will be removed in the next version; "
        f"import {function.__name__} from deploy.export.rewrites instead",
        DeprecationWarning,
        stacklevel=2,
    )
    return function

"""Rewrites: other code for a function, method or module that is not ours, while we export.

A function or method::

    @rewrite("some.package.Class.method", backend="engine", when="some-dist>=4,<6")
    def method(original, self, x):
        return original(self, x.float())

The instances of a module class in a model::

    @rewrite("some.package.Upsample")
    def upsample(module):
        return MyUpsample(module.scale)

Nothing is registered: ``model.rewrites`` names the modules to search, and a rewrite is in place for
the length of an export alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from deploy.export.rewrite_targets import Rewrite, RewriteError
from deploy.export.rewrites import is_dotted_name, parse_requirement

__all__ = ["Rewrite", "RewriteError", "rewrite"]


def rewrite(
    target: str,
    *,
    backend: str | Sequence[str] | None = None,
    when: str | Sequence[str] | None = None,
) -> Callable[[Callable[..., Any]], Rewrite]:
    """Make a function the rewrite of a target, which is not touched yet.

    Args:
        target: ``package.module.Class.method``, ``package.module.function`` or
            ``package.module.Module``; also with a colon after the module.
        backend: the backends that it is for. By default any.
        when: what must be installed, such as ``transformers>=4.40,<6``; all of it. Where it is
            not, the rewrite does not apply and the target need not exist.

    Returns:
        A decorator. Below it stands a function of ``(original, *args, **kwargs)``, where
        ``original`` is called like the target unbound, ``original(self, x)``; or, for a module
        class, a function (or class) from an instance to the module that takes its place.

    Raises:
        RewriteError: ``target`` is no such name, ``when`` is no such requirement, or what is
            decorated cannot be called or is a rewrite already.
    """
    _check_target(target)
    requirements = _listed(when)
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
        return Rewrite(target, replacement, _listed(backend), requirements)

    return decorate


def _check_target(target: str) -> None:
    parts = target.split(":")
    if len(parts) > 2 or not all(map(is_dotted_name, parts)) or "." not in target.replace(":", "."):
        raise RewriteError(
            "target of a rewrite",
            expected="package.module.name or package.module:Class.method",
            got=repr(target),
        )


def _listed(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())

"""Rewrites: other code for a function, method or module that is not ours, while we export.

A function or method::

    @rewrite("some.package.Class.method", backend="engine", when="some-dist>=4,<6")
    def method(original, self, x):
        return original(self, x.float())

The instances of a module class in a model::

    @rewrite("some.package.Upsample")
    def upsample(module):
        return MyUpsample(module.scale)

Nothing is registered: ``collect`` finds the rewrites of the modules that it is given, ``chosen``
keeps those that apply, and ``rewriting`` puts them in place for the length of a ``with`` block.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType, ModuleType
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement

from deploy.rewriting import rewriting
from deploy.targets import Rewrite, RewriteError

__all__ = ["Rewrite", "RewriteError", "chosen", "collect", "rewrite", "rewriting"]


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
        _requirement(text, target)

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


def collect(modules: Iterable[str]) -> tuple[Rewrite, ...]:
    """Import modules and find their rewrites, in the order of their definition, each once.

    Raises:
        RewriteError: a module cannot be imported or holds no rewrite, or a rewrite lies below
            another decorator.
    """
    found = [rewrite for name in modules for rewrite in _rewrites(name)]
    return tuple(dict.fromkeys(found))


def chosen(rewrites: Iterable[Rewrite], backends: Collection[str]) -> tuple[Rewrite, ...]:
    """The rewrites that apply here, one for each target.

    A rewrite applies if it names no backend or one of ``backends``, and all of its ``when`` is
    installed. One that names a backend beats one that names none.

    Raises:
        RewriteError: two apply to one target, and neither beats the other.
    """
    rivals: dict[str, list[Rewrite]] = {}
    for rewrite in dict.fromkeys(rewrites):
        if _applies(rewrite, backends):
            rivals.setdefault(rewrite.target.replace(":", "."), []).append(rewrite)
    return tuple(_best(several, backends) for several in rivals.values())


def _applies(rewrite: Rewrite, backends: Collection[str]) -> bool:
    if rewrite.backends and not set(rewrite.backends) & set(backends):
        return False
    return all(_installed(_requirement(text, rewrite.target)) for text in rewrite.when)


def _best(rivals: list[Rewrite], backends: Collection[str]) -> Rewrite:
    best = [rewrite for rewrite in rivals if rewrite.backends] or rivals
    if len(best) > 1:
        raise RewriteError(
            f"rewrites of '{best[0].target}'",
            expected=f"one that applies with backend {' and '.join(sorted(backends)) or 'none'}",
            got=" and ".join(map(str, best)),
            do="Narrow the `backend` or `when` of one of them: a model is exported once.",
        )
    return best[0]


def _rewrites(name: str) -> list[Rewrite]:
    values = vars(_module(name)).values()
    for value in values:
        if isinstance(value, FunctionType):
            _check_outermost(value)
    found = [value for value in values if isinstance(value, Rewrite)]
    if not found:
        raise RewriteError(
            f"module '{name}'",
            expected="at least one rewrite",
            got="none",
            do="Decorate a function at the top level of the module with @rewrite.",
        )
    return found


def _module(name: str) -> ModuleType:
    if not _dotted(name):
        raise RewriteError("module of rewrites", expected="package.module", got=repr(name))
    try:
        return import_module(name)
    except (ImportError, SyntaxError) as error:
        raise RewriteError(
            f"module of rewrites '{name}' cannot be imported: {error}",
            do="Check the name, and that its package is installed or in the current folder.",
        ) from error


def _check_outermost(function: FunctionType) -> None:
    """Refuse ``@mark`` and the like above ``@rewrite``, which would hide the rewrite."""
    inner = inspect.unwrap(function, stop=lambda f: isinstance(f, Rewrite))
    if isinstance(inner, Rewrite):
        raise RewriteError(
            f"rewrite {inner} lies below another decorator", do="Write @rewrite above the others."
        )


def _check_target(target: str) -> None:
    parts = target.split(":")
    if len(parts) > 2 or not all(map(_dotted, parts)) or "." not in target.replace(":", "."):
        raise RewriteError(
            "target of a rewrite",
            expected="package.module.name or package.module:Class.method",
            got=repr(target),
        )


def _dotted(name: str) -> bool:
    return all(part.isidentifier() for part in name.split("."))


def _listed(value: str | Sequence[str] | None) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value or ())


def _requirement(text: str, target: str) -> Requirement:
    wrong = f"`when` of the rewrite of '{target}'"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise RewriteError(wrong, expected="such as some-dist>=4,<6", got=repr(text)) from error
    if requirement.extras or requirement.url or requirement.marker:
        raise RewriteError(wrong, expected="a name and its versions alone", got=repr(text))
    return requirement


def _installed(requirement: Requirement) -> bool:
    try:
        found = version(requirement.name)
    except PackageNotFoundError:
        return False
    # a pre-release that somebody has installed counts like any other version
    return requirement.specifier.contains(found, prereleases=True)

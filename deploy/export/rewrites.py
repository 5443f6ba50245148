"""Rewrites: collected from modules, selected for the backends in use, applied during an export."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from types import FunctionType, ModuleType
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from torch import nn

from deploy.export.rewrite_targets import (
    Rewrite,
    RewriteError,
    RewriteTarget,
    find_target,
    target_error,
)


def collect_rewrites(modules: Iterable[str]) -> tuple[Rewrite, ...]:
    """Import modules and list their rewrites, in the order of definition, each once.

    Args:
        modules: dotted names, such as ``my_package.rewrites``.

    Raises:
        RewriteError: a module cannot be imported or defines no rewrite, or a rewrite is below
            another decorator.
    """
    rewrites = [rewrite for name in modules for rewrite in _rewrites_of(name)]
    return tuple(dict.fromkeys(rewrites))


def applicable_rewrites(
    rewrites: Iterable[Rewrite], backends: Collection[str]
) -> tuple[Rewrite, ...]:
    """The rewrites that apply with these backends and installed packages, one for each target.

    A rewrite applies if it names no backend or one of ``backends``, and all requirements in
    ``when`` are installed. One that names a backend takes precedence over one that names none.

    Args:
        rewrites: the candidates.
        backends: the backends that the model is converted for.

    Raises:
        RewriteError: two with the same precedence apply to one target.

    Examples:
        >>> from deploy.rewrite import rewrite
        >>> general = rewrite("math.sqrt")(lambda original, x: original(x))
        >>> special = rewrite("math.sqrt", backend="engine")(lambda original, x: original(abs(x)))
        >>> applicable_rewrites([general, special], {"engine"}) == (special,)
        True
    """
    by_target: dict[str, list[Rewrite]] = {}
    for rewrite in dict.fromkeys(rewrites):
        if _applies(rewrite, backends):
            by_target.setdefault(rewrite.target.replace(":", "."), []).append(rewrite)
    return tuple(_by_precedence(candidates, backends) for candidates in by_target.values())


def _applies(rewrite: Rewrite, backends: Collection[str]) -> bool:
    if rewrite.backends and not set(rewrite.backends) & set(backends):
        return False
    return all(_installed(parse_requirement(text, rewrite.target)) for text in rewrite.when)


def _by_precedence(candidates: list[Rewrite], backends: Collection[str]) -> Rewrite:
    best = [rewrite for rewrite in candidates if rewrite.backends] or candidates
    if len(best) > 1:
        raise RewriteError(
            f"rewrites of '{best[0].target}'",
            expected=f"one that applies with backend {' and '.join(sorted(backends)) or 'none'}",
            got=" and ".join(map(str, best)),
            do="Narrow the `backend` or `when` of one of them: a model is exported once.",
        )
    return best[0]


def _rewrites_of(name: str) -> list[Rewrite]:
    values = vars(_import_module(name)).values()
    for value in values:
        if isinstance(value, FunctionType):
            _check_outermost(value)
    rewrites = [value for value in values if isinstance(value, Rewrite)]
    if not rewrites:
        raise RewriteError(
            f"module '{name}'",
            expected="at least one rewrite",
            got="none",
            do="Decorate a function at the top level of the module with @rewrite.",
        )
    return rewrites


def _import_module(name: str) -> ModuleType:
    if not is_dotted_name(name):
        raise RewriteError("module of rewrites", expected="package.module", got=repr(name))
    try:
        return import_module(name)
    except (ImportError, SyntaxError) as error:
        raise RewriteError(
            f"module of rewrites '{name}' cannot be imported: {error}",
            do="Check the name, and that its package is installed or in the current folder.",
        ) from error


def _check_outermost(function: FunctionType) -> None:
    """Refuse a rewrite that another decorator, such as ``@mark``, hides."""
    inner = inspect.unwrap(function, stop=lambda f: isinstance(f, Rewrite))
    if isinstance(inner, Rewrite):
        raise RewriteError(
            f"rewrite {inner} lies below another decorator", do="Write @rewrite above the others."
        )


def is_dotted_name(name: str) -> bool:
    """Whether a text is a dotted name, such as ``package.module``."""
    return all(part.isidentifier() for part in name.split("."))


def parse_requirement(text: str, target: str) -> Requirement:
    """Parse a requirement such as ``some-dist>=4,<6``.

    Args:
        text: the requirement.
        target: the target of its rewrite, for the error.

    Raises:
        RewriteError: the text is no requirement, or has extras, a URL or a marker.
    """
    what = f"`when` of the rewrite of '{target}'"
    try:
        requirement = Requirement(text)
    except InvalidRequirement as error:
        raise RewriteError(what, expected="such as some-dist>=4,<6", got=repr(text)) from error
    if requirement.extras or requirement.url or requirement.marker:
        raise RewriteError(what, expected="a name and its versions alone", got=repr(text))
    return requirement


def _installed(requirement: Requirement) -> bool:
    try:
        installed = version(requirement.name)
    except PackageNotFoundError:
        return False
    # an installed pre-release counts like any other version
    return requirement.specifier.contains(installed, prereleases=True)


@contextmanager
def apply_rewrites(model: nn.Module | None, rewrites: Iterable[Rewrite]) -> Iterator[None]:
    """Apply rewrites inside the block, and undo all of them at its end, also after an error.

    A function or method is replaced as an attribute of its owner, for the whole process. For a
    module class, every instance in ``model`` is replaced whose type is exactly that class, not a
    subclass. Children are replaced before their parent; a module whose replacement is the module
    itself stays. New modules get the training mode of the module that they replace. Blocks nest:
    the ``original`` of an inner rewrite is the replacement of the outer one.

    Args:
        model: the model whose modules may be replaced; None for functions and methods only.
        rewrites: the rewrites, at most one for each target.

    Raises:
        RewriteError: a target does not exist, cannot be rewritten or is rewritten twice, the
            model itself is an instance of a rewritten module class, or a replacement is no
            module. Nothing is changed then.

    Examples:
        >>> import math
        >>> from deploy.rewrite import rewrite
        >>> root = rewrite("math.sqrt")(lambda original, x: original(abs(x)))
        >>> with apply_rewrites(None, [root]):
        ...     math.sqrt(-4)
        2.0
    """
    targets = [find_target(rewrite) for rewrite in dict.fromkeys(rewrites)]
    _check_distinct(targets)
    classes = {t.module_class: t.rewrite for t in targets if t.module_class is not None}
    with ExitStack() as undo:
        if model is not None:
            _check_root(model, classes)
            _replace_modules(model, classes, undo)
        for target in targets:
            if target.module_class is None:
                _replace_function(target, undo)
        yield


def _check_distinct(targets: list[RewriteTarget]) -> None:
    first: dict[object, Rewrite] = {}
    for target in targets:
        earlier = first.setdefault(target.identity, target.rewrite)
        if earlier != target.rewrite:
            got = f"{earlier} and {target.rewrite}"
            raise target_error(
                target.rewrite, "one rewrite", got, "Choose one, or nest two blocks."
            )


def _check_root(model: nn.Module, classes: Mapping[type[nn.Module], Rewrite]) -> None:
    if type(model) in classes:
        raise target_error(
            classes[type(model)],
            "modules inside the model",
            f"the class of the model itself, {type(model).__name__}",
            "Rewrite its `forward`.",
        )


def _replace_function(target: RewriteTarget, undo: ExitStack) -> None:
    inherited = target.name not in vars(target.owner)
    try:
        setattr(target.owner, target.name, _wrapper(target))
    except (TypeError, AttributeError) as error:
        got = f"{target.owner.__name__}, which is immutable: {error}"
        do = "Rewrite the function that calls it."
        raise target_error(target.rewrite, "an owner that can be changed", got, do) from error
    if inherited:
        undo.callback(delattr, target.owner, target.name)
    else:
        undo.callback(setattr, target.owner, target.name, target.value)


def _wrapper(target: RewriteTarget) -> Any:
    value, replacement = target.value, target.rewrite.replacement
    original = value.__func__ if isinstance(value, staticmethod | classmethod) else value

    @functools.wraps(original)
    def rewritten(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    if isinstance(value, classmethod):
        return classmethod(rewritten)
    # a callable without __get__, such as a builtin, is not bound as an attribute of a class
    unbound = isinstance(target.owner, type) and not hasattr(type(value), "__get__")
    return staticmethod(rewritten) if unbound or isinstance(value, staticmethod) else rewritten


def _replace_modules(
    model: nn.Module, classes: Mapping[type[nn.Module], Rewrite], undo: ExitStack
) -> None:
    modes = {module: module.training for module in model.modules()}
    undo.callback(_set_training, modes)
    done: dict[nn.Module, nn.Module] = {}

    def visit(module: nn.Module) -> nn.Module:
        if module in done:
            return done[module]
        done[module] = module  # ends the recursion where a module contains itself
        for name, child in list(module._modules.items()):
            new = None if child is None else visit(child)
            if new is not child:
                module._modules[name] = new
                undo.callback(module._modules.__setitem__, name, child)
        if type(module) in classes:
            done[module] = _replacement(module, classes[type(module)], modes)
        return done[module]

    visit(model)


def _replacement(module: nn.Module, rewrite: Rewrite, modes: dict[nn.Module, bool]) -> nn.Module:
    new = rewrite.replacement(module)
    if not isinstance(new, nn.Module):
        raise target_error(rewrite, "a torch.nn.Module to be returned", type(new).__name__)
    _set_training({inner: module.training for inner in new.modules() if inner not in modes})
    return new


def _set_training(modes: Mapping[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training

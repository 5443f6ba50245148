"""Rewrites: found in modules, chosen for the backends in use, applied during an export."""

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
    """Import modules and find their rewrites, in the order of their definition, each once.

    Raises:
        RewriteError: a module cannot be imported or holds no rewrite, or a rewrite lies below
            another decorator.
    """
    found = [rewrite for name in modules for rewrite in _rewrites(name)]
    return tuple(dict.fromkeys(found))


def applicable_rewrites(
    rewrites: Iterable[Rewrite], backends: Collection[str]
) -> tuple[Rewrite, ...]:
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
    return all(_installed(parse_requirement(text, rewrite.target)) for text in rewrite.when)


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
    values = vars(_rewrite_module(name)).values()
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


def _rewrite_module(name: str) -> ModuleType:
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
    """Refuse ``@mark`` and the like above ``@rewrite``, which would hide the rewrite."""
    inner = inspect.unwrap(function, stop=lambda f: isinstance(f, Rewrite))
    if isinstance(inner, Rewrite):
        raise RewriteError(
            f"rewrite {inner} lies below another decorator", do="Write @rewrite above the others."
        )


def is_dotted_name(name: str) -> bool:
    """Whether this is ``package.module``."""
    return all(part.isidentifier() for part in name.split("."))


def parse_requirement(text: str, target: str) -> Requirement:
    """A requirement such as ``some-dist>=4,<6``, of the rewrite of a target.

    Raises:
        RewriteError: it is none, or has extras, an address or a marker.
    """
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


@contextmanager
def rewriting(model: nn.Module | None, rewrites: Iterable[Rewrite]) -> Iterator[None]:
    """Put rewrites in place, and take all of them away again at the end, also after an error.

    A function or method is changed where its target says, for the whole process. Of a module
    class every instance in ``model`` is replaced whose type is that very class, no subclass. A
    module's children are replaced before itself; where the replacement returns the module that
    it got, that one stays. New modules get the training mode of the one that they replace.
    Blocks nest: an inner rewrite's ``original`` is what the outer one has put there.

    Raises:
        RewriteError: a target does not exist, cannot be rewritten or is rewritten twice, the
            model itself is of a rewritten module class, or its replacement is no module. Nothing
            is changed then.
    """
    found = [find_target(rewrite) for rewrite in dict.fromkeys(rewrites)]
    _check_distinct(found)
    classes = {f.module_class: f.rewrite for f in found if f.module_class is not None}
    with ExitStack() as undo:
        if model is not None:
            _check_root(model, classes)
            _swap_modules(model, classes, undo)
        for target in found:
            if target.module_class is None:
                _set_function(target, undo)
        yield


def _check_distinct(found: list[RewriteTarget]) -> None:
    seen: dict[object, Rewrite] = {}
    for target in found:
        other = seen.setdefault(target.place, target.rewrite)
        if other != target.rewrite:
            got = f"{other} and {target.rewrite}"
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


def _set_function(found: RewriteTarget, undo: ExitStack) -> None:
    own = found.name in vars(found.owner)
    try:
        setattr(found.owner, found.name, _wrapper(found))
    except (TypeError, AttributeError) as error:
        got = f"{found.owner.__name__}, which is fixed: {error}"
        do = "Rewrite the function that calls it."
        raise target_error(found.rewrite, "an owner that can be changed", got, do) from error
    if own:
        undo.callback(setattr, found.owner, found.name, found.value)
    else:
        undo.callback(delattr, found.owner, found.name)


def _wrapper(found: RewriteTarget) -> Any:
    value, replacement = found.value, found.rewrite.replacement
    original = value.__func__ if isinstance(value, staticmethod | classmethod) else value

    @functools.wraps(original)
    def rewritten(*args: Any, **kwargs: Any) -> Any:
        return replacement(original, *args, **kwargs)

    if isinstance(value, classmethod):
        return classmethod(rewritten)
    # what has no __get__, such as a builtin, is not bound when it lies in a class
    unbound = isinstance(found.owner, type) and not hasattr(type(value), "__get__")
    return staticmethod(rewritten) if unbound or isinstance(value, staticmethod) else rewritten


def _swap_modules(
    model: nn.Module, classes: Mapping[type[nn.Module], Rewrite], undo: ExitStack
) -> None:
    modes = {module: module.training for module in model.modules()}
    undo.callback(_set_modes, modes)
    done: dict[nn.Module, nn.Module] = {}

    def visit(module: nn.Module) -> nn.Module:
        if module in done:
            return done[module]
        done[module] = module  # a module within itself is not followed
        for name, child in list(module._modules.items()):
            new = None if child is None else visit(child)
            if new is not child:
                module._modules[name] = new
                undo.callback(module._modules.__setitem__, name, child)
        if type(module) in classes:
            done[module] = _replaced(module, classes[type(module)], modes)
        return done[module]

    visit(model)


def _replaced(module: nn.Module, rewrite: Rewrite, modes: dict[nn.Module, bool]) -> nn.Module:
    new = rewrite.replacement(module)
    if not isinstance(new, nn.Module):
        raise target_error(rewrite, "a torch.nn.Module to be returned", type(new).__name__)
    _set_modes({part: module.training for part in new.modules() if part not in modes})
    return new


def _set_modes(modes: Mapping[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training

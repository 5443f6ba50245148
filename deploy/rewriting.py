"""What rewrites do: put other code in place, and everything back."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import nn

from deploy.targets import Found, Rewrite, find, wrong


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
    found = [find(rewrite) for rewrite in dict.fromkeys(rewrites)]
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


def _check_distinct(found: list[Found]) -> None:
    seen: dict[object, Rewrite] = {}
    for target in found:
        other = seen.setdefault(target.place, target.rewrite)
        if other != target.rewrite:
            got = f"{other} and {target.rewrite}"
            raise wrong(target.rewrite, "one rewrite", got, "Choose one, or nest two blocks.")


def _check_root(model: nn.Module, classes: Mapping[type[nn.Module], Rewrite]) -> None:
    if type(model) in classes:
        raise wrong(
            classes[type(model)],
            "modules inside the model",
            f"the class of the model itself, {type(model).__name__}",
            "Rewrite its `forward`.",
        )


def _set_function(found: Found, undo: ExitStack) -> None:
    own = found.name in vars(found.owner)
    try:
        setattr(found.owner, found.name, _wrapper(found))
    except (TypeError, AttributeError) as error:
        got = f"{found.owner.__name__}, which is fixed: {error}"
        do = "Rewrite the function that calls it."
        raise wrong(found.rewrite, "an owner that can be changed", got, do) from error
    if own:
        undo.callback(setattr, found.owner, found.name, found.value)
    else:
        undo.callback(delattr, found.owner, found.name)


def _wrapper(found: Found) -> Any:
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
        raise wrong(rewrite, "a torch.nn.Module to be returned", type(new).__name__)
    _set_modes({part: module.training for part in new.modules() if part not in modes})
    return new


def _set_modes(modes: Mapping[nn.Module, bool]) -> None:
    for module, training in modes.items():
        module.training = training

"""Post-processing of one's own: a function or class that a user names, or an entry point."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from inspect import Parameter
from pathlib import Path
from typing import Any

from backends.contract import Array, DeployError, TensorError
from deploy.runtime.bundle.manifest import PostStep
from deploy.runtime.execution.registered import load_named, post_id
from deploy.runtime.execution.step_params import signature_of
from deploy.runtime.results.result import Result
from deploy.runtime.results.values import Values

_OWN: dict[str, Any] = {}  # code that this process was told of, by id
_TARGETS: dict[str, str] = {}  # how the user names it, for other commands

_GIVEN_TENSORS = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)


class OwnPostError(DeployError):
    """Code that cannot be imported, or is no post-processing step."""


def register_target(target: str, id: str = "") -> str:
    """Let this process have a post-processing step that the user names.

    Args:
        target: ``package.module:callable``; see ``as_factory``.
        id: under which bundles name it; by default ``package.module.callable``.

    Returns:
        The id.

    Raises:
        OwnPostError: it cannot be imported, or cannot be called.
    """
    code = load_named(target, "post-processing step", OwnPostError)
    known = register_code(code, id or post_id(target))
    _TARGETS[known] = target
    return known


def register_word(word: str) -> str:
    """Let this process have the step that a word on the command line names.

    Modules of the working directory are found, behind all others, also where Python itself was
    started without it.

    Args:
        word: ``MODULE:CALLABLE`` or ``ID=MODULE:CALLABLE``.

    Returns:
        The id.

    Raises:
        OwnPostError: as of ``register_target``.
    """
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.append(here)
    id, _, target = word.rpartition("=")
    return register_target(target, id)


def word_for_command(post: PostStep | None) -> str | None:
    """The word of ``--post`` by which another command has the step that this process has.

    Args:
        post: of a bundle.

    Returns:
        None for a step that each command finds by itself.
    """
    target = _TARGETS.get(post.id) if post else None
    if post is None or target is None or post_id(target) == post.id:
        return target
    return f"{post.id}={target}"


def register_code(code: Any, id: str) -> str:
    """Let this process have a post-processing step; see ``register_target``."""
    _OWN[id] = code
    return id


def registered_here() -> Mapping[str, Any]:
    """The steps that this process was told of, by id."""
    return _OWN


def as_factory(code: Callable[..., Any]) -> Callable[..., Any]:
    """What creates the step from its parameters.

    Args:
        code: a class with ``batch(tensors)``, or a function that returns such a step, whose
            parameters are those of the step. Or a function ``decode(*tensors)``, which takes its
            tensors by position, each without the axis of the batch, is called for each picture,
            and returns a result or a mapping of values; its keyword-only parameters are those of
            the step, and its annotation says which result class it returns.
    """
    is_step = inspect.isfunction(code) and _takes_tensors(code)
    factory: Callable[..., Any] = _FunctionFactory(code) if is_step else code
    return factory


def _takes_tensors(function: Callable[..., Any]) -> bool:
    return any(
        parameter.kind is Parameter.VAR_POSITIONAL
        or (parameter.kind in _GIVEN_TENSORS and parameter.default is Parameter.empty)
        for parameter in inspect.signature(function).parameters.values()
    )


class _FunctionFactory:
    """Creates steps that call a function for each picture."""

    def __init__(self, function: Callable[..., Any]) -> None:
        signature = signature_of(function)
        named = [p for p in signature.parameters.values() if p.kind is Parameter.KEYWORD_ONLY]
        returned = signature.return_annotation
        is_result = isinstance(returned, type) and issubclass(returned, Result)
        self.result: type[Result] = returned if is_result else Values
        self.__signature__ = inspect.Signature(named)
        self.__doc__ = function.__doc__  # may have the step's formula
        self._function = function

    def __call__(self, **params: Any) -> FunctionPost:
        return FunctionPost(self._function, params, self.result)


class FunctionPost:
    """A post-processing step that calls a function for each picture of a batch.

    Args:
        function: from the tensors of a picture to its result.
        params: its keyword arguments.
        result: the class that it returns; ``Values`` for a mapping.
    """

    def __init__(
        self, function: Callable[..., Any], params: Mapping[str, Any], result: type[Result]
    ) -> None:
        self._function, self._params, self.result = function, params, result

    def batch(self, tensors: Sequence[Array]) -> list[Result]:
        """The result of each picture.

        Raises:
            OwnPostError: the function fails; with the line.
            TensorError: the tensors have no axis of the batch, or not the same one; or the function
                returns something else than it says.
        """
        sizes = {tensor.shape[:1] for tensor in tensors}
        if len(sizes) != 1 or () in sizes:
            raise TensorError(
                f"tensors of {self._function.__name__}",
                expected="pictures along their first axis",
                got=", ".join(str(list(tensor.shape)) for tensor in tensors),
                do="Write a class with batch(tensors), which gets them as they are.",
            )
        return [self._checked(self._returned(row)) for row in zip(*tensors, strict=True)]

    def _returned(self, row: tuple[Array, ...]) -> Any:
        try:
            return self._function(*row, **self._params)
        except DeployError:
            raise
        except Exception as error:  # whatever it is, the line is to be named
            place = traceback.extract_tb(error.__traceback__)[-1]
            raise OwnPostError(
                f"post-processing step '{self._function.__name__}' fails with "
                f"{type(error).__name__} in line {place.lineno} of {Path(place.filename).name}",
            ) from error

    def _checked(self, returned: Any) -> Result:
        if self.result is Values and isinstance(returned, Mapping):
            return Values.of(returned)
        if not isinstance(returned, self.result):
            wanted = "a mapping of values" if self.result is Values else self.result.__name__
            raise TensorError(
                f"result of {self._function.__name__}",
                expected=wanted,
                got=type(returned).__name__,
                do="Annotate what it returns: def decode(...) -> Classification.",
            )
        return returned

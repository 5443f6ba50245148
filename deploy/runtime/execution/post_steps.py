"""Post-processing behind the chain, found by a registered id."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from backends.codec import FormatError
from backends.contract import Array, DeployError, Tensors
from deploy.runtime.execution.own_posts import as_factory, registered_here
from deploy.runtime.execution.registered import all_registered, find_registered, shipped_table
from deploy.runtime.execution.step_params import read_params
from deploy.runtime.results.detections import Detections
from deploy.runtime.results.result import Result
from deploy.runtime.vision.image import Placement


class Post(Protocol):
    """A post-processing step: from the chain's outputs to the result of each picture."""

    def batch(self, tensors: Sequence[Array], /) -> Sequence[Result]:
        """The result of each picture of a batch, in pixels of the input tensor."""
        ...


PostFactory = Callable[..., Post]
"""Creates a post-processing step from its parameters.

Its attribute ``result`` is the class of the placed results; without one they are ``Detections``.
"""

_ENTRY_POINTS = "deploy.posts"


class PostError(DeployError):
    """A post-processing step that does not exist, or not with these parameters."""


def make_post(id: str, params: Mapping[str, Any]) -> Post:
    """The post-processing step that is registered under an id.

    Args:
        id: such as ``yolov3.boxes``.
        params: keyword arguments of its factory.

    Raises:
        PostError: nothing is registered under this id, or it does not take these parameters.
    """
    factory = post_factory(id)
    arguments = _arguments(factory, id, params)
    try:
        post: Post = factory(**arguments)
    except DeployError:
        raise
    except Exception as error:  # whatever it is, the step is to be named
        raise _refusal(id, error) from error
    return post


def check_post(id: str, params: Mapping[str, Any]) -> None:
    """Check the parameters of a post-processing step without creating it.

    Args:
        id: as of ``make_post``.
        params: as of ``make_post``.

    Raises:
        PostError: as of ``make_post``, but for what only the factory itself can judge.
    """
    _arguments(post_factory(id), id, params)


def takes_parameter(id: str, name: str) -> bool:
    """Whether the step with this id is registered, and has a parameter of this name."""
    try:
        factory = post_factory(id)
    except PostError:
        return False
    return name in inspect.signature(factory).parameters


def result_class(id: str) -> type[Result]:
    """The class of the results that the post-processing step with this id gives.

    Args:
        id: as of ``make_post``.

    Raises:
        PostError: nothing is registered under this id.
    """
    kind: type[Result] = getattr(post_factory(id), "result", Detections)
    return kind


def post_factory(id: str) -> PostFactory:
    """The factory that is registered under an id.

    Raises:
        PostError: nothing is registered under it.
    """
    own, shipped = registered_here(), _shipped(id)
    if id in own and id in shipped:
        raise PostError(
            f"post-processing step '{id[:200]}' of your own",
            expected="an id that no step of this package has",
            got=id[:200],
            do="Name it by another id beside its target, or rename its module.",
        )
    registered, known = find_registered(id, {**own, **shipped}, _ENTRY_POINTS)
    if registered is None:
        raise PostError(
            f"host step '{id[:200]}'",
            expected=f"one of {', '.join(sorted(known))}",
            got=id[:200],
            do="Code of your own is named with --post MODULE:CALLABLE, at the desk with "
            "model.post={target: MODULE:CALLABLE}; or it is installed as an entry point "
            f"'{id[:200]}' of the group {_ENTRY_POINTS}.",
        )
    return as_factory(registered)


def _arguments(factory: PostFactory, id: str, params: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return read_params(factory, params)
    except FormatError as error:
        raise _refusal(id, error) from error


def _refusal(id: str, error: Exception) -> PostError:
    return PostError(f"host step '{id}' does not take its parameters: {error}")


def placed_results(
    post: Post, inputs: Sequence[str], outputs: Tensors, placements: Sequence[Placement] | None
) -> list[Result]:
    """The result of each picture of a batch, in pixels of the picture; or of each input.

    Args:
        post: the post-processing step.
        inputs: the names of the tensors that it takes, in order.
        outputs: of the chain, by name.
        placements: of the pictures; a batch may be longer, where it was filled up. None where the
            batch was made of no pictures: the results are then as the step gives them.
    """
    results = post.batch([_as_float32(outputs[name]) for name in inputs])
    if placements is None:
        return list(results)
    pairs = zip(results[: len(placements)], placements, strict=True)
    return [result.placed(placement) for result, placement in pairs]


def _as_float32(tensor: Array) -> Array:
    """Post-processing computes in float32, also where an engine's outputs are float16."""
    return tensor.astype(np.float32) if tensor.dtype == np.float16 else tensor


def registered_posts() -> dict[str, PostFactory]:
    """Every post-processing step of this package, and of installed ones."""
    return all_registered(_shipped(), _ENTRY_POINTS)


def _shipped(id: str = "") -> Mapping[str, PostFactory]:
    """The table with an id, of which the folder's name is the first part; else the whole table."""
    folder = id.partition(".")[0]
    table = shipped_table("post", "POSTS", folder) if folder else {}
    return table if id in table else shipped_table("post", "POSTS")

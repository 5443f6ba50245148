"""Post-processing after the chain, found by a registered id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from backends.contract import Array, DeployError
from deploy.runtime.execution.registered import all_registered, find_registered
from deploy.runtime.vision.detections import Detections


class Post(Protocol):
    """A host step: the chain's outputs to what is in each picture."""

    def batch(self, tensors: Sequence[Array], /) -> list[Detections]:
        """Detections of each picture, in input pixels."""
        ...


PostFactory = Callable[..., Post]

_POSTS = ("post", "POSTS", "deploy.posts")


class PostError(DeployError):
    """A host step that does not exist, or not with these parameters."""


def make_post(name: str, params: Mapping[str, Any]) -> Post:
    """The host step registered as ``name``.

    Raises:
        PostError: nothing is registered under this name, or it does not take these parameters.
    """
    factory, known = find_registered(name, *_POSTS)
    if factory is None:
        raise PostError(
            f"host step '{name}'", expected=f"one of {', '.join(sorted(known))}", got=name
        )
    try:
        post: Post = factory(**params)
    except (TypeError, ValueError) as error:
        raise PostError(f"host step '{name}' does not take its parameters: {error}") from error
    return post


def registered_posts() -> dict[str, PostFactory]:
    """Every host step of the models in this package, and of installed entry points."""
    return all_registered(*_POSTS)

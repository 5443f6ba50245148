"""Post-processing after the chain, found by a registered id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import entry_points
from typing import Any, Protocol

from backends.contract import Array, DeployError
from deploy.runtime.execution.registered import model_modules
from deploy.runtime.vision.detections import Detections


class Post(Protocol):
    """A host step: the chain's outputs to what is in each picture."""

    def batch(self, tensors: Sequence[Array], /) -> list[Detections]:
        """Detections of each picture, in input pixels."""
        ...


PostFactory = Callable[..., Post]


class PostError(DeployError):
    """A host step that does not exist, or not with these parameters."""


def make_post(name: str, params: Mapping[str, Any]) -> Post:
    """The host step registered as ``name``.

    Raises:
        PostError: nothing is registered under this name, or it does not take these parameters.
    """
    known = _model_posts()
    if name not in known:  # only then, since asking for entry points reads every distribution
        known = registered_posts()
    if name not in known:
        raise PostError(
            f"host step '{name}'", expected=f"one of {', '.join(sorted(known))}", got=name
        )
    try:
        return known[name](**params)
    except (TypeError, ValueError) as error:
        raise PostError(f"host step '{name}' does not take its parameters: {error}") from error


def registered_posts() -> dict[str, PostFactory]:
    """Every host step of the models in this package, and of installed entry points."""
    others = {entry.name: entry.load() for entry in entry_points(group="deploy.posts")}
    return _model_posts() | others


def _model_posts() -> dict[str, PostFactory]:
    posts: dict[str, PostFactory] = {}
    for module in model_modules("post"):
        posts.update(module.POSTS)
    return posts

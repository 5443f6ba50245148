"""Host steps after the chain, found by a short registered id."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import entry_points
from typing import Any

from backends.contract import DeployError
from deploy.runtime.post import Post, PostFactory
from deploy.runtime.shipped import shipped


class PostError(DeployError):
    """A host step that does not exist, or not with these parameters."""


def make_post(name: str, params: Mapping[str, Any]) -> Post:
    """The host step registered as ``name``.

    Raises:
        PostError: nothing is registered under this name, or it does not take these parameters.
    """
    known = _shipped()
    if name not in known:  # only then, since asking for entry points reads every distribution
        known = registered()
    if name not in known:
        raise PostError(
            f"host step '{name}'", expected=f"one of {', '.join(sorted(known))}", got=name
        )
    try:
        return known[name](**params)
    except (TypeError, ValueError) as error:
        raise PostError(f"host step '{name}' does not take its parameters: {error}") from error


def registered() -> dict[str, PostFactory]:
    """Every host step of the models in this package, and of installed entry points."""
    others = {entry.name: entry.load() for entry in entry_points(group="deploy.posts")}
    return _shipped() | others


def _shipped() -> dict[str, PostFactory]:
    posts: dict[str, PostFactory] = {}
    for module in shipped("post"):
        posts.update(module.POSTS)
    return posts

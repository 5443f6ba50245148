"""The sizes that an engine is built for, against its graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ._plan import Ranges

_NONE = "Network has dynamic or shape inputs, but no optimization profile has been defined."


def faults_of_profiles(shapes: Mapping[str, list[int]], profiles: Sequence[Ranges]) -> list[str]:
    """What is wrong with profiles for inputs of these shapes, in which -1 is dynamic."""
    dynamic = [name for name, shape in shapes.items() if -1 in shape]
    if dynamic and not profiles:
        return [_NONE]
    return [
        f"{text} in profile {number}"
        for number, profile in enumerate(profiles)
        for text in _faults(shapes, dynamic, profile)
    ]


def _faults(shapes: Mapping[str, list[int]], dynamic: list[str], profile: Ranges) -> Iterator[str]:
    for name in dynamic:
        if name not in profile:
            yield f"{name}: dynamic input is missing dimensions"
    for name, range_ in profile.items():
        if name not in shapes:
            yield f"{name}: not a network input"
            continue
        for shape in range_:
            if not _matches(shapes[name], shape):
                yield f"{name}: network has {shapes[name]} and does not match {shape}"


def _matches(built: list[int], shape: list[int]) -> bool:
    return len(built) == len(shape) and all(
        wanted in (-1, size) for wanted, size in zip(built, shape, strict=True)
    )


def complete(shapes: Mapping[str, list[int]], profiles: Sequence[Ranges]) -> list[Ranges]:
    """At least one profile, each with every input."""
    fixed = {name: [shape] * 3 for name, shape in shapes.items() if -1 not in shape}
    return [{**fixed, **profile} for profile in profiles or [{}]]
